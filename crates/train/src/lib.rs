//! The training loop, metrics, checkpoints and event files.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`mod@fit`] | [`fit()`]: the training loop, told to callbacks, saved and resumed bit for bit |
//! | [`mod@evaluate`] | [`evaluate()`]: a model on a whole data set |
//! | [`trained`] | [`Trained`]: a trained model without the code that made it |
//! | [`checkpoint`] | saved training state: the newest and the best kept, atomic, checksummed |
//! | [`events`] | records of training for TensorBoard: scalars, histograms, the graph |
//! | [`interrupt`] | Ctrl-C that saves and stops |
//! | [`metrics`] | accuracy, top-k, precision, recall, F1, confusion matrix, AUC, perplexity, BLEU, error rates, errors of regressions |
//! | [`weights`] | weights that were trained elsewhere |
//! | [`progress`] | how far training is: a bar, plain lines or JSON on standard error |

pub mod checkpoint;
pub mod evaluate;
pub mod events;
pub mod fit;
pub mod interrupt;
pub mod metrics;
pub mod progress;
pub mod trained;
pub mod weights;

pub use evaluate::{Evaluation, Inference, evaluate, evaluate_with};
pub use fit::{
    EarlyStopping, End, FitError, FitOptions, Fitted, Length, Minimize, RunFolder, Target, Task, Training, Watch, fit,
};
pub use trained::{Drawing, ModelCard, Prediction, Prepare, StoredTraining, Trained, TrainedError};
