//! The logical program: what is meant, the same on every machine.
//!
//! [`Tensor`]s are handles to nodes; operations on them compute nothing, they add nodes. [`Graph::capture`] takes what
//! some fetches need into an arena for the [`passes`]. [`mod@reference`] interprets any graph by plain loops: the oracle
//! of everything faster.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`tensor`] | [`Tensor`], [`Meta`] |
//! | [`variable`] | [`Variable`], [`Update`] |
//! | [`fetch`] | [`Fetch`]: what can be asked of a run |
//! | [`mod@scope`] | name scopes |
//! | [`op`] | [`Op`]: the closed enum of ops; [`OpRules`]: shape, gradient, reference |
//! | [`ops`] | the ops, a file per family |
//! | [`autodiff`] | gradients: graph to graph |
//! | [`graph`](mod@graph) | [`Graph`]: an arena of nodes |
//! | [`passes`] | graph to better graph |
//! | [`mod@reference`] | the interpreter |
//! | [`text`] | the text form |
//! | [`mod@verify`] | what holds for every graph |
//! | [`error`] | messages |

pub mod autodiff;
pub mod error;
pub mod fetch;
pub mod graph;
pub mod op;
pub mod ops;
pub mod passes;
pub mod reference;
pub mod scope;
pub mod tensor;
pub mod text;
pub mod variable;
pub mod verify;

pub use autodiff::grad;
pub use error::{BuildError, EvalError, ShapeError};
pub use fetch::{Fetch, Root};
pub use graph::{Graph, Node, NodeId};
pub use op::{Op, OpRules};
pub use ops::attention::{AttentionOptions, attention};
pub use ops::control::{Scan, WhileLoop, cond, scan, while_loop};
pub use ops::convolution::ConvOptions;
pub use ops::custom::{Custom, CustomOp};
pub use ops::einsum::{einsum, try_einsum};
pub use ops::elementwise::Operand;
pub use ops::index::iota;
pub use ops::pool::Pool;
pub use ops::random::{random_normal, random_uniform};
pub use ops::reduce::Axes;
pub use ops::source::{constant, full, ones, placeholder, size_number, zeros};
pub use ops::state::updates_of;
pub use ops::windows::PerAxis;
pub use scope::{current_scope, on_behalf_of, scope};
pub use tensor::{Meta, Tensor, TensorId};
pub use thalweg_array as array;
pub use thalweg_array::{Array, Bindings, DType, IntoShape, IntoSize, Scalar, Shape, Size};
pub use variable::{Initial, Update, Variable};
