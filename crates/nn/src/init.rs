//! [`Init`] and [`Initializer`]: how variables begin.
//!
//! Initial values are graphs of random ops with streams of their own (the seed and the number of the variable), so
//! that the same seed gives the same bits whatever else is built, and nothing is drawn before a session needs it.

use thalweg_graph::array::random::{Philox, mix, stream};
use thalweg_graph::array::scalar::Distribution;
use thalweg_graph::ops::random::Random;
use thalweg_graph::{Array, DType, Tensor, Variable, full};

use crate::module::Module;

/// Makes the variables of a model, each with random numbers of its own.
///
/// ```
/// use thalweg_nn::{Init, Initializer};
/// let mut init = Init::new(42);
/// let w = init.variable(&[784, 128], Initializer::he_normal());
/// assert_eq!(w.meta().to_string(), "f32[784,128]");
/// ```
#[derive(Clone, Debug)]
pub struct Init {
    seed: u64,
    made: u64,
    dtype: DType,
}

impl Init {
    /// Variables of f32 whose random numbers follow from `seed`.
    pub fn new(seed: u64) -> Init {
        Init { seed, made: 0, dtype: DType::F32 }
    }

    /// Variables of another float dtype.
    ///
    /// # Panics
    /// If it is no float.
    #[track_caller]
    pub fn dtype(self, dtype: DType) -> Init {
        assert!(dtype.is_float(), "parameters are floats, not {dtype}");
        Init { dtype, ..self }
    }

    /// The module that `body` builds, its variables named by their paths.
    pub fn build<M: Module>(seed: u64, body: impl FnOnce(&mut Init) -> M) -> M {
        let module = body(&mut Init::new(seed));
        module.name_variables();
        module
    }

    /// A variable of `shape`, without a name: the module that holds it names it.
    #[track_caller]
    pub fn variable(&mut self, shape: &[usize], initializer: Initializer) -> Variable {
        self.variable_with_fans(shape, Fans::of(shape), initializer)
    }

    /// A variable of `shape` whose last axis is cut into equal parts, each of which begins as a variable of its own would:
    /// the gates of a cell.
    ///
    /// # Panics
    /// If the last axis does not divide.
    #[track_caller]
    pub fn joined(&mut self, shape: &[usize], parts: &[Initializer]) -> Variable {
        let mut part_shape = shape.to_vec();
        match part_shape.last_mut() {
            Some(last) if !parts.is_empty() && last.is_multiple_of(parts.len()) => *last /= parts.len(),
            _ => panic!("init: the last axis of {shape:?} does not divide into {} parts", parts.len()),
        }
        let parts: Vec<Tensor> =
            parts.iter().map(|&part| self.initial(&part_shape, Fans::of(&part_shape), part)).collect();
        Variable::unnamed(Tensor::concat(&parts.iter().collect::<Vec<_>>(), -1))
    }

    /// As [`Init::variable`], where the fans do not follow from the shape.
    #[track_caller]
    pub fn variable_with_fans(&mut self, shape: &[usize], fans: Fans, initializer: Initializer) -> Variable {
        Variable::unnamed(self.initial(shape, fans, initializer))
    }

    /// Numbers to begin with, from the next stream.
    #[track_caller]
    fn initial(&mut self, shape: &[usize], fans: Fans, initializer: Initializer) -> Tensor {
        let stream = mix(self.seed ^ stream("init", self.made));
        self.made += 1;
        initializer.tensor(shape, fans, self.dtype, stream)
    }
}

/// How many inputs each output of a weight adds up, and how many outputs each input feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fans {
    /// The inputs of an output.
    pub input: usize,
    /// The outputs of an input.
    pub output: usize,
}

impl Fans {
    /// Of a weight `[in, out]` of a linear layer, or `[out, in, kernel…]` of a convolution.
    pub fn of(shape: &[usize]) -> Fans {
        match *shape {
            [] => Fans { input: 1, output: 1 },
            [n] => Fans { input: n, output: n },
            [input, output] => Fans { input, output },
            [output, input, ref kernel @ ..] => {
                let positions: usize = kernel.iter().product();
                Fans { input: input * positions, output: output * positions }
            }
        }
    }

    /// The axis of the outputs of a weight with so many axes, at least two.
    pub(crate) fn unit_axis(rank: usize) -> usize {
        if rank == 2 { 1 } else { 0 }
    }
}

/// What a variable's numbers are at the beginning. `n_in` and `n_out` are the [`Fans`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initializer {
    /// 0 everywhere.
    Zeros,
    /// 1 everywhere.
    Ones,
    /// One number everywhere.
    Constant(f64),
    /// Uniform in [low, high).
    Uniform {
        /// The smallest.
        low: f64,
        /// The bound above.
        high: f64,
    },
    /// Normal.
    Normal {
        /// The mean.
        mean: f64,
        /// The standard deviation.
        std: f64,
    },
    /// Normal, without what lies more than two `std` from the mean; the standard deviation of what is left is
    /// 0.87962566 `std`.
    TruncatedNormal {
        /// The mean.
        mean: f64,
        /// The standard deviation before the tails are cut.
        std: f64,
    },
    /// Uniform in ±gain·√(6/(n_in + n_out)) (Glorot and Bengio 2010).
    XavierUniform {
        /// 1 for tanh; see [`crate::Activation::gain`].
        gain: f64,
    },
    /// Normal with standard deviation gain·√(2/(n_in + n_out)) (Glorot and Bengio 2010).
    XavierNormal {
        /// 1 for tanh; see [`crate::Activation::gain`].
        gain: f64,
    },
    /// Uniform in ±gain·√(3/n_in) (He et al. 2015).
    HeUniform {
        /// √2 for ReLU; see [`crate::Activation::gain`].
        gain: f64,
    },
    /// Normal with standard deviation gain/√n_in (He et al. 2015).
    HeNormal {
        /// √2 for ReLU; see [`crate::Activation::gain`].
        gain: f64,
    },
    /// As a matrix of all axes but the last against the last: orthonormal columns, or rows where there are fewer of
    /// them, times `gain` (Saxe, McClelland, Ganguli 2013). Computed when the variable is made, in
    /// O(larger · smaller²).
    Orthogonal {
        /// The length of each column.
        gain: f64,
    },
}

impl Initializer {
    /// [`Initializer::HeNormal`] for ReLU.
    pub const fn he_normal() -> Initializer {
        Initializer::HeNormal { gain: std::f64::consts::SQRT_2 }
    }

    /// [`Initializer::HeUniform`] for ReLU.
    pub const fn he_uniform() -> Initializer {
        Initializer::HeUniform { gain: std::f64::consts::SQRT_2 }
    }

    /// [`Initializer::XavierUniform`] with gain 1.
    pub const fn xavier_uniform() -> Initializer {
        Initializer::XavierUniform { gain: 1.0 }
    }

    /// [`Initializer::XavierNormal`] with gain 1.
    pub const fn xavier_normal() -> Initializer {
        Initializer::XavierNormal { gain: 1.0 }
    }

    /// A tensor without placeholders with these numbers, drawn from `stream`.
    ///
    /// # Panics
    /// If a range is empty or a setting is not finite.
    #[track_caller]
    pub fn tensor(self, shape: &[usize], fans: Fans, dtype: DType, stream: u64) -> Tensor {
        self.check();
        let draw = |distribution| {
            Tensor::apply(
                Random { distribution, dtype, shape: shape.iter().copied().collect(), stream: Some(stream) },
                [],
            )
        };
        let uniform = |low: f64, high: f64| draw(Distribution::Uniform) * (high - low) + low;
        let normal = |mean: f64, std: f64| draw(Distribution::Normal) * std + mean;
        let both = (fans.input + fans.output).max(1) as f64;
        let input = fans.input.max(1) as f64;
        match self {
            Initializer::Zeros => full(shape, dtype, 0.0),
            Initializer::Ones => full(shape, dtype, 1.0),
            Initializer::Constant(value) => full(shape, dtype, value),
            Initializer::Uniform { low, high } => uniform(low, high),
            Initializer::Normal { mean, std } => normal(mean, std),
            Initializer::TruncatedNormal { mean, std } => truncated_normal(&draw(Distribution::Uniform)) * std + mean,
            Initializer::XavierUniform { gain } => {
                let bound = gain * (6.0 / both).sqrt();
                uniform(-bound, bound)
            }
            Initializer::XavierNormal { gain } => normal(0.0, gain * (2.0 / both).sqrt()),
            Initializer::HeUniform { gain } => {
                let bound = gain * (3.0 / input).sqrt();
                uniform(-bound, bound)
            }
            Initializer::HeNormal { gain } => normal(0.0, gain / input.sqrt()),
            Initializer::Orthogonal { gain } => thalweg_graph::constant(orthogonal(shape, gain, stream).cast(dtype)),
        }
    }

    #[track_caller]
    fn check(self) {
        let (settings, fits) = match self {
            Initializer::Zeros | Initializer::Ones => return,
            Initializer::Constant(value) => ([value, 0.0], true),
            Initializer::Uniform { low, high } => ([low, high], low <= high),
            Initializer::Normal { mean, std } | Initializer::TruncatedNormal { mean, std } => ([mean, std], std >= 0.0),
            Initializer::XavierUniform { gain }
            | Initializer::XavierNormal { gain }
            | Initializer::HeUniform { gain }
            | Initializer::HeNormal { gain }
            | Initializer::Orthogonal { gain } => ([gain, 0.0], gain >= 0.0),
        };
        assert!(
            fits && settings.iter().all(|setting| setting.is_finite()),
            "{self:?}: a bound, deviation or gain that is negative, reversed or not finite"
        );
    }
}

/// Numbers uniform in [0, 1) as standard normal ones within ±2, by the inverse of the distribution function:
/// √2 erf⁻¹(v) with v uniform in ±erf(√2). The series is Giles' for the central region (2010, single precision), in
/// which all of ±erf(√2) lies.
fn truncated_normal(uniform: &Tensor) -> Tensor {
    const SERIES: [f64; 9] = [
        2.81022636e-08,
        3.43273939e-07,
        -3.5233877e-06,
        -4.39150654e-06,
        0.00021858087,
        -0.00125372503,
        -0.00417768164,
        0.246640727,
        1.50140941,
    ];
    const ERF_SQRT_2: f64 = 0.954_499_736_103_641_6;
    let v = uniform * (2.0 * ERF_SQRT_2) - ERF_SQRT_2;
    let w = -(-v.square()).log1p() - 2.5;
    let series = SERIES[1..].iter().fold(v.scalar_like(SERIES[0]), |sum, &coefficient| sum * &w + coefficient);
    v * series * std::f64::consts::SQRT_2
}

/// Normal numbers made orthonormal column by column (Gram and Schmidt, twice: once loses orthogonality to rounding).
fn orthogonal(shape: &[usize], gain: f64, stream: u64) -> Array {
    let columns = shape.last().copied().unwrap_or(1);
    let rows: usize = shape.iter().product::<usize>().checked_div(columns).unwrap_or(0);
    // The vectors are the columns, or the rows where there are fewer of them.
    let (count, length) = (rows.min(columns), rows.max(columns));
    let generator = Philox::new(0, stream);
    let mut vectors: Vec<Vec<f64>> = Vec::with_capacity(count);
    for position in 0..count {
        let mut vector: Vec<f64> = (0..length).map(|i| generator.normal((position * length + i) as u64, 0)).collect();
        for other in vectors.iter().chain(&vectors) {
            let along = dot(&vector, other);
            vector.iter_mut().zip(other).for_each(|(x, y)| *x -= along * y);
        }
        let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
        vector.iter_mut().for_each(|x| *x /= norm);
        vectors.push(vector);
    }
    let element =
        |row: usize, column: usize| gain * if columns <= rows { vectors[column][row] } else { vectors[row][column] };
    let elements: Vec<f64> =
        (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))).map(|(r, c)| element(r, c)).collect();
    match Array::new(shape, elements) {
        Ok(array) => array,
        Err(error) => panic!("an orthogonal matrix of another size ({error}): a bug in Thalweg"),
    }
}

/// The sum of products, in lanes that a processor adds up side by side.
fn dot(x: &[f64], y: &[f64]) -> f64 {
    let mut lanes = [0.0; 16];
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<16>(), y.as_chunks::<16>());
    for (x, y) in x.iter().zip(y) {
        lanes.iter_mut().zip(x.iter().zip(y)).for_each(|(lane, (x, y))| *lane += x * y);
    }
    lanes.iter().sum::<f64>() + x_rest.iter().zip(y_rest).map(|(x, y)| x * y).sum::<f64>()
}

/// Layer-sequential unit variance (Mishkin and Matas 2015): layer by layer, the weights are scaled until the layer's
/// output on a batch has variance 1. The measuring needs a runtime; here is the rule.
///
/// ```
/// use thalweg_nn::init::Lsuv;
/// let lsuv = Lsuv::default();
/// assert_eq!(lsuv.factor(4.0), Some(0.5));   // the weights are halved, then measured again
/// assert_eq!(lsuv.factor(1.05), None);       // near enough: on to the next layer
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lsuv {
    /// How far from 1 a variance may be.
    pub tolerance: f64,
    /// How often a layer is scaled before the next one's turn comes.
    pub max_rounds: usize,
}

impl Default for Lsuv {
    /// The paper's: 0.1 and 10 rounds.
    fn default() -> Lsuv {
        Lsuv { tolerance: 0.1, max_rounds: 10 }
    }
}

impl Lsuv {
    /// What to multiply a layer's weights by, given the variance of its output: 1/√variance; `None` if it is within the
    /// tolerance, or has no scale (0, NaN, infinite).
    pub fn factor(&self, variance: f64) -> Option<f64> {
        let usable = variance.is_finite() && variance > 0.0;
        (usable && (variance - 1.0).abs() > self.tolerance).then(|| 1.0 / variance.sqrt())
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::reference::{evaluate, initial_value};

    use super::*;

    fn numbers(variable: &Variable) -> Vec<f64> {
        initial_value(variable.core(), 0).unwrap().to_vec()
    }

    fn moments(x: &[f64]) -> (f64, f64) {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        (mean, (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64).sqrt())
    }

    #[test]
    fn means_deviations_and_bounds() {
        let (n_in, n_out) = (100, 60);
        let bound_xavier = (6.0f64 / 160.0).sqrt();
        let bound_he = (6.0f64 / 100.0).sqrt();
        let cases = [
            (Initializer::Zeros, 0.0, 0.0, 0.0),
            (Initializer::Ones, 1.0, 0.0, 1.0),
            (Initializer::Constant(-2.5), -2.5, 0.0, 2.5),
            (Initializer::Uniform { low: -1.0, high: 3.0 }, 1.0, 4.0 / 12f64.sqrt(), 3.0),
            (Initializer::Normal { mean: 1.0, std: 0.5 }, 1.0, 0.5, f64::INFINITY),
            (Initializer::TruncatedNormal { mean: 0.0, std: 2.0 }, 0.0, 2.0 * 0.87962566, 4.0),
            (Initializer::xavier_uniform(), 0.0, bound_xavier / 3f64.sqrt(), bound_xavier),
            (Initializer::xavier_normal(), 0.0, (2.0f64 / 160.0).sqrt(), f64::INFINITY),
            (Initializer::he_uniform(), 0.0, bound_he / 3f64.sqrt(), bound_he),
            (Initializer::he_normal(), 0.0, (2.0f64 / 100.0).sqrt(), f64::INFINITY),
        ];
        for (initializer, mean, std, bound) in cases {
            let x = numbers(&Init::new(3).variable(&[n_in, n_out], initializer));
            let (found_mean, found_std) = moments(&x);
            let tolerance = 0.04 * std + 1e-7;
            assert!((found_mean - mean).abs() <= tolerance, "{initializer:?}: mean {found_mean}");
            assert!((found_std - std).abs() <= tolerance, "{initializer:?}: deviation {found_std}");
            assert!(x.iter().all(|x| x.abs() <= bound * (1.0 + 1e-6)), "{initializer:?}: out of ±{bound}");
        }
    }

    #[test]
    fn the_truncated_normal_inverts_the_distribution_function() {
        let u: Vec<f64> = (0..100).map(|i| i as f64 / 100.0).collect();
        let z = evaluate(&truncated_normal(&thalweg_graph::constant(u.clone()))).unwrap();
        let tensor = thalweg_graph::constant(z) * std::f64::consts::FRAC_1_SQRT_2;
        let back: Vec<f64> = evaluate(&tensor.erf()).unwrap().to_vec();
        for (u, back) in u.iter().zip(back) {
            assert!((back - (2.0 * u - 1.0) * 0.9544997361036416).abs() < 1e-6, "{u}: {back}");
        }
    }

    #[test]
    fn orthogonal_vectors_are() {
        for (rows, columns) in [(6, 4), (4, 6), (5, 5), (1, 3)] {
            let w = numbers(
                &Init::new(5).dtype(DType::F64).variable(&[rows, columns], Initializer::Orthogonal { gain: 2.0 }),
            );
            let count = rows.min(columns);
            let vector = |k: usize| -> Vec<f64> {
                if columns <= rows {
                    (0..rows).map(|row| w[row * columns + k]).collect()
                } else {
                    w[k * columns..(k + 1) * columns].to_vec()
                }
            };
            for (a, b) in (0..count).flat_map(|a| (0..count).map(move |b| (a, b))) {
                let product: f64 = vector(a).iter().zip(vector(b)).map(|(x, y)| x * y).sum();
                assert!(
                    (product - if a == b { 4.0 } else { 0.0 }).abs() < 1e-12,
                    "{rows}x{columns} {a} {b}: {product}"
                );
            }
        }
    }

    #[test]
    fn every_variable_has_numbers_of_its_own_and_the_seed_decides_them() {
        let pair = |seed| {
            let mut init = Init::new(seed);
            [(); 2].map(|_| numbers(&init.variable(&[8], Initializer::he_normal())))
        };
        let [a, b] = pair(1);
        assert_ne!(a, b);
        assert_eq!(pair(1), [a.clone(), b]);
        assert_ne!(pair(2)[0], a);
    }

    #[test]
    fn lsuv_ends_where_there_is_no_scale() {
        let lsuv = Lsuv::default();
        assert_eq!([0.0, f64::NAN, f64::INFINITY, 0.95].map(|variance| lsuv.factor(variance)), [None; 4]);
        assert_eq!(lsuv.factor(0.25), Some(2.0));
    }

    #[test]
    fn fans_of_linear_and_convolution() {
        assert_eq!(Fans::of(&[3, 5]), Fans { input: 3, output: 5 });
        assert_eq!(Fans::of(&[16, 8, 3, 3]), Fans { input: 72, output: 144 });
    }

    #[test]
    #[should_panic(expected = "Normal { mean: 0.0, std: -1.0 }")]
    fn a_negative_deviation_is_refused() {
        Init::new(0).variable(&[2], Initializer::Normal { mean: 0.0, std: -1.0 });
    }
}
