//! Looking at the model of a recipe before it is trained: its layers, its learning rate, what is wrong with it.

use crate::support::{folder, refuse, succeed};

/// A net that is small enough for many steps.
const SMALL: [&str; 2] = ["--set", "width=16"];

#[test]
fn a_summary_needs_no_data() {
    for recipe in ["digits", "mnist", "cifar10"] {
        let summary = succeed(["summary", recipe, "--json"]).json();
        assert_eq!(summary["recipe"], recipe);
        let layers = summary["layers"].as_array().unwrap();
        let sum = |key: &str| layers.iter().map(|layer| layer[key].as_u64().unwrap()).sum::<u64>();
        for key in ["parameters", "trained", "operations"] {
            assert!(summary[key].as_u64() == Some(sum(key)) && sum(key) > 10_000, "{key}: {summary}");
        }
        assert!(summary["step_bytes"].as_u64() > summary["batch"].as_u64(), "{summary}");
    }
    let text = succeed(["summary", "mnist", "--batch", "7"]).stdout;
    for part in ["layers.0  f32[batch,128]", "100,480", "yes", "are trained\n", "a step on 7 rows works in "] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let text = succeed(["summary", "cifar10", "--model", "dense"]).stdout;
    assert!(text.contains("f32[batch,40]") && text.contains("122,920"), "{text}");
}

#[test]
fn a_summary_of_what_is_not_known_is_refused() {
    refuse(["summary", "digts"], 2, &["'digts'", "'digits'"]);
    refuse(["summary", "cifar10", "--model", "resnett"], 2, &["`resnett`", "did you mean `resnet`?"]);
    refuse(["summary", "digits", "--model", "dense"], 2, &["`digits` has one model"]);
    refuse(["summary", "digits", "--weights", "x.pt"], 2, &["weights x.pt", "weights of its own"]);
    refuse(["summary", "digits", "--set", "width=1e9"], 2, &["width = 1000000000"]);
    refuse(["summary", "mnist", "--data", "/no/such/folder"], 1, &["/no/such/folder is no folder"]);
}

#[test]
fn a_learning_rate_is_found_and_drawn() {
    let folder = folder();
    let plot = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (svg, png) = (plot("ein Bild ü.svg"), plot("curve.PNG"));
    let text = succeed(["lr-find", "digits", "--out", &svg].iter().chain(&SMALL)).stdout;
    assert!(text.starts_with("learning rate  loss\n1.") && text.contains("\nsuggestion "), "{text}");
    let drawn = std::fs::read_to_string(&svg).unwrap();
    assert!(
        drawn.starts_with("<svg ") && drawn.contains(">learning rate<") && drawn.contains(">suggestion "),
        "{drawn}"
    );

    let found = succeed(["lr-find", "digits", "--out", &png, "--json"].iter().chain(&SMALL)).json();
    assert_eq!(&std::fs::read(&png).unwrap()[..4], b"\x89PNG");
    assert!((1e-4..1.0).contains(&found["suggestion"].as_f64().unwrap()), "{found}");
    let points = found["points"].as_array().unwrap();
    let rates: Vec<f64> = points.iter().map(|point| point["learning_rate"].as_f64().unwrap()).collect();
    assert!(rates.len() > 50 && rates.is_sorted(), "{found}");
    assert!(points.iter().all(|point| point["loss"].as_f64().is_some_and(|loss| loss > 0.0)), "{found}");
}

#[test]
fn a_learning_rate_is_not_looked_for_where_that_cannot_be_followed() {
    refuse(["lr-find"], 2, &["<RECIPE>"]);
    refuse(["lr-find", "mnist"], 2, &["the recipe `mnist` needs data", "--data"]);
    refuse(["lr-find", "digits", "--out", "curve.jpg"], 2, &["'curve.jpg'", "ends in .svg or .png"]);
    refuse(["lr-find", "digits", "--out", "curve"], 2, &["ends in .svg or .png"]);
    refuse(["lr-find", "digits", "--out", "/no/such/curve.svg"], 1, &["/no/such/curve.svg: cannot write"]);
    refuse(["lr-find", "digits", "--batch", "0"], 2, &["'--batch <N>'"]);
}

#[test]
fn a_model_is_diagnosed_layer_by_layer() {
    let folder = folder();
    let out = folder.path().join("histograms");
    let path = out.to_str().unwrap();
    let text = succeed(["diagnose", "digits", "--steps", "20", "--out", path].iter().chain(&SMALL)).stdout;
    assert!(text.starts_with("one batch is learned by heart: its loss went from "), "{text}");
    for part in ["\nafter 20 steps:\nlayer ", "\nlayers.0 ", "step/weight", "\nloss "] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    for name in ["01-layers.0.svg", "02-layers.1.svg", "03-layers.2.svg"] {
        let drawn = std::fs::read_to_string(out.join(name)).unwrap();
        assert!(drawn.starts_with("<svg ") && drawn.contains(">how many<"), "{drawn}");
    }
    let found = succeed(["diagnose", "digits", "--steps", "20", "--json"].iter().chain(&SMALL)).json();
    assert_eq!((&found["one_batch"]["learned"], &found["steps"]), (&true.into(), &20.into()), "{found}");
    let layers = found["layers"].as_array().unwrap();
    assert_eq!((layers.len(), &layers[0]["units"]), (3, &16.into()), "{found}");
    assert!(layers[0]["parameters"][0]["step_to_weight"].as_f64().unwrap() > 0.0, "{found}");
    assert!(found["findings"].as_array().is_some(), "{found}");
}

#[test]
fn a_model_that_cannot_learn_a_batch_is_told_why() {
    let found = succeed(["diagnose", "digits", "--steps", "2", "--lr", "1e-6", "--json"].iter().chain(&SMALL)).json();
    assert_eq!(found["one_batch"]["learned"], false);
    let causes = found["one_batch"]["causes"].to_string();
    assert!(causes.contains("is too small"), "{causes}");
}

#[test]
fn a_diagnosis_that_cannot_be_made_is_refused() {
    refuse(["diagnose", "digits", "--steps", "0"], 2, &["'--steps <N>'"]);
    refuse(["diagnose", "cifar10"], 2, &["the recipe `cifar10` needs data"]);
    refuse(["diagnose", "digits", "--out", "/proc/no"], 1, &["/proc/no: cannot make the folder"]);
    let wild = ["diagnose", "digits", "--json", "--steps", "50", "--optimizer", "sgd", "--lr", "1e30"];
    refuse(wild.iter().chain(&SMALL), 1, &["step ", "the first tensor with"]);
}

#[test]
fn runs_are_compared() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (one, two, svg) = (path("one"), path("two"), path("curves.svg"));
    for (run, seed) in [(&one, "1"), (&two, "2")] {
        succeed(["train", "digits", "--epochs", "2", "--seed", seed, "--run", run].iter().chain(&SMALL));
    }
    let table = succeed(["curves", &one, &two, "--out", &svg]).stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines.len() == 3 && lines[0].ends_with("accuracy/valid"), "{table}");
    assert!(lines[1].starts_with("one ") && lines[2].starts_with("two ") && lines[1].ends_with(" steps"), "{table}");
    let drawn = std::fs::read_to_string(&svg).unwrap();
    assert!(drawn.contains(">one<") && drawn.contains(">two<") && drawn.contains("accuracy/valid"), "{drawn}");

    let losses = succeed(["curves", &one, "--of", "loss/train", "--json"]).json();
    let points = losses["points"].as_array().unwrap();
    assert!(points.len() == 2 && points[1][1].as_f64() < points[0][1].as_f64(), "{losses}");
    refuse(["curves", &one, "--of", "loss/tset"], 1, &[&one, "nothing is called `loss/tset`", "loss/train"]);
    refuse(["curves", &path("three")], 1, &["three", "no such folder", "thalweg train"]);
    refuse(["curves", folder.path().to_str().unwrap()], 1, &["is no run", "`events`", "thalweg train"]);
}
