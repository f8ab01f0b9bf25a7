//! A model that suggests replies, and knows when to be silent.

use crate::support::{folder, refuse, succeed};

#[test]
fn replies_are_suggested_where_the_trigger_says_so() {
    let folder = folder();
    let (data, trained) = (folder.path().to_str().unwrap(), folder.path().join("run"));
    let trained = trained.to_str().unwrap();
    let colors = ["red", "green", "blue", "white"];
    let dialogue = |row: usize| {
        let (color, topic) = (colors[row % 4], ["sea", "wood"][row / 4 % 2]);
        match row / 8 % 2 {
            0 => format!("# {topic}\nIs it {color}?\n{} {color}\n\n", ["yes,", "no,", "it is"][row / 16 % 3]),
            _ => format!("# {topic}\nTell of {color}.\nthe {topic} is so very far and far and {color}\n\n"),
        }
    };
    std::fs::write(folder.path().join("self_dialogue_subset.txt"), (0..240).map(dialogue).collect::<String>()).unwrap();
    let small = ["--batch", "16", "--lr", "0.01", "--epochs", "15", "--set", "hidden=16", "--set", "layers=1"];
    let small = [&small[..], &["--set", "dropout=0", "--set", "short=5"]].concat();
    let ran = succeed([&["train", "smart-reply", "--data", data, "--run", trained, "--json"][..], &small].concat());
    let figures = ran.json();
    assert!(figures["test_perplexity"].as_f64() < figures["test_perplexity_trigram"].as_f64(), "{ran:?}");
    let evaluated = succeed(["evaluate", trained, "--data", data]);
    assert!(evaluated.stdout.contains("perplexity_unigram ") && evaluated.stdout.contains("trigger_auc "));

    // Three with scores, each another.
    let ran = succeed(["predict", trained, "is it blue?", "--tag", "sea"]);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines.len() == 4 && lines[0].starts_with("is it blue? (worth a suggestion: 9"), "{ran:?}");
    let firsts = |lines: &[&str]| -> Vec<String> {
        let mut firsts: Vec<_> = lines.iter().map(|line| line.split_whitespace().nth(1).unwrap().into()).collect();
        firsts.sort();
        firsts
    };
    assert_eq!(firsts(&lines[1..]), ["it", "no,", "yes,"], "{ran:?}");
    assert!(lines[1..].iter().all(|line| line[..7].trim().parse::<f64>().unwrap() < 0.0), "{ran:?}");
    let ran = succeed(["predict", trained, "is it blue?", "is it pink?", "--json", "--begin", "yes", "--best", "2"]);
    let answers = &ran.json()["answers"];
    assert!(answers[0]["wanted"].as_f64() > Some(0.5) && answers[1]["unknown"][0] == "pink", "{ran:?}");
    let replies = answers[0]["replies"].as_array().unwrap();
    assert!(replies.len() == 2 && replies[0]["text"].as_str().unwrap().starts_with("yes, "), "{ran:?}");

    // Silent, and made to speak.
    let ran = succeed(["predict", trained, "tell of red."]);
    assert!(ran.stdout.starts_with("tell of red. (worth a suggestion: ") && ran.stdout.lines().count() == 1, "{ran:?}");
    assert!(ran.stdout.contains("nothing is suggested, which `--trigger 0` would"), "{ran:?}");
    let ran = succeed(["predict", trained, "tell of red.", "--json"]);
    let answer = &ran.json()["answers"][0];
    assert!(answer["wanted"].as_f64() < Some(0.5) && answer["replies"].as_array().unwrap().is_empty(), "{ran:?}");
    let ran = succeed(["predict", trained, "tell of red.", "--trigger", "0", "--best", "1", "--diversity", "0"]);
    assert!(ran.stdout.lines().nth(1).unwrap().contains("  the "), "{ran:?}");

    refuse(["predict", trained, ""], 1, &["the text ``: it is empty"]);
    refuse(["predict", trained, "qqq zzz"], 1, &["unknown tokens only (`qqq`, `zzz`)"]);
    refuse(["predict", trained, "is it red?", "--tag", "moon"], 1, &["the tag `moon`: there are: any, sea, wood"]);
    refuse(["predict", trained, "is it red?", "--begin", "qqq"], 1, &["the model does not know `qqq`"]);
    for wrong in ["2", "-0.5", "NaN"] {
        refuse(
            ["predict", trained, "is it red?", "--trigger", wrong],
            2,
            &["--trigger: is a probability, from 0 to 1"],
        );
    }
}
