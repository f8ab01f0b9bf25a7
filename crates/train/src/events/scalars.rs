//! The scalars of a run, over all its event files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use thalweg_formats::FormatError;

use super::{Value, What, read};
use crate::checkpoint::EVENTS;

/// The scalars of the run in the folder `run`, by tag: steps and numbers in order. What a resumed run did again counts once.
///
/// # Errors
/// If the folder, or a file in it, cannot be read.
pub fn scalars(run: &Path) -> Result<BTreeMap<String, Vec<(u64, f64)>>, FormatError> {
    let folder = run.join(EVENTS);
    let entries = fs::read_dir(&folder).map_err(FormatError::io(&folder, "list"))?;
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in entries {
        files.push(entry.map_err(FormatError::io(&folder, "list"))?.path());
    }
    // Their numbers have leading zeros.
    files.sort();
    let mut lines: BTreeMap<String, Vec<(u64, f64)>> = BTreeMap::new();
    for file in files {
        for event in read(&file)?.events {
            let step = event.step.max(0) as u64;
            match event.what {
                What::Resumed => lines.values_mut().for_each(|line| line.retain(|(earlier, _)| *earlier < step)),
                What::Values(values) => {
                    for (tag, value) in values {
                        if let Value::Scalar(x) = value {
                            lines.entry(tag).or_default().push((step, f64::from(x)));
                        }
                    }
                }
                What::Version(_) | What::Graph(_) | What::Other => {}
            }
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::EventWriter;

    #[test]
    fn what_was_done_again_counts_once() {
        let run = tempfile::tempdir().unwrap();
        let folder = run.path().join(EVENTS);
        let mut events = EventWriter::create(&folder, 0.0).unwrap();
        for step in 1..=4 {
            events.scalar(step, 0.0, "loss", step as f64).unwrap();
        }
        events.log(4, 0.0, &[("note", Value::Text("no number".into()))]).unwrap();
        let mut resumed = EventWriter::resume(&folder, 0.0, 2).unwrap();
        resumed.scalar(3, 0.0, "loss", 30.0).unwrap();
        let lines = scalars(run.path()).unwrap();
        assert_eq!(lines, BTreeMap::from([("loss".to_string(), vec![(1, 1.0), (2, 2.0), (3, 30.0)])]));
        let message = scalars(&run.path().join("none")).unwrap_err().to_string();
        assert!(message.contains("none") && message.contains("list"), "{message}");
    }
}
