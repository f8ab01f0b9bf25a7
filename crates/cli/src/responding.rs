//! Texts that a model answers with texts: `thalweg predict RUN "a sentence"`.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use thalweg::data::heat_table;
use thalweg::train::decoding::Beam;
use thalweg::train::{Reply, Responder, Search, Trained};
use thalweg_zoo::ZooError;

use crate::choices::count;
use crate::message::{FAILED, one_line};
use crate::output::{self, note};

/// How a model answers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Models that answer texts with texts: translators")]
pub(crate) struct RespondingArgs {
    /// How many beginnings are kept while the best answer is searched for; 5 if not said
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    beam: Option<usize>,
    /// How many answers to show, each with its score; 1 if not said
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    best: Option<usize>,
    /// How much unlike each other the answers are to be; 0 if not said
    #[arg(long, value_name = "X")]
    diversity: Option<f64>,
    /// How the answer begins
    #[arg(long, value_name = "TEXT")]
    begin: Option<String>,
    /// What is wanted of a model that knows several things, such as a language: `fr`
    #[arg(long, value_name = "NAME")]
    tag: Option<String>,
}

impl RespondingArgs {
    /// The first that was given, as it is written.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let given = [
            ("--beam", self.beam.is_some()),
            ("--best", self.best.is_some()),
            ("--diversity", self.diversity.is_some()),
            ("--begin", self.begin.is_some()),
            ("--tag", self.tag.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }

    fn search(&self, length: Option<usize>) -> anyhow::Result<Search> {
        const BEAM: usize = 5;
        let best = self.best.unwrap_or(1);
        let beam = Beam::new(self.beam.unwrap_or(BEAM.max(best)))?.n_best(best)?.length_normalization(1.0)?;
        let beam = beam.diversity(self.diversity.unwrap_or(0.0))?;
        Ok(Search { beam, length, begin: self.begin.clone().unwrap_or_default() })
    }
}

/// What a model says to a text.
struct Answer<'a> {
    text: &'a str,
    /// Words of the text that it does not know.
    unknown: Vec<String>,
    replies: Vec<Reply>,
}

/// Answers each text. One that cannot be answered does not keep the others from being answered. `length` is how many words an
/// answer has at most, `show` a file for a picture of where the model looked for the last one.
pub(crate) fn run(
    trained: &Trained,
    texts: &[String],
    args: &RespondingArgs,
    length: Option<usize>,
    show: Option<&Path>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let responder = Responder::of(trained).map_err(ZooError::from)?;
    let words = trained.card().prepare.text("source").map_err(ZooError::from)?;
    let (search, tag) = (args.search(length)?, args.tag.as_deref());
    let mut answers = Vec::new();
    for text in texts {
        match responder.replies(tag, text, &search) {
            Ok(replies) => answers.push(Answer { text, unknown: words.unknown(text), replies }),
            Err(error) => note(format_args!("error: {}", one_line(&error.into()))),
        }
    }
    if let (Some(file), Some(Answer { text, replies, .. })) = (show, answers.last())
        && let Some(reply) = replies.first()
    {
        let looked = responder.attention(tag, text, reply)?;
        heat_table(&looked.weights, &looked.reply, &looked.source)?.write_png(file)?;
    }
    if json {
        output::line(
            json!({ "step": trained.checkpoint().step, "answers": answers.iter().map(as_json).collect::<Vec<_>>() }),
        )?;
    } else {
        for Answer { unknown, replies, .. } in &answers {
            if !unknown.is_empty() {
                note(format_args!("words that the model does not know: {}", unknown.join(", ")));
            }
            let line = |reply: &Reply| match replies.len() {
                1 => reply.text.clone(),
                _ => format!("{:7.3}  {}", reply.score, reply.text),
            };
            output::line(replies.iter().map(line).collect::<Vec<_>>().join("\n"))?;
        }
    }
    Ok(if answers.len() == texts.len() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn as_json(Answer { text, unknown, replies }: &Answer<'_>) -> Value {
    let reply = |Reply { text, log_probability, score, ended, .. }: &Reply| json!({ "text": text, "log_probability": log_probability, "score": score, "ended": ended });
    json!({ "text": text, "unknown": unknown, "replies": replies.iter().map(reply).collect::<Vec<_>>() })
}
