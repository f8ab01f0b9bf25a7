//! `--profile`: where the time of the workloads goes, as tables, as lines for programs, as a file for trace viewers.

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;
use thalweg::run::Profile;
use thalweg::run::trace::Trace;

use super::{BenchArgs, Workload, heading, measure_limits, round};
use crate::output;

/// How long a workload runs before it is looked at, unless it is looked at for less.
const WARMUP: Duration = Duration::from_secs(1);

/// Profiles each workload for the time that `args` give and reports the median of each call over the runs.
pub(super) fn report<'a>(workloads: impl Iterator<Item = &'a Workload>, args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let threads = usize::from(args.threads);
    // Made before anything is measured: what cannot be written is refused at once.
    let cannot_write = |path: &std::path::Path| format!("cannot write {}", path.display());
    let file = args.trace.as_deref().map(|path| {
        let file = File::create(path).with_context(|| cannot_write(path))?;
        anyhow::Ok((path, file))
    });
    let file = file.transpose()?;
    let limits = measure_limits(threads, args.seconds)?;
    heading(&limits, threads, args.json)?;
    let mut trace = Trace::new();
    for workload in workloads {
        let mut call = (workload.make)(threads)?;
        let time = Duration::from_secs_f64(args.seconds);
        let begin = Instant::now();
        while begin.elapsed() < WARMUP.min(time) {
            call.run()?;
        }
        let begin = Instant::now();
        let mut profiles = vec![call.profile()?];
        while begin.elapsed() < time {
            profiles.push(call.profile()?);
        }
        let profile = Profile::median(&profiles).expect("there is at least one").against(limits);
        if args.json {
            lines(workload.name, &profile, profiles.len(), threads)?;
        } else {
            output::line(format_args!("\n{}, the median of {} runs", workload.name, profiles.len()))?;
            output::line(profile.to_string().trim_end())?;
        }
        trace.add(workload.name, &profile);
    }
    if let Some((path, mut file)) = file {
        write!(file, "{trace}").with_context(|| cannot_write(path))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A JSON object for each call, in the order in which they ran.
fn lines(workload: &str, profile: &Profile, runs: usize, threads: usize) -> anyhow::Result<()> {
    let total = profile.total().as_secs_f64();
    for (position, call) in profile.calls().enumerate() {
        let seconds = call.time.as_secs_f64();
        output::line(json!({
            "framework": "thalweg", "version": env!("CARGO_PKG_VERSION"), "mode": "profile", "workload": workload,
            "metric": "kernel_time", "median": round(seconds * 1e6), "unit": "us", "samples": runs, "threads": threads,
            "call": position, "ops": call.ops, "kernel": call.kernel, "line": call.location,
            "share": round(if total > 0.0 { seconds / total } else { 0.0 }),
            "flops": call.cost.flops, "bytes": call.cost.bytes, "gflop_per_second": round(call.gflops()),
            "gigabytes_per_second": round(call.gigabytes_per_second()), "limit_share": call.limit_share().map(round),
        }))?;
    }
    Ok(())
}
