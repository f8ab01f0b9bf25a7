//! Models that write texts.

use crate::support::{digits, folder, refuse, run, succeed};

#[test]
fn a_model_that_reads_characters_writes_on() {
    let folder = folder();
    let (data, trained) = (folder.path().to_str().unwrap(), folder.path().join("run"));
    let trained = trained.to_str().unwrap();
    std::fs::write(folder.path().join("text.txt"), "to be or not to be, that is the question.\n".repeat(50)).unwrap();
    let small = ["--batch", "8", "--lr", "0.01", "--set", "hidden=32", "--model", "gru", "--epochs", "6"];
    let ran = succeed([&["train", "char-lm", "--data", data, "--run", trained, "--json"][..], &small].concat());
    assert!(ran.json()["valid_loss"].as_f64().unwrap() < 0.5 && ran.json()["test_accuracy"].is_null(), "{ran:?}");

    let surely = ["--top-k", "1", "--length", "6"];
    let ran = succeed([&["predict", trained, "that is the ques", "To be or no"][..], &surely].concat());
    assert_eq!(ran.stdout, "that is the question.\n\nTo be or not to b\n");
    let ran = succeed([&["predict", trained, "that is the ques", "--json"][..], &surely].concat());
    assert_eq!(ran.json()["texts"][0]["text"], "tion.\n", "{ran:?}");
    let drawn = |seed| succeed(["predict", trained, "to", "--seed", seed, "--temperature", "3"]).stdout;
    assert!(drawn("1") == drawn("1") && drawn("1") != drawn("2"));

    let ran = succeed(["evaluate", trained, "--data", data]);
    assert!(ran.stdout.contains("rows held out in training, since there is no test set: loss 0."), "{ran:?}");
    refuse(["predict", trained, "~"], 1, &["`~`"]);
    refuse(["predict", trained, "a", "--temperature", "0"], 1, &["temperature 0: it is above 0"]);
    refuse(["predict", trained, "a", "--top-k", "5000"], 1, &["the 5000 likeliest of a vocabulary of"]);
    refuse(["predict", trained, "a", "--show", "a.png"], 2, &["--show: is for models that see pictures"]);
    assert_eq!(run(["predict", trained, "a", "--length", "0"]).code, Some(2));
}

#[test]
fn a_model_that_sees_does_not_write() {
    refuse(
        ["predict", digits().to_str().unwrap(), "x.png", "--length", "3"],
        2,
        &["--length: is for models that write texts"],
    );
}
