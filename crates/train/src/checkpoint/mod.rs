//! Saved training state: what a checkpoint holds, how a run keeps its checkpoints, how one is loaded again.
//!
//! A run has a folder:
//!
//! ```text
//! runs/digits/
//!   lock                                  held, with its pid inside, by the process that trains
//!   checkpoints/step-000001200.safetensors
//!   checkpoints/step-000001400.safetensors
//! ```
//!
//! Each file is whole: arrays and, as metadata, everything else, with checksums over both. It holds no clock, host or path,
//! so that a run that was killed and resumed ends with the same bytes as one that was not. Which checkpoint is the best
//! stands in each of them, as of its step; there is no pointer beside the files that could disagree with them.

mod error;
mod folder;
mod lock;
mod saver;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thalweg_formats::array::Array;
pub use thalweg_formats::weights::{Difference, Extra, LoadReport, Signature};

pub use error::CheckpointError;
pub use folder::{Best, Goal, Loaded, Which, load, steps};
pub(crate) use saver::{EVENTS, LOG};
pub use saver::{Saved, Saver, SaverOptions};

/// The version of the content of the files. Files of a newer one are refused.
pub const FORMAT_VERSION: u32 = 1;

/// What is saved: arrays by name, and everything else as text by key.
///
/// ```
/// use thalweg_train::checkpoint::Checkpoint;
///
/// let mut checkpoint = Checkpoint::default();
/// checkpoint.tensors.insert("w".into(), [1.0f32, 2.0].into());
/// checkpoint.set("epoch", &3u64);
/// assert_eq!(checkpoint.get::<u64>("epoch")?, 3);
/// # Ok::<(), thalweg_train::checkpoint::CheckpointError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// Variables, slots of the optimizer and whatever else is an array.
    pub tensors: BTreeMap<String, Array>,
    /// Counters, positions, configuration; see [`Checkpoint::set`]. The keys `version`, `step` and `best` are kept for the
    /// [`Saver`].
    pub metadata: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Stores a value as JSON. What is to be the same in every run must be ordered (`BTreeMap`, not `HashMap`) and must
    /// not hold NaN or infinities, except as [`Real`](thalweg_formats::array::Real).
    ///
    /// # Panics
    /// If the value has no JSON form (a map whose keys are not text).
    #[track_caller]
    pub fn set<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) {
        match serde_json::to_string(value) {
            Ok(json) => self.metadata.insert(key.to_string(), json),
            Err(error) => panic!("the checkpoint entry `{key}` has no JSON form: {error}"),
        };
    }

    /// The value stored under `key`.
    ///
    /// # Errors
    /// If there is none or it is of another kind.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<T, CheckpointError> {
        let entry = |reason| CheckpointError::Entry { key: key.to_string(), reason };
        let json = self.metadata.get(key).ok_or_else(|| entry("is missing".into()))?;
        serde_json::from_str(json).map_err(|error| entry(format!("cannot be read: {error}")))
    }

    /// Stores what the run was configured with, for [`Checkpoint::check_config`].
    pub fn set_config(&mut self, config: &BTreeMap<String, String>) {
        self.set("config", config);
    }

    /// What the run was configured with.
    ///
    /// # Errors
    /// If nothing was stored.
    pub fn config(&self) -> Result<BTreeMap<String, String>, CheckpointError> {
        self.get("config")
    }

    /// Compares what this run is configured with to what the saved one was, but for the entries that `may_differ`.
    ///
    /// # Errors
    /// If anything differs; the message names all of it.
    pub fn check_config(
        &self,
        config: &BTreeMap<String, String>,
        may_differ: &BTreeSet<String>,
    ) -> Result<(), CheckpointError> {
        let saved = self.config()?;
        let names: BTreeSet<&String> = saved.keys().chain(config.keys()).collect();
        let shown = |value: Option<&String>| value.map_or("not set".to_string(), |value| format!("`{value}`"));
        let differences: Vec<String> = names
            .into_iter()
            .filter(|&name| saved.get(name) != config.get(name) && !may_differ.contains(name))
            .map(|name| format!("{name} was {}, now {}", shown(saved.get(name)), shown(config.get(name))))
            .collect();
        if differences.is_empty() { Ok(()) } else { Err(CheckpointError::Config { differences }) }
    }

    /// Dtype and shape of the arrays.
    pub fn signature(&self) -> Signature {
        let kind = |array: &Array| (array.dtype(), array.shape().to_vec());
        self.tensors.iter().map(|(name, array)| (name.clone(), kind(array))).collect()
    }

    /// Compares the arrays with those that are wanted.
    pub fn compare(&self, wanted: &Signature) -> LoadReport {
        LoadReport::new(&self.tensors, wanted)
    }

    /// The arrays that are wanted: all of them, or an error and none.
    ///
    /// # Errors
    /// If one is missing or of another dtype or shape, or there are others and `extra` refuses them. The message names
    /// all of them.
    pub fn select(&self, wanted: &Signature, extra: Extra) -> Result<BTreeMap<String, Array>, CheckpointError> {
        let report = self.compare(wanted);
        if !report.fits(extra) {
            return Err(CheckpointError::Tensors(report));
        }
        Ok(wanted.keys().map(|name| (name.clone(), self.tensors[name].clone())).collect())
    }
}

#[cfg(test)]
mod tests {
    use thalweg_formats::array::DType;

    use super::*;

    fn saved() -> Checkpoint {
        let mut checkpoint = Checkpoint::default();
        checkpoint.tensors.insert("hidden/weight".into(), Array::zeros(&[3, 2], DType::F32));
        checkpoint.tensors.insert("hidden/bias".into(), Array::zeros(&[2], DType::F32));
        checkpoint.tensors.insert("old".into(), Array::zeros(&[], DType::I64));
        checkpoint
    }

    #[test]
    fn every_difference_of_the_tensors_is_named_and_nothing_is_loaded() {
        let wanted = Signature::from([
            ("hidden/weight".to_string(), (DType::F32, vec![3, 4])),
            ("hidden/bias".to_string(), (DType::F64, vec![2])),
            ("logits/weight".to_string(), (DType::F32, vec![4, 10])),
            ("logits/bias".to_string(), (DType::F32, vec![10])),
        ]);
        let message = saved().select(&wanted, Extra::Ignore).unwrap_err().to_string();
        for piece in [
            "missing: logits/bias, logits/weight",
            "unexpected: old",
            "hidden/weight is f32[3, 2], expected f32[3, 4]",
            "hidden/bias is f32[2], expected f64[2]",
        ] {
            assert!(message.contains(piece), "`{piece}` is not in: {message}");
        }
    }

    #[test]
    fn extra_tensors_are_refused_or_left_out() {
        let mut wanted = saved().signature();
        wanted.remove("old");
        assert!(saved().select(&wanted, Extra::Refuse).unwrap_err().to_string().contains("unexpected: old"));
        let loaded = saved().select(&wanted, Extra::Ignore).unwrap();
        assert!(loaded.keys().eq(wanted.keys()));
    }

    #[test]
    fn another_configuration_is_refused_by_name() {
        let config = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let mut checkpoint = Checkpoint::default();
        checkpoint.set_config(&config(&[("batch", "100"), ("optimizer", "adam"), ("recipe", "mnist")]));
        let same = config(&[("optimizer", "adam"), ("recipe", "mnist"), ("batch", "100")]);
        checkpoint.check_config(&same, &BTreeSet::new()).unwrap();
        let now = config(&[("batch", "64"), ("recipe", "mnist"), ("momentum", "0.9")]);
        let message = checkpoint.check_config(&now, &BTreeSet::new()).unwrap_err().to_string();
        for piece in
            ["batch was `100`, now `64`", "momentum was not set, now `0.9`", "optimizer was `adam`, now not set"]
        {
            assert!(message.contains(piece), "`{piece}` is not in: {message}");
        }
        assert!(!message.contains("recipe"), "{message}");
        let may_differ = ["batch".to_string(), "momentum".into()].into();
        let message = checkpoint.check_config(&now, &may_differ).unwrap_err().to_string();
        assert!(message.ends_with("otherwise: optimizer was `adam`, now not set"), "{message}");
    }

    #[test]
    fn floats_come_back_bit_for_bit() {
        let mut checkpoint = Checkpoint::default();
        for bits in [0x3fb999999999999a, 0x1u64, 0x3ff0000000000001, 0x7fefffffffffffff, 0x4f8f_fe12_3456_789b] {
            checkpoint.set("sum", &f64::from_bits(bits));
            assert_eq!(checkpoint.get::<f64>("sum").unwrap().to_bits(), bits);
        }
    }

    #[test]
    fn an_entry_that_is_missing_or_of_another_kind_is_named() {
        let mut checkpoint = Checkpoint::default();
        assert!(checkpoint.get::<u64>("epoch").unwrap_err().to_string().contains("`epoch` is missing"));
        checkpoint.set("epoch", "three");
        assert!(checkpoint.get::<u64>("epoch").unwrap_err().to_string().contains("`epoch` cannot be read"));
    }
}
