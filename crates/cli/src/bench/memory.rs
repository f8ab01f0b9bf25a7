//! The peak memory of training steps: of a process that makes some steps of one workload and nothing else.

use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::Workload;
use super::measure::Figures;

/// The workloads whose memory is told.
const NAMES: [&str; 2] = ["W3_cnn_cifar", "W4_resnet18_cifar"];

/// What the figure is called.
pub(super) const METRIC: &str = "peak_rss";
pub(super) const UNIT: &str = "MiB";

/// Steps of the process: the first ones find all memory that later ones use.
const STEPS: usize = 5;

/// The child's work: some steps of a workload, and how much memory they took.
pub(super) fn child(workload: &Workload, threads: usize) -> anyhow::Result<()> {
    let mut call = (workload.make)(threads)?;
    for _ in 0..STEPS {
        call.run()?;
    }
    crate::output::line(peak_rss_mib().unwrap_or(f64::NAN))
}

/// Peak memory of a fresh process, where it is to be told and the system does.
pub(super) fn measure(workload: &Workload, threads: usize) -> anyhow::Result<Option<Figures>> {
    if !NAMES.contains(&workload.name) {
        return Ok(None);
    }
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let output = Command::new(&program)
        .args(["bench", "--memory-child", workload.name, "--threads", &threads.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    ensure!(output.status.success(), "the process that measures the memory of {} failed", workload.name);
    let line = String::from_utf8_lossy(&output.stdout);
    let peak: f64 = line.trim().parse().with_context(|| format!("the child said {line:?}"))?;
    Ok((!peak.is_nan()).then(|| Figures::of(vec![peak])))
}

/// Peak resident memory of this process, where the system tells.
pub(super) fn peak_rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}
