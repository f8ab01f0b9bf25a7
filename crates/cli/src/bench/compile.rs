//! `thalweg bench --compile`: how long it takes from the first run of a workload until its plan exists.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use thalweg::run::CompileTimes;

use super::measure::Figures;
use super::{Workload, round};
use crate::output;

/// How often each workload is made and compiled.
const REPEATS: usize = 20;

/// Prints the medians of the parts and of their sum, each time of a new graph in a new session.
pub(super) fn report<'a>(
    workloads: impl Iterator<Item = &'a Workload>,
    threads: usize,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let names = CompileTimes::default().parts().map(|(name, _)| name);
    if !json {
        let version = env!("CARGO_PKG_VERSION");
        output::line(format_args!("Thalweg {version}: milliseconds to compile, medians of {REPEATS}"))?;
        let columns: Vec<String> = names.iter().chain(&["sum"]).map(|name| format!("{name:>8}")).collect();
        output::line(format_args!("{:<25} {}", "workload", columns.join(" ")))?;
    }
    for workload in workloads {
        let mut compiled = Vec::with_capacity(REPEATS);
        for _ in 0..REPEATS {
            compiled.push((workload.make)(threads)?.compile()?);
        }
        let figures = |time: &dyn Fn(&CompileTimes) -> Duration| {
            Figures::of(compiled.iter().map(|times| time(times).as_secs_f64() * 1e3).collect())
        };
        let parts = (0..names.len()).map(|part| figures(&|times| times.parts()[part].1));
        let (parts, sum): (Vec<Figures>, _) = (parts.collect(), figures(&CompileTimes::total));
        if json {
            let mut record = json!({
                "framework": "thalweg", "version": env!("CARGO_PKG_VERSION"), "mode": "plan", "workload": workload.name,
                "metric": "compile_time", "median": round(sum.median), "min": round(sum.min), "p90": round(sum.p90),
                "unit": "ms", "samples": sum.samples, "threads": threads,
            });
            for (name, part) in names.iter().zip(&parts) {
                record[*name] = Value::from(round(part.median));
            }
            output::line(record)?;
        } else {
            let columns: Vec<String> = parts.iter().chain([&sum]).map(|part| format!("{:>8.3}", part.median)).collect();
            output::line(format_args!("{:<25} {}", workload.name, columns.join(" ")))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
