//! Training that is killed and goes on: nothing is lost, and nothing is different in the end.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Ran, checkpoints, folder, thalweg};

/// The training of this file: 39 steps an epoch, dropout, shifts and shuffling on.
fn train(run: &Path, more: &[&str]) -> std::process::Command {
    let mut command = thalweg();
    command.args([
        "train",
        "digits",
        "--save-every",
        "5",
        "--epochs",
        "4",
        "--seed",
        "3",
        "--set",
        "width=64",
        "--json",
    ]);
    command.arg("--run").arg(run).args(more).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Waits until the run has a checkpoint of a step after `step`, then `longer`, and kills it. Says whether it was still
/// training.
fn kill_after(run: &Path, step: u64, longer: Duration, mut child: Child) -> bool {
    let begun = Instant::now();
    while newest(run).is_none_or(|newest| newest <= step) && child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(120), "no checkpoint was saved");
        std::thread::sleep(Duration::from_micros(200));
    }
    std::thread::sleep(longer);
    child.kill().unwrap();
    child.wait().unwrap().code().is_none()
}

/// The step of the newest checkpoint.
fn newest(run: &Path) -> Option<u64> {
    checkpoints(run).last().and_then(|name| name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok())
}

/// What came of a training, without what a clock or a path says.
fn outcome(ran: &Ran) -> Value {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let mut result = ran.json();
    for key in ["seconds", "checkpoint"] {
        assert!(result.as_object_mut().unwrap().remove(key).is_some(), "{key}: {ran:?}");
    }
    result
}

/// The checkpoints of a run with their bytes.
fn files(run: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |name: String| (name.clone(), std::fs::read(run.join("checkpoints").join(name)).unwrap());
    checkpoints(run).into_iter().map(read).collect()
}

/// Whether the run has these files. A run that was killed when its last checkpoint was in place has older ones too.
fn holds(run: &Path, expected: &[(String, Vec<u8>)]) -> bool {
    let found = files(run);
    expected.iter().all(|file| found.contains(file)) && found.last() == expected.last()
}

#[test]
fn a_training_killed_at_any_moment_goes_on_to_the_same_bytes() {
    let folder = folder();
    let whole = folder.path().join("whole");
    let expected = outcome(&train(&whole, &["--threads", "2"]).output().unwrap().into());
    assert_eq!(expected["steps"], 4 * 39, "{expected}");
    assert!(expected["test_accuracy"].as_f64().is_some_and(|x| x > 0.5), "{expected}");
    let expected_files = files(&whole);
    assert!(expected_files.len() >= 3, "the newest three and the best");

    // On one thread and on two; killed again and again, each time a little later after a checkpoint was seen.
    for (name, threads, rounds) in [("one", "1", 0..4), ("two", "2", 4..8)] {
        let run = folder.path().join(name);
        let (mut step, mut killed) = (0, 0);
        for round in rounds.clone() {
            let more: &[&str] = if round == rounds.start { &[] } else { &["--resume"] };
            let child = train(&run, &[&["--threads", threads], more].concat()).spawn().unwrap();
            killed += u32::from(kill_after(&run, step, Duration::from_micros(round * 7919 % 12_000), child));
            step = newest(&run).unwrap();
        }
        assert!(killed >= 2, "most were killed before their end");
        let ran = Ran::from(train(&run, &["--threads", threads, "--resume"]).output().unwrap());
        assert!(ran.stderr.contains(&format!("resumed after step {step}")), "{ran:?}");
        assert_eq!(outcome(&ran), expected, "{threads} threads");
        assert!(holds(&run, &expected_files), "{threads} threads: the checkpoints differ");
    }
}

#[test]
fn a_training_killed_before_its_first_checkpoint_is_begun_again_in_the_same_folder() {
    let folder = folder();
    let run = folder.path().join("run");
    let train = |length: [&str; 4]| {
        let mut command = thalweg();
        command.args(["train", "digits", "--run"]).arg(&run).args(length).stderr(Stdio::null());
        command
    };
    let mut child = train(["--epochs", "1000", "--save-every", "30000"]).spawn().unwrap();
    let begun = Instant::now();
    while !run.join("events").is_dir() {
        assert!(begun.elapsed() < Duration::from_secs(120), "the training does not begin");
        assert_eq!(child.try_wait().unwrap(), None, "the training ended before it could be killed");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(checkpoints(&run).is_empty());
    assert!(train(["--epochs", "1", "--save-every", "20"]).output().unwrap().status.success());
    assert_eq!(newest(&run), Some(39));
}

/// A short training with several saves, under `strace` if `kill_at` names a system call and which of its calls is the last.
#[cfg(target_os = "linux")]
fn short(run: &Path, kill_at: Option<(&str, usize)>, more: &[&str]) -> std::process::Command {
    let mut command = match kill_at {
        None => thalweg(),
        Some((call, number)) => {
            let mut strace = std::process::Command::new("strace");
            strace.args(["-f", "-o", "/dev/null", "-e", &format!("trace={call}")]);
            strace.args(["-e", &format!("inject={call}:signal=KILL:when={number}")]);
            strace.arg(thalweg().get_program());
            strace
        }
    };
    command.args(["train", "digits", "--epochs", "1", "--save-every", "10", "--set", "width=16", "--threads", "1"]);
    command.arg("--run").arg(run).args(more).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Every seventh call of those that change files; `THALWEG_KILL_EVERY=1` takes each.
#[cfg(target_os = "linux")]
#[test]
fn a_training_killed_at_its_system_calls_goes_on_to_the_same_bytes() {
    let tried = std::process::Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    if !tried.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no strace that works here");
        return;
    }
    let every = std::env::var("THALWEG_KILL_EVERY").map_or(7, |every| every.parse().expect("a number"));
    let folder = folder();
    let whole = folder.path().join("whole");
    assert!(short(&whole, None, &[]).status().unwrap().success());
    let expected = files(&whole);
    for call in ["fsync", "/^rename", "/^unlink", "openat", "write"] {
        for number in (1..).step_by(every) {
            let run = folder.path().join(format!("{} {number}", call.trim_start_matches("/^")));
            if short(&run, Some((call, number)), &[]).status().unwrap().success() {
                assert!(number > 1, "{call} is called");
                break;
            }
            let ran = Ran::from(short(&run, None, &["--resume"]).output().unwrap());
            assert_eq!(ran.code, Some(0), "{call} {number}: {ran:?}");
            assert!(holds(&run, &expected), "{call} {number}: the checkpoints differ");
        }
    }
}
