//! Gradients held against differences: along a random direction u, the slope that the gradient promises is uᵀ∇f, and
//! (f(x + hu) − f(x − hu)) / 2h is what the function does. One comparison an input and order instead of one a number.

use std::fmt;

use thalweg_array::random::{Philox, stream};
use thalweg_array::{Array, DType};
use thiserror::Error;

use crate::autodiff::reverse::pull_back;
use crate::error::EvalError;
use crate::graph::Graph;
use crate::ops::source::{constant, placeholder};
use crate::reference::{Feeds, interpret};
use crate::tensor::Tensor;

/// How gradients are checked.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckOptions {
    /// Up to which order: 1, or 2 for the gradient of the gradient too.
    pub order: usize,
    /// How many random directions for each input and order.
    pub directions: usize,
    /// h of the differences.
    pub step: f64,
    /// How far the two may differ, relative to the larger of 1 and their magnitudes.
    pub tolerance: f64,
    /// Of the random directions.
    pub seed: u64,
}

impl Default for CheckOptions {
    /// First order, one direction, a step of 10⁻⁵ (errors of f64 differences are about 10⁻¹⁰ there), a tolerance of
    /// 10⁻⁶.
    fn default() -> Self {
        CheckOptions { order: 1, directions: 1, step: 1e-5, tolerance: 1e-6, seed: 0 }
    }
}

/// What was compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// How many slopes.
    pub comparisons: usize,
    /// The largest difference, relative to the larger of 1 and the magnitudes.
    pub largest_difference: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} slopes agree, the worst within {:.1e}", self.comparisons, self.largest_difference)
    }
}

/// Where gradient and function disagree.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum GradientMismatch {
    /// The slopes differ.
    #[error(
        "order {order}: along a random direction of input {input} ({meta}) the gradient promises a slope of {analytic:e}, the function has {numeric:e}"
    )]
    Slope {
        /// 1 for the gradient, 2 for the gradient of the gradient.
        order: usize,
        /// Which input.
        input: usize,
        /// Its dtype and shape.
        meta: String,
        /// uᵀ∇f.
        analytic: f64,
        /// (f(x + hu) − f(x − hu)) / 2h.
        numeric: f64,
    },
    /// The gradient is of another shape than its input.
    #[error("the gradient of input {input} is {found}, the input {expected}")]
    Meta {
        /// Which input.
        input: usize,
        /// Its dtype and shape.
        expected: String,
        /// Those of the gradient.
        found: String,
    },
    /// An input or the result is not f64.
    #[error("{what} is {dtype}; gradients are checked in f64, where differences mean something")]
    NotF64 {
        /// `input 0` or `the result`.
        what: String,
        /// Its dtype.
        dtype: DType,
    },
    /// The function cannot be evaluated.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

/// Checks the gradients of `f` at `inputs`, all f64, through the [reference interpreter](crate::reference). A result
/// with axes is weighted by random numbers first. Random ops draw the same numbers in every evaluation.
///
/// ```
/// use thalweg_graph::autodiff::check::{CheckOptions, check_gradients};
/// use thalweg_graph::{Array, Tensor};
/// let f = |x: &[Tensor]| x[0].matmul(&x[1]).tanh();
/// let inputs = [Array::from([[0.1, 0.2], [0.3, 0.4]]), Array::from([[1.0], [-1.0]])];
/// let report = check_gradients(f, &inputs, &CheckOptions { order: 2, ..CheckOptions::default() })?;
/// assert_eq!(report.comparisons, 4);
/// # Ok::<(), thalweg_graph::autodiff::check::GradientMismatch>(())
/// ```
///
/// # Errors
/// Where gradient and function disagree, with input, order and both slopes; a NaN agrees with nothing.
///
/// # Panics
/// If `f` panics: it may refuse the shapes.
pub fn check_gradients(
    f: impl Fn(&[Tensor]) -> Tensor,
    inputs: &[Array],
    options: &CheckOptions,
) -> Result<Report, GradientMismatch> {
    for (input, array) in inputs.iter().enumerate() {
        expect_f64(array.dtype(), || format!("input {input}"))?;
    }
    let mut draw = Draw { seed: options.seed, ordinal: 0 };
    let names: Vec<String> = (0..inputs.len()).map(|input| format!("input{input}")).collect();
    let x: Vec<Tensor> =
        inputs.iter().zip(&names).map(|(array, name)| placeholder(name, DType::F64, array.shape())).collect();
    let y = f(&x);
    expect_f64(y.dtype(), || "the result".into())?;

    let mut report = Report::default();
    let mut function = weighted(&y, &mut draw);
    for order in 1..=options.order {
        let wanted: Vec<&Tensor> = x.iter().collect();
        let gradients = pull_back(&[(&function, &function.ones_like())], &wanted);
        for (input, (gradient, x)) in gradients.iter().zip(&x).enumerate() {
            if let Some(gradient) = gradient.as_ref().filter(|gradient| gradient.meta() != x.meta()) {
                let (expected, found) = (x.meta().to_string(), gradient.meta().to_string());
                return Err(GradientMismatch::Meta { input, expected, found });
            }
        }
        // A gradient that does not flow is 0.
        let gradients: Vec<Tensor> =
            gradients.into_iter().zip(&x).map(|(gradient, x)| gradient.unwrap_or_else(|| x.zeros_like())).collect();
        // One graph for both, so that random ops draw the same numbers.
        let graph = Graph::capture([&function].into_iter().chain(&gradients), &[]);
        let evaluate = |arrays: Vec<Array>| {
            let feeds = Feeds::new(names.iter().map(String::as_str).zip(arrays));
            interpret(&graph, &feeds).map(|results| results.fetches)
        };
        let at_x = evaluate(inputs.to_vec())?;
        for (input, gradient) in at_x[1..].iter().enumerate() {
            for _ in 0..options.directions {
                let direction = draw.direction(gradient.len());
                let shifted = |step: f64| {
                    let mut arrays = inputs.to_vec();
                    arrays[input] = moved(&inputs[input], &direction, step);
                    evaluate(arrays).map(|fetches| fetches[0].to_vec::<f64>()[0])
                };
                let numeric = (shifted(options.step)? - shifted(-options.step)?) / (2.0 * options.step);
                let analytic: f64 = gradient.to_vec::<f64>().iter().zip(&direction).map(|(g, u)| g * u).sum();
                let difference = (numeric - analytic).abs() / numeric.abs().max(analytic.abs()).max(1.0);
                if difference.is_nan() || difference > options.tolerance {
                    let meta = x[input].meta().to_string();
                    return Err(GradientMismatch::Slope { order, input, meta, analytic, numeric });
                }
                report.comparisons += 1;
                report.largest_difference = report.largest_difference.max(difference);
            }
        }
        function =
            gradients.iter().map(|gradient| weighted(gradient, &mut draw)).reduce(|a, b| a + b).unwrap_or(function);
    }
    Ok(report)
}

fn expect_f64(dtype: DType, what: impl Fn() -> String) -> Result<(), GradientMismatch> {
    if dtype == DType::F64 { Ok(()) } else { Err(GradientMismatch::NotF64 { what: what(), dtype }) }
}

/// Random numbers for directions and weights, a fresh stream each time.
struct Draw {
    seed: u64,
    ordinal: u64,
}

impl Draw {
    fn normal(&mut self, count: usize) -> Vec<f64> {
        self.ordinal += 1;
        let generator = Philox::new(self.seed, stream("check_gradients", self.ordinal));
        (0..count as u64).map(|index| generator.normal(index, 0)).collect()
    }

    /// A random direction of length 1.
    fn direction(&mut self, count: usize) -> Vec<f64> {
        let direction = self.normal(count);
        let length = direction.iter().map(|x| x * x).sum::<f64>().sqrt();
        direction.into_iter().map(|x| x / length).collect()
    }
}

/// Σ w·y with random weights: one number that depends on all of y.
fn weighted(y: &Tensor, draw: &mut Draw) -> Tensor {
    let shape = y.shape().numbers().unwrap_or_else(|| panic!("the shape of {y:?} has a name: check with numbers"));
    let weights = draw.normal(shape.iter().product());
    let weights = Array::new(&shape, weights).unwrap_or_else(|error| panic!("{error}: a bug in Thalweg"));
    (y * constant(weights)).sum()
}

fn moved(x: &Array, direction: &[f64], step: f64) -> Array {
    let elements = x.to_vec::<f64>().iter().zip(direction).map(|(x, u)| x + step * u).collect();
    Array::new(x.shape(), elements).unwrap_or_else(|error| panic!("{error}: a bug in Thalweg"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_gradient_is_found_and_named() {
        let f = |x: &[Tensor]| &x[0] + x[1].square().stop_gradient();
        let inputs = [Array::from([1.0, 2.0]), Array::from([3.0, 4.0])];
        let error = check_gradients(f, &inputs, &CheckOptions::default()).unwrap_err();
        assert!(matches!(error, GradientMismatch::Slope { order: 1, input: 1, analytic: 0.0, .. }), "{error}");
        assert!(error.to_string().contains("input 1 (f64[2])"), "{error}");
    }

    #[test]
    fn a_wrong_second_order_is_found() {
        let f = |x: &[Tensor]| &x[0] * x[0].square() + (x[0].sin() - x[0].sin().stop_gradient()) * 0.0;
        assert!(
            check_gradients(f, &[Array::from([1.0, 2.0])], &CheckOptions { order: 2, ..Default::default() }).is_ok()
        );
        // The first gradient is right, but its factor is held fast.
        let f = |x: &[Tensor]| {
            (x[0].square().stop_gradient() * 3.0 * &x[0]) - (x[0].square() * &x[0] * 2.0).stop_gradient()
        };
        let options = CheckOptions { order: 2, ..CheckOptions::default() };
        let error = check_gradients(f, &[Array::from([1.0, 2.0])], &options).unwrap_err();
        assert!(matches!(error, GradientMismatch::Slope { order: 2, .. }), "{error}");
    }

    #[test]
    fn single_precision_is_refused() {
        let error = check_gradients(|x| x[0].clone(), &[Array::from([1.0f32])], &CheckOptions::default()).unwrap_err();
        assert!(error.to_string().contains("input 0 is f32"), "{error}");
        let f = |x: &[Tensor]| x[0].cast(DType::F32);
        let error = check_gradients(f, &[Array::from([1.0])], &CheckOptions::default()).unwrap_err();
        assert!(error.to_string().contains("the result is f32"), "{error}");
    }
}
