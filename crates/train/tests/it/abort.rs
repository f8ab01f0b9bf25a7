//! A process that ends at any step of a save: what it leaves is loaded, the checkpoint before the step or the new one.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thalweg_formats::array::Array;
use thalweg_formats::atomic::{Disk, DiskFile, LocalDisk};
use thalweg_train::checkpoint::{Checkpoint, Goal, Saver, SaverOptions, Which, load};

/// Where in an operation the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Nothing was done; of a write, half of it.
    Before,
    /// All was done, and nobody was told.
    After,
}

/// Ends the process in the operation whose number is reached, and leaves its name behind.
#[derive(Clone, Debug)]
struct EndingDisk {
    left: Arc<AtomicU64>,
    moment: Moment,
    /// Where the name goes.
    note: PathBuf,
}

impl EndingDisk {
    fn perform<T>(
        &self,
        name: &str,
        half: impl FnOnce() -> io::Result<()>,
        whole: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        if self.left.fetch_sub(1, Ordering::SeqCst) > 1 {
            return whole();
        }
        match self.moment {
            Moment::Before => half()?,
            Moment::After => drop(whole()?),
        }
        fs::write(&self.note, name)?;
        std::process::abort()
    }
}

impl Disk for EndingDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let create = || LocalDisk.create(path);
        let file = self.perform("create", || Ok(()), create)?;
        Ok(Box::new(EndingFile { file, disk: self.clone() }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.perform("rename", || Ok(()), || LocalDisk.rename(from, to))
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.perform("sync the folder", || Ok(()), || LocalDisk.sync_folder(path))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.perform("remove", || Ok(()), || LocalDisk.remove(path))
    }
}

struct EndingFile {
    file: Box<dyn DiskFile>,
    disk: EndingDisk,
}

impl Write for EndingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let file = std::cell::RefCell::new(&mut self.file);
        let half = || file.borrow_mut().write_all(&bytes[..bytes.len() / 2]);
        self.disk.perform("write", half, || file.borrow_mut().write(bytes))
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl DiskFile for EndingFile {
    fn sync(&mut self) -> io::Result<()> {
        self.disk.perform("sync", || Ok(()), || self.file.sync())
    }
}

/// Larger than the buffer in front of the file, so that there are two writes: the header, and the numbers.
fn content(step: u64) -> Checkpoint {
    let mut checkpoint = Checkpoint::default();
    checkpoint.tensors.insert("w".into(), Array::new(&[600_000], vec![step as f32; 600_000]).unwrap());
    checkpoint
}

fn options() -> SaverOptions {
    SaverOptions { keep: 1, best: Some(("valid_loss".into(), Goal::Min)), ..SaverOptions::default() }
}

/// Resumes the run and saves one step more, the best so far, when run as the child of the test below.
fn save_one_more(run: &Path, operation: u64, moment: Moment) -> ! {
    let disk = EndingDisk { left: Arc::new(operation.into()), moment, note: run.with_extension("note") };
    let (mut saver, loaded) = Saver::resume(run, SaverOptions { disk: Arc::new(disk), ..options() }).unwrap();
    let step = loaded.unwrap().step + 1;
    saver.save(step, &content(step), Some(1.0 / step as f64)).unwrap();
    std::process::exit(0)
}

#[test]
fn a_process_that_ends_at_any_step_of_a_save_leaves_a_whole_checkpoint() {
    const CHILD: &str = "THALWEG_TEST_ENDS_IN_A_SAVE";
    if let Ok(what) = std::env::var(CHILD) {
        let mut words = what.splitn(3, ' ');
        let operation = words.next().unwrap().parse().unwrap();
        let moment = if words.next() == Some("before") { Moment::Before } else { Moment::After };
        save_one_more(Path::new(words.next().unwrap()), operation, moment);
    }
    let folder = tempfile::tempdir().unwrap();
    for (moment, word) in [(Moment::Before, "before"), (Moment::After, "after")] {
        let mut operations = Vec::new();
        for operation in 1.. {
            let run = folder.path().join(format!("{word} {operation}"));
            Saver::create(&run, options()).unwrap().save(1, &content(1), Some(1.0)).unwrap();
            let ended = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "abort::a_process_that_ends_at_any_step_of_a_save_leaves_a_whole_checkpoint"])
                .env(CHILD, format!("{operation} {word} {}", run.display()))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .unwrap();
            let whole = ended.success();
            let name = if whole { "none".into() } else { fs::read_to_string(run.with_extension("note")).unwrap() };
            // The trial of the folder comes first and is removed; from then on it is the save.
            let trial_is_over = operations.contains(&"remove".to_string());
            let renamed =
                name == "sync the folder" || name == "remove" || (name == "rename" && moment == Moment::After);
            let expected = if whole || (trial_is_over && renamed) { 2 } else { 1 };
            let loaded = load(&run, Which::Last).unwrap();
            assert_eq!((loaded.step, loaded.notes.len()), (expected, 0), "{word} operation {operation}, {name}");
            assert_eq!(loaded.checkpoint, content(expected), "{word} operation {operation}, {name}");
            assert_eq!(load(&run, Which::Best).unwrap().step, expected);

            let (mut saver, resumed) = Saver::resume(&run, options()).unwrap();
            assert_eq!(resumed.unwrap().step, expected);
            saver.save(3, &content(3), None).unwrap();
            let names = fs::read_dir(run.join("checkpoints")).unwrap();
            let names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            assert!(names.iter().all(|name| name.ends_with(".safetensors")), "nothing else stays: {names:?}");
            if whole {
                break;
            }
            operations.push(name);
        }
        let trial = ["create", "sync", "rename", "sync the folder", "remove"];
        let save = ["create", "write", "write", "sync", "rename", "sync the folder", "remove"];
        assert_eq!(operations, [&trial[..], &save].concat(), "{word}");
    }
}
