//! [`Profile`]: where the time of a run goes.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thalweg_kernels::limits::Limits;
use thalweg_plan::{Call, Cost, Plan};

use crate::trace::Trace;

/// What each call of a plan did in one run. Displays as a table of at most 120 columns, the longest call first.
///
/// ```
/// use thalweg_run::graph::{DType, random_normal};
/// use thalweg_run::{Session, feeds};
///
/// let x = random_normal([64, 64], DType::F32);
/// let session = Session::cpu();
/// let (_, profile) = session.profile(x.matmul(&x).sum(), feeds! {})?;
/// let profile = profile.against(session.limits());
/// println!("{profile}");
/// let product = profile.calls().find(|call| call.ops.starts_with("matmul")).expect("there is a product");
/// assert!(product.kernel.starts_with("matmul"));
/// assert!(product.cost.flops >= 2 * 64 * 64 * 64);
/// assert!(product.limit_share() > Some(0.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Profile {
    /// The plan that ran.
    pub plan: Arc<Plan>,
    /// Which kernel did each of its calls: `matmul 14x32 avx512, B packed, 16 chunks`.
    pub kernels: Vec<String>,
    /// How long each of its calls took, in order.
    pub times: Vec<Duration>,
    /// What the machine can do at most, if that is known.
    pub limits: Option<Limits>,
}

/// A call of a [`Profile`].
#[derive(Clone, Copy, Debug)]
pub struct ProfiledCall<'a> {
    /// The call itself.
    pub call: &'a Call,
    /// The ops it stands for: `matmul+add+relu`.
    pub ops: &'a str,
    /// Which kernel did it.
    pub kernel: &'a str,
    /// The user's line that made the last of the ops, if it is known: `src/main.rs:12:5`.
    pub location: Option<&'a str>,
    /// How long it took.
    pub time: Duration,
    /// What it did and moved.
    pub cost: Cost,
    /// What the machine can do at most, if that is known.
    pub limits: Option<Limits>,
}

impl ProfiledCall<'_> {
    /// GFLOP/s; 0 if no time went by.
    pub fn gflops(&self) -> f64 {
        rate(self.cost.flops, self.time)
    }

    /// GB/s, with every buffer counted once, wherever it was; 0 if no time went by.
    pub fn gigabytes_per_second(&self) -> f64 {
        rate(self.cost.bytes, self.time)
    }

    /// The share of the machine's limit, as [`Limits::share`] has it; none if the limits are not known.
    pub fn limit_share(&self) -> Option<f64> {
        self.limits.map(|limits| limits.share(self.cost.flops, self.cost.bytes, self.time))
    }
}

/// Billions a second.
fn rate(amount: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { amount as f64 / time.as_secs_f64() / 1e9 }
}

impl Profile {
    /// The median of each call over several runs of one plan; none of none.
    pub fn median(profiles: &[Profile]) -> Option<Profile> {
        let first = profiles.first()?;
        let median = |call: usize| {
            let mut times: Vec<Duration> = profiles.iter().map(|profile| profile.times[call]).collect();
            times.sort();
            times[times.len() / 2]
        };
        Some(Profile { times: (0..first.plan.calls.len()).map(median).collect(), ..first.clone() })
    }

    /// The same, beside what the machine can do at most ([`Session::limits`](crate::Session::limits)).
    pub fn against(self, limits: Limits) -> Profile {
        Profile { limits: Some(limits), ..self }
    }

    /// How long all calls took together.
    pub fn total(&self) -> Duration {
        self.times.iter().sum()
    }

    /// The calls in the order in which they ran.
    pub fn calls(&self) -> impl Iterator<Item = ProfiledCall<'_>> {
        let parts = self.plan.calls.iter().zip(&self.kernels).zip(&self.times);
        parts.map(|((call, kernel), &time)| ProfiledCall {
            call,
            ops: call.ops(),
            kernel,
            location: call.location(),
            time,
            cost: self.plan.cost(call),
            limits: self.limits,
        })
    }

    /// The run as a file for Chrome's trace viewer (`chrome://tracing`) and the many that read its form. [`Trace`] puts
    /// several runs into one.
    ///
    /// ```
    /// use thalweg_run::graph::{DType, random_normal};
    /// use thalweg_run::{Session, feeds};
    ///
    /// let x = random_normal([64, 64], DType::F32);
    /// let (_, profile) = Session::cpu().profile(x.matmul(&x).sum(), feeds! {})?;
    /// let path = std::env::temp_dir().join("thalweg-trace-example.json");
    /// std::fs::write(&path, profile.chrome_trace())?;
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn chrome_trace(&self) -> String {
        let mut trace = Trace::new();
        trace.add("run", self);
        trace.to_string()
    }
}

/// Columns of the table, at most.
const WIDTH: usize = 120;
/// Columns of the numbers.
const NUMBERS: usize = 39;
/// Columns between the texts.
const GAP: usize = 2;
/// The most columns of a kernel.
const KERNEL: usize = 44;
/// The most columns of a user's line.
const LOCATION: usize = 17;

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total().as_secs_f64();
        let mut calls: Vec<ProfiledCall<'_>> = self.calls().collect();
        calls.sort_by_key(|call| Reverse(call.time));
        let width = |most: usize, text: &dyn Fn(&ProfiledCall<'_>) -> usize| {
            calls.iter().map(text).max().unwrap_or(0).clamp(6, most)
        };
        let kernel_width = width(KERNEL, &|call| call.kernel.chars().count());
        let location_width = width(LOCATION, &|call| file_and_line(call.location).chars().count());
        let rest = WIDTH - NUMBERS - kernel_width - location_width - 3 * GAP;
        let ops_width = width(rest, &|call| call.ops.chars().count());

        let limit = if self.limits.is_some() { "limit" } else { "" };
        let numbers = format!("{:>10} {:>6} {:>7} {:>6} {limit:>5}", "µs", "share", "GFLOP/s", "GB/s");
        writeln!(f, "{numbers}  {:<ops_width$}  {:<kernel_width$}  line", "ops", "kernel")?;
        for call in calls {
            let seconds = call.time.as_secs_f64();
            let share = if total > 0.0 { 100.0 * seconds / total } else { 0.0 };
            let limit = call.limit_share().map_or(String::new(), |share| format!("{:.0}%", 100.0 * share));
            let (gflops, gigabytes) = (call.gflops(), call.gigabytes_per_second());
            let numbers = format!("{:>10.1} {share:>5.1}% {gflops:>7.1} {gigabytes:>6.1} {limit:>5}", seconds * 1e6);
            let (ops, kernel) = (cut(call.ops, ops_width), cut(call.kernel, kernel_width));
            let location = cut(file_and_line(call.location), location_width);
            writeln!(f, "{numbers}  {ops:<ops_width$}  {kernel:<kernel_width$}  {location}")?;
        }
        writeln!(f, "{:>10.1}  together", total * 1e6)
    }
}

/// `main.rs:12` of `src/main.rs:12:5`.
fn file_and_line(location: Option<&str>) -> &str {
    let location = location.unwrap_or("");
    let name = location.rsplit(['/', '\\']).next().unwrap_or(location);
    // Two colons: the line and the column.
    match name.rsplit_once(':') {
        Some((line, _)) if line.contains(':') => line,
        _ => name,
    }
}

/// As much of the text as fits.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use thalweg_plan::graph::{DType, placeholder};

    use super::*;
    use crate::{Session, feeds};

    /// A profile of a product, something over its rows, and a gather.
    fn profile() -> Profile {
        let x = placeholder("x", DType::F32, ["n", "k"]);
        let rows = placeholder("rows", DType::I64, ["m"]);
        let y = (x.matmul(&x.t()) * 0.5).tanh().softmax(-1).gather(&rows, 0).sum();
        let fed = feeds! { x => [[1.0f32, 2.0, 3.0], [0.5, 0.25, 0.125]], rows => [0i64, 1, 1] };
        Session::builder().threads(1).build().unwrap().profile(&y, fed).unwrap().1
    }

    #[test]
    fn every_call_knows_its_kernel_and_its_line() {
        let profile = profile();
        assert_eq!(profile.calls().count(), profile.plan.calls.len());
        for call in profile.calls() {
            let what = ["matmul ", "matmul+tile ", "tile ", "copy, ", "gather", "check of indices", "fill"];
            assert!(what.iter().any(|what| call.kernel.starts_with(what)), "{call:?}");
            assert!(call.location.is_some_and(|line| line.contains("profile.rs:")), "{call:?}");
            assert_eq!(call.limit_share(), None);
        }
        assert!(profile.calls().any(|call| call.ops.contains("matmul") && call.kernel.starts_with("matmul")));
        assert!(profile.calls().any(|call| call.kernel == "gather, 1 chunk"), "{profile}");
    }

    #[test]
    fn the_table_is_sorted_and_fits_the_terminal() {
        let mut profile = profile().against(Limits { multiply_add: 1.0, triad: 1.0 });
        for (i, time) in profile.times.iter_mut().enumerate() {
            *time = Duration::from_nanos(100 + 7 * i as u64 % 11);
        }
        profile.times[0] = Duration::from_millis(10_000);
        profile.kernels[0] = "a kernel that has very much to say about itself, for once".into();
        let table = profile.to_string();
        assert!(table.lines().all(|line| line.chars().count() <= WIDTH), "{table}");
        assert!(table.contains(" limit ") && table.contains("about it…") && table.contains("profile.rs:"), "{table}");
        let times: Vec<f64> = table
            .lines()
            .skip(1)
            .take(profile.times.len())
            .map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
            .collect();
        assert!(times.is_sorted_by(|a, b| a >= b) && times[0] == 10_000_000.0, "{table}");
        assert!(!profile.calls().any(|call| call.limit_share() == Some(0.0) && call.cost.bytes > 0), "{table}");
    }

    #[test]
    fn a_share_of_the_limit_is_written_as_such() {
        let mut profile = profile().against(Limits { multiply_add: 1e-3, triad: 1e6 });
        let call = profile.calls().position(|call| call.ops.contains("matmul")).unwrap();
        let flops = profile.calls().nth(call).unwrap().cost.flops;
        // Half of 0.001 GFLOP/s.
        profile.times[call] = Duration::from_nanos(flops * 2000);
        let share = profile.calls().nth(call).unwrap().limit_share().unwrap();
        assert!((share - 0.5).abs() < 1e-6, "{share}");
        assert!(profile.to_string().contains("  50%  "), "{profile}");
    }

    #[test]
    fn the_median_is_that_of_each_call() {
        let profile = profile();
        let runs = [3, 1, 2]
            .map(|time| Profile { times: vec![Duration::from_micros(time); profile.times.len()], ..profile.clone() });
        let median = Profile::median(&runs).unwrap();
        assert!(median.times.iter().all(|&time| time == Duration::from_micros(2)));
        assert_eq!(median.kernels, profile.kernels);
        assert!(Profile::median(&[]).is_none());
    }

    #[test]
    fn lines_are_told_by_file_and_number() {
        assert_eq!(file_and_line(Some("crates/x/src/main.rs:12:5")), "main.rs:12");
        assert_eq!(file_and_line(Some("main.rs:12")), "main.rs:12");
        assert_eq!(file_and_line(None), "");
    }
}
