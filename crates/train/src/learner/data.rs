//! [`TrainingData`]: what a learner learns from, and what it is measured on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use thalweg_data::audio::SoundEncoding;
use thalweg_data::text::TextEncoding;
use thalweg_data::{Augment, DataError, Dataset, Loader, Normalize, Per, Split, check_labels};
use thalweg_formats::array::DType;

use crate::trained::{Drawing, Prepare};

/// A data set in two parts, one to learn from and one to be measured on, with the columns of input and target, and how a
/// batch is made.
///
/// ```
/// use thalweg_data::digits;
/// use thalweg_train::TrainingData;
/// let data = TrainingData::split(&digits(), 0.2, 42)?.standardized()?.batch(32);
/// assert_eq!((data.input(), data.target(), data.train().len()), ("image", "label", 1438));
/// # Ok::<(), thalweg_data::DataError>(())
/// ```
#[derive(Clone)]
pub struct TrainingData {
    train: Dataset,
    valid: Dataset,
    input: String,
    target: String,
    batch: usize,
    seed: u64,
    prepare: Prepare,
    changes: Vec<Change>,
}

/// A change of the loader, and so of batches.
type Change = Arc<dyn Fn(Loader) -> Result<Loader, DataError>>;

/// Rows of a batch, if nothing else is said.
const BATCH: usize = 64;

impl TrainingData {
    /// Of two parts. The target is the column `label`, or the last; the input the first that is not the target.
    ///
    /// # Errors
    /// If a part is empty, or there is no column beside the target.
    pub fn new(train: Dataset, valid: Dataset) -> Result<TrainingData, DataError> {
        for (part, data) in [("training", &train), ("validation", &valid)] {
            if data.is_empty() {
                let reason = "it has no rows; a part to learn from and one to be measured on are needed";
                return Err(refusal(format!("an empty {part} set"), reason));
            }
        }
        let names: Vec<&str> = train.names().collect();
        let target = if names.contains(&"label") { "label" } else { names[names.len() - 1] };
        let Some(input) = names.iter().find(|name| **name != target) else {
            let reason = "there is no other column: a learner needs an input and a target";
            return Err(refusal(format!("the target `{target}`"), reason));
        };
        let (input, target) = (input.to_string(), target.to_string());
        let (prepare, changes) = (Prepare::default(), Vec::new());
        let (from, to) = (input.clone(), target.clone());
        TrainingData { train, valid, input, target, batch: BATCH, seed: 0, prepare, changes }.columns(&from, &to)
    }

    /// Of one data set, of which a random `fraction` is held out for validation: of each class alike, where the target is a
    /// class. The seed is also that of the order in which batches come.
    ///
    /// # Errors
    /// As [`TrainingData::new`]; and if the fraction is not between 0 and 1 or leaves one side empty.
    pub fn split(data: &Dataset, fraction: f64, seed: u64) -> Result<TrainingData, DataError> {
        let whole = TrainingData::new(data.clone(), data.clone())?;
        let split = match data.column(&whole.target) {
            Ok(labels) if whole.is_classes() && labels.rank() == 1 => {
                Split::stratified(&whole.target, labels, fraction, seed)?
            }
            _ => Split::by_fraction(data.len(), fraction, seed)?,
        };
        let (train, valid) = data.split(&split);
        Ok(TrainingData { train, valid, seed, ..whole })
    }

    /// So many rows a batch; 64 if not said.
    pub fn batch(self, rows: usize) -> TrainingData {
        TrainingData { batch: rows, ..self }
    }

    /// The seed of the order and of chance in batches.
    pub fn seed(self, seed: u64) -> TrainingData {
        TrainingData { seed, ..self }
    }

    /// These columns for input and target.
    ///
    /// # Errors
    /// If there is no such column.
    pub fn columns(self, input: &str, target: &str) -> Result<TrainingData, DataError> {
        for data in [&self.train, &self.valid] {
            for name in [input, target] {
                data.row(name).map(drop).or_else(|error| data.sequences(name).map(drop).map_err(|_| error))?;
            }
        }
        let mut data = TrainingData { input: input.into(), target: target.into(), ..self };
        if let Some(augment) = data.train.augmentation(input)? {
            data.prepare.pictures = Some(augment.clone());
        }
        Ok(data)
    }

    /// Inputs are pictures, bytes `[3, height, width]`, and become what the model takes in this way: in training with chance,
    /// otherwise without. Photos that a trained model is asked about are prepared in the same way. Rows that are made one by
    /// one, as those of a folder of photos, bring theirs along.
    ///
    /// ```
    /// # use thalweg_data::{Augment, Dataset};
    /// # use thalweg_formats::array::{Array, DType};
    /// # use thalweg_train::TrainingData;
    /// # let image = Array::zeros(&[4, 3, 32, 32], DType::U8);
    /// # let photos = Dataset::new([("image", image), ("label", [0i64, 1, 0, 1].into())])?;
    /// let data = TrainingData::split(&photos, 0.5, 42)?.pictures(Augment::new().random_crop(32, 32, 4).flip())?;
    /// assert!(data.prepare().pictures.as_ref().is_some_and(Augment::has_chance));
    /// # Ok::<(), thalweg_data::DataError>(())
    /// ```
    ///
    /// # Errors
    /// If they are none, or `augment` has settings that no picture can follow.
    pub fn pictures(mut self, augment: Augment) -> Result<TrainingData, DataError> {
        for data in [&self.train, &self.valid] {
            data.clone().augment(&self.input, &augment)?;
        }
        self.prepare.pictures = Some(augment);
        Ok(self)
    }

    /// The input with mean 0 and deviation 1 over the training part. What a trained model is asked is prepared in the same
    /// way. Of rows that are made one by one it is a part of how they are made.
    ///
    /// # Errors
    /// If the input is not a column in memory, or holds a number that is not finite.
    pub fn standardized(self) -> Result<TrainingData, DataError> {
        let normalize = Normalize::standard(&self.input, self.train.column(&self.input)?, Per::All)?;
        Ok(self.normalized(normalize))
    }

    /// The input normalized so.
    pub fn normalized(mut self, normalize: Normalize) -> TrainingData {
        self.prepare.normalize = Some(normalize);
        self
    }

    /// Inputs are drawings as in this data set, so that pictures of any size can be asked about.
    pub fn drawings(mut self, drawing: Drawing) -> TrainingData {
        self.prepare.drawing = Some(drawing);
        self
    }

    /// The tokens of this column are those of texts, and become them in this way: what a trained model is asked about becomes
    /// so too.
    ///
    /// # Errors
    /// If there is no such column.
    pub fn texts(mut self, column: &str, encoding: &TextEncoding) -> Result<TrainingData, DataError> {
        self.check_column(column)?;
        self.prepare.texts.insert(column.into(), encoding.clone());
        Ok(self)
    }

    /// The rows of this column are the frames of sounds, and become them in this way: what a trained model is asked about
    /// becomes so too.
    ///
    /// # Errors
    /// If there is no such column.
    pub fn sounds(mut self, column: &str, encoding: &SoundEncoding) -> Result<TrainingData, DataError> {
        self.check_column(column)?;
        self.prepare.sounds.insert(column.into(), encoding.clone());
        Ok(self)
    }

    /// Refuses a name that no column of the training part has.
    fn check_column(&self, column: &str) -> Result<(), DataError> {
        self.train.row(column).map(drop).or_else(|error| self.train.sequences(column).map(drop).map_err(|_| error))
    }

    /// Changes training batches, before they are normalized: augmentation.
    ///
    /// ```
    /// # use thalweg_data::{digits, image};
    /// # use thalweg_train::TrainingData;
    /// let data = TrainingData::split(&digits(), 0.2, 42)?.augmented(|loader| {
    ///     loader.map("image", |pixels: &mut [f32], random| {
    ///         image::random_shift(pixels, (8, 8), 1, random);
    ///         Ok(())
    ///     })
    /// });
    /// # Ok::<(), thalweg_data::DataError>(())
    /// ```
    pub fn augmented(mut self, change: impl Fn(Loader) -> Result<Loader, DataError> + 'static) -> TrainingData {
        self.changes.push(Arc::new(change));
        self
    }

    /// The part that is learned from, as it was given.
    pub fn train(&self) -> &Dataset {
        &self.train
    }

    /// The part that is measured on, as it was given.
    pub fn valid(&self) -> &Dataset {
        &self.valid
    }

    /// The column of the input.
    pub fn input(&self) -> &str {
        &self.input
    }

    /// The column of the target.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// How an input is prepared.
    pub fn prepare(&self) -> &Prepare {
        &self.prepare
    }

    /// The names of the classes.
    pub fn classes(&self) -> &[String] {
        self.train.classes()
    }

    /// Whether the target is the number of a class.
    pub fn is_classes(&self) -> bool {
        self.train.row(&self.target).is_ok_and(|(_, dtype)| dtype.is_int())
    }

    /// The batches that are trained on.
    ///
    /// # Errors
    /// If the batch size is 0, or a change of the batches does not fit the data.
    pub fn loader(&self) -> Result<Loader, DataError> {
        self.changed(Loader::new(&self.made(&self.train)?, self.batch)?.training(self.seed))
    }

    /// The validation set, prepared.
    ///
    /// # Errors
    /// If it cannot be normalized.
    pub fn validation(&self) -> Result<Dataset, DataError> {
        self.prepared(&self.valid)
    }

    /// `data` prepared as the model takes them.
    ///
    /// # Errors
    /// If they lack the column of the input, or its rows have another number of features.
    pub fn prepared(&self, data: &Dataset) -> Result<Dataset, DataError> {
        self.prepare.dataset(&self.input, data)
    }

    /// The rows of `data` in their order, changed as in training, by another draw for each `pass`.
    pub(super) fn augmented_rows(&self, data: &Dataset, batch: usize, pass: u64) -> Result<Loader, DataError> {
        self.changed(Loader::new(&self.made(data)?, batch)?.seed(pass).augmented())
    }

    /// Whether training batches are changed by chance, beside their order.
    pub(super) fn changes(&self) -> bool {
        let by_chance = match &self.prepare.pictures {
            Some(augment) => augment.has_chance(),
            // Rows that are made one by one.
            None => self.train.row(&self.input).is_ok() && self.train.column(&self.input).is_err(),
        };
        by_chance || !self.changes.is_empty()
    }

    /// `data` with pictures as rows that are made one by one.
    fn made(&self, data: &Dataset) -> Result<Dataset, DataError> {
        Prepare { normalize: None, ..self.prepare.clone() }.dataset(&self.input, data)
    }

    fn changed(&self, loader: Loader) -> Result<Loader, DataError> {
        let loader = self.changes.iter().try_fold(loader, |loader, change| change(loader))?;
        let (prepare, input) = (self.prepare.clone(), self.input.clone());
        Ok(match prepare.normalize {
            None => loader,
            Some(_) => loader.map_batches(move |batch, _| {
                let prepared = prepare.apply(&input, &batch[&*input])?;
                batch.set_column(&input, prepared);
                Ok(())
            }),
        })
    }

    /// Refuses labels that are none of so many classes.
    pub(super) fn check_labels(&self, classes: usize) -> Result<(), DataError> {
        for data in [&self.train, &self.valid] {
            // Rows that are made one by one are looked at when they are.
            if let Ok(labels) = data.column(&self.target) {
                check_labels(&self.target, labels, classes)?;
            }
        }
        Ok(())
    }

    /// For each column whose rows differ in length the name of its axis of time: the same where rows are equally long.
    pub(super) fn times(&self) -> BTreeMap<String, String> {
        let lengths = |name: &str| -> Vec<usize> {
            let parts = [&self.train, &self.valid].into_iter().filter_map(|part| part.sequences(name).ok());
            parts.flat_map(|sequences| sequences.lengths()).collect()
        };
        let mut firsts: Vec<(&str, Vec<usize>)> = Vec::new();
        let mut first_of = BTreeMap::new();
        for name in self.train.names().filter(|name| self.train.sequences(name).is_ok()) {
            let lengths = lengths(name);
            let first = match firsts.iter().find(|(_, known)| *known == lengths) {
                Some((first, _)) => *first,
                None => {
                    firsts.push((name, lengths));
                    name
                }
            };
            first_of.insert(name.to_string(), first);
        }
        let only = firsts.len() == 1;
        let time = |first: &str| if only { "time".to_string() } else { format!("{first}_time") };
        first_of.into_iter().map(|(name, first)| (name, time(first))).collect()
    }

    /// The dtype and the shape of one row as the model takes it.
    pub(super) fn row(&self, column: &str) -> Result<(Vec<usize>, DType), DataError> {
        let train = self.made(&self.train)?;
        let (shape, dtype) = train.row(column)?;
        let normalized = column == self.input && self.prepare.normalize.is_some() && dtype != DType::F64;
        Ok((shape.to_vec(), if normalized { DType::F32 } else { dtype }))
    }

    /// What tells these data from others, for the configuration of a run.
    pub(super) fn fingerprints(&self) -> Vec<(String, String)> {
        let hash = |data: &Dataset| format!("sha256:{}", data.fingerprint());
        let pictures = self.prepare.pictures.as_ref().map(|augment| ("pictures", format!("{augment:?}")));
        let always = [
            ("data", hash(&self.train)),
            ("validation data", hash(&self.valid)),
            ("batch", self.batch.to_string()),
            ("seed of the data", self.seed.to_string()),
        ];
        always.into_iter().chain(pictures).map(|(name, value)| (name.to_string(), value)).collect()
    }
}

fn refusal(setting: String, reason: &str) -> DataError {
    DataError::Setting { setting, reason: reason.into() }
}

impl fmt::Debug for TrainingData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrainingData")
            .field("train", &self.train.len())
            .field("valid", &self.valid.len())
            .field("input", &self.input)
            .field("target", &self.target)
            .field("batch", &self.batch)
            .field("seed", &self.seed)
            .field("changes", &self.changes.len())
            .finish_non_exhaustive()
    }
}
