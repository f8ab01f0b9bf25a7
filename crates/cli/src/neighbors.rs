//! What is near in meaning: `thalweg predict RUN king`, of a model that has vectors for words, and of one that makes vectors of
//! sentences.

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};
use thalweg::data::text::{WordVectors, read_lines};
use thalweg::train::Trained;
use thalweg_zoo::ZooError;

use crate::message::{FAILED, one_line};
use crate::output::{self, note};

/// Words or sentences with their cosines.
pub(crate) type Neighbors = Vec<(String, f64)>;

/// Where neighbors are looked for.
pub(crate) enum Vectors<'t> {
    Words(WordVectors),
    Sentences { trained: &'t Trained, known: WordVectors },
}

impl<'t> Vectors<'t> {
    /// Of the model of the run in this folder, if it has any.
    pub(crate) fn of(trained: &'t Trained, run: &Path) -> Result<Option<Vectors<'t>>, ZooError> {
        if trained.function(Trained::WORD_VECTORS).is_ok() {
            return Ok(Some(Vectors::Words(trained.word_vectors()?)));
        }
        if trained.function(Trained::SENTENCE_VECTOR).is_err() {
            return Ok(None);
        }
        let known = trained.sentence_vectors(&read_lines(run.join(Trained::SENTENCES))?)?;
        Ok(Some(Vectors::Sentences { trained, known }))
    }

    /// The nearest words to an expression, or sentences to one.
    pub(crate) fn near(&self, subject: &str) -> Result<Neighbors, ZooError> {
        let near = match self {
            Vectors::Words(words) => words.neighbors(subject, 10)?,
            Vectors::Sentences { trained, known } => {
                let vectors = trained.sentence_vectors(&[subject.to_string()])?;
                known.nearest(vectors.get(subject).unwrap_or_default(), 5)
            }
        };
        Ok(near.into_iter().map(|(text, cosine)| (text.to_string(), cosine)).collect())
    }
}

/// Finds what is near each subject. One that has no neighbors does not keep those of the others from being found.
pub(crate) fn run(
    trained: &Trained,
    vectors: &Vectors<'_>,
    subjects: &[String],
    json: bool,
) -> anyhow::Result<ExitCode> {
    let mut found = Vec::new();
    for subject in subjects {
        match vectors.near(subject) {
            Ok(near) => found.push((subject, near)),
            Err(error) => note(format_args!("error: {}", one_line(&error.into()))),
        }
    }
    if json {
        let one = |(subject, near): &(&String, Neighbors)| json!({ "input": subject, "neighbors": as_json(near) });
        let all: Vec<Value> = found.iter().map(one).collect();
        output::line(json!({ "step": trained.checkpoint().step, "found": all }))?;
    } else {
        for (subject, near) in &found {
            output::line(format!("{subject}\n{}", as_text(near).trim_end()))?;
        }
    }
    Ok(if found.len() == subjects.len() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// A line for each.
pub(crate) fn as_text(near: &Neighbors) -> String {
    near.iter().map(|(text, cosine)| format!("  {cosine:6.3}  {text}\n")).collect()
}

pub(crate) fn as_json(near: &Neighbors) -> Value {
    near.iter().map(|(text, cosine)| json!({ "text": text, "cosine": cosine })).collect()
}
