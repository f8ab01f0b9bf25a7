//! Writing graphs as text.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde_json::Value;
use thalweg_array::Array;

use super::parse::elements;
use super::{implied, split_op};
use crate::graph::{Graph, Node, NodeId};
use crate::op::Op;
use crate::ops::source::Constant;
use crate::tensor::TensorId;

/// The text form; see [`crate::text`].
impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = names(self);
        for (id, node) in self.ids().zip(self.nodes()) {
            writeln!(f, "{}", Line { node, id, names: &names })?;
        }
        let mut reads: HashMap<TensorId, NodeId> = HashMap::new();
        for (id, node) in self.ids().zip(self.nodes()) {
            if let Op::Variable(read) = &node.op {
                reads.entry(read.variable().id()).or_insert(id);
            }
        }
        for (variable, value) in self.updates() {
            match reads.get(&variable.id()) {
                Some(id) => write!(f, "update %{}", names[id.index()])?,
                // A variable that no node reads.
                None => write!(f, "update {}: {}", Value::from(&*variable.name()), variable.tensor().meta())?,
            }
            writeln!(f, " <- %{}", names[value.index()])?;
        }
        if !self.fetches().is_empty() {
            let fetches: Vec<String> = self.fetches().iter().map(|id| format!("%{}", names[id.index()])).collect();
            writeln!(f, "return {}", fetches.join(", "))?;
        }
        Ok(())
    }
}

struct Line<'a> {
    node: &'a Node,
    id: NodeId,
    names: &'a [String],
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { node, id, names } = *self;
        let name = &names[id.index()];
        let (op, mut attributes) = split_op(&node.op);
        write!(f, "%{name}: {} = {op}", node.meta)?;
        if let Op::Constant(constant) = &node.op {
            attributes.remove("dtype");
            attributes.remove("shape");
            if let Some(text) = literal(constant.array()) {
                attributes.clear();
                write!(f, " {text}")?;
            }
        }
        for input in &node.inputs {
            write!(f, " %{}", names[input.index()])?;
        }
        for key in implied(&op) {
            attributes.remove(*key);
        }
        let own_name = source_name(&node.op);
        if own_name.as_deref() == Some(name) {
            attributes.remove("name");
        }
        for (key, value) in attributes.iter().filter(|(_, value)| !value.is_null()) {
            write!(f, " {key}={value}")?;
        }
        if let Some(given) = node.name.as_deref()
            && given != own_name.as_deref().unwrap_or(name)
        {
            write!(f, " called={}", Value::from(given))?;
        }
        match &*node.scope {
            "" => Ok(()),
            scope if scope.chars().all(is_word) => write!(f, " @{scope}"),
            scope => write!(f, " @{}", Value::from(scope)),
        }
    }
}

/// Short constants as numbers, where reading them back gives the same bits.
pub(super) fn literal(array: &Array) -> Option<String> {
    const LONGEST: usize = 16;
    if array.len() > LONGEST {
        return None;
    }
    let text = array.to_string();
    let read = elements(&text, array.dtype(), array.shape()).ok()?;
    (Constant::new(read) == Constant::new(array.clone())).then_some(text)
}

/// What may stand in a name without quotes.
pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '/' | '-')
}

/// The name that belongs to the op, not to the node.
pub(super) fn source_name(op: &Op) -> Option<String> {
    match op {
        Op::Placeholder(placeholder) => Some(placeholder.name.to_string()),
        Op::Variable(read) => Some(read.variable().name().to_string()),
        _ => None,
    }
}

/// What each node is called: its name made of word characters and unique, else its position.
fn names(graph: &Graph) -> Vec<String> {
    let mut taken: HashSet<String> = HashSet::with_capacity(graph.len());
    let mut repeated: HashMap<String, usize> = HashMap::new();
    let mut unnamed = 0..;
    let mut choose = |node: &Node| {
        let Some(given) = source_name(&node.op).or_else(|| node.name.as_deref().map(str::to_string)) else {
            return unnamed.next().map_or_else(String::new, |number: usize| number.to_string());
        };
        let mut name: String = given.chars().map(|c| if is_word(c) { c } else { '_' }).collect();
        if name.chars().all(|c| c.is_ascii_digit()) {
            name.insert(0, '_');
        }
        let mut unique = name.clone();
        while !taken.insert(unique.clone()) {
            let count = repeated.entry(name.clone()).or_insert(0);
            *count += 1;
            unique = format!("{name}_{count}");
        }
        unique
    };
    graph.nodes().map(&mut choose).collect()
}
