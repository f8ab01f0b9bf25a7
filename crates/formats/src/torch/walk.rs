//! From what a pickle describes to tensors by name.

use std::collections::{BTreeMap, HashSet};

use super::pickle::{Id, Object, Pickle, Value};
use super::tensor::{Kind, TensorPlace};

/// Levels of containers in containers: more than any model has, less than any stack.
const DEEPEST: usize = 64;
/// The most bytes of all names and text together.
const MOST_TEXT: usize = 1 << 24;

/// What a file describes.
#[derive(Debug, Default)]
pub(super) struct Described {
    pub(super) tensors: BTreeMap<String, TensorPlace>,
    pub(super) metadata: BTreeMap<String, String>,
}

/// Walks the value that the pickle is. The error names what cannot be read, and why.
pub(super) fn walk(pickle: &Pickle<'_>) -> Result<Described, (String, String)> {
    let mut walk = Walk { pickle, found: Described::default(), open: HashSet::new(), text: 0, visits: 0 };
    walk.visit(pickle.root(), "", 0)?;
    Ok(walk.found)
}

struct Walk<'a, 'b> {
    pickle: &'a Pickle<'b>,
    found: Described,
    /// The containers that the walk is in: one that holds itself is left alone.
    open: HashSet<Id>,
    text: usize,
    visits: usize,
}

/// The parts of a pickled module that its state dictionary does not name.
const INNER: [&str; 3] = ["_parameters", "_buffers", "_modules"];

impl Walk<'_, '_> {
    fn visit(&mut self, id: Id, name: &str, depth: usize) -> Result<(), (String, String)> {
        self.visits += 1;
        if depth > DEEPEST || self.visits > 1 << 20 {
            return Err((name.to_string(), "containers in containers without end".into()));
        }
        if !self.open.insert(id) {
            return Ok(());
        }
        let pickle = self.pickle;
        match pickle.value(id) {
            Value::Dict(items) => self.visit_items(items, name, depth)?,
            Value::List(entries) | Value::Tuple(entries) => {
                for (position, &entry) in entries.iter().enumerate() {
                    let name = self.joined(name, &position.to_string())?;
                    self.visit(entry, &name, depth + 1)?;
                }
            }
            Value::Object(object) => self.visit_object(object, name, depth)?,
            Value::Int(number) => self.note(name, number.to_string()),
            Value::Float(number) => self.note(name, number.to_string()),
            Value::Bool(truth) => self.note(name, truth.to_string()),
            &Value::Text(span) => {
                self.count(pickle.text(span).len(), name)?;
                self.note(name, pickle.text(span).to_string());
            }
            Value::None | Value::LargeInt | Value::Bytes(_) | Value::Global { .. } | Value::Persistent(_) => {}
        }
        self.open.remove(&id);
        Ok(())
    }

    fn visit_items(&mut self, items: &[Id], name: &str, depth: usize) -> Result<(), (String, String)> {
        for item in items.chunks_exact(2) {
            let key = match self.pickle.value(item[0]) {
                &Value::Text(span) => self.pickle.text(span).to_string(),
                Value::Int(number) => number.to_string(),
                _ => continue,
            };
            let name = match INNER.contains(&&*key) {
                true => name.to_string(),
                false => self.joined(name, &key)?,
            };
            self.visit(item[1], &name, depth + 1)?;
        }
        Ok(())
    }

    fn visit_object(&mut self, object: &Object, name: &str, depth: usize) -> Result<(), (String, String)> {
        let pickle = self.pickle;
        let callable = pickle.as_global(object.callable).unwrap_or_default();
        let arguments = pickle.as_sequence(object.arguments).unwrap_or_default();
        let refused = |reason: String| (name.to_string(), reason);
        match &*callable {
            "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor_v3" => {
                let place = TensorPlace::new(pickle, arguments).map_err(refused)?;
                match self.found.tensors.insert(name.to_string(), place) {
                    None => Ok(()),
                    Some(_) => Err(refused("there are two tensors of this name".into())),
                }
            }
            "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" => match arguments {
                [tensor, ..] => self.visit(*tensor, name, depth + 1),
                [] => Err(refused("a parameter without a tensor".into())),
            },
            _ if callable.starts_with("torch._utils._rebuild_") => {
                let kind = callable.trim_start_matches("torch._utils._rebuild_").replace('_', " ");
                Err(refused(format!("a {kind}; only dense tensors are read")))
            }
            _ => {
                // What is put into it, and what it is told: of an ordered dictionary its items, of a module its parts.
                self.visit_items(&object.items, name, depth)?;
                match object.state {
                    Some(state) if matches!(pickle.value(state), Value::Dict(_) | Value::Object(_)) => {
                        self.visit(state, name, depth + 1)
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    fn joined(&mut self, name: &str, key: &str) -> Result<String, (String, String)> {
        let joined = if name.is_empty() { key.to_string() } else { format!("{name}.{key}") };
        self.count(joined.len(), name)?;
        Ok(joined)
    }

    fn count(&mut self, bytes: usize, name: &str) -> Result<(), (String, String)> {
        self.text += bytes;
        if self.text > MOST_TEXT { Err((name.to_string(), "the names have no end".into())) } else { Ok(()) }
    }

    fn note(&mut self, name: &str, text: String) {
        if !name.is_empty() {
            self.found.metadata.insert(name.to_string(), text);
        }
    }
}

impl TensorPlace {
    /// From the arguments of the call that would have made the tensor: storage, offset, sizes, strides, …
    fn new(pickle: &Pickle<'_>, arguments: &[Id]) -> Result<TensorPlace, String> {
        let &[storage, offset, sizes, strides, ..] = arguments else {
            return Err(format!("{} arguments, at least 4 make a tensor", arguments.len()));
        };
        let &Value::Persistent(storage) = pickle.value(storage) else {
            return Err("its elements are not in a storage".into());
        };
        let storage = pickle.as_sequence(storage).unwrap_or_default();
        let [tag, class, key, _, count, ..] = *storage else {
            return Err("a storage that is not described by its class, key, device and size".into());
        };
        if pickle.as_text(tag) != Some("storage") {
            return Err("its elements are not in a storage".into());
        }
        let class = pickle.as_global(class).unwrap_or_default();
        let kind = match &*class {
            // Of untyped storages the dtype stands beside the strides.
            "torch.storage.UntypedStorage" => {
                let dtype = arguments.get(6).and_then(|&dtype| pickle.as_global(dtype)).unwrap_or_default();
                Kind::of_dtype(&dtype)?
            }
            class => Kind::of_storage(class)?,
        };
        let key = match pickle.value(key) {
            &Value::Text(span) => pickle.text(span).to_string(),
            Value::Int(number) => number.to_string(),
            _ => return Err("a storage without a key".into()),
        };
        let number = |id: Id, what: &str| match pickle.as_int(id).map(usize::try_from) {
            Some(Ok(number)) => Ok(number),
            _ => Err(format!("its {what} is no number from 0 on")),
        };
        let numbers = |id: Id, what: &str| {
            let entries = pickle.as_sequence(id).ok_or(format!("its {what}s are no list"))?;
            entries.iter().map(|&entry| number(entry, what)).collect::<Result<Vec<_>, _>>()
        };
        // A sixth entry names the storage that this one is a part of.
        let view = match storage.get(5).and_then(|&view| pickle.as_sequence(view)) {
            Some(&[_, offset, _]) => number(offset, "view offset")?,
            _ => 0,
        };
        let place = TensorPlace {
            kind,
            storage: key,
            storage_length: number(count, "storage size")?,
            offset: number(offset, "offset")?.checked_add(view).ok_or("its offset is too large")?,
            shape: numbers(sizes, "size")?,
            strides: numbers(strides, "stride")?,
        };
        if place.shape.len() != place.strides.len() {
            return Err(format!("{} sizes and {} strides", place.shape.len(), place.strides.len()));
        }
        Ok(place)
    }
}
