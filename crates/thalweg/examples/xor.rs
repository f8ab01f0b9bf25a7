//! Exclusive or with two hidden units: the smallest problem that no single layer solves.
//!
//! Two hidden units are just enough, so some beginnings run into a hollow of the loss from which no small step leads out:
//! two or three of the four rows are right and stay right, the others stay wrong. Such a run is given up and another
//! begun from other random weights; the output says how often. More hidden units would make this rare.
//!
//! `cargo run --release --example xor [PICTURES]`

#[path = "support/plane.rs"]
mod plane;
mod support;

use std::path::PathBuf;

use plane::surface;
use support::{Axis, Panel, Result, Series, draw};
use thalweg::nn::binary_cross_entropy_with_logits;
use thalweg::prelude::*;

const ROWS: [[f32; 2]; 4] = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]];
const XOR: [[f32; 1]; 4] = [[0.0], [1.0], [1.0], [0.0]];

fn main() -> Result<()> {
    let (learned, given_up) = learn(0)?;
    println!("beginnings given up: {given_up}");
    let answers = learned.answers(&ROWS)?;
    for ([a, b], answer) in ROWS.iter().zip(&answers) {
        println!("{a} xor {b} = {}   (probability of 1: {answer:.4})", u8::from(*answer > 0.5));
    }

    let (low, high) = (-0.5, 1.5);
    let rows_with = |class: f32| {
        let rows = ROWS.iter().zip(&XOR).filter(|(_, xor)| xor[0] == class);
        rows.map(|([a, b], _)| (f64::from(*a), f64::from(*b))).collect()
    };
    let panel = Panel {
        title: "Exclusive or, 2 hidden units".into(),
        x: Axis("a", low.into(), high.into()),
        y: Axis("b", low.into(), high.into()),
        surface: surface(low, high, |points| learned.answers(points))?,
        dots: vec![Series(1, "a xor b = 0".into(), rows_with(0.0)), Series(2, "a xor b = 1".into(), rows_with(1.0))],
        ..Panel::default()
    };
    draw(&PathBuf::from(std::env::args().nth(1).unwrap_or("pictures".into())), "xor", &[panel])?;
    Ok(())
}

/// A trained network.
struct Learned {
    session: Session,
    probability: Tensor,
}

impl Learned {
    /// The probability that each row is 1.
    fn answers(&self, rows: &[[f32; 2]]) -> Result<Vec<f64>> {
        Ok(self.session.run(&self.probability, feeds! { "x" => rows.as_flattened() })?.to_vec())
    }
}

/// Trains from `seed`, then from the seeds after it, until all four rows are right; also says how many were given up.
fn learn(seed: u64) -> Result<(Learned, u64)> {
    for given_up in 0.. {
        let learned = attempt(seed + given_up)?;
        let right = |(answer, xor): (&f64, &[f32; 1])| (*answer > 0.5) == (xor[0] > 0.5);
        if learned.answers(&ROWS)?.iter().zip(&XOR).all(right) {
            return Ok((learned, given_up));
        }
    }
    unreachable!("the seeds have no end")
}

fn attempt(seed: u64) -> Result<Learned> {
    let net = Init::build(seed, |init| MlpConfig::new(&[2, 2, 1]).activation(Activation::Tanh).build(init));
    let x = placeholder("x", f32, ("rows", 2));
    let y = placeholder("y", f32, ("rows", 1));
    let logits = net.forward(&x, &mut Forward::train());
    let step = Adam::new(0.05).minimize(&binary_cross_entropy_with_logits(&logits, &y));

    let session = Session::builder().threads(1).build()?;
    for _ in 0..500 {
        session.run(&step, feeds! { x => ROWS.as_flattened(), y => XOR.as_flattened() })?;
    }
    Ok(Learned { session, probability: logits.sigmoid() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_four_rows_are_right_wherever_it_begins() {
        for seed in [0, 100, 200, 300, 400] {
            let (learned, given_up) = learn(seed).unwrap();
            let answers = learned.answers(&ROWS).unwrap();
            assert!(answers[0] < 0.1 && answers[1] > 0.9 && answers[2] > 0.9 && answers[3] < 0.1, "{answers:?}");
            assert!(given_up < 10, "{given_up} beginnings after {seed} were given up");
        }
    }
}
