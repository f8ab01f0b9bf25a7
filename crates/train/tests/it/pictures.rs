//! Training on pictures that are read from files and augmented on the loader's threads.

use std::path::Path;

use thalweg_data::{Augment, ImageFolder, Loader, Picture, Split};
use thalweg_nn::optim::by_name;
use thalweg_nn::{Forward, Init, Layer, MlpConfig, cross_entropy};
use thalweg_run::graph::{DType, placeholder};
use thalweg_train::interrupt::Interrupt;
use thalweg_train::{FitOptions, Inference, Length, RunFolder, Task, Training, fit};

use crate::fit::interrupt_after;
use crate::support::{last_file, session};

/// Two classes of a dozen pictures of 6 x 6 pixels: bright on the left or on the right.
fn draw(folder: &Path) {
    for (class, name) in ["left", "right"].into_iter().enumerate() {
        std::fs::create_dir_all(folder.join(name)).unwrap();
        for index in 0..12 {
            let mut picture = Picture::plain(6, 6, [10 * index, 40, 80]);
            picture.paste(&Picture::plain(6, 3, [200, 255 - 10 * index, 150]), (0, 3 * class));
            picture.write_png(&folder.join(name).join(format!("{index}.png"))).unwrap();
        }
    }
}

#[test]
fn augmented_pictures_resume_to_the_same_bytes_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    draw(&folder.path().join("pictures"));
    let train = |name: &str, readers: usize, resume, interrupt: &Interrupt, stop_after| {
        let augment = Augment::new().random_crop(6, 6, 1).flip_vertical().rotate(20.0).brightness(0.3).cutout(2);
        let data = ImageFolder::open(folder.path().join("pictures")).unwrap().dataset(&augment).unwrap();
        let (train, valid) = data.split(&Split::stratified("label", &data["label"], 0.25, 4).unwrap());
        let net = Init::build(3, |init| MlpConfig::new(&[108, 8, 2]).dropout(0.2).build(init));
        let image = placeholder("image", DType::F32, ("batch", 3, 6, 6));
        let label = placeholder("label", DType::I64, ["batch"]);
        let output = |cx: &mut Forward| net.forward(&image.flatten(1), cx);
        let (trained, used) = (output(&mut Forward::train()), output(&mut Forward::infer()));
        let task = Task::new(
            cross_entropy(&trained, &label),
            Inference::new(cross_entropy(&used, &label), used).labeled("label"),
        )
        .output(trained);
        let loader = Loader::new(&train, 5).unwrap().training(8).workers(readers).unwrap();
        let training = Training {
            session: &session(),
            task: &task,
            optimizer: &by_name("adam", 0.02).unwrap(),
            data: &loader,
            validation: Some(&valid),
        };
        let path = folder.path().join(name);
        let run = Some(RunFolder { resume, ..RunFolder::new(&path) });
        // Four batches an epoch; the last steps are within the third.
        let options = FitOptions { run, interrupt: interrupt.clone(), ..FitOptions::new(Length::Steps(10)) };
        let fitted = fit(&training, &options, &mut [&mut interrupt_after(stop_after, interrupt)]).unwrap();
        (fitted.valid_loss.map(f64::to_bits), last_file(&path).1)
    };
    let whole = train("whole", 1, false, &Interrupt::default(), 0);
    assert!(whole == train("four readers", 4, false, &Interrupt::default(), 0), "the number of readers changes bits");
    let interrupt = Interrupt::default();
    train("stopped", 2, false, &interrupt, 6);
    interrupt.clear();
    assert!(whole == train("stopped", 3, true, &interrupt, 0), "resuming changes bits");
}
