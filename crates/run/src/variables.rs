//! The numbers of the variables: met by name, initialized at first use, replaced together at the end of a run.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use thalweg_plan::graph::op::Op;
use thalweg_plan::graph::{Array, Graph, Node, TensorId, Variable};

use crate::cpu::{Copies, OutOfMemory, Storage};
use crate::error::{RunError, StateDifferences, sized};
use crate::state::State;

/// The variables that a session has met. Their positions never change.
#[derive(Debug)]
pub(crate) struct Variables {
    pub(crate) seed: u64,
    pub(crate) step: u64,
    entries: Vec<Entry>,
    positions: HashMap<TensorId, usize>,
    names: BTreeMap<Arc<str>, usize>,
}

#[derive(Debug)]
struct Entry {
    variable: Variable,
    /// The name under which it was met last.
    name: Arc<str>,
    /// None until the first use.
    value: Option<Storage>,
    /// The value as kernels read it.
    copies: Copies,
}

impl Entry {
    fn set(&mut self, value: &Array) -> Result<(), RunError> {
        let bytes = value.storage().bytes();
        self.copies.outdate();
        match &mut self.value {
            Some(storage) => storage.replace(bytes),
            None => self.value = Some(stored(&self.variable, bytes)?),
        }
        Ok(())
    }

    fn array(&self) -> Array {
        let storage = self.value.as_ref().expect("initialized before: a bug in Thalweg");
        let core = self.variable.core();
        Array::from_bytes(core.shape(), core.dtype(), storage.bytes()).expect("a variable fills its shape")
    }
}

fn stored(variable: &Variable, bytes: &[u8]) -> Result<Storage, RunError> {
    Storage::new(bytes).map_err(|OutOfMemory { bytes }| RunError::OutOfMemory {
        bytes,
        tensor: format!("the variable `{}`", variable.name()),
        largest: bytes,
    })
}

/// How initial values are computed: the first fetch of a graph without placeholders, whose variables have values.
pub(crate) type Evaluate<'a> = &'a dyn Fn(Graph, &Variables) -> Result<Storage, RunError>;

impl Variables {
    pub(crate) fn new(seed: u64) -> Variables {
        Variables { seed, step: 0, entries: Vec::new(), positions: HashMap::new(), names: BTreeMap::new() }
    }

    /// The position of `variable`, if it was met and has a value.
    pub(crate) fn ready(&self, variable: &Variable) -> Option<usize> {
        let position = *self.positions.get(&variable.id())?;
        self.entries[position].value.as_ref().map(|_| position)
    }

    /// Takes note of variables without asking for their values.
    ///
    /// # Errors
    /// If another variable has the name of one of them.
    pub(crate) fn meet(&mut self, variable: &Variable) -> Result<usize, RunError> {
        let name = variable.name();
        let known = self.positions.get(&variable.id()).copied();
        if let Some(&other) = self.names.get(&name)
            && Some(other) != known
        {
            let describe = |variable: &Variable| format!("{} made at {}", variable.meta(), variable.core().location());
            return Err(RunError::SameName {
                name: name.to_string(),
                first: describe(&self.entries[other].variable),
                second: describe(variable),
            });
        }
        let position = known.unwrap_or(self.entries.len());
        match known {
            // A module may have named it since.
            Some(position) if self.entries[position].name != name => {
                self.names.remove(&self.entries[position].name);
                self.entries[position].name = name.clone();
            }
            Some(_) => return Ok(position),
            None => {
                self.entries.push(Entry {
                    variable: variable.clone(),
                    name: name.clone(),
                    value: None,
                    copies: Copies::default(),
                });
                self.positions.insert(variable.id(), position);
            }
        }
        self.names.insert(name, position);
        Ok(position)
    }

    /// Gives `variable` its initial value if it has none. What the initial value is made from comes first.
    pub(crate) fn initialize(&mut self, variable: &Variable, evaluate: Evaluate<'_>) -> Result<usize, RunError> {
        let mut stack = vec![variable.clone()];
        while let Some(variable) = stack.last() {
            let position = self.meet(variable)?;
            if self.entries[position].value.is_some() {
                stack.pop();
                continue;
            }
            let graph = Graph::capture_initial(variable.core());
            let needed = read_variables(&graph);
            let missing: Vec<Variable> = needed.into_iter().filter(|variable| self.ready(variable).is_none()).collect();
            if missing.is_empty() {
                self.entries[position].value = Some(evaluate(graph, self)?);
                stack.pop();
            } else {
                stack.extend(missing);
            }
        }
        Ok(self.positions[&variable.id()])
    }

    /// The value of the variable at `position`, which is initialized.
    pub(crate) fn value(&self, position: usize) -> Array {
        self.entries[position].array()
    }

    /// Where the value of the variable at `position`, which is initialized, is kept.
    pub(crate) fn storage(&self, position: usize) -> &Storage {
        self.entries[position].value.as_ref().expect("initialized before: a bug in Thalweg")
    }

    /// The packed copies of that value.
    pub(crate) fn copies(&self, position: usize) -> &Copies {
        &self.entries[position].copies
    }

    /// To be called when the value of the variable at `position` is about to change.
    pub(crate) fn outdate(&mut self, position: usize) {
        self.entries[position].copies.outdate();
    }

    /// Replaces a value.
    ///
    /// # Errors
    /// If dtype or shape differ.
    pub(crate) fn write(&mut self, variable: &Variable, value: &Array) -> Result<(), RunError> {
        let position = self.meet(variable)?;
        let (expected, found) = (described(variable), sized(value.dtype(), value.shape()));
        if expected != found {
            return Err(RunError::Value { name: variable.name().to_string(), expected, found });
        }
        self.entries[position].set(value)
    }

    /// The variables by name.
    pub(crate) fn by_name(&self) -> BTreeMap<String, Variable> {
        self.names.iter().map(|(name, &position)| (name.to_string(), self.entries[position].variable.clone())).collect()
    }

    /// All there is, with variables that were met but not used initialized.
    pub(crate) fn state(&mut self, evaluate: Evaluate<'_>) -> Result<State, RunError> {
        for position in 0..self.entries.len() {
            let variable = self.entries[position].variable.clone();
            self.initialize(&variable, evaluate)?;
        }
        let values = self.names.iter().map(|(name, &position)| (name.to_string(), self.value(position)));
        Ok(State { variables: values.collect(), step: self.step, seed: self.seed })
    }

    /// Takes everything from `state`, or nothing.
    pub(crate) fn load(&mut self, state: &State) -> Result<(), RunError> {
        let mut differences = StateDifferences::default();
        for (name, &position) in &self.names {
            let Some(value) = state.variables.get(&**name) else {
                differences.missing.push(name.to_string());
                continue;
            };
            let (expected, found) = (described(&self.entries[position].variable), sized(value.dtype(), value.shape()));
            if expected != found {
                differences.different.push((name.to_string(), expected, found));
            }
        }
        let known = |name: &&String| !self.names.contains_key(name.as_str());
        differences.unexpected = state.variables.keys().filter(known).cloned().collect();
        if !differences.is_empty() {
            return Err(RunError::State(differences));
        }
        // Memory is asked for before anything changes.
        for (name, &position) in &self.names {
            let entry = &mut self.entries[position];
            if entry.value.is_none() {
                entry.value = Some(stored(&entry.variable, state.variables[&**name].storage().bytes())?);
            }
        }
        for (name, &position) in &self.names {
            self.entries[position].set(&state.variables[&**name])?;
        }
        (self.step, self.seed) = (state.step, state.seed);
        Ok(())
    }
}

/// The variables that a graph reads.
pub(crate) fn read_variables(graph: &Graph) -> Vec<Variable> {
    let read = |node: &Node| match &node.op {
        Op::Variable(read) => Some(read.handle()),
        _ => None,
    };
    graph.nodes().filter_map(read).collect()
}

fn described(variable: &Variable) -> String {
    variable.meta().to_string()
}
