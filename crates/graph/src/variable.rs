//! [`Variable`]: state that training changes. A variable is identity, shape and initial value; its numbers live in
//! the session.

use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use thalweg_array::{Array, DType};

use crate::ops::source::{Constant, VariableRead};
use crate::tensor::{Tensor, TensorId};

/// State that a run can change. Derefs to the [`Tensor`] of its value before the run, so that it can be used like one.
///
/// ```
/// use thalweg_graph::Variable;
/// let w = Variable::new("w", 0.5);
/// let y = &w * 2.0;
/// assert_eq!(y.meta().to_string(), "f32[]");
/// ```
#[derive(Clone)]
pub struct Variable {
    core: Arc<VariableCore>,
    read: Tensor,
}

/// What a variable is; shared by its handles and by the nodes that read it.
pub struct VariableCore {
    id: TensorId,
    name: OnceLock<Arc<str>>,
    dtype: DType,
    shape: Vec<usize>,
    initial: Tensor,
    location: &'static Location<'static>,
    trainable: AtomicBool,
    state: AtomicBool,
}

impl Variable {
    /// A variable called `name` that starts as `initial`: a number or an array.
    #[track_caller]
    pub fn new(name: impl AsRef<str>, initial: impl Into<Initial>) -> Variable {
        let variable = Variable::unnamed(initial);
        variable.name_once(name.as_ref());
        variable
    }

    /// A variable that a module names by its field path later.
    ///
    /// # Panics
    /// If the initial value's shape has names: the value lives longer than a run.
    #[track_caller]
    pub fn unnamed(initial: impl Into<Initial>) -> Variable {
        let initial = initial.into().0;
        let Some(shape) = initial.shape().numbers() else {
            panic!("a variable of shape {}: a variable's sizes must be numbers, it outlives the run", initial.shape());
        };
        let core = Arc::new(VariableCore {
            id: TensorId::next(),
            name: OnceLock::new(),
            dtype: initial.dtype(),
            shape,
            initial,
            location: Location::caller(),
            trainable: AtomicBool::new(true),
            state: AtomicBool::new(false),
        });
        Variable::from_core(core)
    }

    #[track_caller]
    pub(crate) fn from_core(core: Arc<VariableCore>) -> Variable {
        let read = Tensor::apply(VariableRead(core.clone()), []);
        Variable { core, read }
    }

    /// Marks the variable as state that optimizers leave alone for good (running statistics, counters, slots).
    pub fn not_trainable(self) -> Variable {
        self.core.state.store(true, Ordering::Relaxed);
        self
    }

    /// The value before the run.
    pub fn tensor(&self) -> &Tensor {
        &self.read
    }

    /// The pair "this variable becomes `value`", to be fetched from a session.
    ///
    /// # Panics
    /// If dtype or shape of the value differ from the variable's.
    #[track_caller]
    pub fn assign(&self, value: &Tensor) -> Update {
        if value.meta() != self.read.meta() {
            panic!(
                "assign: the value's dtype or shape differs from the variable's   --> {}\n  variable  {}  {}\n  value     {}  {}",
                std::panic::Location::caller(),
                self.name(),
                self.read.meta(),
                value.display_name(),
                value.meta()
            );
        }
        Update { variable: self.clone(), value: value.clone() }
    }
}

impl Deref for Variable {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        &self.read
    }
}

impl Variable {
    /// What the variable is, apart from this handle.
    pub fn core(&self) -> &VariableCore {
        &self.core
    }

    /// The identity of the variable (not of the node that reads it).
    pub fn id(&self) -> TensorId {
        self.core.id
    }

    /// The name; see [`VariableCore::name`].
    pub fn name(&self) -> Arc<str> {
        self.core.name()
    }

    /// See [`VariableCore::name_once`].
    pub fn name_once(&self, name: &str) -> bool {
        self.core.name_once(name)
    }

    /// The value with which a session begins: a graph without placeholders.
    pub fn initial(&self) -> &Tensor {
        &self.core.initial
    }

    /// Whether optimizers change it.
    pub fn is_trainable(&self) -> bool {
        self.core.is_trainable()
    }

    /// See [`VariableCore::is_frozen`].
    pub fn is_frozen(&self) -> bool {
        self.core.is_frozen()
    }

    /// See [`VariableCore::set_trainable`].
    pub fn set_trainable(&self, trainable: bool) {
        self.core.set_trainable(trainable);
    }
}

impl VariableCore {
    /// The identity.
    pub fn id(&self) -> TensorId {
        self.id
    }

    /// The name, or `variable_N` with the identity's number while it has none.
    pub fn name(&self) -> Arc<str> {
        self.name.get().cloned().unwrap_or_else(|| format!("variable_{}", self.id.number()).into())
    }

    /// The name, if it has been given.
    pub fn known_name(&self) -> Option<&str> {
        self.name.get().map(|name| &**name)
    }

    /// Names the variable if it has no name yet: the first path under which a module walk meets it counts, a later one
    /// is an alias. Says whether this call named it.
    pub fn name_once(&self, name: &str) -> bool {
        self.name.set(name.into()).is_ok()
    }

    /// The dtype of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The sizes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The value with which a session begins: a graph without placeholders.
    pub fn initial(&self) -> &Tensor {
        &self.initial
    }

    /// The line of the user's program that made the variable.
    pub fn location(&self) -> &'static Location<'static> {
        self.location
    }

    /// Whether optimizers change it.
    pub fn is_trainable(&self) -> bool {
        self.trainable.load(Ordering::Relaxed) && !self.state.load(Ordering::Relaxed)
    }

    /// Whether it was frozen with [`VariableCore::set_trainable`]: then training graphs leave it alone, running
    /// statistics too.
    pub fn is_frozen(&self) -> bool {
        !self.trainable.load(Ordering::Relaxed)
    }

    /// Whether it is [`Variable::not_trainable`]: a step changes it, but no optimizer.
    pub fn is_state(&self) -> bool {
        self.state.load(Ordering::Relaxed)
    }

    /// Freezes (`false`) or unfreezes the variable for the training graphs built from now on; what is
    /// [`Variable::not_trainable`] stays so.
    pub fn set_trainable(&self, trainable: bool) {
        self.trainable.store(trainable, Ordering::Relaxed);
    }
}

impl fmt::Debug for VariableCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{:?}", self.name(), self.dtype, self.shape)
    }
}

impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}

impl PartialEq for Variable {
    fn eq(&self, other: &Variable) -> bool {
        self.core.id == other.core.id
    }
}

impl Eq for Variable {}

/// The read node of a variable gives the variable back.
impl TryFrom<&Tensor> for Variable {
    type Error = ();

    fn try_from(tensor: &Tensor) -> Result<Variable, ()> {
        match tensor.op() {
            crate::op::Op::Variable(read) => Ok(Variable { core: read.0.clone(), read: tensor.clone() }),
            _ => Err(()),
        }
    }
}

/// A variable's value at the beginning: a number, an array, or a tensor without placeholders (random numbers).
#[derive(Debug)]
pub struct Initial(Tensor);

impl From<Tensor> for Initial {
    fn from(tensor: Tensor) -> Initial {
        Initial(tensor)
    }
}

impl From<Array> for Initial {
    #[track_caller]
    fn from(array: Array) -> Initial {
        Initial(Tensor::apply(Constant::new(array), []))
    }
}

impl From<f64> for Initial {
    #[track_caller]
    fn from(x: f64) -> Initial {
        Array::scalar(x as f32).into()
    }
}

impl From<f32> for Initial {
    #[track_caller]
    fn from(x: f32) -> Initial {
        Array::scalar(x).into()
    }
}

/// "This variable becomes this value" at the end of a run, together with all other updates of the run.
#[derive(Clone, Debug)]
pub struct Update {
    /// The variable.
    pub variable: Variable,
    /// Its next value, of the variable's dtype and shape.
    pub value: Tensor,
}
