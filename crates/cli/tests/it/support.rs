//! Running the program.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// The program, with nothing of the terminal that the tests happen to run in, and no sets fetched before.
pub(crate) fn thalweg() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.env_remove("TERM").env_remove("NO_COLOR").stdin(Stdio::null());
    command.env("THALWEG_CACHE", std::env::temp_dir().join("no sets are kept here"));
    command
}

/// What came of running the program.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program writes UTF-8");
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ran {
    /// The object in the last line of standard output.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let last = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub(crate) fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Ran {
    thalweg().args(args).output().expect("the program starts").into()
}

/// As [`run`], of what must succeed.
#[track_caller]
pub(crate) fn succeed<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Ran {
    let ran = run(args);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran
}

/// As [`run`], of what must fail with this code and these parts in its message on standard error, and print no result.
#[track_caller]
pub(crate) fn refuse<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>, code: i32, parts: &[&str]) -> Ran {
    let ran = run(args);
    assert_eq!((ran.code, &*ran.stdout), (Some(code), ""), "{ran:?}");
    assert!(ran.stderr.starts_with("error: "), "{ran:?}");
    for part in parts {
        assert!(ran.stderr.contains(part), "{part}: {ran:?}");
    }
    match code {
        2 => assert!(ran.stderr.contains("\nUsage: thalweg"), "{ran:?}"),
        _ => assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}"),
    }
    ran
}

/// A new folder for the files of a test.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder for a test")
}

/// The checkpoints of a run, by name.
pub(crate) fn checkpoints(run: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(run.join("checkpoints")) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".safetensors"));
    names.sort();
    names
}

/// A trained run of the recipe `digits`, shared by the tests that only read it.
pub(crate) fn digits() -> &'static Path {
    static RUN: OnceLock<PathBuf> = OnceLock::new();
    RUN.get_or_init(|| {
        let run = Path::new(env!("CARGO_TARGET_TMPDIR")).join("digits");
        if run.exists() {
            std::fs::remove_dir_all(&run).expect("the run of an earlier test is removed");
        }
        succeed([
            "train".as_ref(),
            "digits".as_ref(),
            "--epochs".as_ref(),
            "20".as_ref(),
            "--run".as_ref(),
            run.as_os_str(),
        ]);
        run
    })
}
