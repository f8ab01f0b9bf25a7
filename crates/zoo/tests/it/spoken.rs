//! The recipe `spoken-digits`, from recordings to what is heard in one.

use std::path::Path;

use thalweg::data::audio::{Sound, read_wav};
use thalweg::prelude::*;
use thalweg::train::Transcriber;
use thalweg::train::checkpoint::Which;
use thalweg_zoo::{Options, cross_validate, evaluate, recipe, train};

/// A WAV file of one channel, 16 bits, 8,000 samples a second.
fn write_wav(path: &Path, samples: &[f32]) {
    let bytes: Vec<u8> = samples.iter().flat_map(|x| ((x * 32_767.0) as i16).to_le_bytes()).collect();
    let size = |n: usize| (n as u32).to_le_bytes();
    let format = [1u16, 1, 8000, 0, 16_000, 0, 2, 16].map(u16::to_le_bytes).concat();
    let content = [&b"WAVEfmt "[..], &size(16), &format, b"data", &size(bytes.len()), &bytes].concat();
    std::fs::write(path, [&b"RIFF"[..], &size(content.len()), &content].concat()).unwrap();
}

/// The voice of a speaker: each digit a tone of its own, louder and softer, and a little faint hissing.
fn tone(digit: u8, speaker: usize, take: usize) -> Vec<f32> {
    let pitch = 300.0 * 1.2f32.powi(digit.into()) * (1.0 + 0.01 * speaker as f32);
    let samples = 1600 + 160 * take;
    let sample = |at: usize| {
        let time = at as f32 / 8000.0;
        let swell = (std::f32::consts::PI * at as f32 / samples as f32).sin();
        let hiss = ((at * 7919 + 31 * take) % 101) as f32 / 101.0 - 0.5;
        0.5 * swell * (std::f32::consts::TAU * pitch * time).sin() + 0.005 * hiss
    };
    (0..samples).map(sample).collect()
}

const SPEAKERS: [&str; 4] = ["ann", "bob", "cat", "dan"];

/// Four speakers say five digits thrice.
fn write_recordings(folder: &Path) {
    for (speaker, name) in SPEAKERS.iter().enumerate() {
        for digit in 0..5 {
            for take in 0..3 {
                write_wav(&folder.join(format!("{digit}_{name}_{take}.wav")), &tone(digit, speaker, take));
            }
        }
    }
}

fn options(data: &Path, model: &str, epochs: u64) -> Options {
    Options {
        data: Some(data.into()),
        model: Some(model.into()),
        length: Some(Length::Epochs(epochs)),
        batch: Some(16),
        threads: Some(1),
        set: vec![("hidden".into(), 32.0), ("voices".into(), 0.0), ("dropout".into(), 0.0)],
        ..Options::default()
    }
}

#[test]
fn digits_of_speakers_that_were_not_met_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    write_recordings(folder.path());
    let run = folder.path().join("run");
    let recipe = recipe("spoken-digits").unwrap();
    let options = Options { run: Some(run.clone()), lr: Some(5e-3), ..options(folder.path(), "conv", 30) };
    let outcome = train(recipe, &options).unwrap();
    assert!(outcome.test_accuracy > Some(0.9), "{outcome:?}");
    let report = evaluate(&run, Some(folder.path()), Which::Last).unwrap();
    assert_eq!((report.evaluation.rows, report.evaluation.accuracy()), (15, outcome.test_accuracy));

    let trained = Trained::open(&run).unwrap();
    let heard =
        |digit| trained.predict_sound(&read_wav(folder.path().join(format!("{digit}_ann_1.wav"))).unwrap()).unwrap();
    for digit in 0..5 {
        assert_eq!(heard(digit).name, digit.to_string());
    }
    // Louder, at another rate and in two channels it is the same sound.
    let sound = read_wav(folder.path().join("4_ann_1.wav")).unwrap();
    let mut other = sound.resampled(16_000).unwrap();
    other.channels[0].iter_mut().for_each(|x| *x *= 0.25);
    other.channels.push(other.channels[0].clone());
    assert_eq!(trained.predict_sound(&other).unwrap().name, "4");
    let message = trained.predict_text("four").unwrap_err().to_string();
    assert!(message.contains("a text for one of 0 columns of texts"), "{message}");
}

#[test]
fn strings_of_digits_are_written_down() {
    let folder = tempfile::tempdir().unwrap();
    write_recordings(folder.path());
    let recipe = recipe("spoken-digits").unwrap();
    for (model, epochs, most, said) in [("lstm-ctc", 25, 20.0, "1 3"), ("listener", 40, 60.0, "one three")] {
        let run = folder.path().join(model);
        let options = options(folder.path(), model, epochs);
        let set = [&options.set[..], &[("strings".into(), 100.0), ("longest".into(), 3.0)]].concat();
        let outcome = train(recipe, &Options { run: Some(run.clone()), lr: Some(1e-2), set, ..options }).unwrap();
        let error = outcome.test_figures["word_error_percent"];
        assert!(error < most, "{model}: {outcome:?}");
        let report = evaluate(&run, Some(folder.path()), Which::Last).unwrap();
        assert_eq!((report.evaluation.rows, report.figures["word_error_percent"]), (20, error), "{model}");

        let trained = Trained::open(&run).unwrap();
        let transcriber = Transcriber::of(&trained).unwrap();
        let sound = Sound::mono_at(8000, [tone(1, 0, 1), tone(3, 0, 2)].concat());
        let transcript = transcriber.transcribe(&sound).unwrap();
        assert!(transcript.log_probability < 0.0 && transcript.log_probability.is_finite());
        if model == "lstm-ctc" {
            assert_eq!(transcript.text, said);
        }
        let message = transcriber.transcribe(&Sound::mono_at(8000, vec![])).unwrap_err().to_string();
        assert!(message.contains("a sound of 0 samples"), "{message}");
        assert!(trained.predict_sound(&sound).is_err(), "it is no classifier");
    }
}

#[test]
fn more_digits_than_frames_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in SPEAKERS {
        // 10 ms, which leave one frame.
        write_wav(&folder.path().join(format!("7_{name}_0.wav")), &tone(7, 0, 0)[..80]);
    }
    let options = options(folder.path(), "lstm-ctc", 1);
    let set = [&options.set[..], &[("strings".into(), 50.0)]].concat();
    let message = train(recipe("spoken-digits").unwrap(), &Options { set, ..options }).unwrap_err().to_string();
    assert!(message.contains("like the one before, need") && message.contains("frames: "), "{message}");
}

#[test]
fn every_speaker_is_held_out_once() {
    let folder = tempfile::tempdir().unwrap();
    write_recordings(folder.path());
    let recipe = recipe("spoken-digits").unwrap();
    let folds = cross_validate(recipe, &options(folder.path(), "conv", 1), 4, |_, _| {}).unwrap();
    let rows: Vec<_> = folds.folds.iter().map(|fold| (fold.train_rows, fold.test_rows)).collect();
    assert_eq!(rows, [(30, 15); 4]);
    let message = cross_validate(recipe, &options(folder.path(), "conv", 1), 5, |_, _| {}).unwrap_err().to_string();
    assert!(message.contains("5 groups of 4 speakers (ann, bob, cat, dan)"), "{message}");
}

#[test]
fn folders_without_recordings_of_three_speakers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refusal =
        || train(recipe("spoken-digits").unwrap(), &options(folder.path(), "conv", 1)).unwrap_err().to_string();
    assert!(refusal().contains("has no file `0_speaker_0.wav`"), "{}", refusal());
    for name in ["ann", "bob"] {
        write_wav(&folder.path().join(format!("3_{name}_0.wav")), &tone(3, 0, 0));
    }
    assert!(refusal().contains("2 groups of 2 speakers (ann, bob): one is for the test"), "{}", refusal());
    write_wav(&folder.path().join("three_cat_0.wav"), &tone(3, 0, 0));
    assert!(refusal().contains("expected digit_speaker_take.wav, found `three_cat_0`"), "{}", refusal());
    std::fs::rename(folder.path().join("three_cat_0.wav"), folder.path().join("3_cat_0.wav")).unwrap();
    std::fs::write(folder.path().join("4_cat_0.wav"), b"RIFF").unwrap();
    assert!(refusal().contains("4_cat_0.wav: WAV header: expected `RIFF`, a size, `WAVE`"), "{}", refusal());
}
