//! The graphs of an image classifier, its batches and its optimizer.

use thalweg::data::{DataError, image};
use thalweg::nn::NnError;
use thalweg::prelude::*;
use thalweg::train::Prepare;

use crate::options::Settings;
use crate::recipe::Setting;

/// The graphs of `net` on images of `size` (height, width), flattened row by row: for training and for use, over the same
/// variables. Fed are the columns `image` and `label`.
pub(crate) fn task(net: &impl Layer, size: (usize, usize)) -> Task {
    let image = placeholder("image", f32, ("batch", size.0, size.1));
    task_of(|cx| net.forward(&image.flatten(1), cx))
}

/// The graphs of a classifier whose logits `forward` gives: for training and for use, over the same variables.
pub(crate) fn task_of(forward: impl Fn(&mut Forward) -> Tensor) -> Task {
    let label = placeholder("label", i64, ["batch"]);
    let graph = |mut cx: Forward| {
        let logits = forward(&mut cx).named("logits");
        let loss = cross_entropy(&logits, &label).named("loss");
        (logits, loss)
    };
    let (train_output, train_loss) = scope("train", || graph(Forward::train()));
    let (output, loss) = graph(Forward::infer());
    let inference = Inference { loss, output, label: Some("label".into()) };
    Task { train_loss, train_output: Some(train_output), inference }
}

/// Shuffled batches of images of `size`, moved by up to `shift` pixels each way, then normalized.
pub(crate) fn loader(
    train: &Dataset,
    batch: usize,
    seed: u64,
    size: (usize, usize),
    shift: u16,
    prepare: &Prepare,
) -> Result<Loader, DataError> {
    let prepare = prepare.clone();
    let shifted =
        Loader::new(train, batch)?.seed(seed).shuffled().map("image", move |pixels: &mut [f32], random| {
            image::random_shift(pixels, size, shift, random);
            Ok(())
        })?;
    Ok(shifted.map_batches(move |batch, _| {
        let normalized = prepare.apply("image", &batch["image"])?;
        batch.set_column("image", normalized);
        Ok(())
    }))
}

/// The setting that [`optimizer`] reads.
pub(crate) const fn weight_decay(default: f64) -> Setting {
    Setting { name: "weight_decay", about: "weight decay, decoupled from the gradient", default, range: (0.0, 10.0) }
}

/// The optimizer of the settings over one cycle of the learning rate, with decoupled weight decay whatever its rule.
pub(crate) fn optimizer(settings: &Settings, steps: u64) -> Result<Optimizer, NnError> {
    let optimizer = settings.optimizer(Schedule::one_cycle(settings.lr, steps))?;
    Ok(optimizer.decoupled_weight_decay(settings.get("weight_decay")))
}
