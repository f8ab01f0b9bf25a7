//! The graphs of an image classifier, and its batches.

use thalweg::data::{DataError, image};
use thalweg::prelude::*;

/// The graphs of `net` on images of `size` (height, width), flattened row by row: for training and for use, over the same
/// variables. Fed are the columns `image` and `label`.
pub(crate) fn task(net: &impl Layer, size: (usize, usize)) -> Task {
    let image = placeholder("image", f32, ("batch", size.0, size.1));
    let label = placeholder("label", i64, ["batch"]);
    let graph = |mut cx: Forward| {
        let logits = net.forward(&image.flatten(1), &mut cx).named("logits");
        let loss = cross_entropy(&logits, &label).named("loss");
        (logits, loss)
    };
    let (_, train_loss) = scope("train", || graph(Forward::train()));
    let (output, loss) = graph(Forward::infer());
    Task { train_loss, inference: Inference { loss, output, label: Some("label".into()) } }
}

/// Shuffled batches of images of `size`, moved by up to `shift` pixels each way, then normalized.
pub(crate) fn loader(
    train: &Dataset,
    batch: usize,
    seed: u64,
    size: (usize, usize),
    shift: u16,
    normalize: &Normalize,
) -> Result<Loader, DataError> {
    let normalize = normalize.clone();
    let shifted =
        Loader::new(train, batch)?.seed(seed).shuffled().map("image", move |pixels: &mut [f32], random| {
            image::random_shift(pixels, size, shift, random);
            Ok(())
        })?;
    Ok(shifted.map_batches(move |batch, _| {
        let normalized = normalize.apply("image", &batch["image"])?;
        batch.set_column("image", normalized);
        Ok(())
    }))
}
