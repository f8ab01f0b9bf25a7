//! What is said in recordings: `thalweg predict RUN said.wav`, of a model that writes it down.

use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Value, json};
use thalweg::data::audio::read_wav;
use thalweg::train::{Trained, Transcriber, Transcript};
use thalweg_zoo::ZooError;

use crate::message::{FAILED, one_line};
use crate::output::{self, note};

/// Writes down each recording. One that cannot be heard does not keep the others from being.
pub(crate) fn run(trained: &Trained, files: &[String], json: bool) -> anyhow::Result<ExitCode> {
    let transcriber = Transcriber::of(trained).map_err(ZooError::from)?;
    let mut heard = Vec::new();
    for file in files {
        match hear(&transcriber, file) {
            Ok(transcript) => heard.push((file, transcript)),
            Err(error) => note(format_args!("error: {}", one_line(&error))),
        }
    }
    if json {
        let one = |(file, Transcript { text, log_probability }): &(&String, Transcript)| json!({ "input": file, "text": text, "log_probability": log_probability });
        let transcripts: Vec<Value> = heard.iter().map(one).collect();
        output::line(json!({ "step": trained.checkpoint().step, "transcripts": transcripts }))?;
    } else {
        for (file, Transcript { text, .. }) in &heard {
            output::line(format_args!("{file}: {text}"))?;
        }
    }
    Ok(if heard.len() == files.len() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn hear(transcriber: &Transcriber<'_>, file: &str) -> anyhow::Result<Transcript> {
    transcriber.transcribe(&read_wav(file)?).with_context(|| file.to_string())
}
