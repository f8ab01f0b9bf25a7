//! [`Slots`]: the state of an optimizer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use thalweg_graph::{Array, DType, TensorId, Variable, constant};

/// The variables of an optimizer beside the parameters, each made once: all steps that an optimizer and its clones
/// build share them, so that a model can be trained in phases, or on several losses, without losing its moments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots(Arc<Mutex<BTreeMap<Key, Variable>>>);

/// The parameter to which a slot belongs, if to one, and the name of the slot.
type Key = (Option<TensorId>, String);

impl Slots {
    /// State that belongs to `variable`: `path/name`, `initial` everywhere.
    pub(crate) fn of(&self, variable: &Variable, name: &str, shape: &[usize], dtype: DType, initial: f64) -> Variable {
        self.once(Some(variable.id()), name, || {
            let initial = constant(Array::full(&[], dtype, initial)).expand(shape);
            Variable::new(format!("{}/{name}", variable.name()), initial)
        })
    }

    /// One number of state that belongs to none: the variable `name`, 0 at the beginning.
    pub(crate) fn number(&self, name: &str, dtype: DType) -> Variable {
        self.once(None, name, || Variable::new(name, Array::zeros(&[], dtype)))
    }

    /// How many steps each of `variables` has made, as variables: those that are asked about together for the first time
    /// share one. The first is `name`, as [`Slots::number`] gives it; of parameters that join later it is `name/2`, … So
    /// averages over the steps of a parameter know their length, also in a training of several phases.
    pub(crate) fn clocks<'a>(&self, variables: impl IntoIterator<Item = &'a Variable>, name: &str) -> Vec<Variable> {
        let variables: Vec<&Variable> = variables.into_iter().collect();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let clock = format!("clock {name}");
        let key = |variable: &Variable| (Some(variable.id()), clock.clone());
        if variables.iter().any(|variable| !known.contains_key(&key(variable))) {
            let of_clock = |(slot, clock_of): (&Key, &Variable)| (slot.1 == clock).then(|| clock_of.id());
            let clocks: BTreeSet<TensorId> = known.iter().filter_map(of_clock).collect();
            let numbered = if clocks.is_empty() { name.to_string() } else { format!("{name}/{}", clocks.len() + 1) };
            let make = || Variable::new(&numbered, Array::zeros(&[], DType::I64)).not_trainable();
            let new = known.entry((None, numbered.clone())).or_insert_with(make).clone();
            for variable in &variables {
                known.entry(key(variable)).or_insert_with(|| new.clone());
            }
        }
        variables.iter().map(|variable| known[&key(variable)].clone()).collect()
    }

    fn once(&self, owner: Option<TensorId>, name: &str, make: impl FnOnce() -> Variable) -> Variable {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry((owner, name.into())).or_insert_with(|| make().not_trainable()).clone()
    }
}
