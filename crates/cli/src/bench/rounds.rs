//! Rounds in which ours and the programs that measure other frameworks take turns, so that a machine that is slower for a
//! while is slower for all.

use std::collections::BTreeMap;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use thalweg::run::kernels::limits::Limits;
use thalweg::train::interrupt::Interrupt;

use super::measure::{self, Figures, median};
use super::peers::Peers;
use super::{BenchArgs, CALL_TIME, Report, Workload, cold_start, measure_limits, memory};
use crate::output;

/// What all take turns with.
struct Turns<'a> {
    chosen: &'a [&'a Workload],
    with_cold_start: bool,
    args: &'a BenchArgs,
    interrupt: Interrupt,
}

/// What one round found.
struct Round {
    limits: Limits,
    /// Of each chosen workload.
    calls: Vec<Figures>,
    cold_start: Vec<(&'static str, &'static str, Figures)>,
    others: Peers,
}

/// Measures `chosen` in as many rounds as asked for, each followed by the programs of the others, and reports the median of
/// the rounds. If it is asked to stop, or a program fails, it reports the rounds that are over.
pub(super) fn report(
    chosen: &[&Workload],
    with_cold_start: bool,
    args: &BenchArgs,
    peers: Option<Peers>,
) -> anyhow::Result<ExitCode> {
    let turns = Turns { chosen, with_cold_start, args, interrupt: Interrupt::listen()? };
    let mut rounds = Vec::new();
    let begin = Instant::now();
    let end = loop {
        match turns.round(rounds.len() + 1) {
            Ok(Some(round)) => rounds.push(round),
            Ok(None) => break Ok(ExitCode::from(turns.interrupt.exit_code())),
            Err(error) => break Err(error),
        }
        if rounds.len() == usize::from(args.rounds) {
            break Ok(ExitCode::SUCCESS);
        }
        let (over, all) = (rounds.len() as f64, f64::from(args.rounds));
        let minutes = begin.elapsed().as_secs_f64() / 60.0 / over * (all - over);
        output::note(format_args!("about {} min to go", minutes.ceil()));
    };
    match rounds.len() {
        0 if end.is_ok() => output::note("stopped before the first round was over: there are no figures"),
        0 => {}
        over => {
            if over < usize::from(args.rounds) {
                output::note(format_args!("the figures are of the {over} of {} rounds that are over", args.rounds));
            }
            turns.sum_up(rounds, peers)?;
        }
    }
    end
}

impl Turns<'_> {
    /// Ours, then the others; nothing if it was asked to stop meanwhile.
    fn round(&self, number: usize) -> anyhow::Result<Option<Round>> {
        let threads = usize::from(self.args.threads);
        let title = format!("round {number} of {}", self.args.rounds);
        output::note(format_args!("{title}: thalweg"));
        let limits = measure_limits(threads, self.args.seconds)?;
        let mut calls = Vec::new();
        for workload in self.chosen {
            let mut call = (workload.make)(threads)?;
            calls.push(measure::measure(&mut || call.run(), self.args.seconds)?);
            if self.interrupt.requested() {
                return Ok(None);
            }
        }
        let cold_start = if self.with_cold_start { cold_start::measure(threads)? } else { Vec::new() };
        let mut others = Vec::new();
        for command in &self.args.against {
            output::note(format_args!("{title}: {command}"));
            let figures = figures_of(command);
            // Ctrl-C in a terminal stops the program as well, which is no failure of its own.
            if self.interrupt.requested() {
                return Ok(None);
            }
            others.push(figures?);
        }
        let others = Peers::of_all(others);
        for (workload, figures) in self.chosen.iter().zip(&calls) {
            let name = workload.name;
            let ratios = others.of(name, CALL_TIME).into_iter();
            let ratios = ratios.map(|peer| format!(", {:.2} {}", peer.median / figures.median, peer.who));
            output::note(format_args!("{title}: {name} {:.3} us{}", figures.median, ratios.collect::<String>()));
        }
        Ok(Some(Round { limits, calls, cold_start, others }))
    }

    /// Reports the medians of the rounds, at least one.
    fn sum_up(&self, rounds: Vec<Round>, peers: Option<Peers>) -> anyhow::Result<()> {
        let threads = usize::from(self.args.threads);
        let of_limits = |limit: fn(&Limits) -> f64| median(rounds.iter().map(|round| limit(&round.limits)).collect());
        let limits = Limits { multiply_add: of_limits(|l| l.multiply_add), triad: of_limits(|l| l.triad) };
        let mut calls: Vec<Vec<Figures>> = vec![Vec::new(); self.chosen.len()];
        let mut cold: BTreeMap<(&str, &str), Vec<Figures>> = BTreeMap::new();
        let mut others = Vec::new();
        for round in rounds {
            calls.iter_mut().zip(round.calls).for_each(|(calls, figures)| calls.push(figures));
            for (metric, unit, figures) in round.cold_start {
                cold.entry((metric, unit)).or_default().push(figures);
            }
            others.push(round.others);
        }
        let peers = Peers::in_rounds(others).and(peers);
        let mut report = Report { json: self.args.json, peers: Some(peers), threads, limits };
        report.begin()?;
        for (workload, figures) in self.chosen.iter().zip(calls) {
            report.call(workload, &Figures::of_rounds(figures))?;
            if let Some(figures) = memory::measure(workload, threads)? {
                report.line(workload.name, memory::METRIC, memory::UNIT, &figures, None)?;
            }
        }
        for ((metric, unit), figures) in cold {
            report.line(cold_start::NAME, metric, unit, &Figures::of_rounds(figures), None)?;
        }
        Ok(())
    }
}

/// The lines that a program prints for each of its workloads.
fn figures_of(command: &str) -> anyhow::Result<Peers> {
    let mut shell = if cfg!(windows) { Command::new("cmd") } else { Command::new("sh") };
    let flag = if cfg!(windows) { "/C" } else { "-c" };
    let ran =
        shell.args([flag, command]).stdin(Stdio::null()).output().with_context(|| format!("cannot run `{command}`"))?;
    let lines = String::from_utf8_lossy(&ran.stdout);
    let peers = Peers::parse(&lines, &format!("the output of `{command}`"))?;
    if !ran.status.success() || peers.is_empty() {
        let errors = String::from_utf8_lossy(&ran.stderr);
        let last = errors.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing on standard error");
        bail!("`{command}` gave {} figures and ended with {}: {last}", peers.len(), ran.status);
    }
    Ok(peers)
}
