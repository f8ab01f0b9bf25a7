//! Folding: each layer of four units folds the plane twice, and what the last unit draws appears in four times as many
//! places: 2, 8, 32, 128 regions.
//!
//! relu(x) + relu(−x) = |x| lays the left half of the plane on the right one. A network of ReLUs is flat on each of
//! its regions; one hidden layer of n units can make at most 1 + n + n (n − 1) / 2 of them in a plane, folding makes
//! their number grow as a power of the depth (Montúfar, Pascanu, Cho, Bengio 2014). All weights here are set by hand.
//!
//! `cargo run --release --example folding [PICTURES]`

#[path = "support/plane.rs"]
mod plane;
mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;

use plane::surface;
use support::{Axis, Panel, Result, draw};
use thalweg::prelude::*;

fn main() -> Result<()> {
    println!("folds  units  regions  one layer of as many units: at most");
    let mut panels = Vec::new();
    for folds in 0..4 {
        let (n_regions, surface) = regions(folds)?;
        let units = 4 * folds + 1;
        println!("{folds:5}  {units:5}  {n_regions:7}  {:35}", 1 + units + units * (units - 1) / 2);
        panels.push(Panel {
            title: format!("folds: {folds}, regions: {n_regions}"),
            x: Axis("x", -1.0, 1.0),
            y: Axis("y", -1.0, 1.0),
            surface,
            ..Panel::default()
        });
    }
    draw(&PathBuf::from(std::env::args().nth(1).unwrap_or("pictures".into())), "folding", &panels)?;
    Ok(())
}

/// How many regions the network has between −1 and 1, and for each point a number between 0 and 1 that is its region's.
fn regions(folds: usize) -> Result<(usize, Vec<Vec<f64>>)> {
    let points = placeholder("points", f32, ("points", 2));
    let (mut folded, mut units) = (points.clone(), Vec::new());
    for _ in 0..folds {
        let hidden = folded.matmul(&constant([[1f32, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]])).relu();
        folded = hidden.matmul(&constant([[2f32, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 2.0]])) - 1.0;
        units.push(hidden);
    }
    let output = folded.matmul(&constant([[1f32], [1.0]])).relu();
    units.push(output.clone());

    // Points of one region switch the same units on.
    let on = Tensor::concat(&units.iter().collect::<Vec<_>>(), 1).greater(0.0);
    let mut numbers = BTreeMap::new();
    let surface = surface(-1.0, 1.0, |plane| {
        let on = Session::cpu().run(&on, feeds! { points => plane.as_flattened() })?;
        let mut region = |on: &[bool]| {
            let next = numbers.len();
            *numbers.entry(on.to_vec()).or_insert(next)
        };
        let regions = on.as_slice::<bool>()?.chunks(4 * folds + 1).map(|on| region(on) as f64);
        // Multiples of the golden ratio: numbers that follow each other lie far apart.
        Ok(regions.map(|number| (number * 0.618 + 0.1).fract()).collect())
    })?;
    Ok((numbers.len(), surface))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fold_makes_four_times_as_many() {
        let counts: Vec<usize> = (0..4).map(|folds| regions(folds).unwrap().0).collect();
        assert_eq!(counts, [2, 8, 32, 128]);
    }
}
