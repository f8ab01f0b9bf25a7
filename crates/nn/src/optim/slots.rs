//! [`Slots`]: the state of an optimizer.

use std::collections::BTreeMap;
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

    fn once(&self, owner: Option<TensorId>, name: &str, make: impl FnOnce() -> Variable) -> Variable {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry((owner, name.into())).or_insert_with(|| make().not_trainable()).clone()
    }
}
