//! Running graphs: a [`Session`] holds the variables, keeps the plans of what it was asked before, and runs them on the
//! threads of the machine.
//!
//! ```
//! use thalweg_run::graph::{DType, Variable, placeholder};
//! use thalweg_run::{Session, feeds};
//!
//! let x = placeholder("x", DType::F32, ["n"]);
//! let y = placeholder("y", DType::F32, ["n"]);
//! let w = Variable::new("w", 0.0);
//! let error = &*w * &x - &y;
//! let slope = (&error * &x).mean();
//! let step = w.assign(&(&*w - slope * 0.1));
//!
//! let session = Session::cpu();
//! let (xs, ys) = ([1.0f32, 2.0, 3.0], [2.0f32, 4.0, 6.0]);
//! for _ in 0..50 {
//!     session.run(&step, feeds! { x => &xs, y => &ys })?;
//! }
//! assert!((session.read(&w)?.item()? - 2.0).abs() < 1e-4);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`session`] | [`Session`]: run, evaluate, read, write |
//! | [`feed`] | [`Feeds`], [`feeds!`]: the numbers of a run, lent without copying |
//! | `bind` | what is fed against what the graph expects; the numbers of the names |
//! | `cache` | what was compiled before, least recently used first to go |
//! | `executable` | from a graph to what runs |
//! | [`compile_times`] | [`CompileTimes`]: where the time of compiling goes |
//! | `cpu` | plans made ready for the kernels of the CPU, and the memory in which they run |
//! | `variables` | the numbers of the variables |
//! | [`state`] | [`State`]: everything that a checkpoint must hold |
//! | [`mod@eval`] | [`Eval`]: a tensor's numbers at once, for exploring |
//! | [`profile`] | [`Profile`]: where the time of a run goes |
//! | [`trace`] | [`Trace`](trace::Trace): the same as a file for trace viewers |
//! | [`error`] | messages |

mod bind;
mod cache;
pub mod compile_times;
mod cpu;
pub mod error;
pub mod eval;
mod executable;
pub mod feed;
pub mod profile;
pub mod session;
pub mod state;
pub mod trace;
mod variables;

pub use compile_times::CompileTimes;
pub use error::RunError;
pub use eval::Eval;
pub use feed::{Feed, FeedKey, FeedValue, Feeds, IntoFeed, RawBytes};
pub use profile::{Profile, ProfiledCall};
pub use session::{Session, SessionBuilder};
pub use state::State;
pub use thalweg_kernels as kernels;
pub use thalweg_plan as plan;
pub use thalweg_plan::graph;
