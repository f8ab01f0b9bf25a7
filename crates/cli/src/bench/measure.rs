//! The procedure: first call, warm-up, single calls, the quietest of up to three attempts.

use std::time::{Duration, Instant};

use super::round_trip;

const WARMUP_CALLS: usize = 5;
const WARMUP: Duration = Duration::from_secs(1);
const MIN_SAMPLES: usize = 10;
const MAX_SAMPLES: usize = 200_000;
/// A call slower than this times the median counts as a slow one.
const SLOW_FACTOR: f64 = 1.2;
/// Share of one core that other processes may use before a measurement is repeated.
const FOREIGN_CPU_LIMIT: f64 = 0.05;
const ATTEMPTS: usize = 3;
/// The longest to wait for other processes to fall silent.
pub(super) const QUIET_PATIENCE: Duration = Duration::from_secs(20);
/// Short measurements are not worth a long wait: at most so many times what they take.
const QUIET_FACTOR: f64 = 7.0;

/// The figures of a workload.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) p90: f64,
    pub(super) samples: usize,
    pub(super) call: Option<CallFigures>,
}

/// What only single calls have.
#[derive(Clone, Debug)]
pub(super) struct CallFigures {
    pub(super) slow_fraction: f64,
    pub(super) foreign_cpu: f64,
    pub(super) first_call_ms: f64,
    /// From thread to thread and back, right after the calls.
    pub(super) round_trip_ns: Option<f64>,
}

impl Figures {
    /// Of these numbers, at least one.
    pub(super) fn of(mut samples: Vec<f64>) -> Figures {
        samples.sort_by(f64::total_cmp);
        Figures {
            median: quantile(&samples, 0.5),
            min: samples[0],
            p90: quantile(&samples, 0.9),
            samples: samples.len(),
            call: None,
        }
    }

    /// Of several rounds, at least one: the medians of their figures.
    pub(super) fn of_rounds(rounds: Vec<Figures>) -> Figures {
        let across = |figure: fn(&Figures) -> f64| median(rounds.iter().map(figure).collect());
        let calls: Vec<&CallFigures> = rounds.iter().filter_map(|round| round.call.as_ref()).collect();
        let trips: Vec<f64> = calls.iter().filter_map(|call| call.round_trip_ns).collect();
        let across_calls = |figure: fn(&CallFigures) -> f64| median(calls.iter().map(|&call| figure(call)).collect());
        Figures {
            median: across(|round| round.median),
            min: across(|round| round.min),
            p90: across(|round| round.p90),
            samples: rounds.iter().map(|round| round.samples).sum(),
            call: (!calls.is_empty()).then(|| CallFigures {
                slow_fraction: across_calls(|call| call.slow_fraction),
                foreign_cpu: across_calls(|call| call.foreign_cpu),
                first_call_ms: across_calls(|call| call.first_call_ms),
                round_trip_ns: (!trips.is_empty()).then(|| median(trips)),
            }),
        }
    }
}

/// The median of these numbers, at least one.
pub(super) fn median(numbers: Vec<f64>) -> f64 {
    Figures::of(numbers).median
}

/// The quantile of sorted numbers, linear between neighbours.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let position = q * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[position.floor() as usize], sorted[position.ceil() as usize]);
    low + (high - low) * position.fract()
}

/// Warms `call` up, then times it, in microseconds.
pub(super) fn measure(call: &mut dyn FnMut() -> anyhow::Result<()>, seconds: f64) -> anyhow::Result<Figures> {
    let begin = Instant::now();
    call()?;
    let first_call_ms = begin.elapsed().as_secs_f64() * 1e3;
    let begin = Instant::now();
    let mut calls = 1;
    while calls < WARMUP_CALLS || begin.elapsed() < WARMUP {
        call()?;
        calls += 1;
    }
    let mut best: Option<Attempt> = None;
    for _ in 0..ATTEMPTS {
        wait_until_quiet(patience(seconds));
        call()?;
        let attempt = sample(call, seconds)?;
        let is_quiet = attempt.foreign_cpu <= FOREIGN_CPU_LIMIT;
        if best.as_ref().is_none_or(|best| attempt.foreign_cpu < best.foreign_cpu) {
            best = Some(attempt);
        }
        if is_quiet {
            break;
        }
    }
    let Attempt { samples, foreign_cpu, round_trip_ns } = best.expect("there is an attempt");
    let slow = |median: f64| samples.iter().filter(|&&x| x > SLOW_FACTOR * median).count() as f64;
    let figures = Figures::of(samples.clone());
    let slow_fraction = slow(figures.median) / samples.len() as f64;
    Ok(Figures { call: Some(CallFigures { slow_fraction, foreign_cpu, first_call_ms, round_trip_ns }), ..figures })
}

/// Single calls, and what else went on.
struct Attempt {
    /// Their times in microseconds.
    samples: Vec<f64>,
    /// The share of one core that others used meanwhile.
    foreign_cpu: f64,
    /// From thread to thread and back, right after.
    round_trip_ns: Option<f64>,
}

fn sample(call: &mut dyn FnMut() -> anyhow::Result<()>, seconds: f64) -> anyhow::Result<Attempt> {
    let mut samples = Vec::new();
    let foreign = foreign_cpu_seconds();
    let begin = Instant::now();
    while samples.len() < MIN_SAMPLES || (begin.elapsed().as_secs_f64() < seconds && samples.len() < MAX_SAMPLES) {
        let start = Instant::now();
        call()?;
        samples.push(start.elapsed().as_secs_f64() * 1e6);
    }
    let share = (foreign_cpu_seconds() - foreign) / begin.elapsed().as_secs_f64();
    Ok(Attempt { samples, foreign_cpu: share.max(0.0), round_trip_ns: round_trip::nanoseconds() })
}

/// How long to wait for quiet before a measurement of so many seconds.
pub(super) fn patience(seconds: f64) -> Duration {
    Duration::from_secs_f64((QUIET_FACTOR * seconds).min(QUIET_PATIENCE.as_secs_f64()))
}

/// Waits, no longer than `patience`, until the machine is idle apart from this process.
pub(super) fn wait_until_quiet(patience: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < patience {
        let before = foreign_cpu_seconds();
        std::thread::sleep(Duration::from_millis(500));
        if foreign_cpu_seconds() - before <= 0.02 {
            return;
        }
    }
}

/// CPU time that everything but this process has used since the machine started; 0 where the system does not tell.
fn foreign_cpu_seconds() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let read = || {
        let stat = std::fs::read_to_string("/proc/stat").ok()?;
        let fields: Vec<f64> = stat.lines().next()?.split_whitespace().skip(1).filter_map(|x| x.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal
        let busy: f64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|&field| fields.get(field)).sum();
        let own = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name in parentheses may hold spaces; the fields after it are counted from `state`.
        let own: Vec<&str> = own.rsplit_once(')')?.1.split_whitespace().collect();
        let own = own.get(11)?.parse::<f64>().ok()? + own.get(12)?.parse::<f64>().ok()?;
        Some((busy - own) / TICKS_PER_SECOND)
    };
    read().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_known_numbers() {
        let figures = Figures::of((1..=11).map(f64::from).collect());
        assert_eq!((figures.median, figures.min, figures.p90, figures.samples), (6.0, 1.0, 10.0, 11));
    }

    #[test]
    fn short_measurements_do_not_wait_long() {
        assert_eq!(patience(0.5), Duration::from_millis(3500));
        assert_eq!(patience(3.0), QUIET_PATIENCE);
        assert_eq!(patience(1e300), QUIET_PATIENCE);
    }
}
