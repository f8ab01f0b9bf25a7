//! Checkpoints survive kills, full disks and damage; whatever cannot be loaded is refused by name.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use thalweg_formats::array::{Array, Real};
use thalweg_formats::atomic::{Disk, DiskFile, LocalDisk};
use thalweg_formats::safetensors;
use thalweg_train::checkpoint::{Best, Checkpoint, CheckpointError, Goal, Saver, SaverOptions, Which, load, steps};

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    (folder, run)
}

fn keep(keep: usize) -> SaverOptions {
    SaverOptions { keep, ..SaverOptions::default() }
}

fn keep_best(keep: usize, goal: Goal) -> SaverOptions {
    SaverOptions { keep, best: Some(("valid_loss".into(), goal)), ..SaverOptions::default() }
}

fn content(step: u64) -> Checkpoint {
    let mut checkpoint = Checkpoint::default();
    checkpoint.tensors.insert("w".into(), Array::new(&[300], vec![step as f32; 300]).unwrap());
    checkpoint.set("epoch", &(step / 10));
    checkpoint
}

fn file_of(run: &Path, step: u64) -> PathBuf {
    run.join(format!("checkpoints/step-{step:09}.safetensors"))
}

fn refusal<T>(result: Result<T, CheckpointError>) -> String {
    result.err().expect("must be refused").to_string()
}

#[track_caller]
fn assert_names(message: &str, pieces: &[&str]) {
    for piece in pieces {
        assert!(message.contains(piece), "`{piece}` is not in: {message}");
    }
}

#[test]
fn what_was_saved_is_loaded() {
    let (_folder, run) = folder();
    let mut saver = Saver::create(&run, keep(3)).unwrap();
    let saved = saver.save(1200, &content(1200), None).unwrap();
    assert!(saved.path.ends_with("checkpoints/step-000001200.safetensors"));
    let loaded = load(&run, Which::Last).unwrap();
    assert_eq!((loaded.step, loaded.checkpoint), (1200, content(1200)));
    assert!(loaded.notes.is_empty() && loaded.best.is_none());
}

#[test]
fn the_newest_and_the_best_are_kept() {
    let (_folder, run) = folder();
    let mut saver = Saver::create(&run, keep_best(2, Goal::Min)).unwrap();
    for (step, loss) in [(10, 0.5), (20, 0.3), (30, f64::NAN), (40, 0.3), (50, 0.6)] {
        let saved = saver.save(step, &content(step), Some(loss)).unwrap();
        assert_eq!(saved.is_best, step <= 20, "step {step}");
    }
    saver.save(60, &content(60), None).unwrap();
    assert_eq!(steps(&run).unwrap(), [20, 50, 60]);
    let best = Best { metric: "valid_loss".into(), goal: Goal::Min, step: 20, value: Real(0.3) };
    assert_eq!(saver.best(), Some(&best));
    assert_eq!(load(&run, Which::Best).unwrap().step, 20);
    drop(saver);
    // The best is known after a restart, and a better one replaces it.
    let (mut saver, loaded) = Saver::resume(&run, keep_best(2, Goal::Min)).unwrap();
    assert_eq!((loaded.unwrap().step, saver.best()), (60, Some(&best)));
    assert!(!saver.save(70, &content(70), Some(0.31)).unwrap().is_best);
    assert!(saver.save(80, &content(80), Some(0.2)).unwrap().is_best);
    assert_eq!(steps(&run).unwrap(), [70, 80]);
}

#[test]
fn larger_is_better_where_the_goal_says_so_and_another_metric_starts_anew() {
    let (_folder, run) = folder();
    let mut saver = Saver::create(&run, keep_best(1, Goal::Max)).unwrap();
    for (step, accuracy) in [(1, 0.9), (2, 0.95), (3, 0.8)] {
        saver.save(step, &content(step), Some(accuracy)).unwrap();
    }
    assert_eq!(steps(&run).unwrap(), [2, 3]);
    drop(saver);
    let (saver, _) = Saver::resume(&run, keep_best(1, Goal::Min)).unwrap();
    assert_eq!(saver.best(), None);
}

#[test]
fn which_checkpoint_is_read_from_text() {
    for (text, which) in [("last", Which::Last), ("best", Which::Best), ("1200", Which::Step(1200))] {
        assert_eq!(text.parse(), Ok(which));
        assert_eq!(which.to_string(), text);
    }
    assert!("newest".parse::<Which>().unwrap_err().contains("`newest`"));
}

#[test]
fn what_is_not_there_is_named() {
    let (_folder, run) = folder();
    assert_names(&refusal(load(&run, Which::Last)), &["run/checkpoints", "no checkpoint has been saved"]);
    let mut saver = Saver::create(&run, keep(2)).unwrap();
    saver.save(10, &content(10), None).unwrap();
    saver.save(20, &content(20), None).unwrap();
    assert_names(&refusal(load(&run, Which::Step(15))), &["step 15", "[10, 20]"]);
    assert_names(&refusal(load(&run, Which::Best)), &["none is the best", "step 20"]);
}

#[test]
fn a_damaged_newest_is_passed_over_and_put_aside() {
    let (_folder, run) = folder();
    let mut saver = Saver::create(&run, keep(3)).unwrap();
    for step in [10, 20, 30] {
        saver.save(step, &content(step), None).unwrap();
    }
    drop(saver);
    let newest = file_of(&run, 30);
    let mut bytes = fs::read(&newest).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&newest, &bytes).unwrap();
    fs::write(file_of(&run, 20), b"").unwrap();
    let loaded = load(&run, Which::Last).unwrap();
    assert_eq!(loaded.step, 10);
    assert_names(
        &loaded.notes.join("\n"),
        &["000000030", "checksum of tensor `w`", "000000020", "0 bytes", "step 10 is"],
    );
    assert_names(&refusal(load(&run, Which::Step(30))), &["000000030", "damaged"]);
    // With one to keep, the damaged ones must not count as the newest.
    let (mut saver, loaded) = Saver::resume(&run, keep(1)).unwrap();
    assert_eq!(loaded.unwrap().notes.len(), 2);
    saver.save(15, &content(15), None).unwrap();
    assert_eq!(steps(&run).unwrap(), [15]);
    assert!(run.join("checkpoints/step-000000030.safetensors.damaged").exists());
}

#[test]
fn when_none_can_be_loaded_resuming_is_refused() {
    let (_folder, run) = folder();
    let mut saver = Saver::create(&run, keep(3)).unwrap();
    saver.save(10, &content(10), None).unwrap();
    drop(saver);
    fs::write(file_of(&run, 10), b"12345678").unwrap();
    assert_names(&refusal(Saver::resume(&run, keep(3))), &["no checkpoint can be loaded", "000000010"]);
    assert!(file_of(&run, 10).exists());
}

#[test]
fn every_cut_and_every_flipped_byte_is_refused() {
    let (_folder, run) = folder();
    let mut saver = Saver::create(&run, keep(3)).unwrap();
    let path = saver.save(10, &content(10), None).unwrap().path;
    let bytes = fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        assert_names(&refusal(load(&run, Which::Step(10))), &["step-000000010.safetensors"]);
    }
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&path, &flipped).unwrap();
        assert_names(&refusal(load(&run, Which::Step(10))), &["step-000000010.safetensors"]);
    }
}

#[test]
fn files_of_others_and_of_newer_versions_are_refused() {
    let (_folder, run) = folder();
    fs::create_dir_all(run.join("checkpoints")).unwrap();
    let write = |pairs: &[(&str, &str)]| {
        let metadata: BTreeMap<_, _> = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        safetensors::write(file_of(&run, 10), &BTreeMap::new(), &metadata).unwrap();
        refusal(load(&run, Which::Step(10)))
    };
    assert_names(&write(&[]), &["not a checkpoint", "`version` is missing"]);
    assert_names(&write(&[("version", "7")]), &["version 7", "up to 1"]);
    assert_names(
        &write(&[("version", "1"), ("step", "11"), ("best", "null")]),
        &["named step 10, but saved at step 11"],
    );
    fs::remove_file(file_of(&run, 10)).unwrap();
    fs::create_dir(file_of(&run, 10)).unwrap();
    assert_names(&refusal(load(&run, Which::Step(10))), &["000000010", "a directory"]);
}

#[test]
fn keys_of_the_saver_are_not_for_others() {
    let (_folder, run) = folder();
    let mut saver = Saver::create(&run, keep(3)).unwrap();
    let mut checkpoint = content(1);
    checkpoint.set("step", &1);
    assert_names(&refusal(saver.save(1, &checkpoint, None)), &["`step`", "kept for the saver"]);
}

#[test]
fn a_second_writer_is_refused_and_a_dead_one_forgotten() {
    let (_folder, run) = folder();
    let saver = Saver::create(&run, keep(3)).unwrap();
    let message = refusal(Saver::resume(&run, keep(3)));
    assert_names(&message, &["run: process ", &std::process::id().to_string(), "is training here"]);
    drop(saver);
    Saver::resume(&run, keep(3)).unwrap();
    // What a process that was killed leaves: a pid inside, but nobody who holds the lock.
    fs::write(run.join("lock"), "4194304").unwrap();
    Saver::resume(&run, keep(3)).unwrap();
}

#[test]
fn folders_that_cannot_be_used_are_refused_before_training() {
    let (folder, run) = folder();
    let file = folder.path().join("a file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below"), folder.path().join("n".repeat(300))] {
        let message = refusal(Saver::create(&path, keep(3)));
        assert_names(&message, &["cannot create the folder", &path.display().to_string()]);
    }
    fs::create_dir(&run).unwrap();
    fs::write(run.join("thesis.tex"), "").unwrap();
    assert_names(&refusal(Saver::create(&run, keep(3))), &["not empty", "thesis.tex", "resume"]);
    assert_eq!(fs::read_dir(&run).unwrap().count(), 1, "nothing is left in a foreign folder");
    // Only folders of runs, and only those without a checkpoint, are used again.
    let unsaved = folder.path().join("unsaved");
    fs::create_dir_all(unsaved.join("events")).unwrap();
    assert_names(&refusal(Saver::create(&unsaved, keep(3))), &["not empty", "events"]);
    fs::create_dir(unsaved.join("checkpoints")).unwrap();
    fs::write(unsaved.join("checkpoints/step-000000001.safetensors.123-0.tmp"), "half").unwrap();
    Saver::create(&unsaved, keep(3)).unwrap();
    fs::write(unsaved.join("checkpoints/step-000000001.safetensors.damaged"), "").unwrap();
    assert_names(&refusal(Saver::create(&unsaved, keep(3))), &["not empty", "checkpoints, events"]);
    let odd = folder.path().join("with spaces/and ü");
    let mut saver = Saver::create(&odd, keep(3)).unwrap();
    saver.save(1, &content(1), None).unwrap();
    assert_eq!(load(&odd, Which::Last).unwrap().step, 1);
}

#[test]
fn stale_temporary_files_are_cleared_and_never_loaded() {
    let (_folder, run) = folder();
    let mut saver = Saver::create(&run, keep(3)).unwrap();
    let path = saver.save(10, &content(10), None).unwrap().path;
    drop(saver);
    let stale = run.join("checkpoints/step-000000020.safetensors.123-0.tmp");
    fs::copy(&path, &stale).unwrap();
    let (_saver, loaded) = Saver::resume(&run, keep(3)).unwrap();
    assert_eq!(loaded.unwrap().step, 10);
    assert!(!stale.exists());
}

/// A disk that can be made full, and on which nothing can be removed.
#[derive(Debug, Default)]
struct BadDisk {
    full: AtomicBool,
    sticky: AtomicBool,
}

impl Disk for BadDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        if self.full.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { LocalDisk.create(path) }
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        LocalDisk.rename(from, to)
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        LocalDisk.sync_folder(path)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        let sticky = self.sticky.load(Ordering::Relaxed);
        if sticky { Err(io::ErrorKind::PermissionDenied.into()) } else { LocalDisk.remove(path) }
    }
}

#[test]
fn after_a_full_disk_training_goes_on() {
    let (_folder, run) = folder();
    let disk = Arc::new(BadDisk::default());
    let options = SaverOptions { disk: disk.clone(), ..keep_best(1, Goal::Min) };
    let mut saver = Saver::create(&run, options).unwrap();
    saver.save(10, &content(10), Some(0.5)).unwrap();
    disk.full.store(true, Ordering::Relaxed);
    let need = fs::metadata(file_of(&run, 10)).unwrap().len();
    let message = refusal(saver.save(20, &content(20), Some(0.1)));
    assert_names(&message, &["step-000000020.safetensors", "disk is full", &format!("needs {need} bytes")]);
    assert_eq!(load(&run, Which::Last).unwrap().step, 10);
    assert_eq!(saver.best().unwrap().step, 10, "what was not saved is not the best");
    disk.full.store(false, Ordering::Relaxed);
    saver.save(30, &content(30), Some(0.6)).unwrap();
    assert_eq!(load(&run, Which::Last).unwrap().step, 30);
    assert_eq!(load(&run, Which::Best).unwrap().step, 10);
}

#[test]
fn a_disk_that_takes_nothing_is_noticed_before_training() {
    let (_folder, run) = folder();
    let disk = Arc::new(BadDisk::default());
    disk.full.store(true, Ordering::Relaxed);
    assert_names(&refusal(Saver::create(&run, SaverOptions { disk, ..keep(1) })), &["run/checkpoints", "disk is full"]);
}

#[test]
fn an_old_checkpoint_that_cannot_be_removed_is_a_warning() {
    let (_folder, run) = folder();
    let disk = Arc::new(BadDisk::default());
    let mut saver = Saver::create(&run, SaverOptions { disk: disk.clone(), ..keep(1) }).unwrap();
    saver.save(10, &content(10), None).unwrap();
    disk.sticky.store(true, Ordering::Relaxed);
    let warnings = saver.save(20, &content(20), None).unwrap().warnings;
    assert_names(&warnings.join("\n"), &["step-000000010.safetensors", "cannot be removed"]);
}

/// Stands for training: the state after a step depends on all before it.
fn train(saver: &mut Saver, mut state: Checkpoint, steps: std::ops::Range<u64>) {
    for step in steps.start + 1..=steps.end {
        let w = state.tensors["w"].to_vec::<f32>().iter().map(|x| x * 0.9 + (step as f32).sin()).collect::<Vec<_>>();
        let loss = w[0].abs() as f64;
        state.tensors.insert("w".into(), w.into());
        state.set("sum", &Real(state.get::<Real>("sum").unwrap().0 + loss));
        if step % 10 == 0 {
            saver.save(step, &state, Some(loss)).unwrap();
        }
    }
}

#[test]
fn a_run_that_was_killed_and_resumed_ends_with_the_same_bytes() {
    let mut start = content(0);
    start.set("sum", &Real(0.0));
    let files = |run: &Path| -> BTreeMap<_, _> {
        let name = |path: &Path| path.file_name().unwrap().to_owned();
        let entries = fs::read_dir(run.join("checkpoints")).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (name(&path), fs::read(&path).unwrap())).collect()
    };
    let (_first, undisturbed) = folder();
    train(&mut Saver::create(&undisturbed, keep_best(2, Goal::Min)).unwrap(), start.clone(), 0..100);
    let (_second, disturbed) = folder();
    train(&mut Saver::create(&disturbed, keep_best(2, Goal::Min)).unwrap(), start, 0..47);
    for until in [63, 100] {
        let (mut saver, loaded) = Saver::resume(&disturbed, keep_best(2, Goal::Min)).unwrap();
        let loaded = loaded.unwrap();
        train(&mut saver, loaded.checkpoint, loaded.step..until);
    }
    assert_eq!(files(&undisturbed), files(&disturbed));
    assert!(files(&undisturbed).len() >= 2);
}

/// Saves without end when run as the child of the test below.
fn save_until_killed(run: &Path) -> ! {
    let (mut saver, loaded) = Saver::resume(run, keep_best(2, Goal::Max)).unwrap();
    let mut step = loaded.map_or(0, |loaded| loaded.step);
    loop {
        step += 1;
        let mut checkpoint = Checkpoint::default();
        checkpoint.tensors.insert("w".into(), Array::new(&[1 << 16], vec![step as f32; 1 << 16]).unwrap());
        saver.save(step, &checkpoint, Some((step % 7) as f64)).unwrap();
    }
}

#[test]
fn a_process_killed_at_any_moment_of_saving_leaves_a_whole_checkpoint() {
    const CHILD: &str = "THALWEG_TEST_SAVES_INTO";
    if let Some(run) = std::env::var_os(CHILD) {
        save_until_killed(Path::new(&run));
    }
    let (_folder, run) = folder();
    let mut last = 0;
    for round in 0..25u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "checkpoint::a_process_killed_at_any_moment_of_saving_leaves_a_whole_checkpoint"])
            .env(CHILD, &run)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while steps(&run).unwrap().last().is_none_or(|&newest| newest <= last) {
            assert!(begun.elapsed() < Duration::from_secs(60), "the child saves nothing");
            std::thread::sleep(Duration::from_millis(1));
        }
        // Readers see the old or the new while the child writes, and a second writer is refused.
        load(&run, Which::Last).unwrap();
        assert_names(&refusal(Saver::resume(&run, keep(2))), &[&format!("process {} is", child.id())]);
        std::thread::sleep(Duration::from_micros(round * 7919 % 20_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let (_saver, loaded) = Saver::resume(&run, keep_best(2, Goal::Max)).unwrap();
        let loaded = loaded.unwrap();
        assert!(loaded.notes.is_empty(), "{:?}", loaded.notes);
        assert!(loaded.step > last);
        last = loaded.step;
        assert!(loaded.checkpoint.tensors["w"].as_slice::<f32>().unwrap().iter().all(|&x| x == last as f32));
        assert!(load(&run, Which::Best).unwrap().step <= last);
        let names = fs::read_dir(run.join("checkpoints")).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.into_iter().all(|name| name.to_string_lossy().ends_with(".safetensors")));
    }
}
