//! W13: a fresh process, from its start until the first training step of W1 is done.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context;

use super::measure::{Figures, QUIET_PATIENCE, wait_until_quiet};
use super::memory;

pub(super) const NAME: &str = "W13_cold_start";

const REPEATS: usize = 5;

/// The child's work: a step of W1, a word to the parent, and how much memory that took.
pub(super) fn child(threads: usize) -> anyhow::Result<()> {
    let mut step = super::steps::mlp_mnist(threads)?;
    step.run()?;
    crate::output::line("done")?;
    crate::output::line(memory::peak_rss_mib().unwrap_or(f64::NAN))
}

/// Seconds to the first step and peak memory of fresh processes; the first one warms the page cache.
pub(super) fn measure(threads: usize) -> anyhow::Result<Vec<(&'static str, &'static str, Figures)>> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let (mut seconds, mut megabytes) = (Vec::new(), Vec::new());
    for repeat in 0..=REPEATS {
        wait_until_quiet(QUIET_PATIENCE);
        let begin = Instant::now();
        let mut child = Command::new(&program)
            .args(["bench", "--cold-child", "--threads", &threads.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut lines = BufReader::new(child.stdout.take().context("the child has no output")?);
        lines.read_line(&mut String::new())?;
        let elapsed = begin.elapsed().as_secs_f64();
        let mut line = String::new();
        lines.read_line(&mut line)?;
        child.wait()?;
        let peak: f64 = line.trim().parse().with_context(|| format!("the child said {line:?}"))?;
        if repeat > 0 {
            seconds.push(elapsed);
            megabytes.push(peak);
        }
    }
    Ok(vec![("first_step", "s", Figures::of(seconds)), (memory::METRIC, memory::UNIT, Figures::of(megabytes))])
}
