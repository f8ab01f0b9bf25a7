//! `thalweg bench`: fixed workloads, timed as the programs that measure other frameworks time them.
//!
//! A call is one training step, one operation or a text that is written. Batches come from a pool of eight made before
//! the clock starts; the figure is the median of single calls after a warm-up. The workloads and the procedure are described
//! in `WORKLOADS.md` of the benchmark suite; the output has the form given there, one JSON object a line.
//! What the machine can do at most is measured first and stands above the figures.

mod cold_start;
mod compile;
mod measure;
mod memory;
mod operations;
mod peers;
mod profile;
mod round_trip;
mod rounds;
mod sequences;
mod steps;
mod transformer;
mod vision;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use thalweg::prelude::Session;
use thalweg::run::kernels::cpu::Isa;
use thalweg::run::kernels::limits::Limits;
use thalweg::run::{CompileTimes, Profile};
use thalweg_zoo::ZooError;

use self::measure::Figures;
use crate::choices::threads;
use crate::output;

/// What `thalweg bench` takes.
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct BenchArgs {
    /// Workloads by name or by a prefix that ends at an underscore, with commas between (W1,W12_sgemm)
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Threads inside one operation
    #[arg(long, default_value_t = 2, value_parser = threads)]
    threads: u16,
    /// Seconds for which each workload is measured
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    seconds: f64,
    /// A file of such lines of other frameworks; the ratio of each to ours is printed
    #[arg(long, value_name = "FILE")]
    peers: Option<PathBuf>,
    /// A command that prints such lines: it takes turns with ours, round by round; may be given several times
    #[arg(long, value_name = "COMMAND")]
    against: Vec<String>,
    /// The median of so many rounds counts
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Show where the time of each workload goes, kernel by kernel, beside what the machine can do at most
    #[arg(long, conflicts_with_all = ["peers", "against", "rounds"])]
    profile: bool,
    /// Write the profiles into a file for trace viewers (chrome://tracing) as well
    #[arg(long, value_name = "FILE", requires = "profile")]
    trace: Option<PathBuf>,
    /// Show how long it takes to compile each workload, part by part, the median of 20 times
    #[arg(long, conflicts_with_all = ["peers", "against", "rounds", "profile"])]
    compile: bool,
    /// JSON lines in place of a table
    #[arg(long)]
    json: bool,
    /// Do the first training step of W1 and leave; the cold start runs this program with it
    #[arg(long, hide = true)]
    cold_child: bool,
    /// Make some steps of a workload, say how much memory they took, and leave
    #[arg(long, hide = true, value_name = "WORKLOAD")]
    memory_child: Option<String>,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds > 0.0 => Ok(seconds),
        _ => Err("give a number of seconds above 0".into()),
    }
}

/// What the time of a call is named in the lines for programs.
const CALL_TIME: &str = "call_time";

/// Something to time: makes the call, which is then timed again and again.
type Make = fn(threads: usize) -> anyhow::Result<Box<dyn Call>>;

/// A call to be timed.
trait Call {
    /// Does it once.
    fn run(&mut self) -> anyhow::Result<()>;
    /// Does it once and says where the time went.
    fn profile(&mut self) -> anyhow::Result<Profile>;
    /// Compiles it anew and says how long that took.
    fn compile(&self) -> anyhow::Result<CompileTimes>;
}

/// A workload: its name, the work of a call where a rate is given, and how its call is made.
struct Workload {
    name: &'static str,
    work: Option<Work>,
    make: Make,
}

/// What one call does, for the rate.
#[derive(Clone, Copy)]
enum Work {
    Flop(f64),
    Bytes(f64),
    /// Of a text that is written.
    Tokens(f64),
}

/// Runs the workloads that are asked for.
pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let threads = usize::from(args.threads);
    if args.cold_child {
        cold_start::child(threads)?;
        return Ok(ExitCode::SUCCESS);
    }
    let families =
        [steps::workloads, vision::workloads, sequences::workloads, transformer::workloads, operations::workloads];
    let workloads: Vec<Workload> = families.iter().flat_map(|family| family()).collect();
    if let Some(name) = &args.memory_child {
        let workload = workloads.iter().find(|workload| workload.name == name).context("no such workload")?;
        memory::child(workload, threads)?;
        return Ok(ExitCode::SUCCESS);
    }
    let names: Vec<&str> = workloads.iter().map(|workload| workload.name).chain([cold_start::NAME]).collect();
    for wanted in &args.only {
        if !names.iter().any(|name| matches(name, wanted)) {
            return Err(ZooError::unknown("workload", wanted, names).into());
        }
    }
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|wanted| matches(name, wanted));
    let chosen = workloads.iter().filter(|workload| wanted(workload.name));
    if args.profile {
        return profile::report(chosen, args);
    }
    if args.compile {
        return compile::report(chosen, threads, args.json);
    }
    let peers = args.peers.as_deref().map(peers::Peers::read).transpose()?;
    if args.rounds > 1 || !args.against.is_empty() {
        let chosen: Vec<&Workload> = chosen.collect();
        return rounds::report(&chosen, wanted(cold_start::NAME), args, peers);
    }
    let limits = measure_limits(threads, args.seconds)?;
    let mut report = Report { json: args.json, peers, threads, limits };
    report.begin()?;
    for workload in chosen {
        let mut call = (workload.make)(threads)?;
        let figures = measure::measure(&mut || call.run(), args.seconds)?;
        report.call(workload, &figures)?;
        if let Some(figures) = memory::measure(workload, threads)? {
            report.line(workload.name, memory::METRIC, memory::UNIT, &figures, None)?;
        }
    }
    if wanted(cold_start::NAME) {
        for (metric, unit, figures) in cold_start::measure(threads)? {
            report.line(cold_start::NAME, metric, unit, &figures, None)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the threads of a session can do at most, measured when the machine is as quiet as for workloads of `seconds`.
fn measure_limits(threads: usize, seconds: f64) -> anyhow::Result<Limits> {
    let session = Session::builder().threads(threads).build()?;
    measure::wait_until_quiet(measure::patience(seconds));
    Ok(session.limits())
}

/// Says what the machine can do at most: a line for people, or lines for programs in the form of the suite's own program
/// that measures it.
fn heading(limits: &Limits, threads: usize, json: bool) -> anyhow::Result<()> {
    let (isa, version) = (Isa::best(), env!("CARGO_PKG_VERSION"));
    let Limits { multiply_add, triad } = *limits;
    if !json {
        let limits = format!("{multiply_add:.1} GFLOP/s in registers, {triad:.1} GB/s in memory");
        return output::line(format_args!("Thalweg {version} on {threads} threads ({isa}); the limits: {limits}"));
    }
    let triad_name = match isa {
        Isa::Avx2 | Isa::Avx512 | Isa::Amx => "triad_nontemporal",
        Isa::Portable | Isa::Neon => "triad",
    };
    let line = |mode: &str, name: &str, rate: f64, unit: &str| {
        output::line(json!({
            "framework": "machine", "mode": mode, "workload": name, "threads": threads, "rate": round(rate),
            "rate_unit": unit, "isa": isa.name(),
        }))
    };
    line("registers", "fma_peak", multiply_add, "GFLOP/s")?;
    line("huge_pages", triad_name, triad, "GB/s")
}

/// Whether `wanted` names the workload or a prefix of it that ends at an underscore.
fn matches(name: &str, wanted: &str) -> bool {
    name.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

/// Where figures go: a table for people, or lines for programs.
struct Report {
    json: bool,
    peers: Option<peers::Peers>,
    threads: usize,
    limits: Limits,
}

/// Work by the time it took.
struct Rate {
    value: f64,
    unit: &'static str,
    /// The share of the machine's limit, where there is one.
    limit_share: Option<f64>,
}

impl Report {
    /// Says what the machine can do at most, and what the columns are.
    fn begin(&self) -> anyhow::Result<()> {
        heading(&self.limits, self.threads, self.json)?;
        if self.json {
            return Ok(());
        }
        let ratio = if self.peers.is_some() { "   peer/ours" } else { "" };
        let columns = ["median", "min", "p90"].map(|name| format!("{name:>12}")).join(" ");
        output::line(format_args!("{:<25} {columns}  {:>16}  {:>5}{ratio}", "workload", "rate", "limit"))
    }

    fn call(&mut self, workload: &Workload, figures: &Figures) -> anyhow::Result<()> {
        let rate = workload.work.map(|work| {
            let (amount, unit, limit) = match work {
                Work::Flop(flop) => (flop * 1e-9, "GFLOP/s", Some(self.limits.multiply_add)),
                Work::Bytes(bytes) => (bytes * 1e-9, "GB/s", Some(self.limits.triad)),
                Work::Tokens(tokens) => (tokens, "tokens/s", None),
            };
            let value = amount / (figures.median * 1e-6);
            Rate { value, unit, limit_share: limit.map(|limit| value / limit) }
        });
        self.line(workload.name, CALL_TIME, "us", figures, rate)
    }

    fn line(
        &mut self,
        name: &str,
        metric: &str,
        unit: &str,
        figures: &Figures,
        rate: Option<Rate>,
    ) -> anyhow::Result<()> {
        let peers = self.peers.as_ref().map_or_else(Vec::new, |peers| peers.of(name, metric));
        if self.json {
            let mut record = json!({
                "framework": "thalweg", "version": env!("CARGO_PKG_VERSION"), "mode": "plan", "workload": name,
                "metric": metric, "median": round(figures.median), "min": round(figures.min), "p90": round(figures.p90),
                "unit": unit, "samples": figures.samples, "threads": self.threads,
            });
            if let Some(call) = &figures.call {
                record["slow_fraction"] = json!(round(call.slow_fraction));
                record["foreign_cpu"] = json!(round(call.foreign_cpu));
                record["first_call_ms"] = json!(round(call.first_call_ms));
                if let Some(trip) = call.round_trip_ns {
                    record["round_trip_ns"] = json!(round(trip));
                }
            }
            if let Some(Rate { value, unit, limit_share }) = rate {
                record["rate"] = json!(round(value));
                record["rate_unit"] = Value::from(unit);
                if let Some(limit_share) = limit_share {
                    record["limit_share"] = json!(round(limit_share));
                }
            }
            if let Some(best) = peers.first() {
                record["ratio"] = json!(round(best.median / figures.median));
                let each = peers.iter().map(|peer| (peer.who.clone(), json!(round(peer.median / figures.median))));
                record["ratios"] = Value::Object(each.collect());
            }
            return output::line(record);
        }
        let number = |x: f64| if x >= 1000.0 { format!("{x:.0} {unit}") } else { format!("{x:.3} {unit}") };
        let (rate, limit) = rate.map_or_else(Default::default, |Rate { value, unit, limit_share }| {
            let limit = limit_share.map_or(String::new(), |share| format!("{:.0}%", 100.0 * share));
            (format!("{value:.1} {unit}"), limit)
        });
        let label = if metric == CALL_TIME { name.to_string() } else { format!("{name} {metric}") };
        let ratios: Vec<String> =
            peers.iter().map(|peer| format!("{:.2} {}", peer.median / figures.median, peer.who)).collect();
        let ratios = if ratios.is_empty() { String::new() } else { format!("   {}", ratios.join(", ")) };
        let (median, min, p90) = (number(figures.median), number(figures.min), number(figures.p90));
        output::line(format_args!("{label:<25} {median:>12} {min:>12} {p90:>12}  {rate:>16}  {limit:>5}{ratios}"))
    }
}

/// Four digits after the point: what the clocks can tell.
fn round(x: f64) -> f64 {
    (x * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn prefixes_end_at_an_underscore() {
        assert!(matches("W1_mlp_mnist", "W1"));
        assert!(!matches("W10_vae_mnist", "W1"));
        assert!(matches("W12_sgemm_256", "W12_sgemm"));
        assert!(matches("W12_sgemm_256", "W12_sgemm_256"));
        assert!(!matches("W12_sgemm_256", "W12_sg"));
    }
}
