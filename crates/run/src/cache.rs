//! What was compiled before, found again without allocating; the least recently used goes when there is no room.

use std::sync::Arc;

use smallvec::SmallVec;
use thalweg_plan::graph::array::random::mix;
use thalweg_plan::graph::{DType, Fetch, Root, Scalar};

use crate::feed::{FeedName, Feeds, Value};

/// Whether a run is part of training or of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As it was built.
    Run,
    /// Nothing is dropped, nothing changes.
    Evaluate,
}

/// What is asked for, whatever it is: what runs is found and compiled by code that is there once for all kinds of fetches.
pub(crate) trait Asked {
    /// As [`Fetch::roots`].
    fn roots(&self, visit: &mut dyn FnMut(Root<'_>));
}

impl<F: Fetch> Asked for F {
    fn roots(&self, visit: &mut dyn FnMut(Root<'_>)) {
        Fetch::roots(self, visit);
    }
}

/// What was asked: what decides which plan runs, down to dtypes and sizes, so that what is found was checked before.
pub(crate) struct Question<'q, 'f> {
    pub(crate) mode: Mode,
    pub(crate) fetches: &'q dyn Asked,
    pub(crate) feeds: &'q Feeds<'f>,
}

impl Question<'_, '_> {
    /// A number that is equal for equal questions.
    fn hash(&self) -> u64 {
        let mut hash = self.mode as u64;
        self.fetches.roots(&mut |root| hash = RootKey::of(root).numbers().into_iter().fold(hash, combine));
        for feed in &self.feeds.0 {
            let words = feed.name.name().as_bytes().chunks(8).map(|chunk| {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                u64::from_le_bytes(word)
            });
            hash = words.fold(hash, combine);
            if let Some((dtype, shape, _)) = feed.value.0.sizes() {
                hash = shape.iter().fold(combine(hash, dtype as u64), |hash, &size| combine(hash, size as u64));
            }
        }
        hash
    }
}

fn combine(hash: u64, word: u64) -> u64 {
    mix(hash.rotate_left(5) ^ word)
}

/// A [`Question`] that outlives what it was asked with.
#[derive(Debug)]
struct Key {
    mode: Mode,
    roots: Vec<RootKey>,
    feeds: Vec<FeedShape>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RootKey {
    Tensor(u64),
    Update { variable: u64, value: u64 },
}

impl RootKey {
    fn of(root: Root<'_>) -> RootKey {
        match root {
            Root::Tensor(tensor) => RootKey::Tensor(tensor.id().number()),
            Root::Update(update) => {
                RootKey::Update { variable: update.variable.id().number(), value: update.value.id().number() }
            }
        }
    }

    fn numbers(self) -> [u64; 2] {
        match self {
            RootKey::Tensor(id) => [u64::MAX, id],
            RootKey::Update { variable, value } => [variable, value],
        }
    }
}

#[derive(Debug)]
struct FeedShape {
    name: String,
    form: Form,
}

/// What is compared of a feed's value.
#[derive(Debug, PartialEq)]
enum Form {
    Sized { dtype: DType, shape: SmallVec<[usize; 8]>, flat: bool },
    Bool,
    Int,
    Float,
}

impl Form {
    fn of(value: &Value<'_>) -> Form {
        match (value.sizes(), value) {
            (Some((dtype, shape, flat)), _) => Form::Sized { dtype, shape: shape.into(), flat },
            (None, Value::Number(Scalar::Bool(_))) => Form::Bool,
            (None, Value::Number(Scalar::Int(_))) => Form::Int,
            (None, _) => Form::Float,
        }
    }
}

impl Key {
    fn of(question: &Question<'_, '_>) -> Key {
        let mut roots = Vec::new();
        question.fetches.roots(&mut |root| roots.push(RootKey::of(root)));
        let feeds = question.feeds.0.iter();
        let feeds = feeds.map(|feed| FeedShape { name: feed.name.name().into(), form: Form::of(&feed.value.0) });
        Key { mode: question.mode, roots, feeds: feeds.collect() }
    }

    fn is(&self, question: &Question<'_, '_>) -> bool {
        let mut roots = self.roots.iter();
        let mut equal = self.mode == question.mode && self.feeds.len() == question.feeds.len();
        question.fetches.roots(&mut |root| equal &= roots.next() == Some(&RootKey::of(root)));
        equal
            && roots.next().is_none()
            && self.feeds.iter().zip(&question.feeds.0).all(|(known, feed)| {
                matches!(feed.name, FeedName::Placeholder(name) if name == known.name)
                    && known.form == Form::of(&feed.value.0)
            })
    }
}

/// Answers by question, at most so many.
#[derive(Debug)]
pub(crate) struct Cache<T> {
    bound: usize,
    clock: u64,
    entries: Vec<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    hash: u64,
    last_use: u64,
    key: Key,
    answer: Arc<T>,
}

impl<T> Cache<T> {
    /// Room for `bound` answers.
    pub(crate) fn new(bound: usize) -> Cache<T> {
        Cache { bound, clock: 0, entries: Vec::new() }
    }

    /// How many answers there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The answer to this question, if it is known.
    pub(crate) fn find(&mut self, question: &Question<'_, '_>) -> Option<Arc<T>> {
        let hash = question.hash();
        self.clock += 1;
        let entry = self.entries.iter_mut().find(|entry| entry.hash == hash && entry.key.is(question))?;
        entry.last_use = self.clock;
        Some(entry.answer.clone())
    }

    /// Remembers an answer; the least recently used gives way.
    pub(crate) fn insert(&mut self, question: &Question<'_, '_>, answer: Arc<T>) {
        let key = Key::of(question);
        self.clock += 1;
        // Two threads may have compiled the same.
        self.entries.retain(|entry| !entry.key.is(question));
        while self.entries.len() >= self.bound {
            let oldest = (0..self.entries.len()).min_by_key(|&entry| self.entries[entry].last_use);
            self.entries.swap_remove(oldest.expect("there is one"));
        }
        self.entries.push(Entry { hash: question.hash(), last_use: self.clock, key, answer });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feeds;
    use thalweg_plan::graph::{Array, Variable, placeholder};

    fn question<'q, 'f>(fetches: &'q dyn Asked, feeds: &'q Feeds<'f>) -> Question<'q, 'f> {
        Question { mode: Mode::Run, fetches, feeds }
    }

    #[test]
    fn only_equal_questions_find_the_answer() {
        let (x, w) = (placeholder("x", DType::F32, ["n"]), Variable::new("w", 0.0));
        let (two, three) = (Array::from([1.0f32; 2]), Array::from([1.0f32; 3]));
        let asked = feeds! { x => &two };
        let update = w.assign(&w);
        let mut cache = Cache::new(8);
        cache.insert(&question(&(&x, &update), &asked), Arc::new(1));
        assert!(cache.find(&question(&(&x, &update), &feeds! { "x" => &two.clone() })).is_some());
        assert!(cache.find(&question(&(&x, &update), &feeds! { x => &three })).is_none());
        assert!(cache.find(&question(&(&x, &update), &feeds! { x => two.to_vec::<f32>() })).is_none());
        assert!(cache.find(&question(&(&x, &update), &feeds! { x => two.cast(DType::F64) })).is_none());
        assert!(cache.find(&question(&(&x, &update), &feeds! { "y" => &two })).is_none());
        assert!(cache.find(&question(&(&x, &update), &feeds! { x.named("x") => &two })).is_some());
        assert!(cache.find(&question(&(&x, &update), &feeds! { (&x * 2.0).named("x") => &two })).is_none());
        assert!(cache.find(&question(&(&update, &x), &asked)).is_none());
        assert!(cache.find(&question(&&x, &asked)).is_none());
        assert!(cache.find(&Question { mode: Mode::Evaluate, fetches: &(&x, &update), feeds: &asked }).is_none());
    }

    #[test]
    fn numbers_of_another_kind_are_another_question() {
        let x = placeholder("x", DType::F32, ());
        let mut cache = Cache::new(8);
        cache.insert(&question(&x, &feeds! { x => 1.0 }), Arc::new(1));
        assert!(cache.find(&question(&x, &feeds! { x => 2.0f32 })).is_some());
        assert!(cache.find(&question(&x, &feeds! { x => 2 })).is_none());
        assert!(cache.find(&question(&x, &feeds! { x => true })).is_none());
    }

    #[test]
    fn the_least_recently_used_goes() {
        let tensors: Vec<_> = (0..3).map(|_| placeholder("x", DType::F32, ())).collect();
        let feeds = feeds! {};
        let mut cache = Cache::new(2);
        cache.insert(&question(&tensors[0], &feeds), Arc::new(0));
        cache.insert(&question(&tensors[1], &feeds), Arc::new(1));
        assert_eq!(cache.find(&question(&tensors[0], &feeds)).as_deref(), Some(&0));
        cache.insert(&question(&tensors[2], &feeds), Arc::new(2));
        assert_eq!(cache.len(), 2);
        assert_eq!(cache.find(&question(&tensors[1], &feeds)), None);
        assert_eq!(cache.find(&question(&tensors[0], &feeds)).as_deref(), Some(&0));
    }
}
