//! Timing: what is printed, not how fast it is.

use crate::support::{refuse, succeed};

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
