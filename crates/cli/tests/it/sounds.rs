//! Models that hear, and recordings that nobody can.

use std::path::Path;

use crate::support::{folder, refuse, run, succeed};

/// The chunk `fmt ` of one channel of 16 bits at 8,000 samples a second.
const FORMAT: [u16; 8] = [1, 1, 8000, 0, 16_000, 0, 2, 16];

fn chunk(name: &str, content: &[u8]) -> Vec<u8> {
    [name.as_bytes(), &(content.len() as u32).to_le_bytes(), content].concat()
}

fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
    let content = [b"WAVE", &*chunks.concat()].concat();
    [b"RIFF", &(content.len() as u32).to_le_bytes()[..], &content].concat()
}

fn format(words: [u16; 8]) -> Vec<u8> {
    chunk("fmt ", &words.map(u16::to_le_bytes).concat())
}

/// A tone that swells and fades.
fn tone(pitch: f32, samples: usize) -> Vec<u8> {
    let sample = |at: usize| {
        let swell = (std::f32::consts::PI * at as f32 / samples as f32).sin();
        (9_000.0 * swell * (std::f32::consts::TAU * pitch * at as f32 / 8000.0).sin()) as i16
    };
    let bytes: Vec<u8> = (0..samples).flat_map(|at| sample(at).to_le_bytes()).collect();
    riff(&[format(FORMAT), chunk("data", &bytes)])
}

/// Three speakers say 0 deep and 1 high, four times.
fn write_recordings(folder: &Path) {
    for (speaker, name) in ["ann", "bob", "cat"].into_iter().enumerate() {
        for take in 0..4 {
            let sound = |pitch: f32| tone(pitch + 10.0 * speaker as f32, 1600 + 200 * take);
            std::fs::write(folder.join(format!("0_{name}_{take}.wav")), sound(300.0)).unwrap();
            std::fs::write(folder.join(format!("1_{name}_{take}.wav")), sound(1500.0)).unwrap();
        }
    }
}

#[test]
fn recordings_are_heard() {
    let folder = folder();
    write_recordings(folder.path());
    let (data, trained) = (folder.path().to_str().unwrap(), folder.path().join("run"));
    let trained = trained.to_str().unwrap();
    let small = ["--batch", "8", "--set", "hidden=16", "--set", "voices=0", "--epochs", "30", "--threads", "1"];
    let ran = succeed([&["train", "spoken-digits", "--data", data, "--run", trained, "--json"][..], &small].concat());
    assert_eq!(ran.json()["test_accuracy"], 1.0, "{ran:?}");

    let [deep, high] = ["0_cat_1.wav", "1_cat_2.wav"].map(|name| folder.path().join(name).display().to_string());
    let ran = succeed(["predict", trained, &deep, &high, "--json"]);
    let heard = |n: usize| ran.json()["predictions"][n]["class"].as_str().unwrap().to_string();
    assert_eq!((heard(0), heard(1)), ("0".into(), "1".into()), "{ran:?}");
    assert!(succeed(["predict", trained, &high]).stdout.starts_with(&format!("{high}: 1 (")));
    refuse(["predict", trained, &high, "--show", "x.png"], 2, &["takes texts or sounds, of which there is no picture"]);

    // What nobody can hear does not keep others from being heard.
    let silent = folder.path().join("silent.wav");
    let silent = silent.to_str().unwrap();
    let ran = run(["predict", trained, silent, &high]);
    assert!(ran.code == Some(1) && ran.stdout.starts_with(&high) && ran.stderr.contains("silent.wav"), "{ran:?}");
    let sound = |words: [u16; 8]| riff(&[format(words), chunk("data", &[0; 512])]);
    let with = |at: usize, value: u16| {
        let mut words = FORMAT;
        words[at] = value;
        sound(words)
    };
    let whole = tone(300.0, 800);
    for (bytes, message) in [
        (Vec::new(), "WAV header: expected `RIFF`, a size, `WAVE`, found 0 bytes"),
        (b"a text, no sound".to_vec(), "WAV header"),
        ([&whole[..], b"more"].concat(), "WAV RIFF size"),
        (riff(&[format(FORMAT)]), "a chunk `data`"),
        (riff(&[chunk("data", &[0; 512])]), "a chunk `fmt `"),
        (with(1, 0), "1 to 64 channels, found 0"),
        (with(2, 0), "a rate of at least 1 Hz, found 0 Hz"),
        (with(0, 2), "Microsoft ADPCM"),
        (riff(&[format(FORMAT), chunk("data", &[0; 513])]), "whole frames of 2 bytes, found 513 bytes"),
        (riff(&[format(FORMAT), chunk("data", &[])]), "whole frames of 2 bytes, found 0 bytes"),
        (riff(&[format(FORMAT), chunk("data", &[0; 512])[..100].to_vec()]), "512 bytes, found 92 (truncated)"),
    ] {
        std::fs::write(silent, bytes).unwrap();
        refuse(["predict", trained, silent], 1, &["silent.wav", message]);
    }
    // An odd chunk that says something else, 24 bits, and silence are sounds.
    let note = [chunk("note", b"odd"), vec![0]].concat();
    let deeper = riff(&[note, format([1, 1, 8000, 0, 24_000, 0, 3, 24]), chunk("data", &[0; 600])]);
    std::fs::write(silent, deeper).unwrap();
    succeed(["predict", trained, silent]);
}

#[test]
fn what_is_said_is_written_down() {
    let folder = folder();
    write_recordings(folder.path());
    let (data, trained) = (folder.path().to_str().unwrap(), folder.path().join("run"));
    let trained = trained.to_str().unwrap();
    let small = ["--model", "lstm-ctc", "--batch", "8", "--lr", "0.01", "--epochs", "12", "--threads", "1"];
    let set =
        ["--set", "hidden=16", "--set", "voices=0", "--set", "dropout=0", "--set", "strings=60", "--set", "longest=2"];
    let train = ["train", "spoken-digits", "--data", data, "--run", trained, "--json"];
    let ran = succeed([&train[..], &small, &set].concat());
    assert!(ran.json()["test_word_error_percent"].as_f64().unwrap() < 50.0, "{ran:?}");
    let ran = succeed(["evaluate", trained, "--data", data]);
    assert!(ran.stdout.contains("12 test rows: word_error_percent "), "{ran:?}");

    let high = folder.path().join("1_cat_2.wav").display().to_string();
    let ran = succeed(["predict", trained, &high, "--json"]);
    assert_eq!(
        (&ran.json()["transcripts"][0]["input"], &ran.json()["transcripts"][0]["text"]),
        (&high.clone().into(), &"1".into())
    );
    assert_eq!(succeed(["predict", trained, &high]).stdout, format!("{high}: 1\n"));
    refuse(["predict", trained, data], 1, &[data]);
    refuse(["predict", trained, &high, "--show", "x.png"], 2, &["--show: is for models that see pictures"]);
    refuse(["predict", trained, &high, "--length", "3"], 2, &["--length: is for models that write texts"]);
}
