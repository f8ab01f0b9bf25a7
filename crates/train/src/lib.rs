//! The training loop, metrics, checkpoints and event files.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`mod@fit`] | [`fit()`]: the training loop, told to callbacks, saved and resumed bit for bit |
//! | [`mod@evaluate`] | [`evaluate()`]: a model on a whole data set |
//! | `augmented` | [`Augmented`]: test-time augmentation |
//! | [`learner`] | [`Learner`]: a model with its data, trained in phases, measured, asked |
//! | [`callbacks`] | what can be added to a training: early stopping, averaging, mixup, logs, … |
//! | [`decoding`] | what a model says: greedy, by chance, beam search; labels from frames |
//! | [`diagnosis`] | what goes on inside a model: tensors by path, layers, dead units, gradients, steps |
//! | [`trained`] | [`Trained`]: a trained model without the code that made it |
//! | [`checkpoint`] | saved training state: the newest and the best kept, atomic, checksummed |
//! | [`events`] | records of training for TensorBoard: scalars, histograms, the graph |
//! | [`interrupt`] | Ctrl-C that saves and stops |
//! | [`metrics`] | accuracy, top-k, precision, recall, F1, confusion matrix, AUC, perplexity, BLEU, ROUGE, error rates, errors of regressions |
//! | [`weights`] | weights that were trained elsewhere |
//! | [`plot`] | lines over two axes, as SVG or as pixels |
//! | [`progress`] | how far training is: a bar, plain lines or JSON on standard error |

mod augmented;
pub mod callbacks;
pub mod checkpoint;
pub mod decoding;
pub mod diagnosis;
pub mod evaluate;
pub mod events;
pub mod fit;
mod inputs;
pub mod interrupt;
pub mod learner;
pub mod metrics;
pub mod plot;
pub mod progress;
pub mod trained;
pub mod weights;

pub use augmented::Augmented;
pub use callbacks::{EarlyStopping, Target, Watch};
pub use evaluate::{Evaluation, Inference, evaluate, evaluate_with};
pub use fit::{End, FitError, FitOptions, Fitted, Length, Minimize, RunFolder, Task, Training, fit};
pub use learner::{Columns, Learner, Rates, TrainingData};
pub use trained::{
    Attention, Drawing, Function, Generator, Look, MapMethod, Maps, ModelCard, Prediction, Prepare, Reply, Responder,
    Search, StoredTraining, Trained, TrainedError, Transcriber, Transcript,
};
