//! The figures of other frameworks, from lines in the form that the bench itself prints.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value;

use super::measure::median;

/// The lines of a file or a program.
pub(super) struct Peers(Vec<Peer>);

/// One figure of one framework.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    workload: String,
    metric: String,
    /// Framework and mode.
    pub(super) who: String,
    pub(super) median: f64,
}

impl Peers {
    /// Reads a file of JSON lines; lines without a median are passed over.
    pub(super) fn read(path: &Path) -> anyhow::Result<Peers> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Peers::parse(&text, &path.display().to_string())
    }

    /// Reads JSON lines from `source`, which messages name; lines without a median are passed over.
    pub(super) fn parse(text: &str, source: &str) -> anyhow::Result<Peers> {
        let mut peers = Vec::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let place = || format!("{source}, line {}", number + 1);
            let record: Value = serde_json::from_str(line).with_context(|| format!("{}: no JSON", place()))?;
            let Some(median) = record["median"].as_f64() else { continue };
            let text = |field: &str| match record[field].as_str() {
                Some(text) => Ok(text.to_string()),
                None => bail!("{}: the field `{field}` is missing or no text", place()),
            };
            let who = format!("{} {}", text("framework")?, text("mode")?);
            peers.push(Peer { workload: text("workload")?, metric: text("metric")?, who, median });
        }
        Ok(Peers(peers))
    }

    /// The lines of all of them.
    pub(super) fn of_all(programs: Vec<Peers>) -> Peers {
        Peers(programs.into_iter().flat_map(|Peers(peers)| peers).collect())
    }

    /// One figure for each workload of each framework: the median of all.
    pub(super) fn in_rounds(rounds: Vec<Peers>) -> Peers {
        let mut medians: BTreeMap<(String, String, String), Vec<f64>> = BTreeMap::new();
        for Peer { workload, metric, who, median } in Peers::of_all(rounds).0 {
            medians.entry((workload, metric, who)).or_default().push(median);
        }
        let peer = |((workload, metric, who), medians)| Peer { workload, metric, who, median: median(medians) };
        Peers(medians.into_iter().map(peer).collect())
    }

    /// These and more.
    pub(super) fn and(mut self, more: Option<Peers>) -> Peers {
        self.0.extend(more.into_iter().flat_map(|Peers(more)| more));
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Those of a workload, the fastest first.
    pub(super) fn of(&self, workload: &str, metric: &str) -> Vec<&Peer> {
        let mut same: Vec<&Peer> =
            self.0.iter().filter(|peer| peer.workload == workload && peer.metric == metric).collect();
        same.sort_by(|a, b| a.median.total_cmp(&b.median));
        same
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_of_a_workload_comes_first() {
        let peer = |who: &str, workload: &str, median| Peer {
            workload: workload.into(),
            metric: "call_time".into(),
            who: who.into(),
            median,
        };
        let peers = Peers(vec![peer("a", "W1", 3.0), peer("b", "W2", 1.0), peer("c", "W1", 2.0)]);
        let who: Vec<&str> = peers.of("W1", "call_time").into_iter().map(|peer| peer.who.as_str()).collect();
        assert_eq!(who, ["c", "a"]);
        assert!(peers.of("W1", "first_step").is_empty());
    }

    #[test]
    fn the_median_of_the_rounds_counts() {
        let line = |median: f64| {
            let line = format!(
                r#"{{"framework": "a", "mode": "jit", "workload": "W1", "metric": "call_time", "median": {median}}}"#
            );
            Peers::parse(&line, "a line").unwrap()
        };
        let peers = Peers::in_rounds([9.0, 1.0, 2.0].map(line).into());
        assert_eq!(peers.of("W1", "call_time").iter().map(|peer| peer.median).collect::<Vec<_>>(), [2.0]);
    }

    #[test]
    fn a_line_without_a_name_is_refused_with_its_place() {
        let path = std::env::temp_dir().join(format!("thalweg-peers-{}.jsonl", std::process::id()));
        std::fs::write(&path, "\n{\"median\": 1.0, \"mode\": \"jit\"}\n").unwrap();
        let message = Peers::read(&path).map(|_| ()).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(message.contains("line 2") && message.contains("framework"), "{message}");
    }
}
