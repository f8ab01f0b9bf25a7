//! [`layers_of`]: the layers of a model, found in its graph.
//!
//! A layer is what reads variables of one path: `hidden` of `hidden.weight` and `hidden.bias`. So layers are found in any
//! graph, however it was written down.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use thalweg_run::graph::array::Bindings;
use thalweg_run::graph::array::scalar::Unary;
use thalweg_run::graph::ops::convolution::Side;
use thalweg_run::graph::tensor::topological;
use thalweg_run::graph::{Op, Tensor, TensorId, Variable};

/// A layer in a graph.
#[derive(Clone, Debug)]
pub struct LayerView {
    /// The path of its variables.
    pub path: String,
    /// Its variables, in the order in which they are read.
    pub variables: Vec<Variable>,
    /// What comes out of it, before any activation.
    pub output: Tensor,
    /// What the layers behind it are fed: its output after activation, dropout and the like. The output itself for the last.
    pub activation: Tensor,
    /// Between which ends a sigmoid or tanh behind it presses its numbers.
    pub squashed: Option<(f64, f64)>,
    /// Floating-point operations for one row, with those of the activation.
    pub flops: u64,
}

/// The layers that `root` depends on, from the input on.
///
/// ```
/// use thalweg_nn::{Forward, Init, Layer, Mlp};
/// use thalweg_run::graph::{DType, placeholder};
/// use thalweg_train::diagnosis::layers_of;
///
/// let net = Init::build(1, |init| Mlp::new(init, &[64, 32, 10]));
/// let output = net.forward(&placeholder("x", DType::F32, ("batch", 64)), &mut Forward::infer());
/// let layers = layers_of(&output);
/// let shown: Vec<String> = layers.iter().map(|layer| format!("{} {}", layer.path, layer.output.meta())).collect();
/// assert_eq!(shown, ["layers.0 f32[batch,32]", "layers.1 f32[batch,10]"]);
/// ```
pub fn layers_of(root: &Tensor) -> Vec<LayerView> {
    let mut found = Found::default();
    for tensor in topological([root]) {
        found.add(&tensor);
    }
    found.layers
}

/// What is known of the nodes seen so far.
#[derive(Default)]
struct Found {
    layers: Vec<LayerView>,
    number_of: BTreeMap<String, usize>,
    /// Of nodes that are computed from variables and no data, the variables.
    variables: HashMap<TensorId, Vec<Variable>>,
    /// Of nodes that depend on data, the last layer before them, if there is one.
    layer: HashMap<TensorId, Option<usize>>,
    /// Layers whose activation is known.
    fed: BTreeSet<usize>,
}

impl Found {
    fn add(&mut self, tensor: &Tensor) {
        if let Ok(variable) = Variable::try_from(tensor) {
            self.variables.insert(tensor.id(), vec![variable]);
            return;
        }
        let is_data = |input: &Tensor| self.layer.contains_key(&input.id());
        if !matches!(tensor.op(), Op::Placeholder(_)) && !tensor.inputs().iter().any(is_data) {
            let read = tensor.inputs().iter().filter_map(|input| self.variables.get(&input.id()));
            let read: Vec<Variable> = read.flatten().cloned().collect();
            self.variables.insert(tensor.id(), read);
            return;
        }
        let before = tensor.inputs().iter().filter_map(|input| self.layer.get(&input.id()).copied().flatten()).max();
        let read = tensor.inputs().iter().filter_map(|input| self.variables.get(&input.id())).flatten().cloned();
        let mut own = None;
        for variable in read.collect::<Vec<_>>() {
            own = Some(self.read(variable, tensor));
        }
        // What the next layer is fed is what is left of the one before.
        if let Some(own) = own {
            for input in tensor.inputs() {
                let of = self.layer.get(&input.id()).copied().flatten();
                if let Some(of) = of.filter(|&of| of != own && self.fed.insert(of)) {
                    // A convolution reads pixels with their channels last; the axes stay as the layer had them.
                    let moved =
                        |tensor: &Tensor| matches!(tensor.op(), Op::Permute(_)).then(|| tensor.inputs()[0].clone());
                    self.layers[of].activation = moved(input).unwrap_or_else(|| input.clone());
                }
            }
        }
        if matches!(tensor.op(), Op::Output(_)) {
            // A loop has several results; its layers give what is taken out of it first.
            for layer in &mut self.layers {
                for given in [&mut layer.output, &mut layer.activation] {
                    if *given == tensor.inputs()[0] {
                        *given = tensor.clone();
                    }
                }
            }
        }
        let layer = own.or(before);
        self.layer.insert(tensor.id(), layer);
        if let Some(layer) = layer {
            let layer = &mut self.layers[layer];
            if matches!(tensor.op(), Op::Permute(_)) && tensor.inputs()[0] == layer.output {
                layer.output = tensor.clone();
            }
            layer.flops += operations(tensor);
            layer.squashed = squash(tensor).or(layer.squashed);
        }
    }

    /// `tensor` reads `variable`; gives the number of its layer.
    fn read(&mut self, variable: Variable, tensor: &Tensor) -> usize {
        let name = variable.name();
        let path = name.rsplit_once('.').map_or(&*name, |(path, _)| path).to_string();
        let next = self.layers.len();
        let number = *self.number_of.entry(path.clone()).or_insert(next);
        if number == next {
            let (output, activation) = (tensor.clone(), tensor.clone());
            self.layers.push(LayerView { path, variables: Vec::new(), output, activation, squashed: None, flops: 0 });
        }
        let layer = &mut self.layers[number];
        if !layer.variables.contains(&variable) {
            layer.variables.push(variable);
        }
        layer.output = tensor.clone();
        if !self.fed.contains(&number) {
            layer.activation = tensor.clone();
        }
        number
    }
}

/// The ends of a function that has them.
fn squash(tensor: &Tensor) -> Option<(f64, f64)> {
    match tensor.op() {
        Op::Unary(unary) if unary.0 == Unary::Tanh => Some((-1.0, 1.0)),
        Op::Unary(unary) if unary.0 == Unary::Sigmoid => Some((0.0, 1.0)),
        _ => None,
    }
}

/// Floating-point operations for one row: a multiply-add is two, a function one, moving numbers none.
fn operations(tensor: &Tensor) -> u64 {
    let mut one = Bindings::new();
    tensor.shape().iter().chain(tensor.inputs().iter().flat_map(|input| input.shape().iter())).for_each(|size| {
        for name in size.names() {
            // A name that is known is 1 already.
            let _ = one.bind(&name, 1);
        }
    });
    let sizes = |tensor: &Tensor| tensor.shape().evaluate(&one).unwrap_or_default();
    let count = |tensor: &Tensor| sizes(tensor).iter().product::<usize>() as u64;
    match tensor.op() {
        Op::MatMul(_) => {
            let inner = tensor.inputs().first().and_then(|a| sizes(a).last().copied()).unwrap_or(0);
            2 * count(tensor) * inner as u64
        }
        Op::Convolution(convolution) if convolution.side == Side::Output => {
            // Each output sees the kernel over the channels of its group.
            let kernel: u64 = tensor.inputs().get(1).map_or(0, |weight| {
                let sizes = sizes(weight);
                sizes.iter().skip(1).product::<usize>() as u64
            });
            2 * count(tensor) * kernel
        }
        Op::Unary(_) | Op::Binary(_) | Op::Select(_) | Op::Softmax(_) | Op::LogSoftmax(_) => count(tensor),
        Op::LayerNorm(_) => 6 * count(tensor),
        Op::Reduce(_) | Op::LogSumExp(_) | Op::CumSum(_) | Op::OverlapAdd(_) => {
            tensor.inputs().first().map_or(0, count)
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use thalweg_run::graph::{DType, placeholder};

    use super::*;

    fn weight(name: &str, sizes: [usize; 2]) -> Variable {
        Variable::new(name, thalweg_run::graph::Array::zeros(&sizes, DType::F32))
    }

    #[test]
    fn layers_end_where_the_next_begins() {
        let x = placeholder("x", DType::F32, ("batch", 4));
        let (a, b, c) = (weight("a.weight", [4, 3]), weight("b.weight", [3, 3]), weight("c.weight", [3, 2]));
        let bias = Variable::new("a.bias", thalweg_run::graph::Array::zeros(&[3], DType::F32));
        let first = (x.matmul(&a) + &bias).tanh();
        let second = first.matmul(&b).relu() + &first;
        let layers = layers_of(&second.matmul(&c));
        let paths: Vec<&str> = layers.iter().map(|layer| &*layer.path).collect();
        assert_eq!(paths, ["a", "b", "c"]);
        assert_eq!(layers[0].activation, first);
        assert_eq!(layers[1].activation, second);
        assert_eq!(layers[2].activation, layers[2].output);
        assert_eq!(layers[0].squashed, Some((-1.0, 1.0)));
        assert_eq!(layers[1].squashed, None);
        assert_eq!((layers[0].variables.len(), layers[0].flops), (2, 2 * 4 * 3 + 3 + 3));
    }

    #[test]
    fn layers_in_a_loop_give_what_it_gives() {
        let x = placeholder("x", DType::F32, ("time", "batch", 3));
        let (a, b) = (weight("a.weight", [3, 3]), weight("b.weight", [3, 2]));
        let start = thalweg_run::graph::zeros(("batch", 3), DType::F32);
        let (_, outputs) = thalweg_run::graph::ops::control::scan(&[&start], &[&x], |states, now| {
            let next = (&states[0] + &now[0].matmul(&a)).tanh();
            (vec![next.clone()], vec![next.matmul(&b)])
        });
        let layers = layers_of(&outputs[0].sum());
        let shown: Vec<String> =
            layers.iter().map(|layer| format!("{} {}", layer.path, layer.activation.meta())).collect();
        assert_eq!(shown, ["a f32[time,batch,2]", "b f32[time,batch,2]"]);
    }
}
