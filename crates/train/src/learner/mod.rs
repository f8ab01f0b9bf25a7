//! [`Learner`]: a model, its data, and all that is done with them.
//!
//! ```
//! use thalweg_data::digits;
//! use thalweg_nn::{Init, Layer, Mlp};
//! use thalweg_train::{Learner, TrainingData};
//!
//! let data = TrainingData::split(&digits(), 0.2, 42)?.standardized()?;
//! let net = Init::build(1, |init| Mlp::new(init, &[64, 64, 10]));
//! let mut learner = Learner::from_fn(data, move |image, cx| net.forward(&image.flatten(1), cx))?;
//! learner.fit_one_cycle(3, 1e-2)?;
//! assert!(learner.validate()?.accuracy() > Some(0.9));
//! # Ok::<(), thalweg_train::FitError>(())
//! ```
//!
//! What comes one after the other, with frozen layers or other rates, is one training in several phases: the optimizer keeps
//! its state, steps and epochs go on, and with a folder ([`Learner::saved_in`]) all of it is one run. A program that is
//! killed and started again with [`Learner::resumed_in`] passes over the phases that were made and goes on in the one that
//! was not, with the same bits.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `data` | [`TrainingData`] |
//! | `groups` | [`Rates`]; layer groups are frozen, and have rates of their own |
//! | `phases` | [`Learner::fit`], [`Learner::fit_one_cycle`], [`Learner::fit_cycles`] |
//! | `rate_finder` | [`Learner::find_rate`] |
//! | `trial` | steps in a session of their own |
//! | `overfit` | [`Learner::overfit_one_batch`]: can it learn at all? |
//! | `summary` | [`Learner::summary`]: layers, shapes, parameters, operations, memory |
//! | `examine` | [`Learner::top_losses`], [`Learner::most_confused`], [`Learner::diagnose`] |
//! | `pictures` | [`Learner::show_batch`], [`Learner::show_top_losses`] |
//! | `predict` | validation, answers, [`Learner::test_time_augmentation`], [`Learner::export`] |

mod data;
mod examine;
mod groups;
mod overfit;
mod phases;
mod pictures;
mod predict;
mod rate_finder;
mod summary;
mod trial;

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;

use thalweg_nn::module::groups_of;
use thalweg_nn::optim::by_name;
use thalweg_nn::{Forward, Layer, Loss, Optimizer, binary_cross_entropy_with_logits, cross_entropy, squared_error};
use thalweg_run::Session;
use thalweg_run::graph::array::{Shape, Size};
use thalweg_run::graph::tensor::topological;
use thalweg_run::graph::{DType, Tensor, Variable, placeholder, scope};

pub use data::TrainingData;
pub use examine::{Confused, TopLoss};
pub use groups::Rates;
pub use overfit::Overfit;
pub use rate_finder::RateCurve;
pub use summary::{Summary, SummaryRow};

use crate::evaluate::Inference;
use crate::fit::{Callback, FitError, FitOptions, Fitted, Length, Phase, Place, RunFolder, Task};
use crate::interrupt::Interrupt;
use crate::progress::Style;
use crate::trained::Trained;

/// From an input to what the model says of it.
type Network = Rc<dyn Fn(&Tensor, &mut Forward) -> Tensor>;
/// From that and a target to the mean loss.
type LossFn = Rc<dyn Fn(&Tensor, &Tensor) -> Tensor>;

/// The variables of a model by path, and its layer groups.
type Known = (Vec<(String, Variable)>, Vec<String>);

/// A model with its data, its optimizer and its session; see the [module](self).
pub struct Learner {
    data: TrainingData,
    network: Network,
    /// All variables of the model, by path.
    variables: Vec<(String, Variable)>,
    groups: Vec<String>,
    /// The layer groups before this one are frozen.
    frozen_to: usize,
    loss: LossFn,
    input: Tensor,
    target: Tensor,
    inference: Inference,
    optimizer: Optimizer,
    session: Session,
    callbacks: Vec<Box<dyn Callback>>,
    /// How the phases go, but for their length.
    options: FitOptions,
    place: Place,
    /// What came of the phases so far.
    fitted: Option<Fitted>,
    /// The newest checkpoint.
    checkpoint: Option<PathBuf>,
    /// The phase in which the run that is resumed stood, once it was looked at.
    saved: Option<Option<Phase>>,
    /// The model as it is used, until it is trained on.
    trained: Option<Trained>,
}

impl Learner {
    /// A learner of `model` on `data`, with AdamW and a loss that follows from the target: cross-entropy for class numbers,
    /// binary cross-entropy for truth values, the squared error for numbers.
    ///
    /// # Errors
    /// If the data do not fit: a label is no class of the model, a column is missing.
    ///
    /// # Panics
    /// At the model's line, if it does not take the input.
    pub fn new(data: TrainingData, model: impl Layer + 'static) -> Result<Learner, FitError> {
        let (variables, groups) = (model.variables(), model.groups());
        let network: Network = Rc::new(move |input, cx| model.forward(input, cx));
        Learner::build(data, network, Some((variables, groups)))
    }

    /// As [`Learner::new`], for a function of the input.
    ///
    /// # Errors
    /// As [`Learner::new`].
    ///
    /// # Panics
    /// As [`Learner::new`].
    pub fn from_fn(
        data: TrainingData,
        forward: impl Fn(&Tensor, &mut Forward) -> Tensor + 'static,
    ) -> Result<Learner, FitError> {
        Learner::build(data, Rc::new(forward), None)
    }

    fn build(data: TrainingData, network: Network, known: Option<Known>) -> Result<Learner, FitError> {
        let column = |name: &str| {
            let (row, dtype) = data.row(name)?;
            let shape: Shape = std::iter::once(Size::name("batch")).chain(row.into_iter().map(Size::from)).collect();
            Ok::<_, FitError>(placeholder(name, dtype, shape))
        };
        let (input, target) = (column(data.input())?, column(data.target())?);
        let loss: LossFn = Rc::new(usual_loss);
        let inference = inference_of(&network, &loss, &input, &target);
        if data.is_classes() {
            let classes = (inference.output.rank() > 0).then(|| inference.output.size(-1).number()).flatten();
            data.check_labels(classes.unwrap_or(usize::MAX))?;
        }
        let (variables, groups) = known.unwrap_or_else(|| {
            let variables = variables_of(&inference.output);
            let groups = groups_of(variables.iter().map(|(path, _)| &**path));
            (variables, groups)
        });
        let optimizer = by_name("adamw", 1e-3)?;
        Ok(Learner {
            data,
            network,
            variables,
            groups,
            frozen_to: 0,
            loss,
            input,
            target,
            inference,
            optimizer,
            session: Session::cpu(),
            callbacks: Vec::new(),
            options: FitOptions::new(Length::Steps(0)),
            place: Place::default(),
            fitted: None,
            checkpoint: None,
            saved: None,
            trained: None,
        })
    }

    /// With this loss.
    pub fn loss(self, loss: impl Loss + 'static) -> Learner {
        let loss: LossFn = Rc::new(move |output, target| loss.mean(output, target));
        let inference = inference_of(&self.network, &loss, &self.input, &self.target);
        Learner { loss, inference, ..self }
    }

    /// With this optimizer; its learning rate, momentum schedule and groups follow from what is called. AdamW if not said.
    pub fn optimizer(self, optimizer: Optimizer) -> Learner {
        Learner { optimizer, ..self }
    }

    /// With this callback, in every phase.
    pub fn callback(mut self, callback: impl Callback + 'static) -> Learner {
        self.callbacks.push(Box::new(callback));
        self
    }

    /// In this session: with its threads and its seed. What the variables were given until now, such as weights that were
    /// loaded, they keep.
    ///
    /// # Errors
    /// If memory cannot hold them.
    pub fn in_session(self, session: Session) -> Result<Learner, FitError> {
        for variable in self.session.variables().values() {
            session.write(variable, self.session.read(variable)?)?;
        }
        Ok(Learner { session, ..self })
    }

    /// Saved in this folder, which must be empty or not be there.
    pub fn saved_in(self, run: impl Into<PathBuf>) -> Learner {
        self.options(|options| options.run = Some(RunFolder::new(run)))
    }

    /// Saved in this folder, where it goes on with what was saved; from the beginning if that is nothing.
    pub fn resumed_in(self, run: impl Into<PathBuf>) -> Learner {
        self.options(|options| options.run = Some(RunFolder { resume: true, ..RunFolder::new(run) }))
    }

    /// With progress shown in this style; not at all if not said.
    pub fn progress(self, style: Style) -> Learner {
        self.options(|options| options.progress = style)
    }

    /// Stopped from outside by this, after a step; [`Interrupt::listen`] is Ctrl-C.
    pub fn interrupt(self, interrupt: Interrupt) -> Learner {
        self.options(|options| options.interrupt = interrupt)
    }

    /// With other options of the phases: how often is saved, measured, how many batches make a step. The length is that of
    /// each phase.
    ///
    /// ```
    /// # use thalweg_train::Learner;
    /// fn patient(learner: Learner) -> Learner {
    ///     learner.options(|options| options.accumulate = 4)
    /// }
    /// ```
    pub fn options(mut self, change: impl FnOnce(&mut FitOptions)) -> Learner {
        change(&mut self.options);
        self
    }

    /// The data.
    pub fn data(&self) -> &TrainingData {
        &self.data
    }

    /// Where the variables have their values.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The graph of the model as it is used.
    pub fn inference(&self) -> &Inference {
        &self.inference
    }

    /// All variables of the model with their paths.
    pub fn variables(&self) -> &[(String, Variable)] {
        &self.variables
    }

    /// The steps made, in all phases.
    pub fn steps(&self) -> u64 {
        self.place.steps()
    }

    /// The graphs of a phase: built anew, since layers may be frozen otherwise than before.
    pub fn task(&self) -> Task {
        let (output, loss) = scope("train", || {
            let output = (self.network)(&self.input, &mut Forward::train());
            let loss = (self.loss)(&output, &self.target).named("loss");
            (output, loss)
        });
        Task { train_loss: loss, train_output: Some(output), inference: self.inference.clone() }
    }
}

/// The graph of the model as it is used, with its loss.
fn inference_of(network: &Network, loss: &LossFn, input: &Tensor, target: &Tensor) -> Inference {
    let output = network(input, &mut Forward::infer());
    let loss = loss(&output, target).named("loss");
    let label = target.dtype().is_int().then(|| target.name().unwrap_or_default().to_string());
    Inference { loss, output, label }
}

/// The loss that follows from the target.
fn usual_loss(output: &Tensor, target: &Tensor) -> Tensor {
    let numbers = |target: &Tensor| match output.rank() == target.rank() + 1 {
        true => target.unsqueeze(-1),
        false => target.clone(),
    };
    match target.dtype() {
        dtype if dtype.is_int() => cross_entropy(output, target),
        DType::Bool => binary_cross_entropy_with_logits(output, &numbers(target).cast(output.dtype())),
        _ => squared_error(output, &numbers(target).cast(output.dtype())),
    }
}

/// The variables that a tensor depends on, by name, in the order in which they are used.
fn variables_of(output: &Tensor) -> Vec<(String, Variable)> {
    let mut seen = HashSet::new();
    let found = topological([output]).into_iter().filter_map(|tensor| Variable::try_from(&tensor).ok());
    let once = found.filter(|variable| seen.insert(variable.id()));
    once.map(|variable| (variable.name().to_string(), variable)).collect()
}

impl fmt::Debug for Learner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Learner")
            .field("data", &self.data)
            .field("groups", &self.groups)
            .field("frozen_to", &self.frozen_to)
            .field("optimizer", &self.optimizer)
            .field("options", &self.options)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}
