//! Texts that a model answers with texts: `thalweg predict RUN "a sentence"`.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use thalweg::data::heat_table;
use thalweg::train::decoding::Beam;
use thalweg::train::{FitError, Reply, Responder, Search, Trained};
use thalweg_zoo::ZooError;

use crate::choices::count;
use crate::message::{FAILED, one_line};
use crate::output::{self, note, percent};

/// How a model answers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Models that answer texts with texts: translators, suggesters of replies")]
pub(crate) struct RespondingArgs {
    /// How many beginnings are kept while the best answer is searched for; if not said 5, of a model that suggests replies 20
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    beam: Option<usize>,
    /// How many answers to show, each with its score; if not said 1, of a model that suggests replies 3, which begin with
    /// different words where such are found
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    best: Option<usize>,
    /// How much unlike each other the answers are to be; if not said 0, of a model that suggests replies 2
    #[arg(long, value_name = "X")]
    diversity: Option<f64>,
    /// How the answer begins
    #[arg(long, value_name = "TEXT")]
    begin: Option<String>,
    /// What is wanted of a model that knows several things, such as a language or a topic: `fr`
    #[arg(long, value_name = "NAME")]
    tag: Option<String>,
    /// How likely it must be that a reply is to be suggested, of a model that knows when to be silent; 0.5 if not said, 0
    /// suggests always
    #[arg(long, value_name = "P")]
    trigger: Option<f64>,
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
            ("--trigger", self.trigger.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }

    /// How likely it must be that a reply is to be suggested.
    fn least(&self, responder: &Responder<'_>) -> Result<f64, ZooError> {
        let refused = |reason: &str| Err(ZooError::Setting { setting: "--trigger".into(), reason: reason.into() });
        match self.trigger {
            None => Ok(0.5),
            Some(_) if !responder.has_trigger() => {
                refused("is for models that know when to be silent, which this one does not")
            }
            Some(least) if !(0.0..=1.0).contains(&least) => refused("is a probability, from 0 to 1"),
            Some(least) => Ok(least),
        }
    }

    /// `suggests` says whether it is a model that suggests replies.
    fn search(&self, length: Option<usize>, suggests: bool) -> anyhow::Result<Search> {
        let (width, best, diversity) = if suggests { (20, 3, 2.0) } else { (5, 1, 0.0) };
        let best = self.best.unwrap_or(best);
        let beam = Beam::new(self.beam.unwrap_or(best.max(width)))?.n_best(best)?.length_normalization(1.0)?;
        let beam = beam.diversity(self.diversity.unwrap_or(diversity))?;
        Ok(Search { beam, length, begin: self.begin.clone().unwrap_or_default() })
    }
}

/// What a model says to a text.
struct Answer<'a> {
    text: &'a str,
    /// Words of the text that it does not know.
    unknown: Vec<String>,
    /// How likely it is that a reply is to be suggested, of a model that knows.
    wanted: Option<f64>,
    /// None where it is better silent.
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
    let (search, tag) = (args.search(length, responder.has_trigger())?, args.tag.as_deref());
    let least = args.least(&responder)?;
    let answer = |text| -> Result<Answer<'_>, FitError> {
        let wanted = responder.wanted(tag, text)?;
        let replies = match wanted {
            None => responder.replies(tag, text, &search)?,
            Some(wanted) if wanted >= least => responder.suggestions(tag, text, &search)?,
            Some(_) => Vec::new(),
        };
        Ok(Answer { text, unknown: words.unknown(text), wanted, replies })
    };
    let mut answers = Vec::new();
    for text in texts {
        match answer(text) {
            Ok(answer) => answers.push(answer),
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
        for answer in &answers {
            if !answer.unknown.is_empty() {
                note(format_args!("words that the model does not know: {}", answer.unknown.join(", ")));
            }
            output::line(as_lines(answer).join("\n"))?;
        }
    }
    Ok(if answers.len() == texts.len() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// The replies, of several each with its score; of a model with a trigger below what it says.
fn as_lines(Answer { text, wanted, replies, .. }: &Answer<'_>) -> Vec<String> {
    let reply = |reply: &Reply| match (wanted, replies.len()) {
        (None, 1) => reply.text.clone(),
        _ => format!("{:7.3}  {}", reply.score, reply.text),
    };
    let heading = wanted.map(|wanted| {
        let silent = if replies.is_empty() { "; nothing is suggested, which `--trigger 0` would" } else { "" };
        format!("{text} (worth a suggestion: {}{silent})", percent(wanted))
    });
    heading.into_iter().chain(replies.iter().map(reply)).collect()
}

fn as_json(Answer { text, unknown, wanted, replies }: &Answer<'_>) -> Value {
    let reply = |Reply { text, log_probability, score, ended, .. }: &Reply| json!({ "text": text, "log_probability": log_probability, "score": score, "ended": ended });
    let mut answer =
        json!({ "text": text, "unknown": unknown, "replies": replies.iter().map(reply).collect::<Vec<_>>() });
    if let Some(wanted) = wanted {
        answer["wanted"] = json!(wanted);
    }
    answer
}
