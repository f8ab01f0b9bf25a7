//! Models that have vectors.

use crate::support::{folder, refuse, run, succeed};

#[test]
fn words_are_asked_for_their_neighbors() {
    let folder = folder();
    let (data, trained) = (folder.path().to_str().unwrap(), folder.path().join("run"));
    let trained = trained.to_str().unwrap();
    let text = |row: usize| match row % 2 {
        0 => format!("A {} and a {} eat.\n\n", ["cat", "dog", "cow"][row % 3], ["hen", "pig", "cat"][row % 5 % 3]),
        _ => format!("Add {} to {}, please.\n\n", ["one", "two", "six"][row % 3], ["ten", "two", "one"][row % 5 % 3]),
    };
    std::fs::write(folder.path().join("text.txt"), (0..300).map(text).collect::<String>()).unwrap();
    let small = ["--batch", "16", "--lr", "0.01", "--epochs", "6", "--set", "size=8", "--set", "negatives=4"];
    let small = [&small[..], &["--set", "frequent=1"]].concat();
    let ran = succeed([&["train", "word-vectors", "--data", data, "--run", trained, "--json"][..], &small].concat());
    assert!(ran.json()["valid_loss"].as_f64() < Some(2.5), "{ran:?}");

    let ran = succeed(["predict", trained, "cow", "Two - one + ten"]);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!((lines[0], lines[11], lines.len()), ("cow", "Two - one + ten", 22), "{ran:?}");
    assert!(lines[1..4].iter().any(|line| line.ends_with("  dog")), "{ran:?}");
    let ran = succeed(["predict", trained, "cow", "--json"]);
    assert!(ran.json()["found"][0]["neighbors"][0]["cosine"].as_f64() > Some(0.5), "{ran:?}");

    let ran = run(["predict", trained, "zebra", "cow dog", "cow"]);
    assert_eq!((ran.code, ran.stdout.lines().next()), (Some(1), Some("cow")), "{ran:?}");
    for part in
        ["the words `zebra`: `zebra` is not among the", "the words `cow dog`: vectors are those of single words"]
    {
        assert!(ran.stderr.contains(part), "{ran:?}");
    }
    refuse(["predict", trained, "cow", "--show", "a.png"], 2, &["--show: is for other models"]);
    refuse(["predict", trained, "cow", "--length", "3"], 2, &["--length: is for other models"]);
    refuse(["evaluate", trained, "--data", "/none"], 1, &["/none"]);
}

#[test]
fn sentences_are_asked_for_their_class_and_neighbors() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (data, encoder, trained) = (path(""), path("encoder"), path("run"));
    let review = |first: &str| (0..60).map(|row| format!("{first} is film {row} .\n")).collect::<String>();
    std::fs::write(path("rt-polarity.neg"), review("bad")).unwrap();
    std::fs::write(path("rt-polarity.pos"), review("good")).unwrap();
    let small = ["--set", "features=8", "--set", "hidden=16", "--set", "negatives=4", "--set", "min_count=1"];
    let small = [&small[..], &["--epochs", "8", "--batch", "8", "--lr", "0.01"]].concat();
    succeed([&["train", "sentence-vectors", "--data", &data, "--run", &encoder][..], &small].concat());
    let ran = succeed(["predict", &encoder, "a good film"]);
    assert!(ran.stdout.starts_with("a good film\n   0.") && ran.stdout.lines().count() == 6, "{ran:?}");

    let given = ["--model", "vectors", "--weights", &encoder, "--data", &data, "--run", &trained, "--json"];
    let long = ["--epochs", "20", "--batch", "8", "--lr", "0.05", "--set", "tuned=0.5", "--set", "dropout=0"];
    let ran = succeed([&["train", "reply-or-not"][..], &long, &given].concat());
    assert!(ran.json()["test_accuracy"].as_f64() > Some(0.9), "{ran:?}");
    let ran = succeed(["predict", &trained, "good is film 2 ."]);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines[0].starts_with("good is film 2 .: positive (") && lines.len() == 8, "{ran:?}");
    assert_eq!(lines[3], "   1.000  good is film 2.", "{ran:?}");
    let ran = succeed(["predict", &trained, "bad is film 4 .", "--json"]);
    assert_eq!(ran.json()["predictions"][0]["neighbors"].as_array().unwrap().len(), 5, "{ran:?}");
    refuse(["predict", &trained, "zzz"], 1, &["a text of unknown tokens only (`zzz`)"]);
    refuse(["predict", &trained, ""], 1, &["the text ``: it is empty"]);
    refuse(["predict", &encoder, "good", "--beam", "3"], 2, &["--beam: is for other models"]);
    assert!(succeed(["predict", &trained, "--row", "2", "--data", &data]).stdout.contains("labelled "));
}
