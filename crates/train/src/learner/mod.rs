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
//! | `model` | [`Columns`]: what a model is a function of |
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
mod model;
mod overfit;
mod phases;
mod pictures;
mod predict;
mod rate_finder;
mod summary;
mod trial;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;

use thalweg_nn::module::groups_of;
use thalweg_nn::optim::by_name;
use thalweg_nn::{Forward, Layer, Loss, Optimizer};
use thalweg_run::Session;
use thalweg_run::graph::tensor::topological;
use thalweg_run::graph::{Tensor, Variable, scope};

pub use data::TrainingData;
pub use examine::{Confused, TopLoss};
pub use groups::Rates;
pub use model::Columns;
use model::Model;
pub use overfit::Overfit;
pub use rate_finder::RateCurve;
pub use summary::{Summary, SummaryRow};

use crate::evaluate::Inference;
use crate::fit::{Callback, FitError, FitOptions, Fitted, Length, Phase, Place, RunFolder, Task};
use crate::interrupt::Interrupt;
use crate::progress::Style;
use crate::trained::{Function, ModelCard, Trained};

/// The variables of a model by path, and its layer groups.
type Known = (Vec<(String, Variable)>, Vec<String>);

/// A model with its data, its optimizer and its session; see the [module](self).
pub struct Learner {
    data: TrainingData,
    model: Model,
    /// All variables of the model, by path.
    variables: Vec<(String, Variable)>,
    groups: Vec<String>,
    /// The layer groups before this one are frozen.
    frozen_to: usize,
    inference: Inference,
    functions: BTreeMap<String, Function>,
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
        let columns = Columns::of(&data)?;
        let network = Model::network(Rc::new(move |input, cx| model.forward(input, cx)), &columns, &data);
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
        let columns = Columns::of(&data)?;
        let network = Model::network(Rc::new(forward), &columns, &data);
        Learner::build(data, network, None)
    }

    /// A learner of a function of all columns, which says what the model says of them and what its loss is: for several
    /// inputs, and for sequences with their masks. What layers [carry over](Forward::carried) goes on from batch to batch.
    ///
    /// ```
    /// use thalweg_data::text::{Characters, Vocabulary, windows};
    /// use thalweg_nn::cross_entropy;
    /// use thalweg_run::graph::{Array, DType, Variable};
    /// use thalweg_train::{Inference, Learner, TrainingData};
    ///
    /// let text = "the cat sat on the mat. ".repeat(40);
    /// let letters = Vocabulary::options().of_texts(&Characters, [&*text])?;
    /// let stream = |from, to| windows(&letters.encode_text(&Characters, &text[from..to])?.into(), 8);
    /// let data = TrainingData::new(stream(0, 720)?, stream(720, 960)?)?.batch(4);
    ///
    /// // What follows each letter, by one table.
    /// let n = letters.len();
    /// let table = Variable::new("table", Array::zeros(&[n, n], DType::F32));
    /// let mut learner = Learner::from_columns(data, move |columns, _| {
    ///     let logits = table.gather(&columns["input"], 0);
    ///     Inference::new(cross_entropy(&logits, &columns["target"]), logits)
    /// })?;
    /// learner.fit(10, 0.1)?;
    /// assert!(learner.validate()?.perplexity() < 4.0);
    /// # Ok::<(), thalweg_train::FitError>(())
    /// ```
    ///
    /// # Errors
    /// If the data do not fit.
    ///
    /// # Panics
    /// At the model's line, if it does not take the columns.
    pub fn from_columns(
        data: TrainingData,
        model: impl Fn(&Columns, &mut Forward) -> Inference + 'static,
    ) -> Result<Learner, FitError> {
        let columns = Columns::of(&data)?;
        Learner::build(data, Model::Whole { whole: Rc::new(model), columns }, None)
    }

    fn build(data: TrainingData, model: Model, known: Option<Known>) -> Result<Learner, FitError> {
        let inference = model.build(Forward::infer());
        if data.is_classes() && inference.label.as_deref() == Some(data.target()) {
            let classes = (inference.output.rank() > 0).then(|| inference.output.size(-1).number()).flatten();
            data.check_labels(classes.unwrap_or(usize::MAX))?;
        }
        let (variables, groups) = known.unwrap_or_else(|| {
            let variables = variables_of(&inference);
            let groups = groups_of(variables.iter().map(|(path, _)| &**path));
            (variables, groups)
        });
        let optimizer = by_name("adamw", 1e-3)?;
        Ok(Learner {
            data,
            model,
            variables,
            groups,
            frozen_to: 0,
            inference,
            functions: BTreeMap::new(),
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
    ///
    /// # Panics
    /// If the model was made by [`Learner::from_columns`], which says its loss itself.
    #[track_caller]
    pub fn loss(self, loss: impl Loss + 'static) -> Learner {
        let model = self.model.with_loss(loss);
        Learner { inference: model.build(Forward::infer()), model, ..self }
    }

    /// Which also does this, under a name: a step of a text that it writes, say. It is saved with the model, over the
    /// same variables, and [`Trained::function`] finds it.
    pub fn function(mut self, name: impl Into<String>, function: Function) -> Learner {
        self.functions.insert(name.into(), function);
        self
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
        let Inference { loss, output, states, .. } = scope("train", || self.model.build(Forward::train()));
        Task::new(loss, self.inference.clone()).output(output).carrying(&states)
    }

    /// What a checkpoint says of the model.
    fn card(&self) -> ModelCard {
        ModelCard::new(&self.inference, self.data.classes(), self.data.prepare().clone())
            .with_functions(&self.functions)
    }
}

/// The variables of a model, by name, in the order in which they are used.
fn variables_of(model: &Inference) -> Vec<(String, Variable)> {
    let mut seen = HashSet::new();
    let found =
        topological([&model.output, &model.loss]).into_iter().filter_map(|tensor| Variable::try_from(&tensor).ok());
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
