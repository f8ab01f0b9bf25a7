//! How many pictures a second the loader prepares: photos of a folder for a model trained on ImageNet, and CIFAR with crop and flip.
//!
//! `cargo run --release -p thalweg-data --example loader_speed -- FOLDER_OF_CLASSES CIFAR10_FOLDER`

use std::time::Instant;

use thalweg_data::{Augment, Dataset, ImageFolder, Loader, Normalize, cifar10};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut folders = std::env::args().skip(1);
    let (Some(photos), Some(cifar)) = (folders.next(), folders.next()) else {
        return Err("name a folder of classes and a folder of CIFAR-10".into());
    };
    let begun = Instant::now();
    let folder = ImageFolder::open(photos)?;
    println!("{:30} {:7.0} pictures/s", "opened and decoded", folder.len() as f64 / begun.elapsed().as_secs_f64());
    let imagenet = Augment::new().random_resized_crop(224, 224).flip().normalize(Normalize::imagenet())?;
    let colors = imagenet.clone().brightness(0.2).contrast(0.2).saturation(0.2);
    measure("photos, crop and flip", &folder.dataset(&imagenet)?, 32)?;
    measure("photos, and rotated", &folder.dataset(&imagenet.clone().rotate(10.0))?, 32)?;
    measure("photos, and colors", &folder.dataset(&colors)?, 32)?;
    let small = Augment::new().random_crop(32, 32, 4).flip().normalize(Normalize::imagenet())?;
    measure("CIFAR, crop and flip", &cifar10(cifar)?.train.augment("image", &small)?, 128)
}

fn measure(what: &str, data: &Dataset, batch: usize) -> Result<(), Box<dyn std::error::Error>> {
    for threads in [1, 2] {
        let loader = Loader::new(data, batch)?.training(1).workers(threads)?;
        let begun = Instant::now();
        let mut pictures = 0;
        for batch in loader.stream_from(0, 0)? {
            pictures += batch?.len();
            if begun.elapsed().as_secs_f64() > 2.0 {
                break;
            }
        }
        println!("{what:30} {:7.0} pictures/s on {threads} threads", pictures as f64 / begun.elapsed().as_secs_f64());
    }
    Ok(())
}
