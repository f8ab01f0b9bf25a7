//! All callbacks of a training: those that the loop brings along, then the user's.

use std::collections::BTreeSet;
use std::ops::AddAssign;

use thalweg_data::Batch;
use thalweg_nn::Step;
use thalweg_nn::optim::Hooks;
use thalweg_run::graph::{Tensor, Variable};

use super::{Callback, Event, FitError, Flow, Moment, Task, Turn};
use crate::checkpoint::Checkpoint;

/// How the names begin of what callbacks remember in a checkpoint; name, `/` and key follow.
const MEMORY: &str = "callback ";

/// What callbacks want.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) save: bool,
    pub(super) stop: bool,
    /// The first reason that was given.
    pub(super) diverged: Option<String>,
}

impl AddAssign for Wishes {
    fn add_assign(&mut self, other: Wishes) {
        self.save |= other.save;
        self.stop |= other.stop;
        self.diverged = self.diverged.take().or(other.diverged);
    }
}

/// All callbacks of a training.
pub(super) struct Callbacks<'a, 'c> {
    own: Vec<Box<dyn Callback>>,
    users: &'a mut [&'c mut dyn Callback],
}

impl<'a, 'c> Callbacks<'a, 'c> {
    pub(super) fn new(own: Vec<Box<dyn Callback>>, users: &'a mut [&'c mut dyn Callback]) -> Self {
        Callbacks { own, users }
    }

    /// Tells everyone; gives what they want.
    pub(super) fn tell(&mut self, event: &Event<'_>, moment: &Moment<'_>) -> Result<Wishes, FitError> {
        let mut wishes = Wishes::default();
        self.each(|callback| {
            match callback.on(event, moment)? {
                Flow::Continue => {}
                Flow::Save => wishes.save = true,
                Flow::Stop => wishes.stop = true,
                Flow::Diverged(what) => drop(wishes.diverged.get_or_insert(what)),
            }
            Ok(())
        })?;
        Ok(wishes)
    }

    /// Lets everyone change a batch. Who comes behind one that leaves it out does not see it.
    pub(super) fn prepare(&mut self, batch: &mut Batch, moment: &Moment<'_>) -> Result<Turn, FitError> {
        let mut turn = Turn::Take;
        self.each(|callback| {
            if turn == Turn::Take {
                turn = callback.prepare(batch, moment)?;
            }
            Ok(())
        })?;
        Ok(turn)
    }

    /// What everyone remembers, as a part of a checkpoint.
    pub(super) fn memories(&mut self) -> Result<Checkpoint, FitError> {
        let (mut memories, mut taken) = (Checkpoint::default(), BTreeSet::new());
        self.each(|callback| {
            let mut memory = Checkpoint::default();
            callback.remember(&mut memory);
            if memory == Checkpoint::default() {
                return Ok(());
            }
            let name = callback.name();
            let refuse = |reason: &str| {
                Err(FitError::Setting { setting: format!("a callback called `{name}`"), reason: reason.into() })
            };
            if name.is_empty() || name.contains('/') {
                return refuse("what it remembers needs a name without `/` in the checkpoint: see `Callback::name`");
            }
            if !taken.insert(name.clone()) {
                return refuse(
                    "two that remember something have this name, and a resumed run could not tell them apart",
                );
            }
            let key = |key| format!("{MEMORY}{name}/{key}");
            memories.tensors.extend(memory.tensors.into_iter().map(|(name, value)| (key(name), value)));
            memories.metadata.extend(memory.metadata.into_iter().map(|(name, value)| (key(name), value)));
            Ok(())
        })?;
        Ok(memories)
    }

    /// Lets everyone recall its part of `memories`; those that left nothing are not asked. Gives the names of those that
    /// are no longer here.
    pub(super) fn recall(&mut self, memories: &Checkpoint) -> Result<Vec<String>, FitError> {
        let of = |key: &String| Some(key.strip_prefix(MEMORY)?.split_once('/')?.0.to_string());
        let mut left: BTreeSet<String> =
            memories.tensors.keys().chain(memories.metadata.keys()).filter_map(of).collect();
        self.each(|callback| {
            if left.remove(&callback.name()) {
                callback.recall(&part(memories, &callback.name()))?;
            }
            Ok(())
        })?;
        Ok(left.into_iter().collect())
    }

    fn each(&mut self, mut visit: impl FnMut(&mut dyn Callback) -> Result<(), FitError>) -> Result<(), FitError> {
        self.own.iter_mut().try_for_each(|callback| visit(&mut **callback))?;
        self.users.iter_mut().try_for_each(|callback| visit(&mut **callback))
    }

    /// As [`Callbacks::each`], for what cannot fail.
    fn thread<T>(&mut self, mut value: T, mut change: impl FnMut(&mut dyn Callback, T) -> T) -> T {
        for callback in &mut self.own {
            value = change(&mut **callback, value);
        }
        for callback in self.users.iter_mut() {
            value = change(&mut **callback, value);
        }
        value
    }
}

/// What the callback `name` remembered.
fn part(memories: &Checkpoint, name: &str) -> Checkpoint {
    let prefix = format!("{MEMORY}{name}/");
    let own = |key: &String| key.strip_prefix(&*prefix).map(String::from);
    Checkpoint {
        tensors: memories.tensors.iter().filter_map(|(key, x)| Some((own(key)?, x.clone()))).collect(),
        metadata: memories.metadata.iter().filter_map(|(key, x)| Some((own(key)?, x.clone()))).collect(),
    }
}

/// Takes what callbacks remember out of a checkpoint.
pub(crate) fn take_memories(checkpoint: &mut Checkpoint) -> Checkpoint {
    let is_memory = |key: &str| key.starts_with(MEMORY);
    let tensors = checkpoint.tensors.extract_if(.., |key, _| is_memory(key)).collect();
    let metadata = checkpoint.metadata.extract_if(.., |key, _| is_memory(key)).collect();
    Checkpoint { tensors, metadata }
}

/// The callbacks while the graphs of a task are built.
pub(super) struct Building<'b, 'a, 'c> {
    pub(super) callbacks: &'b mut Callbacks<'a, 'c>,
    pub(super) task: &'b Task,
}

impl Hooks for Building<'_, '_, '_> {
    fn loss(&mut self, loss: Tensor) -> Tensor {
        self.callbacks.thread(loss, |callback, loss| callback.loss(loss, self.task))
    }

    fn gradients(&mut self, gradients: Vec<(Variable, Tensor)>) -> Vec<(Variable, Tensor)> {
        self.callbacks.thread(gradients, |callback, gradients| callback.gradients(gradients))
    }

    fn rate(&mut self, group: Option<&str>, rate: Tensor, made: &Tensor) -> Tensor {
        self.callbacks.thread(rate, |callback, rate| callback.rate(group, rate, made))
    }

    fn step(&mut self, step: &mut Step) {
        self.callbacks.thread((), |callback, ()| callback.step(step));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::checkpoint::CheckpointError;

    struct Named(&'static str, i64);

    impl Callback for Named {
        fn name(&self) -> String {
            self.0.into()
        }

        fn remember(&self, memory: &mut Checkpoint) {
            memory.set("number", &self.1);
        }

        fn recall(&mut self, memory: &Checkpoint) -> Result<(), CheckpointError> {
            self.1 = memory.get("number")?;
            Ok(())
        }
    }

    #[test]
    fn memories_are_found_by_name_wherever_a_callback_stands() {
        let (mut a, mut b) = (Named("a", 1), Named("b", 2));
        let memories = Callbacks::new(vec![], &mut [&mut a, &mut b]).memories().unwrap();
        let (mut new, mut b) = (Named("new", 7), Named("b", 0));
        let left = Callbacks::new(vec![], &mut [&mut new, &mut b]).recall(&memories).unwrap();
        assert_eq!((new.1, b.1, left), (7, 2, vec!["a".to_string()]));
    }

    #[test]
    fn memories_without_a_name_of_their_own_are_refused() {
        let refusal = |first, second| {
            let (mut a, mut b) = (Named(first, 1), Named(second, 2));
            Callbacks::new(vec![], &mut [&mut a, &mut b]).memories().unwrap_err().to_string()
        };
        assert!(refusal("a", "a").contains("a callback called `a`: two that remember something have this name"));
        assert!(refusal("a", "").contains("a callback called ``: what it remembers needs a name"));
        assert!(refusal("a/b", "c").contains("a callback called `a/b`: what it remembers needs a name without `/`"));
    }
}
