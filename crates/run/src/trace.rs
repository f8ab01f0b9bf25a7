//! [`Trace`]: runs as a file for trace viewers.

use std::fmt;

use serde_json::{Value, json};
use thalweg_plan::{BufferId, Plan};

use crate::profile::{Profile, ProfiledCall};

/// Runs in the form of Chrome's trace viewer, the *Trace Event Format*: one row for each run, one bar for each call, from
/// the beginning of its run; kernel, costs and buffers beside it. Displays as the JSON of such a file.
///
/// ```
/// use thalweg_run::graph::{DType, random_normal};
/// use thalweg_run::trace::Trace;
/// use thalweg_run::{Session, feeds};
///
/// let x = random_normal([64, 64], DType::F32);
/// let session = Session::cpu();
/// let mut trace = Trace::new();
/// for name in ["first", "second"] {
///     trace.add(name, &session.profile(x.matmul(&x).sum(), feeds! {})?.1);
/// }
/// assert!(trace.to_string().starts_with(r#"{"traceEvents":["#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Trace {
    events: Vec<Value>,
    rows: usize,
}

impl Trace {
    /// A trace of nothing.
    pub fn new() -> Trace {
        Trace::default()
    }

    /// Adds a run as a row of this name. Its calls follow each other without gaps: a profile has no others.
    pub fn add(&mut self, name: &str, profile: &Profile) {
        self.rows += 1;
        let (row, microseconds) = (self.rows, |time: std::time::Duration| time.as_secs_f64() * 1e6);
        self.events.push(json!({ "name": "thread_name", "ph": "M", "pid": 1, "tid": row, "args": { "name": name } }));
        let mut begin = 0.0;
        for call in profile.calls() {
            let took = microseconds(call.time);
            self.events.push(json!({
                "name": call.ops, "ph": "X", "pid": 1, "tid": row, "ts": begin, "dur": took,
                "args": arguments(&profile.plan, &call),
            }));
            begin += took;
        }
    }
}

/// What a viewer shows of a call that is selected.
fn arguments(plan: &Plan, call: &ProfiledCall<'_>) -> Value {
    let buffers = |ids: &[BufferId]| -> Vec<String> { ids.iter().map(|&id| format!("{id} {}", plan[id])).collect() };
    let mut arguments = json!({
        "kernel": call.kernel,
        "line": call.location,
        "flops": call.cost.flops,
        "bytes": call.cost.bytes,
        "GFLOP/s": call.gflops(),
        "GB/s": call.gigabytes_per_second(),
        "reads": buffers(&call.call.kernel.reads()),
        "writes": buffers(&call.call.kernel.writes()),
    });
    if let Some(share) = call.limit_share() {
        arguments["share of the limit"] = json!(share);
    }
    arguments
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An event a line, so that files can be compared.
        f.write_str("{\"traceEvents\":[")?;
        for (i, event) in self.events.iter().enumerate() {
            write!(f, "{}\n{event}", if i == 0 { "" } else { "," })?;
        }
        f.write_str("\n]}\n")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use thalweg_kernels::limits::Limits;
    use thalweg_plan::graph::{DType, placeholder};

    use super::*;
    use crate::{Session, feeds};

    #[test]
    fn a_trace_is_json_with_a_bar_for_each_call() {
        let x = placeholder("x", DType::F32, ["n", "k"]).named("a \"quoted\" name");
        let y = x.matmul(&x.t()).named("an \"odd\"\n\\name").argmax(-1);
        let session = Session::builder().threads(1).build().unwrap();
        let (_, profile) = session.profile(&y, feeds! { x => [[1.0f32, 2.0], [3.0, 4.0]] }).unwrap();
        let mut profile = profile.against(Limits { multiply_add: 100.0, triad: 10.0 });
        profile.times.fill(Duration::from_nanos(1500));
        let mut trace = Trace::new();
        trace.add("first", &profile);
        trace.add("second", &profile);

        let read: Value = serde_json::from_str(&trace.to_string()).unwrap();
        let events = read["traceEvents"].as_array().unwrap();
        let calls = profile.times.len();
        assert!(calls >= 2);
        assert_eq!(events.len(), 2 * (calls + 1));
        for (i, event) in events.iter().enumerate() {
            assert_eq!(event["tid"], i / (calls + 1) + 1);
            let Some(call) = (i % (calls + 1)).checked_sub(1) else {
                assert_eq!((&event["ph"], &event["name"]), (&json!("M"), &json!("thread_name")));
                continue;
            };
            assert_eq!((&event["ph"], &event["dur"]), (&json!("X"), &json!(1.5)));
            assert_eq!(event["ts"], 1.5 * call as f64);
            assert_eq!(event["name"], profile.plan.calls[call].ops());
            assert_eq!(event["args"]["kernel"], profile.kernels[call].as_str());
            assert_eq!(event["args"]["flops"], profile.plan.cost(&profile.plan.calls[call]).flops);
            assert!(event["args"]["reads"][0].as_str().is_some_and(|buffer| buffer.starts_with('b')), "{event}");
            assert!(event["args"]["share of the limit"].is_f64(), "{event}");
        }
        assert!(events.iter().any(|event| event["name"].as_str().unwrap().contains("an \"odd\"\n\\name")));
        let one: Value = serde_json::from_str(&profile.chrome_trace()).unwrap();
        assert_eq!(one["traceEvents"].as_array().unwrap().len(), calls + 1);
    }

    #[test]
    fn a_trace_of_nothing_is_json_too() {
        let read: Value = serde_json::from_str(&Trace::new().to_string()).unwrap();
        assert_eq!(read, json!({ "traceEvents": [] }));
    }
}
