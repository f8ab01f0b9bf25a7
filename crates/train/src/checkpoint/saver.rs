//! Saving: the one writer of a run's folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thalweg_formats::FormatError;
use thalweg_formats::array::Real;
use thalweg_formats::atomic::{self, Disk, LocalDisk};
use thalweg_formats::safetensors::Encoded;

use super::folder::{Best, Goal, Loaded, checkpoints, file_of, is_damage, key, load_step, steps};
use super::lock::{self, Lock};
use super::{Checkpoint, CheckpointError, FORMAT_VERSION};

/// The file that is written and removed to try the folder.
const TRIAL: &str = "trial";
/// The event files of a run, beside its checkpoints.
pub(crate) const EVENTS: &str = "events";
/// The table of what was measured, where a run has one ([`CsvLog::in_run`](crate::callbacks::CsvLog::in_run)).
pub(crate) const LOG: &str = "log.csv";

/// Which checkpoints a [`Saver`] keeps.
#[derive(Clone, Debug)]
pub struct SaverOptions {
    /// How many of the newest; at least 1.
    pub keep: usize,
    /// The metric whose best checkpoint is kept beside them, and which way is better.
    pub best: Option<(String, Goal)>,
    /// Where files are written.
    pub disk: Arc<dyn Disk>,
}

impl Default for SaverOptions {
    /// The newest three, on the local disk.
    fn default() -> Self {
        SaverOptions { keep: 3, best: None, disk: Arc::new(LocalDisk) }
    }
}

/// What a save did.
#[derive(Clone, Debug)]
pub struct Saved {
    /// The file.
    pub path: PathBuf,
    /// Whether it is the best so far.
    pub is_best: bool,
    /// What the user should be told: old checkpoints that could not be removed.
    pub warnings: Vec<String>,
}

/// Saves the checkpoints of one run, and keeps the newest and the best. Holds the lock of the folder while it lives.
///
/// A save is atomic: whatever stops it, the checkpoints before it stay as they were, and training may go on after an error.
///
/// ```
/// use thalweg_train::checkpoint::{self, Checkpoint, Goal, Saver, SaverOptions, Which};
///
/// let folder = tempfile::tempdir()?;
/// let run = folder.path().join("digits");
/// let options = SaverOptions { best: Some(("valid_loss".into(), Goal::Min)), ..SaverOptions::default() };
/// let mut saver = Saver::create(&run, options)?;
/// for (step, loss) in [(100, 0.5), (200, 0.3), (300, 0.4)] {
///     let mut checkpoint = Checkpoint::default();
///     checkpoint.tensors.insert("w".into(), [step as f32].into());
///     saver.save(step, &checkpoint, Some(loss))?;
/// }
/// assert_eq!(checkpoint::load(&run, Which::Last)?.step, 300);
/// assert_eq!(checkpoint::load(&run, Which::Best)?.step, 200);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Saver {
    run: PathBuf,
    options: SaverOptions,
    best: Option<Best>,
    _lock: Lock,
}

impl Saver {
    /// Begins a new run in the folder `run`, which is made if it is not there. What a run leaves that ended before its first
    /// checkpoint is no obstacle.
    ///
    /// # Errors
    /// If the folder holds something already, is no folder, or cannot be written to, or another process trains in it.
    pub fn create(run: impl AsRef<Path>, options: SaverOptions) -> Result<Saver, CheckpointError> {
        let run = run.as_ref();
        fs::create_dir_all(run).map_err(FormatError::io(run, "create the folder"))?;
        // Before the lock, so that nothing is left in a foreign folder; after it, because another run may have begun.
        refuse_unless_empty(run)?;
        let lock = Lock::take(run)?;
        refuse_unless_empty(run)?;
        Saver::prepare(run, options, lock)
    }

    /// Continues the run in the folder `run`; also returns its newest whole checkpoint, or none if nothing was saved yet.
    ///
    /// Damaged checkpoints that are newer are put aside under the name `….damaged`, and [`Loaded::notes`] says so.
    ///
    /// # Errors
    /// If the folder cannot be written to, another process trains in it, or there are checkpoints of which none can be
    /// loaded.
    pub fn resume(run: impl AsRef<Path>, options: SaverOptions) -> Result<(Saver, Option<Loaded>), CheckpointError> {
        let run = run.as_ref();
        fs::create_dir_all(run).map_err(FormatError::io(run, "create the folder"))?;
        let lock = Lock::take(run)?;
        let mut saver = Saver::prepare(run, options, lock)?;
        let loaded = super::folder::latest(run)?;
        if let Some(loaded) = &loaded {
            for step in steps(run)?.into_iter().filter(|&step| step > loaded.step) {
                saver.put_aside(step)?;
            }
            saver.best = loaded.best.clone().filter(|best| saver.measures(best));
        }
        Ok((saver, loaded))
    }

    /// Makes the folder of the checkpoints and clears what a killed process left. That a file can be written there is tried
    /// now, not found out after an hour of training.
    fn prepare(run: &Path, options: SaverOptions, lock: Lock) -> Result<Saver, CheckpointError> {
        assert!(options.keep > 0, "a saver keeps at least one checkpoint");
        let folder = checkpoints(run);
        fs::create_dir_all(&folder).map_err(FormatError::io(&folder, "create the folder"))?;
        atomic::remove_stale(&*options.disk, &folder)?;
        let trial = folder.join(TRIAL);
        atomic::replace(&*options.disk, &trial, 0, |_| Ok(()))?;
        options.disk.remove(&trial).map_err(FormatError::io(&trial, "remove"))?;
        Ok(Saver { run: run.to_path_buf(), options, best: None, _lock: lock })
    }

    /// The folder of the run.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// The best checkpoint so far.
    pub fn best(&self) -> Option<&Best> {
        self.best.as_ref()
    }

    /// Saves the state after `step`. `metric` is what [`SaverOptions::best`] names, if it was measured now; NaN counts as not
    /// measured, and of equals the first is the best. A checkpoint of the same step is replaced.
    ///
    /// # Errors
    /// If the file cannot be written whole and lasting. What was saved before is untouched.
    pub fn save(&mut self, step: u64, checkpoint: &Checkpoint, metric: Option<f64>) -> Result<Saved, CheckpointError> {
        let path = file_of(&self.run, step);
        let best = self.best_with(step, metric);
        let mut content = checkpoint.clone();
        for key in [key::VERSION, key::STEP, key::BEST] {
            if content.metadata.contains_key(key) {
                let reason = "is kept for the saver; choose another key".into();
                return Err(CheckpointError::Entry { key: key.into(), reason });
            }
        }
        content.set(key::VERSION, &FORMAT_VERSION);
        content.set(key::STEP, &step);
        content.set(key::BEST, &best);
        let encoded = Encoded::new(&content.tensors, &content.metadata, &path)?;
        atomic::replace(&*self.options.disk, &path, encoded.len(), |file| encoded.write_to(file))?;
        self.best = best;
        let is_best = self.best.as_ref().is_some_and(|best| best.step == step);
        let warnings = self.remove_old(step);
        Ok(Saved { path, is_best, warnings })
    }

    /// The best checkpoint once that of `step` is saved.
    fn best_with(&self, step: u64, metric: Option<f64>) -> Option<Best> {
        let new = match (&self.options.best, metric) {
            (Some((name, goal)), Some(value)) if !value.is_nan() => {
                Some(Best { metric: name.clone(), goal: *goal, step, value: Real(value) })
            }
            _ => None,
        };
        match (&self.best, new) {
            // The checkpoint that was the best is being replaced: what it reached is no longer there.
            (Some(old), new) if old.step == step => new,
            (Some(old), Some(new)) if new.goal.improves(new.value.0, old.value.0) => Some(new),
            (None, new) => new,
            (old, _) => old.clone(),
        }
    }

    fn measures(&self, best: &Best) -> bool {
        self.options.best.as_ref().is_some_and(|(name, goal)| best.metric == *name && best.goal == *goal)
    }

    /// Removes all but the newest, the best, and that of `step`, which was just written.
    fn remove_old(&self, step: u64) -> Vec<String> {
        let steps = match steps(&self.run) {
            Ok(steps) => steps,
            Err(error) => return vec![format!("old checkpoints cannot be removed: {error}")],
        };
        let too_many = steps.len().saturating_sub(self.options.keep);
        let is_best = |step| self.best.as_ref().is_some_and(|best| best.step == step);
        let mut warnings = Vec::new();
        for &old in steps[..too_many].iter().filter(|&&old| old != step && !is_best(old)) {
            let path = file_of(&self.run, old);
            if let Err(error) = self.options.disk.remove(&path) {
                warnings.push(format!("{}: an old checkpoint cannot be removed: {error}", path.display()));
            }
        }
        warnings
    }

    /// Renames the damaged checkpoint of `step`, so that it neither counts as one of the newest nor is looked at again.
    fn put_aside(&self, step: u64) -> Result<(), CheckpointError> {
        let path = file_of(&self.run, step);
        match load_step(&self.run, step) {
            Err(error) if is_damage(&error) => {
                let mut aside = path.clone().into_os_string();
                aside.push(".damaged");
                Ok(self.options.disk.rename(&path, aside.as_ref()).map_err(FormatError::io(&path, "rename"))?)
            }
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        }
    }
}

fn refuse_unless_empty(run: &Path) -> Result<(), CheckpointError> {
    let mut found = names_in(run)?;
    found.retain(|name| name != lock::NAME);
    if is_unsaved(run, &found)? {
        return Ok(());
    }
    found.sort();
    found.truncate(5);
    if found.is_empty() { Ok(()) } else { Err(CheckpointError::NotEmpty { run: run.to_path_buf(), found }) }
}

/// Whether the folder with these names in it is that of a run that ended before its first checkpoint.
fn is_unsaved(run: &Path, found: &[String]) -> Result<bool, CheckpointError> {
    let folder = checkpoints(run);
    let ours = |name: &String| name == EVENTS || name == LOG || folder.ends_with(name) || atomic::is_temporary(name);
    if !folder.is_dir() || !found.iter().all(ours) {
        return Ok(false);
    }
    Ok(names_in(&folder)?.iter().all(|name| name == TRIAL || atomic::is_temporary(name)))
}

/// The names of what is in a folder.
fn names_in(folder: &Path) -> Result<Vec<String>, CheckpointError> {
    let io = |error| FormatError::io(folder, "list")(error);
    let entries = fs::read_dir(folder).map_err(io)?;
    Ok(entries
        .map(|entry| Ok(entry.map_err(io)?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, FormatError>>()?)
}
