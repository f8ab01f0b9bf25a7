//! What a learner's model is fed, and what it is most wrong about, as pictures.

use thalweg_data::{Batch, Loader, Picture, contact_sheet};
use thalweg_formats::array::Array;

use super::Learner;
use crate::diagnosis::short;
use crate::fit::FitError;

impl Learner {
    /// The first `n` images of a training batch as the model is fed them, augmentation included, with their targets.
    ///
    /// ```
    /// # use thalweg_data::digits;
    /// # use thalweg_nn::{Flatten, Init, Mlp};
    /// # use thalweg_train::{Learner, TrainingData};
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("batch.png");
    /// # let data = TrainingData::split(&digits(), 0.2, 42)?.standardized()?;
    /// # let net = Init::build(1, |init| (Flatten::default(), Mlp::new(init, &[64, 64, 10])));
    /// # let learner = Learner::new(data, net)?;
    /// learner.show_batch(24)?.write_png(&path)?;
    /// # Ok::<(), thalweg_train::FitError>(())
    /// ```
    ///
    /// # Errors
    /// If the input is no image: `[height, width]` or `[channels, height, width]` a row.
    pub fn show_batch(&self, n: usize) -> Result<Picture, FitError> {
        let batch = self.first_batch()?;
        let n = n.min(batch.len());
        let captions = self.targets(&batch)?.into_iter().take(n).collect::<Vec<_>>();
        Ok(contact_sheet(&self.images(&batch)?.rows(0..n), &captions)?)
    }

    /// The `n` images of the validation set with the largest losses: what they are, what they were taken for and how surely,
    /// and the loss.
    ///
    /// # Errors
    /// As [`Learner::show_batch`].
    pub fn show_top_losses(&self, n: usize) -> Result<Picture, FitError> {
        let top = self.top_losses(n)?;
        let captions = top.iter().map(|top| match &top.classes {
            Some((actual, predicted, probability)) => {
                format!("{actual}, taken for {predicted} with {:.0} %, loss {}", 100.0 * probability, short(top.loss))
            }
            None => format!("loss {}", short(top.loss)),
        });
        let rows: Vec<usize> = top.iter().map(|top| top.row).collect();
        let chosen = self.data.validation()?.select(&rows);
        let batch = Loader::new(&chosen, rows.len().max(1))?.epoch(0)?.next().expect("rows were chosen")?;
        Ok(contact_sheet(&self.images(&batch)?, &captions.collect::<Vec<_>>())?)
    }

    /// The inputs of a batch before they were normalized.
    fn images(&self, batch: &Batch) -> Result<Array, FitError> {
        let (name, normalize) = (self.data.input(), &self.data.prepare().normalize);
        let fed = batch.column(name)?;
        Ok(match normalize {
            Some(normalize) => normalize.invert(name, fed)?,
            None => fed.clone(),
        })
    }

    /// The targets of a batch in words.
    fn targets(&self, batch: &Batch) -> Result<Vec<String>, FitError> {
        let targets = batch.column(self.data.target())?;
        Ok(match self.data.is_classes() {
            true => targets.to_vec::<i64>().into_iter().map(|class| self.class(class as usize)).collect(),
            false => {
                let width = (targets.len() / batch.len()).max(1);
                let words = |row: &[f64]| row.iter().map(|x| short(*x)).collect::<Vec<_>>().join(" ");
                targets.to_vec::<f64>().chunks(width).map(words).collect()
            }
        })
    }
}
