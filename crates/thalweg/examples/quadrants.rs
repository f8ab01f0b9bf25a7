//! Quadrants: which points of the plane have coordinates of one sign? Two hidden units fail, sixteen succeed.
//!
//! Each hidden unit draws one soft line; two lines and a sum of what lies on either side of them cannot tell four
//! quadrants apart. So that a bad beginning is not taken for a lack of units, each size is trained from five random
//! beginnings and the best of them counts.
//!
//! `cargo run --release --example quadrants [PICTURES]`

#[path = "support/plane.rs"]
mod plane;
mod support;

use std::path::PathBuf;

use plane::surface;
use support::{Axis, Panel, Result, Series, draw};
use thalweg::nn::binary_cross_entropy_with_logits;
use thalweg::prelude::*;

const POINTS: usize = 400;
const BEGINNINGS: u64 = 5;

fn main() -> Result<()> {
    let points = points()?;
    let mut panels = Vec::new();
    for hidden in [2, 16] {
        let (accuracy, surface) = best_of(BEGINNINGS, hidden, &points)?;
        println!("{hidden:2} hidden units: {:.1} % of the plane is right", 100.0 * accuracy);
        let points_with = |class: bool| {
            let points = points.iter().filter(|&&point| is_one(point) == class);
            points.map(|&[x, y]| (f64::from(x), f64::from(y))).collect()
        };
        panels.push(Panel {
            title: format!("{hidden} hidden units: {:.1} % right", 100.0 * accuracy),
            x: Axis("x", -1.0, 1.0),
            y: Axis("y", -1.0, 1.0),
            surface,
            dots: vec![Series(1, "x y < 0".into(), points_with(false)), Series(2, "x y > 0".into(), points_with(true))],
            ..Panel::default()
        });
    }
    draw(&PathBuf::from(std::env::args().nth(1).unwrap_or("pictures".into())), "quadrants", &panels)?;
    Ok(())
}

/// Random points of the square between −1 and 1.
fn points() -> Result<Vec<[f32; 2]>> {
    let points = (random_uniform([POINTS, 2], f32) * 2.0 - 1.0).eval()?;
    Ok(points.as_slice()?.as_chunks().0.to_vec())
}

fn is_one([x, y]: [f32; 2]) -> bool {
    x * y > 0.0
}

/// Trains from as many random beginnings; the best share of the plane that is right, and the probabilities over it.
fn best_of(beginnings: u64, hidden: usize, points: &[[f32; 2]]) -> Result<(f64, Vec<Vec<f64>>)> {
    let mut best = (0.0, Vec::new());
    for seed in 0..beginnings {
        let mut accuracy = 0.0;
        let probabilities = surface(-1.0, 1.0, |plane| {
            let probabilities = train(seed, hidden, points, plane)?;
            let right = plane.iter().zip(&probabilities).filter(|&(&point, p)| is_one(point) == (*p > 0.5)).count();
            accuracy = right as f64 / plane.len() as f64;
            Ok(probabilities)
        })?;
        if accuracy > best.0 {
            best = (accuracy, probabilities);
        }
    }
    Ok(best)
}

/// Trains on `points`; the probabilities over the `plane`.
fn train(seed: u64, hidden: usize, points: &[[f32; 2]], plane: &[[f32; 2]]) -> Result<Vec<f64>> {
    let net = Init::build(seed, |init| MlpConfig::new(&[2, hidden, 1]).activation(Activation::Tanh).build(init));
    let x = placeholder("x", f32, ("rows", 2));
    let y = placeholder("y", f32, ("rows", 1));
    let logits = net.forward(&x, &mut Forward::train());
    let step = Adam::new(0.03).minimize(&binary_cross_entropy_with_logits(&logits, &y));

    let labels: Vec<f32> = points.iter().map(|&point| f32::from(is_one(point))).collect();
    let session = Session::cpu();
    for _ in 0..600 {
        session.run(&step, feeds! { x => points.as_flattened(), y => &labels })?;
    }
    Ok(session.run(logits.sigmoid(), feeds! { x => plane.as_flattened() })?.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_units_fail_and_sixteen_succeed() {
        let points = points().unwrap();
        let accuracy = |hidden| best_of(BEGINNINGS, hidden, &points).unwrap().0;
        let (few, enough) = (accuracy(2), accuracy(16));
        assert!(few < 0.87, "2 hidden units: {few}");
        assert!(enough > 0.95, "16 hidden units: {enough}");
    }
}
