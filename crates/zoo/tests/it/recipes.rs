//! Recipes from data to prediction, in few steps.

use std::path::{Path, PathBuf};

use thalweg::prelude::*;
use thalweg::train::checkpoint::Which;
use thalweg::train::interrupt::Interrupt;
use thalweg_zoo::{Options, TestRow, ZooError, build, evaluate, picture, recipe, recipes, test_row, train};

fn short(steps: u64) -> Options {
    Options { length: Some(Length::Steps(steps)), threads: Some(1), ..Options::default() }
}

fn in_folder(run: &Path, steps: u64) -> Options {
    Options { run: Some(run.to_path_buf()), ..short(steps) }
}

fn refusal(recipe: &str, options: &Options) -> String {
    train(thalweg_zoo::recipe(recipe).unwrap(), options).unwrap_err().to_string()
}

#[test]
fn a_run_is_trained_evaluated_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("digits");
    let digits = recipe("digits").unwrap();
    let options =
        Options { set: vec![("width".into(), 32.0), ("beta1".into(), 0.8)], lr: Some(1e-2), ..in_folder(&run, 150) };
    let outcome = train(digits, &options).unwrap();
    assert_eq!((&*outcome.recipe, outcome.steps, outcome.epochs, outcome.interrupted), ("digits", 150, 4, false));
    assert!(outcome.valid_accuracy.unwrap() > 0.5 && outcome.test_accuracy.unwrap() > 0.5, "{outcome:?}");

    let report = evaluate(&run, None, Which::Last).unwrap();
    assert_eq!((report.recipe, report.step, report.evaluation.rows), ("digits", 150, 359));
    assert_eq!(report.evaluation.accuracy(), outcome.test_accuracy);
    assert_eq!(report.classes.len(), 10);

    let trained = Trained::open(&run).unwrap();
    let TestRow { data, input, label } = test_row(&trained, None, 7).unwrap();
    let image = data.column(&input).unwrap();
    let answer = trained.predict(image).unwrap();
    assert_eq!(trained.predict_data(&data).unwrap()[0], answer);
    assert_eq!((answer.probabilities.len(), label.len()), (10, 1));
    let message = test_row(&trained, None, 359).unwrap_err().to_string();
    assert!(message.contains("row 359") && message.contains("359 rows"), "{message}");

    // The same picture dark on light, enlarged: what the model saw can be drawn again.
    let drawing = folder.path().join("drawing.png");
    let pixels: Vec<f32> = image.to_vec::<f32>().iter().map(|pixel| 16.0 - pixel).collect();
    picture::write(&drawing, &Array::new(&[8, 8], pixels).unwrap(), 16.0, 20).unwrap();
    let read = picture::read(&drawing).unwrap();
    let (answer, seen) = trained.predict_picture(&read.pixels, read.size).unwrap();
    assert_eq!((answer.probabilities.len(), seen.shape()), (10, &[8, 8][..]));
    picture::write(&folder.path().join("seen.png"), &seen, 16.0, 4).unwrap();

    let again = train(digits, &Options { resume: true, ..options.clone() }).unwrap();
    assert_eq!((again.steps, again.test_accuracy), (150, outcome.test_accuracy));
    let other = Options { resume: true, batch: Some(64), set: Vec::new(), ..options };
    let message = refusal("digits", &other);
    for part in ["batch was `32`, now `64`", "set beta1 was `0.8`, now not set", "set width was `32`, now `512`"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_end() {
    let folder = tempfile::tempdir().unwrap();
    let digits = recipe("digits").unwrap();
    let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
    train(digits, &in_folder(&whole, 12)).unwrap();
    // Asked to stop before it began: it makes one step.
    let interrupt = Interrupt::default();
    interrupt.request();
    let outcome = train(digits, &Options { interrupt, ..in_folder(&stopped, 12) }).unwrap();
    assert_eq!((outcome.interrupted, outcome.steps, outcome.test_accuracy), (true, 1, None));
    let outcome = train(digits, &Options { resume: true, threads: Some(3), ..in_folder(&stopped, 12) }).unwrap();
    assert!(!outcome.interrupted);
    let last = |run: &PathBuf| std::fs::read(run.join("checkpoints/step-000000012.safetensors")).unwrap();
    assert_eq!(last(&whole), last(&stopped));
}

#[test]
fn wrong_wishes_are_refused_by_name() {
    let message = recipe("digts").map(|_| ()).unwrap_err().to_string();
    assert_eq!(
        message,
        "there is no recipe `digts` (did you mean `digits`?); there are: digits, mnist, cifar10, images, char-lm, gpt, \
         reply-or-not, translate, smart-reply, spoken-digits, word-vectors, \
         sentence-vectors"
    );
    let set = |name: &str, value| Options { set: vec![(name.into(), value)], ..short(1) };
    let message = refusal("digits", &set("droput", 0.1));
    assert!(
        message.contains("no setting `droput` (did you mean `dropout`?)") && message.contains("beta1"),
        "{message}"
    );
    let message = refusal("digits", &set("beta_1", 0.1));
    assert!(message.contains("did you mean `beta1`?"), "{message}");
    let message = refusal("digits", &set("dropout", 1.5));
    assert!(message.contains("dropout = 1.5: must be from 0 to 0.95"), "{message}");
    let message = refusal("digits", &set("beta1", 1.0));
    assert!(message.contains("beta1 is 1; it must be at least 0 and below 1"), "{message}");
    let twice = Options { set: vec![("shift".into(), 0.0), ("shift".into(), 1.0)], ..short(1) };
    assert!(refusal("digits", &twice).contains("`shift`: is set twice"));
    let message = refusal("digits", &Options { optimizer: Some("adma".into()), ..short(1) });
    assert!(message.contains("unknown optimizer `adma`"), "{message}");
    for lr in [0.0, -1.0, f64::NAN] {
        assert!(refusal("digits", &Options { lr: Some(lr), ..short(1) }).contains("lr is"));
    }
    assert!(refusal("digits", &Options { batch: Some(0), ..short(1) }).contains("batch size 0"));
    assert!(refusal("digits", &Options { threads: Some(0), ..short(1) }).contains("thread"));
    assert!(refusal("digits", &Options { data: Some("x".into()), ..short(1) }).contains("data in the program"));
    let message = refusal("digits", &Options { weights: Some("x.pt".into()), ..short(1) });
    assert_eq!(message, "weights x.pt: the recipe `digits` begins with weights of its own");
    let message = refusal("mnist", &Options { data: Some("/none".into()), ..short(1) });
    assert!(message.contains("train-images-idx3-ubyte"), "{message}");
    let message = evaluate(Path::new("/none"), None, Which::Last).unwrap_err().to_string();
    assert!(message.contains("no checkpoint has been saved here"), "{message}");
}

#[test]
fn a_batch_larger_than_the_data_is_all_of_them() {
    let outcome = train(recipe("digits").unwrap(), &Options { batch: Some(5_000), ..short(2) }).unwrap();
    assert_eq!((outcome.steps, outcome.epochs), (2, 2));
}

#[test]
fn every_recipe_has_graphs_without_data() {
    // Dense nets of three layers; a convolution, a dense layer, and 12 convolutions, each with a batch norm; the head of a
    // frozen net: two batch norms, two dense layers; vectors of characters, a recurrent layer, a dense one; vectors of
    // characters and positions, four blocks of two norms and four products, a norm; what words say, and a bias; vectors of words of
    // two languages, two layers that read, two that write, two dense ones; the same with one layer each and a trigger; three convolutions with
    // batch norm, two dense layers; what words are, and what stands near them, with a bias; vectors of words, a layer that
    // reads, three dense layers and one that writes, a bias.
    let parameters = [
        (6, "batch,10"),
        (6, "batch,10"),
        (2 + 2 + 12 * 3, "batch,10"),
        (2 * 2 + 2 * 2, "batch,10"),
        (1 + 3 + 2, "batch,time,28"),
        (2 + 4 * 8 + 2, "batch,time,65"),
        (2, "batch,2"),
        (2 + 2 * 3 + 2 * 3 + 2 + 2, "batch,input_time,5"),
        (2 + 3 + 3 + 2 + 2 + 2, "batch"),
        (3 * 3 + 2 + 2, "batch,10"),
        (2 + 1, "batch,100"),
        (1 + 4 + 3 * 2 + 4 + 1, "batch,256"),
    ];
    assert_eq!(recipes().len(), parameters.len());
    for (recipe, (parameters, sizes)) in recipes().iter().zip(parameters) {
        let (task, step) = build(*recipe, &Options::default()).unwrap();
        assert_eq!(task.inference.output.meta().to_string(), format!("f32[{sizes}]"), "{}", recipe.name());
        assert_eq!(step.gradients.len(), parameters, "{}", recipe.name());
    }
}

/// Files of CIFAR-10 of pictures whose brightness tells the class: 120 to learn from, 30 to be tested on.
fn draw_cifar(folder: &Path) {
    let picture = |row: u8| [&[row % 10], &[row % 10 * 25 + 5; 3 * 32 * 32][..]].concat();
    let part = |rows: u8| (0..rows).flat_map(picture).collect::<Vec<u8>>();
    std::fs::write(folder.join("data_batch_1.bin"), part(120)).unwrap();
    std::fs::write(folder.join("test_batch.bin"), part(30)).unwrap();
}

#[test]
fn pictures_that_training_changes_are_seen_several_times_in_the_test() {
    let folder = tempfile::tempdir().unwrap();
    draw_cifar(folder.path());
    let cifar10 = recipe("cifar10").unwrap();
    for (model, changed) in [("resnet", true), ("dense", false)] {
        let run = folder.path().join(model);
        let (data, model) = (Some(folder.path().to_path_buf()), Some(model.to_string()));
        let outcome = train(cifar10, &Options { data, model, batch: Some(16), ..in_folder(&run, 3) }).unwrap();
        assert_eq!(outcome.test_accuracy_augmented.is_some(), changed);
        let report = evaluate(&run, Some(folder.path()), Which::Last).unwrap();
        assert_eq!(report.evaluation.accuracy(), outcome.test_accuracy);
        assert_eq!(report.accuracy_augmented, outcome.test_accuracy_augmented);
    }
}

#[test]
fn mnist_learns_from_the_real_files() -> Result<(), ZooError> {
    let Some(data) = std::env::var_os("THALWEG_DATA") else {
        eprintln!("skipped: THALWEG_DATA is not set");
        return Ok(());
    };
    let data = Some(Path::new(&data).join("mnist"));
    let outcome = train(recipe("mnist")?, &Options { data, ..short(50) })?;
    assert!(outcome.test_accuracy > Some(0.8), "{outcome:?}");
    Ok(())
}
