//! [`scan()`]: what users call.

use std::panic::Location;

use thalweg_array::{IntoSize, Size};

use super::close::Draft;
use crate::error::{BuildError, ShapeError};
use crate::ops::source::placeholder;
use crate::tensor::{Tensor, TensorId};

/// Calls `body` for each position along axis 0 of `inputs`, one after the other. It gets the carries and the slices of the
/// inputs at this position, and gives the carries for the next step and outputs. Comes back with the carries after the
/// last step and the outputs of all steps, stacked along a new axis 0.
///
/// The closure is run once, to build the graph of a step; nothing is unrolled, and the length may be a name. It may use tensors
/// from outside, weights among them: what does not depend on its parameters is computed once, before the loop. Numbers drawn
/// at random inside are others in each step; a dropout mask made outside is the same in all of them. Gradients flow
/// through carries, inputs and what comes from outside.
///
/// ```
/// use thalweg_graph::ops::control::scan;
/// use thalweg_graph::{Array, DType, Variable, constant, placeholder, reference, zeros};
/// // hₜ = tanh(xₜ W + hₜ₋₁ U)
/// let x = placeholder("x", DType::F32, ("time", "batch", 3));
/// let (w, u) = (Variable::new("w", Array::zeros(&[3, 4], DType::F32)), Variable::new("u", Array::zeros(&[4, 4], DType::F32)));
/// let (last, hidden) = scan(&[&zeros(("batch", 4), DType::F32)], &[&x], |h, x| {
///     let next = (x[0].matmul(&w) + h[0].matmul(&u)).tanh();
///     (vec![next.clone()], vec![next])
/// });
/// assert_eq!(last[0].meta().to_string(), "f32[batch,4]");
/// assert_eq!(hidden[0].meta().to_string(), "f32[time,batch,4]");
///
/// let (sum, _) = scan(&[&constant(0.0)], &[&constant([1.0, 2.0, 3.0])], |sum, x| (vec![&sum[0] * 10.0 + &x[0]], vec![]));
/// assert_eq!(reference::evaluate(&sum[0])?.item().unwrap(), 123.0);
/// # Ok::<(), thalweg_graph::EvalError>(())
/// ```
///
/// # Panics
/// If there is no input, or the inputs differ in length; if a step gives a carry back in another dtype or shape, or updates a
/// variable.
#[track_caller]
pub fn scan(
    carry: &[&Tensor],
    inputs: &[&Tensor],
    body: impl FnOnce(&[Tensor], &[Tensor]) -> (Vec<Tensor>, Vec<Tensor>),
) -> (Vec<Tensor>, Vec<Tensor>) {
    Scan::new().run(carry, inputs, body)
}

/// A [`scan()`] with settings.
///
/// ```
/// use thalweg_graph::ops::control::Scan;
/// use thalweg_graph::{constant, reference};
/// let (powers, _) = Scan::new().length(5).run(&[&constant(1.0)], &[], |x, _| (vec![&x[0] * 2.0], vec![]));
/// assert_eq!(reference::evaluate(&powers[0])?.item().unwrap(), 32.0);
/// let (_, sums) = Scan::new().reverse().run(&[&constant(0.0)], &[&constant([1.0, 2.0, 3.0])], |sum, x| {
///     let sum = &sum[0] + &x[0];
///     (vec![sum.clone()], vec![sum])
/// });
/// assert_eq!(reference::evaluate(&sums[0])?.to_vec::<f64>(), [6.0, 5.0, 3.0]);
/// # Ok::<(), thalweg_graph::EvalError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Scan {
    length: Option<Size>,
    reverse: bool,
}

impl Scan {
    /// From the first position to the last, as many steps as the inputs are long.
    pub fn new() -> Scan {
        Scan::default()
    }

    /// So many steps: for loops without inputs.
    pub fn length(self, length: impl IntoSize) -> Scan {
        Scan { length: Some(length.into_size()), ..self }
    }

    /// From the last position to the first; outputs stand where their inputs do.
    pub fn reverse(self) -> Scan {
        Scan { reverse: true, ..self }
    }

    /// As [`scan()`].
    ///
    /// # Panics
    /// As [`scan()`].
    #[track_caller]
    pub fn run(
        self,
        carry: &[&Tensor],
        inputs: &[&Tensor],
        body: impl FnOnce(&[Tensor], &[Tensor]) -> (Vec<Tensor>, Vec<Tensor>),
    ) -> (Vec<Tensor>, Vec<Tensor>) {
        match self.try_run(carry, inputs, body) {
            Ok(results) => results,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`Scan::run`].
    ///
    /// # Errors
    /// Where [`scan()`] panics; the message names the input or the carry.
    #[track_caller]
    pub fn try_run(
        self,
        carry: &[&Tensor],
        inputs: &[&Tensor],
        body: impl FnOnce(&[Tensor], &[Tensor]) -> (Vec<Tensor>, Vec<Tensor>),
    ) -> Result<(Vec<Tensor>, Vec<Tensor>), BuildError> {
        let location = crate::scope::blamed(Location::caller());
        let length = self.length_of(inputs, location)?;
        let first = TensorId::next();
        let stand_in = |role: &str, number: usize, given: &Tensor, axis: usize| {
            let shape: thalweg_array::Shape = given.shape().iter().skip(axis).cloned().collect();
            (placeholder(format!("{role}{number}"), given.dtype(), shape), given.clone())
        };
        let pairs = |role, given: &[&Tensor], axis| -> Vec<(Tensor, Tensor)> {
            given.iter().enumerate().map(|(number, given)| stand_in(role, number, given, axis)).collect()
        };
        let draft = Draft {
            length,
            reverse: self.reverse,
            gated: false,
            carries: pairs("carry", carry, 0),
            inputs: pairs("input", inputs, 1),
            outers: Vec::new(),
            first,
        };
        let seen = |pairs: &[(Tensor, Tensor)]| pairs.iter().map(|(seen, _)| seen.clone()).collect::<Vec<_>>();
        let (next, outputs) = body(&seen(&draft.carries), &seen(&draft.inputs));
        let mut results = draft.close(&next, &outputs, location)?;
        let outputs = results.split_off(carry.len());
        Ok((results, outputs))
    }

    /// The number of steps, on which all inputs agree.
    fn length_of(&self, inputs: &[&Tensor], location: &'static Location<'static>) -> Result<Size, BuildError> {
        let fail = |tensors: Vec<Tensor>, error| Err(BuildError::new("scan".into(), location, &tensors, error));
        let mut length = self.length.clone();
        for (number, input) in inputs.iter().enumerate() {
            let given = || inputs[..=number].iter().map(|&input| input.clone()).collect();
            let Some(size) = input.shape().iter().next() else {
                let reason = format!("input {number} has no axis to walk along");
                return fail(given(), ShapeError::new(reason).hint("what every step sees whole needs no mention"));
            };
            match &length {
                Some(length) if length != size => {
                    let reason = format!("input {number} has {size} positions along axis 0, there are {length} steps");
                    return fail(given(), ShapeError::new(reason));
                }
                _ => length = Some(size.clone()),
            }
        }
        match length {
            Some(length) => Ok(length),
            None => {
                fail(vec![], ShapeError::new("no input says how many steps there are").hint("Scan::new().length(n)"))
            }
        }
    }
}
