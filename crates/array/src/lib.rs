//! Values: what a number, a size and an array of numbers are, before any graph exists.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`dtype`] | [`DType`], the Rust types behind it ([`Element`]) and [`Scalar`], one number of any dtype |
//! | [`size`] | [`Size`]: a number or an expression over names (`batch`, `2*time+1`) in normal form; [`Bindings`] |
//! | [`shape`] | [`Shape`]: the sizes of a tensor |
//! | [`array`](mod@array) | [`Array`]: numbers in memory, row-major |
//! | [`elements`] | [`Elements`]: the numbers of an array, in a vector or in [`Memory`] that somebody else made |
//! | [`recycle`] | [`Recycler`]: the memory of arrays that are gone, for the next ones |
//! | [`npy`] | arrays in NumPy's `.npy` files |
//! | [`random`] | [`random::Philox`]: random bits as a function of key and counter |
//! | [`scalar`] | the elementwise functions (`exp`, `gelu`, `add`, …) and what they mean on numbers |
//! | [`program`] | [`program::Program`]: a short register program of scalar functions over tiles |
//!
//! The last two stand here because three crates share them: `graph` gives them shapes and gradients, `plan` puts them
//! together, `kernels` runs them. One enum serves all three, so a new elementwise function is a rule and a loop.

pub mod array;
pub mod dtype;
pub mod elements;
pub mod npy;
pub mod program;
pub mod random;
pub mod recycle;
pub mod scalar;
pub mod shape;
pub mod size;

pub use array::{Array, ArrayError, Storage};
pub use dtype::{DType, Element, Real, Scalar};
pub use elements::{Elements, Memory};
pub use half::{bf16, f16};
pub use recycle::Recycler;
pub use shape::{IntoShape, MAX_RANK, Shape};
pub use size::{Bindings, IntoSize, Size, SizeError};
