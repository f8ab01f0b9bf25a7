//! Training, stopping, going on, evaluating.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Ran, checkpoints, digits, folder, refuse, run, succeed, thalweg};

/// Trains `digits` for two epochs in `run`, with `more` arguments.
fn train(run_folder: &Path, more: &[&str]) -> Ran {
    run(["train", "digits", "--epochs", "2", "--json", "--run", run_folder.to_str().unwrap()].iter().chain(more))
}

#[test]
fn a_training_ends_with_one_object_that_says_what_came_of_it() {
    let folder = folder();
    // Whether there is a terminal, or a poor one, makes no difference to the result.
    let ran: Ran = thalweg()
        .args(["train", "digits", "--steps", "30", "--batch", "64", "--set", "width=16", "--json", "--run"])
        .arg(folder.path().join("ein Lauf ü"))
        .env("TERM", "dumb")
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
        .into();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.stdout.lines().count(), 1, "{ran:?}");
    assert!(!ran.stderr.contains('\u{1b}') && ran.stderr.contains("\"epoch\":1"), "{ran:?}");
    let result = ran.json();
    assert_eq!(result["recipe"], "digits");
    assert_eq!((&result["steps"], &result["epochs"]), (&30.into(), &2.into()), "{result}");
    for key in ["seconds", "train_loss", "valid_loss", "valid_accuracy", "test_accuracy"] {
        assert!(result[key].as_f64().is_some_and(|x| x > 0.0), "{key}: {result}");
    }
    let checkpoint = result["checkpoint"].as_str().unwrap();
    assert!(checkpoint.ends_with("ein Lauf ü/checkpoints/step-000000030.safetensors"), "{result}");
    assert!(Path::new(checkpoint).is_file());
}

#[test]
fn a_training_without_a_folder_saves_nothing_and_says_what_it_reached() {
    let ran = succeed(["train", "digits", "--steps", "5"]);
    assert!(ran.stdout.starts_with("digits: 5 steps") && ran.stdout.contains("test "), "{ran:?}");
    let ran = succeed(["train", "digits", "--steps", "5", "--json"]);
    assert!(ran.json()["checkpoint"].is_null(), "{ran:?}");
}

#[test]
fn progress_of_a_training_that_answers_in_json_is_json_too() {
    let folder = folder();
    let ran = train(&folder.path().join("run"), &["--resume"]);
    let lines: Vec<Value> = ran.stderr.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let events: Vec<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["message", "step", "epoch", "epoch"], "{ran:?}");
    assert!(lines[1]["step"] == 1 && lines[1]["steps_per_second"].is_null(), "the first step compiles: {ran:?}");
    assert!(lines[3]["epoch"] == 2 && lines[3]["valid_accuracy"].as_f64().is_some(), "{ran:?}");
    let plain = succeed(["train", "digits", "--steps", "5"]);
    assert!(plain.stderr.starts_with("step 1/5  epoch 1  loss "), "{plain:?}");
}

/// Training files of MNIST with `pixel` in the first place of all, and test files.
fn tiny_mnist(folder: &Path, pixel: u8) {
    let idx = |sizes: &[u32], elements: &[u8]| {
        let magic = [0, 0, 8, sizes.len() as u8];
        [&magic[..], &sizes.iter().flat_map(|size| size.to_be_bytes()).collect::<Vec<u8>>(), elements].concat()
    };
    for (part, rows) in [("train", 5_100), ("t10k", 20)] {
        let mut images: Vec<u8> = (0..rows * 784).map(|i| (i * 31 % 251) as u8).collect();
        if part == "train" {
            images[0] = pixel;
        }
        let labels: Vec<u8> = (0..rows).map(|row| (row % 10) as u8).collect();
        let write = |name: &str, bytes| std::fs::write(folder.join(format!("{part}-{name}-ubyte")), bytes).unwrap();
        write("images-idx3", idx(&[rows as u32, 28, 28], &images));
        write("labels-idx1", idx(&[rows as u32], &labels));
    }
}

#[test]
fn other_data_are_refused_by_name_unless_they_are_asked_for() {
    let folder = folder();
    let (data, run_folder) = (folder.path().join("data"), folder.path().join("run"));
    std::fs::create_dir(&data).unwrap();
    let train = |more: &[&str]| {
        let fixed = ["train", "mnist", "--steps", "6", "--batch", "10", "--save-every", "2", "--data"];
        let paths = [data.as_os_str(), "--run".as_ref(), run_folder.as_os_str()];
        run(fixed.iter().map(AsRef::as_ref).chain(paths).chain(more.iter().map(AsRef::as_ref)))
    };
    tiny_mnist(&data, 1);
    assert_eq!(train(&[]).code, Some(0));
    assert_eq!(train(&["--resume"]).code, Some(0), "the same data");
    tiny_mnist(&data, 2);
    let refused = train(&["--resume"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for part in ["configured otherwise: data was `sha256:", "`, now `sha256:", "`--new-data`"] {
        assert!(refused.stderr.contains(part) && refused.stderr.lines().count() == 1, "{part}: {refused:?}");
    }
    let agreed = train(&["--resume", "--new-data"]);
    assert!(agreed.code == Some(0) && agreed.stderr.contains("finished"), "{agreed:?}");
    refuse(["train", "digits", "--new-data"], 2, &["--resume"]);
}

#[test]
fn a_training_that_diverges_at_once_leaves_nothing_in_the_way() {
    let folder = folder();
    let run_folder = folder.path().join("run");
    let diverged = train(&run_folder, &["--optimizer", "sgd", "--lr", "1e30"]);
    assert_eq!(diverged.code, Some(1), "{diverged:?}");
    assert!(diverged.stderr.contains("no checkpoint had been saved yet"), "{diverged:?}");
    let again = train(&run_folder, &[]);
    assert_eq!(again.code, Some(0), "{again:?}");
}

#[test]
fn an_interrupted_training_is_saved_and_goes_on() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        interrupt_and_resume(signal, code);
    }
}

fn interrupt_and_resume(signal: &str, code: i32) {
    let folder = folder();
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    let command = |run: &Path, more: &[&str]| {
        let mut command = thalweg();
        command
            .args(["train", "digits", "--epochs", "20", "--save-every", "40", "--json", "--run"])
            .arg(run)
            .args(more);
        command
    };
    let mut child = command(&cut, &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while checkpoints(&cut).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(120), "no checkpoint was saved");
        assert_eq!(child.try_wait().unwrap(), None, "the training ended before it could be interrupted");
        std::thread::sleep(Duration::from_millis(2));
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(code), "{ran:?}");
    let steps = ran.json()["steps"].as_u64().unwrap();
    assert!(ran.json()["interrupted"] == true && ran.json()["test_accuracy"].is_null(), "{ran:?}");
    assert_eq!(checkpoints(&cut).last(), Some(&format!("step-{steps:09}.safetensors")), "{ran:?}");
    assert!(ran.stderr.contains("--resume"), "{ran:?}");

    let resumed = Ran::from(command(&cut, &["--resume"]).output().unwrap());
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    assert!(resumed.stderr.contains(&format!("resumed after step {steps}")), "{resumed:?}");
    let undisturbed = Ran::from(command(&whole, &[]).output().unwrap());
    for key in ["steps", "epochs", "train_loss", "valid_loss", "test_accuracy"] {
        assert_eq!(resumed.json()[key], undisturbed.json()[key], "{key}");
    }
    let last = checkpoints(&whole).pop().unwrap();
    let bytes = |run: &Path| std::fs::read(run.join("checkpoints").join(&last)).unwrap();
    assert!(bytes(&cut) == bytes(&whole), "the last checkpoints differ");
}

#[test]
fn a_folder_is_used_again_only_to_go_on() {
    let folder = folder();
    let run_folder = folder.path().join("run");
    let path = run_folder.to_str().unwrap();
    let begun = train(&run_folder, &["--resume"]);
    assert_eq!(begun.code, Some(0), "{begun:?}");
    assert!(begun.stderr.contains("nothing was saved yet"), "{begun:?}");
    let again = train(&run_folder, &[]);
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.stderr.contains(path) && again.stderr.contains("not empty"), "{again:?}");
    let finished = train(&run_folder, &["--resume"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stderr.contains("finished"), "{finished:?}");
    assert_eq!(finished.json()["steps"], begun.json()["steps"]);
    let other = train(&run_folder, &["--resume", "--lr", "0.5"]);
    assert_eq!(other.code, Some(1), "{other:?}");
    assert!(other.stderr.contains("lr") && other.stderr.contains("0.5"), "{other:?}");
}

#[test]
fn a_run_is_evaluated_on_its_test_set() {
    let run = digits().to_str().unwrap();
    let ran = succeed(["evaluate", run, "--json"]);
    let result = ran.json();
    assert_eq!((&result["recipe"], &result["rows"]), (&"digits".into(), &359.into()), "{result}");
    assert!(result["test_accuracy"].as_f64().unwrap() > 0.9, "{result}");
    let matrix = result["confusion"].as_array().unwrap();
    let counted: u64 = matrix.iter().flat_map(|row| row.as_array().unwrap()).map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(counted, 359);
    let step = result["step"].to_string();
    let text = succeed(["evaluate", run, "--checkpoint", &step]).stdout;
    assert!(text.contains("359 test rows") && text.contains("precision"), "{text}");
    assert!(succeed(["evaluate", run, "--checkpoint", "best", "--json"]).json()["test_loss"].as_f64().unwrap() < 1.0);
    refuse(["evaluate", run, "--checkpoint", "7"], 1, &["no checkpoint of step 7", &step]);
}
