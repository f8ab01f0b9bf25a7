//! Graphs as pictures: the language of Graphviz.

use std::fmt::Write;

use crate::graph::Graph;
use crate::op::Op;

impl Graph {
    /// The graph in the DOT language, drawn by `dot -Tsvg`: boxes for ops, framed by name scope; numbers stand where
    /// they are used; updates and fetches at the end.
    ///
    /// ```
    /// use thalweg_graph::{DType, Graph, placeholder};
    /// let y = placeholder("x", DType::F32, [3]).exp();
    /// let dot = Graph::capture([&y], &[]).to_dot();
    /// assert!(dot.starts_with("digraph") && dot.contains("n0 -> n1"));
    /// ```
    pub fn to_dot(&self) -> String {
        let captions = self.captions();
        let mut dot = String::from(
            "digraph graph_ {\n  rankdir=BT;\n  node [shape=box, fontname=\"sans-serif\", fontsize=10];\n",
        );
        let mut scopes: Vec<(&str, Vec<usize>)> = Vec::new();
        let mut positions = std::collections::HashMap::new();
        for (index, node) in self.nodes().enumerate().filter(|(index, _)| captions[*index].is_some()) {
            let position = *positions.entry(&*node.scope).or_insert_with(|| {
                scopes.push((&node.scope, Vec::new()));
                scopes.len() - 1
            });
            scopes[position].1.push(index);
        }
        let ids: Vec<_> = self.ids().collect();
        for (position, (scope, members)) in scopes.iter().enumerate() {
            let framed = !scope.is_empty();
            if framed {
                line(&mut dot, format_args!("  subgraph cluster_{position} {{ label={}; color=gray;", quoted(scope)));
            }
            for &index in members {
                let label = quoted(captions[index].as_deref().unwrap_or_default());
                line(&mut dot, format_args!("  n{index} [label={label}{}];", style(&self[ids[index]].op)));
            }
            if framed {
                dot.push_str("  }\n");
            }
        }
        for (index, node) in self.nodes().enumerate() {
            for input in node.inputs.iter().filter(|input| captions[input.index()].is_some()) {
                let meta = quoted(&self[*input].meta.to_string());
                line(&mut dot, format_args!("  n{} -> n{index} [label={meta}, fontsize=8];", input.index()));
            }
        }
        for (position, (variable, value)) in self.updates().iter().enumerate() {
            let label = quoted(&format!("update {}", variable.name()));
            line(&mut dot, format_args!("  u{position} [label={label}, shape=cds];"));
            line(&mut dot, format_args!("  n{} -> u{position};", value.index()));
        }
        for (position, fetch) in self.fetches().iter().enumerate() {
            line(&mut dot, format_args!("  f{position} [label=\"fetch {position}\", shape=ellipse];"));
            line(&mut dot, format_args!("  n{} -> f{position};", fetch.index()));
        }
        dot.push_str("}\n");
        dot
    }
}

fn line(dot: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(dot, "{text}").expect("a String takes all");
}

fn style(op: &Op) -> &'static str {
    match op {
        Op::Placeholder(_) => ", style=filled, fillcolor=lightblue",
        Op::Variable(_) => ", style=filled, fillcolor=lightyellow",
        Op::Constant(_) => ", style=filled, fillcolor=lightgray",
        _ => "",
    }
}

/// A DOT string: quotes and backslashes escaped, line breaks as `\n`.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
