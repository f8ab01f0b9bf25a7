//! Published weights in our networks give the published results.

use std::path::PathBuf;

use thalweg::data::{Augment, Limits, Picture, cifar10};
use thalweg::formats::weights;
use thalweg::prelude::*;
use thalweg::train::trained::export;
use thalweg::train::weights::{Match, load_weights};
use thalweg::train::{MapMethod, Prepare};
use thalweg_zoo::vision::resnet::CifarResNet;
use thalweg_zoo::vision::squeezenet::{self, SqueezeNet};
use thalweg_zoo::vision::transfer::{Pretrained, Transfer};

fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("THALWEG_DATA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: THALWEG_DATA is not set");
    }
    folder
}

/// Idelbayev's ResNets on the 2,000 test rows: 91.80 and 93.00 % in PyTorch.
#[test]
fn cifar_resnets_are_as_right_as_in_pytorch() {
    let Some(folder) = data() else { return };
    let test = cifar10(folder.join("cifar10")).unwrap().test;
    let test = test.augment("image", &Augment::new().normalize(Normalize::imagenet()).unwrap()).unwrap();
    for (name, blocks, expected) in [("resnet20-12fca82f.th", 3, 0.918), ("resnet32-d509ac18.th", 5, 0.930)] {
        let net = Init::build(1, |init| CifarResNet::new(init, blocks, 10));
        let session = Session::cpu();
        let file = weights::read(folder.join("models/resnet-cifar10").join(name)).unwrap();
        let tensors = CifarResNet::published_names().apply(file.tensors).unwrap();
        load_weights(&session, &net, tensors, Match::Exact).unwrap();

        let image = placeholder("image", f32, ("batch", 3, 32, 32));
        let label = placeholder("label", i64, ["batch"]);
        let output = net.forward(&image, &mut Forward::infer());
        let loss = cross_entropy(&output, &label);
        let model = Inference::new(loss, output).labeled("label");
        let found = evaluate(&session, &model, &test, 200).unwrap().accuracy().unwrap();
        assert!((found - expected).abs() < 0.001 + 1e-9, "{name}: {found}, expected {expected}");
    }
}

#[test]
fn squeezenet_names_the_cat_and_the_parrot() {
    let Some(folder) = data() else { return };
    let models = folder.join("models/squeezenet_v1.1");
    let net = Init::build(1, |init| SqueezeNet::new(init, 1000));
    let session = Session::cpu();
    let file = weights::read(models.join("squeezenet_v1.1_f16.safetensors")).unwrap();
    load_weights(&session, &net, squeezenet::from_caffe(file.tensors).unwrap(), Match::Exact).unwrap();
    let names = std::fs::read_to_string(models.join("synset_words.txt")).unwrap();
    let names: Vec<&str> = names.lines().collect();

    let image = placeholder("image", f32, ("batch", 3, 227, 227));
    let answer = net.forward(&image, &mut Forward::infer()).softmax(-1);
    let prepare = Augment::new().resize(227, 227).normalize(squeezenet::normalization()).unwrap();
    for (photo, class, least) in [("cat_720p.jpg", "Egyptian cat", 0.4), ("parrot.jpg", "macaw", 0.9)] {
        let picture = Picture::read(&folder.join("test-photos").join(photo), &Limits::default()).unwrap();
        let numbers = prepare.numbers(picture).unwrap();
        let fed = numbers.reshape(&[1, 3, 227, 227]).unwrap();
        let shares = session.run(&answer, feeds! { image => &fed }).unwrap().to_vec::<f32>();
        let best = (0..1000).max_by(|&a, &b| shares[a].total_cmp(&shares[b])).unwrap();
        assert!(names[best].contains(class) && shares[best] > least, "{photo}: {} {}", names[best], shares[best]);
    }
}

/// From a run without the model's code, which ends with average pooling: both maps are defined and say the same.
#[test]
fn squeezenet_looks_at_the_face_of_the_cat() {
    let Some(data) = data() else { return };
    let models = data.join("models/squeezenet_v1.1");
    let net = Init::build(1, |init| SqueezeNet::new(init, 1000));
    let session = Session::cpu();
    let file = weights::read(models.join("squeezenet_v1.1_f16.safetensors")).unwrap();
    load_weights(&session, &net, squeezenet::from_caffe(file.tensors).unwrap(), Match::Exact).unwrap();
    let image = placeholder("image", f32, ("batch", 3, 227, 227));
    let output = net.forward(&image, &mut Forward::infer());
    let loss = cross_entropy(&output, &placeholder("label", i64, ["batch"]));
    let model = Inference::new(loss, output).labeled("label");
    let names = std::fs::read_to_string(models.join("synset_words.txt")).unwrap();
    let classes: Vec<String> = names.lines().map(str::to_string).collect();
    let pictures = Augment::new().resize(227, 227).normalize(squeezenet::normalization()).unwrap();
    let prepare = Prepare { pictures: Some(pictures), ..Prepare::default() };
    let folder = tempfile::tempdir().unwrap();
    export(folder.path(), &session, &model, &classes, prepare).unwrap();

    let trained = Trained::open(folder.path()).unwrap();
    let photo = Picture::read(&data.join("test-photos/cat_720p.jpg"), &Limits::default()).unwrap();
    for method in [MapMethod::GradCam, MapMethod::Cam] {
        let look = trained.maps(method).unwrap().look(&photo, None).unwrap();
        assert!(look.name.contains("Egyptian cat") && look.heat.shape() == [14, 14], "{look:?}");
        let heat: Vec<f32> = look.heat.to_vec::<f32>().into_iter().map(|x| x.max(0.0)).collect();
        // The head is in the middle of the upper two thirds, a quarter of the picture.
        let head = |at: &usize| (1..9).contains(&(at / 14)) && (4..10).contains(&(at % 14));
        let most = (0..14 * 14).max_by(|&a, &b| heat[a].total_cmp(&heat[b])).unwrap();
        let on_it: f32 = (0..14 * 14).filter(head).map(|at| heat[at]).sum();
        let share = on_it / heat.iter().sum::<f32>();
        assert!(head(&most) && share > 0.5, "{method:?}: the most at {most}, {share} on the head");
    }
}

#[test]
fn weights_of_squeezenet_begin_a_transfer() {
    let Some(data) = data() else { return };
    let file = data.join("models/squeezenet_v1.1/squeezenet_v1.1_f16.safetensors");
    let pretrained = Pretrained::squeezenet(&file).unwrap();
    assert_eq!(pretrained.photos(224).unwrap().normalization(), Some(&squeezenet::normalization()));
    let net = Init::build(1, |init| Transfer::squeezenet(init, 5));
    let session = Session::cpu();
    pretrained.load(&session, &net).unwrap();
    let tensors = squeezenet::from_caffe(weights::read(&file).unwrap().tensors).unwrap();
    let named = |name: &str| net.variables().into_iter().find(|(path, _)| path == name).unwrap().1;
    let last = session.read(&named("late.4.expand3x3.weight")).unwrap();
    assert_eq!(last, tensors["features.12.expand3x3.weight"].cast(f32));
    let message =
        Pretrained::squeezenet(data.join("models/resnet-cifar10/resnet20-12fca82f.th")).unwrap_err().to_string();
    assert!(message.contains("resnet20-12fca82f.th"), "{message}");
}
