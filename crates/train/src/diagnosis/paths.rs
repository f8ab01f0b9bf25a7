//! What nodes are called: their scope and name, or their op.

use std::collections::BTreeMap;

use thalweg_run::graph::Tensor;
use thalweg_run::graph::tensor::topological;
use thalweg_run::graph::text::split_op;

/// Gives each node of a graph a path of its own.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    taken: BTreeMap<String, usize>,
}

impl Paths {
    /// `scope/name`, with a number where that is taken: `train/matmul`, `train/matmul_1`.
    pub(crate) fn of(&mut self, scope: &str, name: &str) -> String {
        let path = if scope.is_empty() { name.to_string() } else { format!("{scope}/{name}") };
        let mut unique = path.clone();
        while let Some(count) = self.taken.get_mut(&unique) {
            *count += 1;
            unique = format!("{path}_{count}");
        }
        self.taken.insert(unique.clone(), 0);
        unique
    }
}

/// Every tensor that `root` depends on, with its path, inputs before users.
pub(crate) fn paths_of(root: &Tensor) -> Vec<(String, Tensor)> {
    let mut paths = Paths::default();
    let path = |tensor: Tensor| {
        let op = split_op(tensor.op()).0;
        (paths.of(tensor.scope(), tensor.name().unwrap_or(&op)), tensor)
    };
    topological([root]).into_iter().map(path).collect()
}
