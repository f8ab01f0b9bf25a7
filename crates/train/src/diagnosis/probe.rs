//! [`Probe`]: tensors in the middle of a graph, read by path.

use thalweg_data::Batch;
use thalweg_formats::array::Array;
use thalweg_run::Session;
use thalweg_run::graph::Tensor;
use thalweg_run::graph::autodiff::try_grad;

use super::paths::paths_of;
use crate::fit::FitError;
use crate::inputs::Inputs;

/// Tensors that a loss depends on, found by path, to be read with their gradients. Reading changes nothing.
///
/// The path of a tensor is its scope and name, `train/encoder/hidden`, or where it has no name its op, `train/relu`, with a
/// number where that is taken: as TensorBoard shows the graph.
///
/// ```
/// # use thalweg_data::{Dataset, Loader};
/// # use thalweg_run::{Session, graph::{Array, DType, Variable, placeholder, scope}};
/// use thalweg_train::diagnosis::Probe;
/// # let data = Dataset::new([("x", [[1.0f32, -2.0], [3.0, -4.0]].into())])?;
/// # let batch = Loader::new(&data, 2)?.epoch(0)?.next().unwrap()?;
/// # let session = Session::cpu();
/// let x = placeholder("x", DType::F32, ("batch", 2));
/// let w = Variable::new("w", 2.0);
/// let loss = scope("encoder", || (&x * &w).named("hidden").relu()).sum();
///
/// let probe = Probe::new(&loss, &["encoder/hidden", "encoder/relu"])?;
/// let [hidden, relu] = &probe.read(&session, &batch)?[..] else { unreachable!() };
/// assert_eq!(hidden.value, [[2.0f32, -4.0], [6.0, -8.0]].into());
/// assert_eq!(hidden.gradient, Some([[1.0f32, 0.0], [1.0, 0.0]].into()));
/// assert_eq!(relu.path, "encoder/relu");
/// # Ok::<(), thalweg_train::FitError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Probe {
    loss: Tensor,
    points: Vec<(String, Tensor, Option<Tensor>)>,
}

/// What a tensor was in a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Its path.
    pub path: String,
    /// Its value.
    pub value: Array,
    /// The gradient of the loss for it; none if it has none.
    pub gradient: Option<Array>,
}

impl Probe {
    /// The tensors that `loss` depends on at these paths; of a scope, all in it.
    ///
    /// # Errors
    /// If there is none at a path; the message names some of those there are.
    pub fn new(loss: &Tensor, paths: &[&str]) -> Result<Probe, FitError> {
        let known = paths_of(loss);
        let mut chosen = Vec::new();
        for path in paths {
            let is_there =
                |known: &str| known.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            let found: Vec<_> = known.iter().filter(|(known, _)| is_there(known)).cloned().collect();
            if found.is_empty() {
                let some = known.iter().rev().map(|(known, _)| known.as_str()).take(20).collect::<Vec<_>>();
                let reason = format!("the loss depends on no tensor of this path; there are: {}", some.join(" "));
                return Err(FitError::Setting { setting: format!("probe at `{path}`"), reason });
            }
            chosen.extend(found);
        }
        Ok(Probe::of(loss, chosen))
    }

    /// These tensors, under these names.
    pub fn of(loss: &Tensor, tensors: impl IntoIterator<Item = (String, Tensor)>) -> Probe {
        let with_gradient = |(path, tensor): (String, Tensor)| {
            let gradient = try_grad(loss, &[&tensor]).ok().and_then(|gradients| gradients.into_iter().next());
            (path, tensor, gradient)
        };
        Probe { loss: loss.clone(), points: tensors.into_iter().map(with_gradient).collect() }
    }

    /// What they are in a run of its own on `batch`.
    ///
    /// # Errors
    /// If the batch lacks a column that the loss reads, or the run fails.
    pub fn read(&self, session: &Session, batch: &Batch) -> Result<Vec<Reading>, FitError> {
        let tensors: Vec<&Tensor> = self.points.iter().map(|(_, tensor, _)| tensor).collect();
        let gradients: Vec<&Tensor> = self.points.iter().filter_map(|(_, _, gradient)| gradient.as_ref()).collect();
        let inputs = Inputs::of([&self.loss]);
        // With the loss, so that the sizes of the batch are known.
        let (values, gradients, _) = session.run((&tensors, &gradients, &self.loss), inputs.feeds(batch)?)?;
        let mut gradients = gradients.into_iter();
        let readings = self.points.iter().zip(values).map(|((path, _, gradient), value)| {
            let gradient = gradient.as_ref().and_then(|_| gradients.next());
            Reading { path: path.clone(), value, gradient }
        });
        Ok(readings.collect())
    }
}
