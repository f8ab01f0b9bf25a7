//! An op of one's own: forward, gradient and shape rule; checked against differences, then used like any other.
//!
//! sinc(x) = sin(x) / x, which is 1 at 0, where the plain formula is 0 / 0.
//!
//! `cargo run --release --example custom_op`

use thalweg::graph::autodiff::check::{CheckOptions, check_gradients};
use thalweg::graph::op::Vjp;
use thalweg::graph::ops::custom::{Custom, CustomOp};
use thalweg::graph::{Meta, ShapeError};
use thalweg::prelude::*;

/// sin(x) / x.
#[derive(Debug)]
struct Sinc;

impl CustomOp for Sinc {
    fn name(&self) -> &str {
        "sinc"
    }

    /// One float tensor; the result is like it.
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        match inputs {
            [x] if x.dtype.is_float() => Ok((*x).clone()),
            _ => Err(ShapeError::new("takes one tensor of floats")),
        }
    }

    fn forward(&self, inputs: &[&Array]) -> Result<Array, String> {
        let x = inputs[0];
        let sinc = |&x: &f64| if x == 0.0 { 1.0 } else { x.sin() / x };
        let values: Vec<f64> = x.to_vec::<f64>().iter().map(sinc).collect();
        let array = Array::new(x.shape(), values).map_err(|error| error.to_string())?;
        Ok(array.cast(x.dtype()))
    }

    /// (cos(x) − sinc(x)) / x; near 0, where both sides of the minus are 1, the first terms of its series.
    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let x = &cx.inputs[0];
        let near = x.abs().less(0.01);
        let series = x * (x.square() / 30.0 - 1.0 / 3.0);
        // What is not selected must be finite too: 0 · ∞ is no 0.
        let away = near.select(&x.ones_like(), x);
        let slope = near.select(&series, (away.cos() - away.sin() / &away) / &away);
        vec![Some(cx.cotangent * slope)]
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sinc = Custom::new(Sinc);

    let inputs = [Array::from([-3.0, -1e-3, 0.0, 1e-3, 0.5, 10.0])];
    let options = CheckOptions { order: 2, directions: 4, ..CheckOptions::default() };
    println!("gradient check: {}", check_gradients(|x| sinc.apply(&[&x[0]]), &inputs, &options)?);

    // How wide is a slit? The light behind it is as bright as sinc²(width · angle).
    let angles: Vec<f32> = (-50..=50).map(|step| step as f32 / 10.0).collect();
    let measured = sinc.apply(&[&(1.7 * constant(&angles[..]))]).square().eval()?;
    let angle = placeholder("angle", f32, ["n"]);
    let brightness = placeholder("brightness", f32, ["n"]);
    let width = Variable::new("width", 1.0);
    let modeled = sinc.apply(&[&(&width * &angle)]).square();
    let step = Adam::new(0.05).minimize(&squared_error(&modeled, &brightness));
    let session = Session::cpu();
    for _ in 0..200 {
        session.run(&step, feeds! { angle => &angles, brightness => &measured })?;
    }
    println!("width of the slit: {:.4} (the light was computed with 1.7)", session.read(&width)?.item()?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_right_and_a_wrong_one_is_noticed() {
        let inputs = [Array::from([-3.0, -1e-3, 0.0, 1e-3, 0.5, 10.0])];
        let options = CheckOptions { order: 2, ..CheckOptions::default() };
        let sinc = Custom::new(Sinc);
        check_gradients(|x| sinc.apply(&[&x[0]]), &inputs, &options).unwrap();
        let half = |x: &[Tensor]| sinc.apply(&[&x[0]]) + x[0].stop_gradient();
        assert!(check_gradients(half, &inputs, &options).is_err());
    }

    #[test]
    fn whole_numbers_are_refused() {
        let message = Tensor::try_apply(Custom::new(Sinc), [constant([1i64])]).unwrap_err().to_string();
        assert!(message.contains("sinc: takes one tensor of floats"), "{message}");
    }
}
