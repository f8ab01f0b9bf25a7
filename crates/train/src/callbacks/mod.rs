//! What can be added to a training, each written with nothing but the public [`Callback`](crate::fit::Callback).
//!
//! | callback | what it does |
//! | --- | --- |
//! | [`EarlyStopping`], [`Target`] | end a training: no longer better, good enough |
//! | [`StopOnNan`] | ends it where a number is none; in every training |
//! | [`ReduceOnPlateau`], [`ScaleRate`] | change the learning rate: by what was measured, over the steps |
//! | [`Clip`] | keeps gradients small |
//! | [`Averaging`] | weights averaged over the steps: EMA, SWA |
//! | [`Mixup`], [`LabelSmoothing`] | targets between the classes |
//! | [`Saving`] | asks for checkpoints; in every training |
//! | [`ShowProgress`], [`TensorBoard`], [`CsvLog`] | show and record; the first two are in every training that is shown or saved |

mod averaging;
mod clip;
mod csv;
mod label_smoothing;
mod mixup;
mod plateau;
mod progress;
mod rate;
mod saving;
mod stop;
mod stop_on_nan;
mod tensorboard;
mod watch;

pub use averaging::Averaging;
pub use clip::Clip;
pub use csv::CsvLog;
pub use label_smoothing::LabelSmoothing;
pub use mixup::Mixup;
pub use plateau::ReduceOnPlateau;
pub use progress::ShowProgress;
pub use rate::ScaleRate;
pub use saving::Saving;
pub use stop::{EarlyStopping, Target};
pub use stop_on_nan::StopOnNan;
pub use tensorboard::TensorBoard;
pub use watch::Watch;
