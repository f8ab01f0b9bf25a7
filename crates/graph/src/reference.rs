//! The reference interpreter: any graph by plain loops. The oracle of every pass, plan and kernel.

use std::collections::BTreeMap;

use thalweg_array::{Array, Bindings, Element, with_dtype, with_elements};

use crate::error::EvalError;
use crate::graph::Graph;
use crate::op::{Op, OpRules, Reference};
use crate::ops::control::interpret::interpret_loop;
use crate::passes::BindError;
use crate::tensor::TensorId;
use crate::variable::VariableCore;

/// The numbers with which a graph is interpreted.
#[derive(Clone, Debug, Default)]
pub struct Feeds {
    /// By placeholder name.
    pub placeholders: BTreeMap<String, Array>,
    /// By variable identity; a variable that is not here has its initial value.
    pub variables: BTreeMap<TensorId, Array>,
    /// The seed of random ops.
    pub seed: u64,
    /// The counter of committed runs.
    pub step: u64,
}

impl Feeds {
    /// Feeds for the placeholders of these names.
    pub fn new<'a>(placeholders: impl IntoIterator<Item = (&'a str, Array)>) -> Self {
        let placeholders = placeholders.into_iter().map(|(name, array)| (name.to_string(), array)).collect();
        Feeds { placeholders, ..Feeds::default() }
    }
}

/// What an interpreted graph gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Results {
    /// The fetches, in order.
    pub fetches: Vec<Array>,
    /// The next values of the updated variables, in order.
    pub updates: Vec<Array>,
}

/// Interprets `graph`.
///
/// # Errors
/// If a placeholder is not fed, sizes do not fit, or an index is out of bounds.
pub fn interpret(graph: &Graph, feeds: &Feeds) -> Result<Results, EvalError> {
    let bindings = bind(graph, feeds)?;
    // With numbers for the names first: what an op refuses of these numbers is refused before anything is computed.
    let bound;
    let graph = if bindings.iter().next().is_some() {
        bound = crate::passes::bind(graph.clone(), &bindings).map_err(refused)?;
        &bound
    } else {
        graph
    };
    let expanded;
    let graph = if graph.nodes().any(|node| node.op.is_composite()) {
        expanded = crate::passes::expand_composites(graph);
        &expanded
    } else {
        graph
    };
    let mut last_use = vec![0; graph.len()];
    for (position, node) in graph.nodes().enumerate() {
        for input in &node.inputs {
            last_use[input.index()] = position;
        }
    }
    for kept in graph.roots() {
        last_use[kept.index()] = usize::MAX;
    }
    let mut values: Vec<Option<Array>> = vec![None; graph.len()];
    // What loops have given, by their node.
    let mut results: BTreeMap<usize, Vec<Array>> = BTreeMap::new();
    for (position, node) in graph.nodes().enumerate() {
        let label = node.describe();
        let inputs = |values: &[Option<Array>]| -> Vec<Array> {
            let value = |input: &crate::graph::NodeId| values[input.index()].clone().expect("inputs come first");
            node.inputs.iter().map(value).collect()
        };
        let value = match &node.op {
            Op::Placeholder(placeholder) => feed(&placeholder.name, feeds, node.meta.dtype)?,
            Op::Variable(read) => match feeds.variables.get(&read.variable().id()) {
                Some(value) => value.clone(),
                None => initial_value(read.variable(), feeds.seed)?,
            },
            Op::Loop(op) => {
                results.insert(position, interpret_loop(op, &inputs(&values), feeds.seed, feeds.step)?);
                Array::zeros(&[0], node.meta.dtype)
            }
            Op::Output(output) => results[&node.inputs[0].index()][output.index].clone(),
            op => {
                let shape = node
                    .meta
                    .shape
                    .evaluate(&bindings)
                    .map_err(|error| EvalError::Size { op: label.clone(), reason: error.to_string() })?;
                let cx = Reference {
                    label: &label,
                    bindings: &bindings,
                    dtype: node.meta.dtype,
                    shape: &shape,
                    seed: feeds.seed,
                    step: feeds.step,
                };
                op.reference(&inputs(&values).iter().collect::<Vec<_>>(), &cx)?
            }
        };
        values[position] = Some(value);
        for input in &node.inputs {
            if last_use[input.index()] == position {
                values[input.index()] = None;
            }
        }
    }
    let value = |id: &crate::graph::NodeId| values[id.index()].clone().expect("roots are kept");
    Ok(Results {
        fetches: graph.fetches().iter().map(value).collect(),
        updates: graph.updates().iter().map(|(_, id)| value(id)).collect(),
    })
}

/// The value of a tensor that needs no feeds.
///
/// # Errors
/// As [`interpret`].
pub fn evaluate(tensor: &crate::Tensor) -> Result<Array, EvalError> {
    first(interpret(&Graph::capture([tensor], &[]), &Feeds::default()))
}

/// The value with which a variable begins.
///
/// # Errors
/// If the initial graph needs a feed.
pub fn initial_value(variable: &VariableCore, seed: u64) -> Result<Array, EvalError> {
    first(interpret(&Graph::capture_initial(variable), &Feeds { seed, ..Feeds::default() }))
}

fn first(results: Result<Results, EvalError>) -> Result<Array, EvalError> {
    Ok(results?.fetches.into_iter().next().expect("one fetch"))
}

fn feed(name: &str, feeds: &Feeds, dtype: thalweg_array::DType) -> Result<Array, EvalError> {
    match feeds.placeholders.get(name) {
        Some(array) if array.dtype() == dtype => Ok(array.clone()),
        Some(array) => Err(EvalError::Size {
            op: format!("the placeholder `{name}`"),
            reason: format!("expects {dtype}, was fed {}", array.dtype()),
        }),
        None => Err(EvalError::NotFed { name: name.to_string(), meta: dtype.to_string() }),
    }
}

fn refused(error: BindError) -> EvalError {
    match error {
        BindError::Size { node, error } => EvalError::Size { op: node, reason: error.to_string() },
        BindError::Refused { node, error, sizes } => {
            EvalError::Size { op: node, reason: format!("{error}\n  with {sizes}") }
        }
    }
}

/// The numbers of the names, from the shapes of what is fed.
fn bind(graph: &Graph, feeds: &Feeds) -> Result<Bindings, EvalError> {
    let mut bindings = Bindings::new();
    for node in graph.nodes() {
        let Op::Placeholder(placeholder) = &node.op else { continue };
        let array = feed(&placeholder.name, feeds, node.meta.dtype)?;
        let fail = |reason: String| EvalError::Size { op: format!("the placeholder `{}`", placeholder.name), reason };
        if array.rank() != node.meta.shape.rank() {
            return Err(fail(format!("expects {}, was fed {:?}", node.meta, array.shape())));
        }
        for (size, &found) in node.meta.shape.iter().zip(array.shape()) {
            bindings.unify(size, found).map_err(|error| fail(error.to_string()))?;
        }
    }
    Ok(bindings)
}

/// An array of the result's dtype and shape from a function of one number.
pub fn map1(x: &Array, cx: &Reference<'_>, float: impl Fn(f64) -> f64, int: impl Fn(i64) -> i64) -> Array {
    let is_float = x.dtype().is_float();
    let storage = with_dtype!(cx.dtype, T => T::into_storage(if is_float {
        x.to_vec::<f64>().into_iter().map(|x| T::from_f64(float(x))).collect()
    } else {
        x.to_vec::<i64>().into_iter().map(|x| T::from_i64(int(x))).collect()
    }));
    built(cx.shape, storage)
}

/// An array of the result's dtype and shape from a function of two numbers.
pub fn map2(
    x: &Array,
    y: &Array,
    cx: &Reference<'_>,
    float: impl Fn(f64, f64) -> f64,
    int: impl Fn(i64, i64) -> i64,
) -> Array {
    let is_float = x.dtype().is_float();
    let storage = with_dtype!(cx.dtype, T => T::into_storage(if is_float {
        x.to_vec::<f64>().into_iter().zip(y.to_vec::<f64>()).map(|(x, y)| T::from_f64(float(x, y))).collect()
    } else {
        x.to_vec::<i64>().into_iter().zip(y.to_vec::<i64>()).map(|(x, y)| T::from_i64(int(x, y))).collect()
    }));
    built(cx.shape, storage)
}

/// Elements of `x` where `condition` holds at their position, else of `y`; all of one shape and dtype.
pub fn choose(x: &Array, y: &Array, condition: impl Fn(usize) -> bool) -> Array {
    fn run<T: Element>(x: &[T], y: &Array, condition: impl Fn(usize) -> bool) -> thalweg_array::Storage {
        let y = y.as_slice::<T>().expect("infer compared the dtypes");
        T::into_storage(
            (0..x.len()).map(|position| if condition(position) { x[position] } else { y[position] }).collect(),
        )
    }
    let storage = with_elements!(x.storage(), elements => run(elements, y, condition));
    built(x.shape(), storage)
}

/// An array of `shape` whose element at a multi-index is the element of `x` at the row-major position that `source`
/// gives, or `fill` where it gives none.
pub fn rearrange(
    x: &Array,
    shape: &[usize],
    fill: thalweg_array::Scalar,
    source: impl Fn(&[usize]) -> Option<usize>,
) -> Array {
    fn run<T: Element>(
        x: &[T],
        shape: &[usize],
        fill: T,
        source: impl Fn(&[usize]) -> Option<usize>,
    ) -> thalweg_array::Storage {
        T::into_storage(multi_indices(shape).map(|index| source(&index).map_or(fill, |position| x[position])).collect())
    }
    let storage = with_elements!(x.storage(), elements => run(elements, shape, fill.to(), source));
    built(shape, storage)
}

/// Every multi-index of `shape`, row-major.
pub fn multi_indices(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + use<> {
    let shape = shape.to_vec();
    let count: usize = shape.iter().product();
    (0..count).map(move |position| unravel(position, &shape))
}

/// The multi-index of a row-major position.
pub fn unravel(mut position: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for axis in (0..shape.len()).rev() {
        index[axis] = position % shape[axis];
        position /= shape[axis];
    }
    index
}

/// The row-major position of a multi-index.
pub fn ravel(index: &[usize], shape: &[usize]) -> usize {
    index.iter().zip(shape).fold(0, |position, (index, size)| position * size + index)
}

/// An array whose elements fill its shape by construction.
pub fn built(shape: &[usize], storage: thalweg_array::Storage) -> Array {
    match Array::from_storage(shape, storage) {
        Ok(array) => array,
        Err(error) => panic!("a reference rule gave a wrong count ({error}): a bug in Thalweg"),
    }
}
