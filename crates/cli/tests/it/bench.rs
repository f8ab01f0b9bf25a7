//! Timing: what is printed, not how fast it is.

use serde_json::Value;

use crate::support::{refuse, run, succeed};

#[test]
fn the_time_of_compiling_is_told_part_by_part() {
    let record = succeed(["bench", "--compile", "--only", "W11", "--json"]).json();
    let number = |name: &str| record[name].as_f64().unwrap_or_else(|| panic!("{name}: {record}"));
    assert_eq!((record["workload"].as_str(), record["samples"].as_u64()), (Some("W11_xor_tiny"), Some(20)));
    let parts: Vec<f64> = ["capture", "bind", "passes", "lower", "prepare"].map(number).into();
    assert!(parts.iter().all(|&part| part > 0.0 && part < number("p90")), "{record}");
    let table = succeed(["bench", "--compile", "--only", "W11,W1"]).stdout;
    let rows: Vec<&str> = table.lines().skip(2).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(rows, ["W1_mlp_mnist", "W11_xor_tiny"], "{table}");
    refuse(["bench", "--compile", "--profile"], 2, &["--compile", "--profile"]);
}

/// The lines of a report for programs.
fn records(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Checks that the first lines say what the machine can do at most.
#[track_caller]
fn assert_limits(records: &[Value]) {
    for (record, unit) in records.iter().zip(["GFLOP/s", "GB/s"]) {
        assert_eq!((record["framework"].as_str(), record["rate_unit"].as_str()), (Some("machine"), Some(unit)));
        assert!(record["rate"].as_f64().is_some_and(|rate| rate > 0.1) && record["isa"].is_string(), "{record}");
    }
}

#[test]
fn a_profile_names_the_kernel_of_every_call_and_its_share_of_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace.json");
    let path = trace.to_str().unwrap();
    let args = ["bench", "--profile", "--only", "W1,W12_sgemm_256", "--seconds", "0.05"];
    let lines = records(&succeed(args.into_iter().chain(["--json", "--trace", path])).stdout);
    assert_limits(&lines);
    let calls = &lines[2..];
    for call in calls {
        assert!(call["kernel"].as_str().is_some_and(|kernel| !kernel.is_empty()), "{call}");
        assert!(call["median"].as_f64() > Some(0.0) && call["limit_share"].as_f64() >= Some(0.0), "{call}");
        assert!(call["line"].as_str().is_some_and(|line| line.contains(".rs:")), "{call}");
    }
    let product = calls.iter().find(|call| call["workload"] == "W12_sgemm_256").expect("the product is there");
    assert!(product["kernel"].as_str().unwrap().starts_with("matmul "), "{product}");
    assert_eq!(product["flops"], 2 * 256 * 256 * 256);

    let file: Value = serde_json::from_str(&std::fs::read_to_string(&trace).unwrap()).unwrap();
    let events = file["traceEvents"].as_array().unwrap();
    let bars: Vec<&Value> = events.iter().filter(|event| event["ph"] == "X").collect();
    assert_eq!(bars.len(), calls.len());
    assert!(bars.iter().zip(calls).all(|(bar, call)| bar["args"]["kernel"] == call["kernel"]));
    let rows: Vec<&Value> = events.iter().filter(|event| event["ph"] == "M").map(|row| &row["args"]["name"]).collect();
    assert_eq!(rows, ["W1_mlp_mnist", "W12_sgemm_256"]);

    let table = succeed(args).stdout;
    assert!(table.starts_with("Thalweg ") && table.contains("GFLOP/s in registers"), "{table}");
    assert!(table.contains("W12_sgemm_256, the median of") && table.contains("operations.rs:"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 120), "{table}");
}

#[test]
fn a_trace_that_cannot_be_written_is_refused_before_anything_is_measured() {
    let path = "there/is/no/such/folder.json";
    refuse(["bench", "--profile", "--only", "W11", "--trace", path], 1, &["cannot write", path]);
    refuse(["bench", "--only", "W11", "--trace", path], 2, &["--profile"]);
}

#[test]
fn the_figures_stand_below_what_the_machine_can_do() {
    let lines = records(&succeed(["bench", "--only", "W12_sgemm_256", "--seconds", "0.05", "--json"]).stdout);
    assert_limits(&lines);
    let [_, _, figures] = &lines[..] else { panic!("{lines:?}") };
    let rate = |record: &Value| record["rate"].as_f64().unwrap();
    let share = figures["limit_share"].as_f64().unwrap();
    assert!((share - rate(figures) / rate(&lines[0])).abs() < 1e-3, "{lines:?}");
}

#[test]
fn others_take_turns_with_ours() {
    let other = |median: f64| {
        format!(
            r#"echo '{{"framework": "other", "mode": "jit", "workload": "W11_xor_tiny", "metric": "call_time", "median": {median}}}'"#
        )
    };
    let args = ["bench", "--only", "W11", "--seconds", "0.02", "--rounds", "2", "--json"];
    let ran = succeed(args.iter().copied().chain(["--against", &other(1e6), "--against", &other(3e6)]));
    // Three programs, and what they have found.
    let said: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("round 2 of 2: ")).collect();
    assert_eq!(said.len(), 4, "{}", ran.stderr);
    assert!(said[3].starts_with("round 2 of 2: W11_xor_tiny ") && said[3].ends_with(" other jit"), "{}", said[3]);
    let record = records(&ran.stdout).into_iter().find(|record| record["framework"] == "thalweg").unwrap();
    let (ratio, median) = (record["ratio"].as_f64().unwrap(), record["median"].as_f64().unwrap());
    assert!((ratio * median / 2e6 - 1.0).abs() < 1e-3, "{record}");

    let ran = run(["bench", "--only", "W11", "--seconds", "0.02", "--against", "echo broken >&2; exit 3"]);
    assert_eq!((ran.code, &*ran.stdout), (Some(1), ""));
    let said = "error: `echo broken >&2; exit 3` gave 0 figures and ended with exit status: 3: broken";
    assert_eq!(ran.stderr.lines().last(), Some(said));
}

#[test]
#[cfg(unix)]
fn rounds_that_are_over_are_reported_when_one_fails_or_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let counter = folder.path().join("rounds");
    // The first round finds figures, the second does what is asked.
    let command = |then: &str| {
        let line = r#"{"framework": "other", "mode": "jit", "workload": "W11_xor_tiny", "metric": "call_time", "median": 1e6}"#;
        let counter = counter.display();
        format!("if [ -e '{counter}' ]; then {then}; fi; touch '{counter}'; echo '{line}'")
    };
    for (then, code) in [("echo broken >&2; exit 3", 1), ("kill -INT $PPID; exit 130", 130)] {
        let against = command(then);
        let args = ["bench", "--only", "W11", "--seconds", "0.02", "--rounds", "4", "--json", "--against", &against];
        let ran = run(args);
        let ours = records(&ran.stdout).into_iter().filter(|record| record["framework"] == "thalweg").count();
        assert_eq!((ran.code, ours), (Some(code), 1), "{}", ran.stderr);
        assert!(ran.stderr.contains("of the 1 of 4 rounds that are over"), "{}", ran.stderr);
        assert!(ran.stderr.contains("round 1 of 4: W11_xor_tiny "), "{}", ran.stderr);
        assert!(!ran.stderr.contains("round 3 of 4"), "{}", ran.stderr);
        std::fs::remove_file(&counter).unwrap();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_process_of_its_own_tells_the_memory_of_a_step() {
    let memory = |name: &str| {
        let said = succeed(["bench", "--memory-child", name]).stdout;
        said.trim().parse::<f64>().unwrap_or_else(|error| panic!("{said:?}: {error}"))
    };
    // The parameters of the larger one, with their momentum, take 90 MiB.
    let (small, large) = (memory("W11_xor_tiny"), memory("W4_resnet18_cifar"));
    assert!(small > 1.0 && large > small + 90.0, "{small} {large}");
}
