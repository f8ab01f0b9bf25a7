//! Photos asked about from a checkpoint alone: what they are, and where the model looked.

use std::path::Path;

use thalweg_data::{Augment, Dataset, ImageFolder, Normalize, Part, Picture};
use thalweg_nn::{
    Activation, BatchNorm, Conv2d, Flatten, Forward, GlobalPool, Init, Layer, Linear, Module, cross_entropy,
};
use thalweg_run::Session;
use thalweg_run::graph::{Array, DType, placeholder};
use thalweg_train::trained::export;
use thalweg_train::{Inference, Learner, MapMethod, Prepare, Trained, TrainingData};

/// A photo of 48 x 80 pixels, black but for a square of a color in the upper right of its middle.
fn photo(color: [u8; 3]) -> Picture {
    let mut photo = Picture::plain(48, 80, [0; 3]);
    photo.paste(&Picture::plain(12, 12, color), (6, 46));
    photo
}

/// What scores red and green on feature maps of 8 x 8: convolutions that tell colors apart, and `head` behind them.
fn exported(folder: &Path, head: impl FnOnce(&mut Init) -> Vec<Box<dyn Layer>>) -> Trained {
    let session = Session::cpu();
    let image = placeholder("image", DType::F32, ("batch", 3, 16, 16));
    let (colors, rest) = Init::build(3, |init| ((Conv2d::new(init, 3, 2, 1), Activation::Relu), head(init)));
    let red_and_green = Array::new(&[2, 3, 1, 1], vec![1.0f32, -1.0, 0.0, -1.0, 1.0, 0.0]).unwrap();
    session.write(&colors.0.weight, red_and_green).unwrap();
    for (path, variable) in rest.variables() {
        if path.ends_with("weight") && variable.core().shape() == [2, 2] {
            session.write(&variable, Array::from([[3.0f32, -1.0], [-1.0, 3.0]])).unwrap();
        }
    }
    let cx = &mut Forward::infer();
    let output = rest.forward(&colors.forward(&image, cx).named("map"), cx);
    let label = placeholder("label", DType::I64, ["batch"]);
    let model = Inference::new(cross_entropy(&output, &label), output).labeled("label");
    let prepare = Prepare { pictures: Some(Augment::new().resize_shorter(16).crop(16, 16)), ..Prepare::default() };
    export(folder, &session, &model, &["red".into(), "green".into()], prepare).unwrap();
    Trained::open(folder).unwrap()
}

fn average(init: &mut Init) -> Vec<Box<dyn Layer>> {
    vec![Box::new(GlobalPool::Average), Box::new(Linear::new(init, 2, 2))]
}

#[test]
fn maps_lie_where_the_class_is() {
    let folder = tempfile::tempdir().unwrap();
    let trained = exported(folder.path(), average);
    let red = photo([255, 0, 0]);
    for method in [MapMethod::GradCam, MapMethod::Cam] {
        let maps = trained.maps(method).unwrap();
        assert_eq!(maps.features(), "f32[batch,2,16,16]");
        let look = maps.look(&red, None).unwrap();
        assert_eq!((&*look.name, look.class, look.heat.shape()), ("red", 0, &[16, 16][..]));
        // The middle third of the photo: 16 of the 27 columns that it has once its rows are 16.
        let Part { top, left, height, width } = look.seen;
        assert!(
            (left - 80.0 * 5.0 / 27.0).abs() < 1e-9 && (width - 80.0 * 16.0 / 27.0).abs() < 1e-9,
            "{:?}",
            look.seen
        );
        assert_eq!((top, height), (0.0, 48.0));
        // The square is at rows 2 to 6 and about columns 10 to 14 of what the model sees.
        let heat = look.heat.to_vec::<f32>();
        let at = |y: usize, x: usize| heat[16 * y + x];
        assert!(at(3, 12) > 0.0 && at(12, 3).abs() < 1e-6 && at(3, 3).abs() < 1e-6, "{method:?} {heat:?}");
        let sheet = look.over(&red).unwrap();
        assert!(sheet.height() > 48 && sheet.width() >= 80);
        // What speaks against a class is no place to look for it.
        let green = maps.look(&red, Some(1)).unwrap();
        assert_eq!((&*green.name, &*green.prediction.name), ("green", "red"));
        let most = green.heat.to_vec::<f32>().into_iter().fold(f32::NEG_INFINITY, f32::max);
        assert!(most <= 1e-6, "{method:?} {most}");
        let message = maps.look(&red, Some(2)).unwrap_err().to_string();
        assert_eq!(message, "class 2: there are 2, counted from 0");
    }
}

#[test]
fn class_activation_maps_add_up_to_the_score() {
    let folder = tempfile::tempdir().unwrap();
    let trained = exported(folder.path(), average);
    let look = trained.maps(MapMethod::Cam).unwrap().look(&photo([200, 0, 90]), Some(0)).unwrap();
    let other = trained.maps(MapMethod::Cam).unwrap().look(&photo([200, 0, 90]), Some(1)).unwrap();
    let sum = |heat: &Array| heat.to_vec::<f64>().iter().sum::<f64>();
    // The biases are 0, so that the scores are the sums, and their difference the logarithm of the odds.
    let odds = f64::from(look.prediction.probabilities[0] / look.prediction.probabilities[1]).ln();
    assert!((sum(&look.heat) - sum(&other.heat) - odds).abs() < 1e-4, "{odds}");
}

#[test]
fn a_photo_is_prepared_as_the_model_was_trained() {
    let folder = tempfile::tempdir().unwrap();
    for (class, color) in [("blue", [0, 0, 250]), ("red", [250, 0, 0])] {
        std::fs::create_dir_all(folder.path().join("photos").join(class)).unwrap();
        for shade in 0..10u8 {
            let color = color.map(|x: u8| x.saturating_sub(4 * shade));
            let path = folder.path().join(format!("photos/{class}/{shade}.png"));
            Picture::plain(20 + usize::from(shade), 30, color).write_png(&path).unwrap();
        }
    }
    let photos = ImageFolder::open(folder.path().join("photos")).unwrap();
    let augment = Augment::new().random_resized_crop(8, 8).flip().normalize(Normalize::imagenet()).unwrap();
    let data = TrainingData::split(&photos.dataset(&augment).unwrap(), 0.2, 1).unwrap().batch(4);
    assert_eq!(data.prepare().pictures, Some(augment));
    let net = Init::build(1, |init| {
        (
            Conv2d::new(init, 3, 4, 3),
            BatchNorm::new(init, 4),
            Activation::Relu,
            GlobalPool::Max,
            Linear::new(init, 4, 2),
        )
    });
    let mut learner = Learner::new(data, net).unwrap();
    learner.fit(5, 0.03).unwrap();
    learner.export(folder.path().join("run")).unwrap();
    let trained = Trained::open(folder.path().join("run")).unwrap();
    let (answer, seen) = trained.predict_photo(Picture::plain(100, 70, [240, 3, 3])).unwrap();
    assert_eq!((&*answer.name, seen), ("red", Picture::plain(8, 8, [240, 3, 3])));
    // The data set that was learned from is prepared already.
    let valid = learner.validate().unwrap();
    assert_eq!(trained.evaluate(learner.data().valid()).unwrap(), valid);
    let message = trained.maps(MapMethod::Cam).unwrap_err().to_string();
    assert!(message.contains("no sum over the positions") && message.contains("Grad-CAM is"), "{message}");
    assert!(trained.maps(MapMethod::GradCam).is_ok());
}

#[test]
fn models_without_maps_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |trained: Trained| trained.maps(MapMethod::GradCam).unwrap_err().to_string();
    let path = folder.path().join("dense");
    let session = Session::cpu();
    let image = placeholder("image", DType::F32, ("batch", 3, 4, 4));
    let net = Init::build(1, |init| (Flatten::default(), Linear::new(init, 48, 2)));
    let output = net.forward(&image, &mut Forward::infer());
    let loss = cross_entropy(&output, &placeholder("label", DType::I64, ["batch"]));
    let model = Inference::new(loss, output).labeled("label");
    let pictures = Prepare { pictures: Some(Augment::new()), ..Prepare::default() };
    let classes = ["a".to_string(), "b".into()];
    export(&path, &session, &model, &classes, pictures.clone()).unwrap();
    let trained = Trained::open(&path).unwrap();
    // A photo of any size is brought to that of the pictures.
    assert_eq!(trained.predict_photo(Picture::plain(40, 90, [7; 3])).unwrap().1, Picture::plain(4, 4, [7; 3]));
    assert!(refusal(trained).contains("it has no convolution"));

    let path = folder.path().join("no pictures");
    export(&path, &session, &model, &classes, Prepare::default()).unwrap();
    let trained = Trained::open(&path).unwrap();
    let message = trained.predict_photo(Picture::plain(4, 4, [0; 3])).unwrap_err().to_string();
    assert!(message.contains("not trained on pictures in color"), "{message}");
    assert!(refusal(trained).contains("not trained on pictures in color"));

    let data = Dataset::new([("x", Array::zeros(&[4, 3], DType::F32)), ("label", [0i64, 1, 0, 1].into())]).unwrap();
    let data = TrainingData::new(data.clone().with_classes(["a", "b"]), data).unwrap();
    let net = Init::build(1, |init| Linear::new(init, 3, 2));
    let path = folder.path().join("rows");
    Learner::new(data, net).unwrap().export(&path).unwrap();
    let message = refusal(Trained::open(&path).unwrap());
    assert!(message.contains("it takes f32[batch,3], which are no pictures in color"), "{message}");
    let message = export(&path, &session, &model, &classes, pictures).unwrap_err().to_string();
    assert!(message.contains("not empty"), "{message}");
}
