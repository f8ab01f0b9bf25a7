//! Rounds in which ours and the programs that measure other frameworks take turns, so that a machine that is slower for a
//! while is slower for all.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use thalweg::run::kernels::limits::Limits;

use super::measure::{self, Figures, median};
use super::peers::Peers;
use super::{BenchArgs, Report, Workload, cold_start, measure_limits, memory};
use crate::output;

/// Measures `chosen` in as many rounds as asked for, each followed by the programs of the others, and reports the median of
/// the rounds.
pub(super) fn report(
    chosen: &[&Workload],
    with_cold_start: bool,
    args: &BenchArgs,
    peers: Option<Peers>,
) -> anyhow::Result<()> {
    let threads = usize::from(args.threads);
    let mut limits = Vec::new();
    let mut calls: Vec<Vec<Figures>> = vec![Vec::new(); chosen.len()];
    let mut cold: BTreeMap<(&str, &str), Vec<Figures>> = BTreeMap::new();
    let mut others = Vec::new();
    for round in 1..=args.rounds {
        output::note(format_args!("round {round} of {}: thalweg", args.rounds));
        limits.push(measure_limits(threads, args.seconds)?);
        for (workload, figures) in chosen.iter().zip(&mut calls) {
            let mut call = (workload.make)(threads)?;
            figures.push(measure::measure(&mut || call.run(), args.seconds)?);
        }
        if with_cold_start {
            for (metric, unit, figures) in cold_start::measure(threads)? {
                cold.entry((metric, unit)).or_default().push(figures);
            }
        }
        for command in &args.against {
            output::note(format_args!("round {round} of {}: {command}", args.rounds));
            others.push(figures_of(command)?);
        }
    }
    let limits = Limits {
        multiply_add: median(limits.iter().map(|limits| limits.multiply_add).collect()),
        triad: median(limits.iter().map(|limits| limits.triad).collect()),
    };
    let peers = Peers::in_rounds(others).and(peers);
    let mut report = Report { json: args.json, peers: Some(peers), threads, limits };
    report.begin()?;
    for (workload, figures) in chosen.iter().zip(calls) {
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
