//! Texts that a model writes: `thalweg predict RUN "how it begins"`.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use thalweg::train::decoding::Sampling;
use thalweg::train::{Generator, Trained};
use thalweg_zoo::ZooError;

use crate::choices::{count, number};
use crate::output;

/// How a model writes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Models that write texts")]
pub(crate) struct WritingArgs {
    /// How many tokens (characters, words) to write, 300 if not said; how many words an answer has at most
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    pub(crate) length: Option<usize>,
    /// Below 1 likely tokens become likelier, above 1 all become alike; 1 if not said
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,
    /// Draw from so many of the likeliest tokens
    #[arg(long, value_name = "K", value_parser = count::<usize>)]
    top_k: Option<usize>,
    /// Draw from the likeliest tokens that together have this probability
    #[arg(long, value_name = "P")]
    top_p: Option<f64>,
    /// What is drawn follows from it; 0 if not said
    #[arg(long, value_name = "N", value_parser = number::<u64>)]
    seed: Option<u64>,
}

impl WritingArgs {
    /// The first that was given, as it is written.
    pub(crate) fn given(&self) -> Option<&'static str> {
        self.length.map(|_| "--length").or(self.of_chance())
    }

    /// The first that was given of those that say how tokens are drawn.
    pub(crate) fn of_chance(&self) -> Option<&'static str> {
        let given = [
            ("--temperature", self.temperature.is_some()),
            ("--top-k", self.top_k.is_some()),
            ("--top-p", self.top_p.is_some()),
            ("--seed", self.seed.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }

    fn sampling(&self) -> anyhow::Result<Sampling> {
        let mut sampling = Sampling::new(self.seed.unwrap_or(0)).temperature(self.temperature.unwrap_or(1.0))?;
        if let Some(k) = self.top_k {
            sampling = sampling.top_k(k)?;
        }
        if let Some(p) = self.top_p {
            sampling = sampling.top_p(p)?;
        }
        Ok(sampling)
    }
}

/// Writes on from each beginning, shown while it is written.
pub(crate) fn run(
    trained: &Trained,
    beginnings: &[String],
    args: &WritingArgs,
    json: bool,
) -> anyhow::Result<ExitCode> {
    const LENGTH: usize = 300;
    let generator = Generator::of(trained).map_err(ZooError::from)?;
    let (sampling, length) = (args.sampling()?, args.length.unwrap_or(LENGTH));
    let mut written: Vec<Value> = Vec::new();
    for beginning in beginnings {
        if json {
            let text = generator.write(beginning, length, &sampling, |_| {})?;
            written.push(json!({ "beginning": beginning, "text": text }));
            continue;
        }
        // The beginning is shown once it is known that something can be written. A reader that goes away ends it.
        let mut before = Some(beginning);
        let mut failed = None;
        generator.write(beginning, length, &sampling, |piece| {
            if failed.is_none() {
                let beginning = before.take().map_or("", String::as_str);
                failed = output::text(&format!("{beginning}{piece}")).err();
            }
        })?;
        match failed {
            Some(error) => return Err(error),
            None => output::line("")?,
        }
    }
    if json {
        output::line(json!({ "step": trained.checkpoint().step, "texts": written }))?;
    }
    Ok(ExitCode::SUCCESS)
}
