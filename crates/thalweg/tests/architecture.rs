//! The arrows of the floor plan: which crate may use which. An arrow that ARCHITECTURE.md does not draw fails here.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Each crate with the crates of the workspace that it may use.
const ARROWS: &[(&str, &[&str])] = &[
    ("array", &[]),
    ("kernels", &["array"]),
    ("graph", &["array"]),
    ("plan", &["graph"]),
    ("run", &["plan", "kernels"]),
    ("derive", &[]),
    ("nn", &["graph", "derive"]),
    ("data", &["array"]),
    ("formats", &["graph"]),
    ("train", &["nn", "data", "run", "formats"]),
    ("thalweg", &["array", "graph", "plan", "run", "derive", "nn", "data", "formats", "train"]),
    ("zoo", &["thalweg"]),
    ("cli", &["thalweg", "zoo"]),
];

fn short(name: &str) -> Option<&str> {
    if name == "thalweg" { Some(name) } else { name.strip_prefix("thalweg-") }
}

#[test]
fn crates_use_only_what_the_floor_plan_draws() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        ARROWS.iter().map(|(from, to)| (*from, to.iter().copied().collect())).collect();
    let mut seen = BTreeSet::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        let from = short(name).unwrap_or_else(|| panic!("{name} is not called thalweg-…"));
        let allowed = allowed.get(from).unwrap_or_else(|| panic!("{name} is not on the floor plan"));
        seen.insert(from.to_string());
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            // What tests and examples use is not part of the building.
            let normal = dependency["kind"].is_null();
            let Some(to) = dependency["name"].as_str().and_then(short).filter(|_| normal) else { continue };
            assert!(allowed.contains(to), "{from} uses {to}; the floor plan in ARCHITECTURE.md has no such arrow");
        }
    }
    let expected: BTreeSet<String> = ARROWS.iter().map(|(from, _)| from.to_string()).collect();
    assert_eq!(seen, expected, "the crates on disk and on the floor plan differ");
}
