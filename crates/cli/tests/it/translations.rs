//! Models that answer texts with texts.

use crate::support::{digits, folder, refuse, succeed};

#[test]
fn a_translator_is_trained_and_asked() {
    let folder = folder();
    let (data, trained) = (folder.path().to_str().unwrap(), folder.path().join("run"));
    let (trained, picture) = (trained.to_str().unwrap(), folder.path().join("looked.png"));
    let words =
        [("cat", "chat"), ("dog", "chien"), ("cow", "vache"), ("hen", "poule"), ("pig", "cochon"), ("fox", "renard")];
    let line = |row: usize| {
        let (number, animals) = match row {
            0..36 => (row, 2),
            36..252 => (row - 36, 3),
            _ => ((row - 252) * 8 + row % 5, 4),
        };
        let these = (0..animals).map(|at: u32| words[number / 6usize.pow(at) % 6]);
        let (english, french): (Vec<&str>, Vec<&str>) = these.unzip();
        format!("{}\t{}\n", english.join(" "), french.join(" "))
    };
    std::fs::write(folder.path().join("fra.txt"), (0..400).map(line).collect::<String>()).unwrap();
    let small = ["--batch", "16", "--lr", "0.01", "--epochs", "12", "--set", "hidden=32", "--set", "layers=1"];
    let small = [&small[..], &["--set", "dropout=0", "--set", "min_count=5"]].concat();
    let ran = succeed([&["train", "translate", "--data", data, "--run", trained, "--json"][..], &small].concat());
    assert!(ran.json()["test_bleu"].as_f64() > Some(70.0), "{ran:?}");
    let evaluated = succeed(["evaluate", trained, "--data", data, "--json"]).json();
    assert_eq!(evaluated["test_bleu"], ran.json()["test_bleu"]);
    assert!(succeed(["evaluate", trained, "--data", data]).stdout.contains("20 test rows: bleu "));

    let ran = succeed(["predict", trained, "dog hen", "Cat cow pig"]);
    assert_eq!(ran.stdout, "chien poule\nchat vache cochon\n");
    let show = ["--show", picture.to_str().unwrap()];
    let ran = succeed([&["predict", trained, "hen zebra", "--best", "2", "--begin", "poule"][..], &show].concat());
    assert!(ran.stderr.contains("words that the model does not know: zebra"), "{ran:?}");
    assert!(ran.stdout.lines().count() == 2 && ran.stdout.contains("  poule"), "{ran:?}");
    assert!(std::fs::read(&picture).unwrap().starts_with(b"\x89PNG"));
    let ran =
        succeed(["predict", trained, "dog zebra pig", "--json", "--length", "3", "--diversity", "2", "--best", "3"]);
    let answer = &ran.json()["answers"][0];
    assert_eq!((&answer["unknown"][0], answer["replies"].as_array().unwrap().len()), (&"zebra".into(), 3), "{ran:?}");
    assert!(answer["replies"][0]["score"].as_f64() >= answer["replies"][1]["score"].as_f64(), "{ran:?}");

    refuse(["predict", trained, ""], 1, &["the text ``: it is empty"]);
    refuse(["predict", trained, "dog", "--beam", "5000"], 1, &["a beam of width 5000: the vocabulary has"]);
    refuse(["predict", trained, "dog", "--beam", "2", "--best", "3"], 1, &["the 3 best texts"]);
    refuse(["predict", trained, "dog", "--tag", "fr"], 1, &["the tag `fr`: the model knows no tags"]);
    refuse(
        ["predict", trained, "dog", "--trigger", "0.2"],
        2,
        &["--trigger: is for models that know when to be silent"],
    );
    refuse(["predict", trained, "dog", "--top-k", "5"], 2, &["--top-k: is for models that go on with texts"]);
    let digits = digits();
    refuse(
        ["predict", digits.to_str().unwrap(), "x.png", "--tag", "fr"],
        2,
        &["--tag: is for models that answer texts"],
    );
    refuse(["train", "translate", "--data", digits.to_str().unwrap()], 1, &["train.en"]);
}
