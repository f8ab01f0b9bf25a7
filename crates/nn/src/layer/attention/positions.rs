//! Where a token stands: [`Positions`] are added to its vector, [`Rotary`] turns queries and keys.

use std::f64::consts::LN_10;

use thalweg_graph::{Array, DType, Tensor, Variable, constant, iota};

use crate::error::refuse;
use crate::init::{Init, Initializer};
use crate::layer::{Forward, Layer};
use crate::module::{Module, Path, Visitor};

/// Vectors that tell positions, added to `[batch, time, features]`.
#[derive(Clone, Debug)]
pub enum Positions {
    /// sin and cos of the position at wavelengths from 2π to 20000π, in turns (Vaswani et al. 2017); texts of any length.
    Sinusoidal,
    /// A row `[features]` for each position; there are no more positions than rows.
    Learned(Variable),
}

impl Positions {
    /// Learned vectors of `features` numbers for so many positions.
    #[track_caller]
    pub fn learned(init: &mut Init, positions: usize, features: usize) -> Positions {
        Positions::Learned(init.variable(&[positions, features], Initializer::Normal { mean: 0.0, std: 0.02 }))
    }

    /// `x`, `[batch, time, features]`, with the vectors of these positions, `[batch, time]` or `[time]`, added.
    #[track_caller]
    pub fn at(&self, x: &Tensor, positions: &Tensor) -> Tensor {
        match self {
            Positions::Sinusoidal => x + sinusoids(positions, x),
            Positions::Learned(table) => x + table.gather(positions, 0),
        }
    }
}

impl Module for Positions {
    fn visit(&self, path: &mut Path, visitor: &mut Visitor<'_>) {
        match self {
            Positions::Sinusoidal => {}
            Positions::Learned(table) => table.visit(path, visitor),
        }
    }
}

impl Layer for Positions {
    /// The positions are 0, 1, 2, …
    ///
    /// # Panics
    /// If there are more than the learned ones; where their number comes from data, the run is refused.
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Forward) -> Tensor {
        if x.rank() != 3 {
            refuse("positions", &[("x", x)], "x must be [batch, time, features]");
        }
        let time = x.size(1);
        match self {
            Positions::Sinusoidal => self.at(x, &iota([time], 0, DType::I64)),
            Positions::Learned(table) => {
                let rows = table.size(0);
                if let (Some(time), Some(rows)) = (time.number(), rows.number())
                    && time > rows
                {
                    let reason = format!("x has {time} positions, the table {rows}");
                    refuse("positions", &[("x", x), ("table", table)], reason);
                }
                x + table.narrow(0, 0, time).named("positions")
            }
        }
    }
}

/// `[positions…, features]`: sin(p/10000^(2i/features)) at 2i, cos of the same at 2i + 1.
#[track_caller]
fn sinusoids(positions: &Tensor, x: &Tensor) -> Tensor {
    let features = known_width("positions", x);
    let angles = angles(positions, features, 4.0 * LN_10, x.dtype());
    let pairs = Tensor::stack(&[&angles.sin(), &angles.cos()], -1);
    let mut shape = positions.shape().clone();
    shape.sizes_mut().push(features.into());
    pairs.reshape(shape).cast(x.dtype())
}

/// p·e^(−2i/width·`log_base`) for i below width/2, in f32 at least.
fn angles(positions: &Tensor, width: usize, log_base: f64, dtype: DType) -> Tensor {
    let frequency = |i: usize| (-log_base * (2 * i) as f64 / width as f64).exp();
    let frequencies: Array = (0..width / 2).map(frequency).collect::<Vec<f64>>().into();
    let dtype = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    positions.cast(dtype).unsqueeze(-1) * constant(frequencies.cast(dtype))
}

/// The size of the last axis, which must be an even number.
#[track_caller]
fn known_width(what: &str, x: &Tensor) -> usize {
    match x.size(-1).number() {
        Some(width) if width > 0 && width % 2 == 0 => width,
        _ => refuse(what, &[("x", x)], "the last axis must be known and even: its numbers are taken in pairs"),
    }
}

/// Turns pairs of numbers by an angle that grows with the position, so that the product of a query and a key depends on
/// how far they stand apart (Su et al. 2021). The pairs are i and i + width/2, the angles p/base^(2i/width).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rotary {
    /// 10000 where nothing else is said.
    pub base: f64,
}

impl Default for Rotary {
    fn default() -> Rotary {
        Rotary { base: 10_000.0 }
    }
}

crate::module::without_variables!(Rotary);

impl Rotary {
    /// `x`, `[batch, time, heads, width]`, turned at these positions, `[batch, time]` or `[time]`.
    ///
    /// # Panics
    /// If the width is not known and even.
    #[track_caller]
    pub fn turn(&self, x: &Tensor, positions: &Tensor) -> Tensor {
        let width = known_width("rotary", x);
        // The same for all heads.
        let angles = angles(positions, width, self.base.ln(), x.dtype()).unsqueeze(-2);
        let [cos, sin] = [angles.cos(), angles.sin()].map(|factor| factor.cast(x.dtype()));
        let (a, b) = (x.slice(-1, 0..width / 2), x.slice(-1, width / 2..width));
        Tensor::concat(&[&(&a * &cos - &b * &sin), &(&b * &cos + &a * &sin)], -1)
    }
}
