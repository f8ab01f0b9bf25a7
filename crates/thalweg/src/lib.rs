//! Thalweg: deep learning in Rust. A lazy dataflow graph, differentiated as a graph, compiled into a fused and
//! memory-planned program, run on the CPU.
//!
//! Guess the line, all of it:
//!
//! ```
//! use thalweg::prelude::*;
//!
//! # fn main() -> thalweg::Result<()> {
//! # let xs: Vec<f32> = (0..100).map(|i| i as f32 / 100.0).collect();
//! # let ys: Vec<f32> = xs.iter().map(|x| 0.1 * x + 0.3).collect();
//! let x = placeholder("x", f32, ["n"]);
//! let y = placeholder("y", f32, ["n"]);
//! let w = Variable::new("w", 0.0);
//! let b = Variable::new("b", 0.0);
//!
//! let loss = (&w * &x + &b - &y).square().mean();          // the inference graph, then the loss
//! let step = Sgd::new(0.5).minimize(&loss);                // the training graph: gradients and updates
//!
//! let session = Session::cpu();
//! for _ in 0..200 {
//!     let (loss, _) = session.run((&loss, &step), feeds! { x => &xs, y => &ys })?;
//! #   assert!(loss.item()?.is_finite());
//! }
//! println!("w = {}, b = {}", session.read(&w)?, session.read(&b)?);
//! # assert!((session.read(&w)?.item()? - 0.1).abs() < 0.01);
//! # assert!((session.read(&b)?.item()? - 0.3).abs() < 0.01);
//! # Ok(())
//! # }
//! ```
//!
//! A network of one's own is a struct and a function; its parameters have the names of its fields:
//!
//! ```
//! use thalweg::prelude::*;
//!
//! #[derive(Module)]
//! struct Digits {
//!     hidden: Linear,
//!     logits: Linear,
//! }
//!
//! impl Digits {
//!     fn new(init: &mut Init) -> Self {
//!         Digits { hidden: Linear::new(init, 64, 32), logits: Linear::new(init, 32, 10) }
//!     }
//!
//!     fn forward(&self, image: &Tensor, cx: &mut Forward) -> Tensor {
//!         self.logits.forward(&self.hidden.forward(image, cx).relu(), cx)
//!     }
//! }
//!
//! let digits = Init::build(42, Digits::new);
//! let image = placeholder("image", f32, ("batch", 64));
//! let logits = digits.forward(&image, &mut Forward::infer());
//! assert_eq!(logits.meta().to_string(), "f32[batch,10]");
//! assert_eq!(&*digits.logits.weight.name(), "logits.weight");
//! ```
//!
//! Three lines train one; the loop underneath is the one above, and open to callbacks:
//!
//! ```
//! use thalweg::prelude::*;
//!
//! # fn main() -> thalweg::Result<()> {
//! # let digits = thalweg::data::digits();
//! # let net = Init::build(42, |init| Mlp::new(init, &[64, 64, 10]));
//! let data = TrainingData::split(&digits, 0.2, 42)?.standardized()?;
//! let mut learner = Learner::from_fn(data, move |image, cx| net.forward(&image.flatten(1), cx))?;
//! learner.fit_one_cycle(3, 1e-2)?;
//! # assert!(learner.validate()?.accuracy() > Some(0.9));
//! # Ok(())
//! # }
//! ```
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`prelude`] | what most programs use |
//! | [`mod@array`] | values: dtypes, shapes, arrays, random bits |
//! | [`graph`] | the logical program: tensors, ops, gradients, passes |
//! | [`plan`] | the physical program |
//! | [`run`] | [`Session`](run::Session): runs graphs, holds variables |
//! | [`nn`] | layers, losses, initializers, optimizers, schedules |
//! | [`data`] | sources, splits, normalization, the loader |
//! | [`formats`] | files |
//! | [`train`] | the learner, the training loop, callbacks, metrics, checkpoints, event files |

mod error;
pub mod prelude;

pub use error::{Error, Result};
pub use thalweg_array as array;
pub use thalweg_data as data;
pub use thalweg_formats as formats;
pub use thalweg_graph as graph;
pub use thalweg_nn as nn;
pub use thalweg_plan as plan;
pub use thalweg_run as run;
pub use thalweg_run::feeds;
pub use thalweg_train as train;

/// The programs in README.md.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
