//! A contact sheet of a training batch of a folder of classes, as a model sees it.
//!
//! `cargo run -p thalweg-data --example batch_sheet -- FOLDER_OF_CLASSES SHEET.png`

use thalweg_data::{Augment, ImageFolder, Loader, contact_sheet};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut paths = std::env::args().skip(1);
    let (Some(folder), Some(sheet)) = (paths.next(), paths.next()) else {
        return Err("name a folder of classes and the picture to be written".into());
    };
    let augment = Augment::new().random_resized_crop(128, 128).flip().rotate(10.0).saturation(0.3).cutout(32);
    let data = ImageFolder::open(folder)?.dataset(&augment)?;
    let batch = Loader::new(&data, 20)?.training(7).epoch(0)?.next().ok_or("no batch")??;
    let labels = batch["label"].to_vec::<i64>();
    let captions: Vec<String> = labels.iter().map(|&label| data.classes()[label as usize].clone()).collect();
    contact_sheet(&batch["image"], &captions)?.write_png(sheet.as_ref())?;
    Ok(())
}
