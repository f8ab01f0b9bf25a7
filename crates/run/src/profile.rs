//! [`Profile`]: where the time of a run goes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thalweg_plan::Plan;

/// The time that each call of a plan took in one run. Displays as a table, the longest first.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The plan that ran.
    pub plan: Arc<Plan>,
    /// How long each of its calls took, in order.
    pub times: Vec<Duration>,
}

impl Profile {
    /// The median of each call over several runs of one plan; none of none.
    pub fn median(profiles: &[Profile]) -> Option<Profile> {
        let plan = Arc::clone(&profiles.first()?.plan);
        let median = |call: usize| {
            let mut times: Vec<Duration> = profiles.iter().map(|profile| profile.times[call]).collect();
            times.sort();
            times[times.len() / 2]
        };
        Some(Profile { times: (0..plan.calls.len()).map(median).collect(), plan })
    }

    /// How long all calls took together.
    pub fn total(&self) -> Duration {
        self.times.iter().sum()
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total().as_secs_f64();
        let mut order: Vec<usize> = (0..self.times.len()).collect();
        order.sort_by_key(|&call| std::cmp::Reverse(self.times[call]));
        writeln!(f, "{:>10}  {:>6}  {:>8}  {:>6}  call", "µs", "share", "GFLOP/s", "GB/s")?;
        for call in order {
            let seconds = self.times[call].as_secs_f64();
            let cost = self.plan.cost(&self.plan.calls[call]);
            let rate = |amount: u64| if seconds > 0.0 { amount as f64 / seconds / 1e9 } else { 0.0 };
            let share = if total > 0.0 { 100.0 * seconds / total } else { 0.0 };
            writeln!(
                f,
                "{:>10.1}  {share:>5.1}%  {:>8.1}  {:>6.1}  {}",
                seconds * 1e6,
                rate(cost.flops),
                rate(cost.bytes),
                self.plan.calls[call].label
            )?;
        }
        writeln!(f, "{:>10.1}  together", total * 1e6)
    }
}
