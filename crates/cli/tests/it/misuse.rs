//! What cannot be done: what is said, and the exit code.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::support::{Ran, folder, refuse, run, succeed, thalweg};

#[test]
fn a_command_line_that_cannot_be_read_gets_a_usage_line() {
    let cases: [(&[&str], &str); 24] = [
        (&["trian"], "'trian'"),
        (&["train"], "<RECIPE>"),
        (&["train", "digits", "--epocks", "3"], "'--epocks'"),
        (&["train", "digits", "--epochs"], "'--epochs <N>'"),
        (&["train", "digits", "--epochs", "0"], "'0'"),
        (&["train", "digits", "--epochs", "1e3"], "'1e3' for '--epochs <N>': give a whole number from 1"),
        (&["train", "digits", "--epochs", "99999999999"], "'99999999999'"),
        (&["train", "digits", "--epochs", "3", "--steps", "3"], "'--steps <N>'"),
        (&["train", "digits", "--batch", "0"], "'--batch <N>'"),
        (&["train", "digits", "--lr", "-1"], "'-1'"),
        (&["train", "digits", "--lr", "0"], "'--lr <X>'"),
        (&["train", "digits", "--lr", "nan"], "'nan'"),
        (&["train", "digits", "--threads", "0"], "'--threads <N>'"),
        (&["train", "digits", "--seed", "-1"], "'-1' for '--seed <N>': give a whole number from 0"),
        (&["train", "digits", "--accumulate", "0"], "'--accumulate <N>'"),
        (&["train", "digits", "--save-every", "10"], "--run <DIR>"),
        (&["train", "digits", "--resume"], "--run <DIR>"),
        (&["train", "digits", "--set", "width"], "KEY=VALUE"),
        (&["train", "digits", "--set", "width=wide"], "`wide`"),
        (&["evaluate", "somewhere", "--checkpoint", "newest"], "`newest`"),
        (&["predict", "somewhere"], "<FILE>..."),
        (&["predict", "somewhere", "a.png", "--row", "3"], "'--row <N>'"),
        (&["graph", "digits", "--format", "png"], "'png'"),
        (&["bench", "--threads", "0"], "'--threads <THREADS>'"),
    ];
    for (args, part) in cases {
        refuse(args, 2, &[part]);
    }
}

#[cfg(unix)]
#[test]
fn arguments_that_are_no_text_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let odd = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    assert_eq!(thalweg().arg(odd).output().unwrap().status.code(), Some(2));
    assert_eq!(thalweg().args(["train".as_ref(), odd]).output().unwrap().status.code(), Some(2));
    let ran = thalweg().args(["evaluate".as_ref(), odd]).output().unwrap();
    assert_eq!((ran.status.code(), &ran.stderr[..7]), (Some(1), &b"error: "[..]));
}

#[cfg(feature = "download")]
#[test]
fn a_home_that_cannot_be_reached_is_named_and_nothing_is_left() {
    let folder = folder();
    let to = folder.path().join("mnist");
    // Nobody listens at this port.
    let ran: Ran = thalweg()
        .env("ALL_PROXY", "http://127.0.0.1:1")
        .args(["download".as_ref(), "mnist".as_ref(), "--to".as_ref(), to.as_os_str()])
        .output()
        .unwrap()
        .into();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("train-images-idx3-ubyte.gz cannot be reached"), "{ran:?}");
    assert_eq!(std::fs::read_dir(to).unwrap().count(), 0);
}

#[test]
fn a_name_that_is_not_known_gets_the_nearest() {
    refuse(["train", "digts"], 2, &["'digts'", "'digits'"]);
    refuse(["graph", "minst"], 2, &["'minst'", "'mnist'"]);
    #[cfg(feature = "download")]
    refuse(["download", "minst"], 2, &["'minst'", "'mnist'"]);
    refuse(["train", "digits", "--optimizer", "adamm"], 2, &["'adamm'", "'adam'"]);
    refuse(["train", "digits", "--set", "widht=3"], 2, &["`widht`", "did you mean `width`?", "thalweg train"]);
    refuse(["train", "digits", "--set", "weight_deccay=0.1"], 2, &["did you mean `weight_decay`?"]);
}

#[test]
fn a_setting_out_of_its_range_is_named() {
    refuse(["train", "digits", "--set", "dropout=1.5"], 2, &["dropout = 1.5", "0.95"]);
    refuse(["train", "digits", "--set", "shift=nan"], 2, &["shift = NaN"]);
    refuse(["train", "digits", "--set", "beta1=1"], 2, &["beta1 is 1"]);
    refuse(["graph", "digits", "--set", "weight_decay=-1"], 2, &["weight_decay = -1"]);
    refuse(["train", "digits", "--set", "width=8", "--set", "width=9"], 2, &["`width`", "twice"]);
    refuse(["train", "digits", "--set", "width=1e9"], 2, &["width = 1000000000", "4096"]);
}

#[test]
fn data_that_are_not_there_are_named() {
    refuse(["train", "mnist"], 2, &["`mnist` needs data", "--data", "thalweg download mnist"]);
    let photos: Ran = thalweg().args(["train", "images", "--model", "scratch"]).output().unwrap().into();
    let said = &photos.stderr;
    // Nobody has photos of one's own to download.
    assert!(said.contains("`images` needs data") && !said.contains("download"), "{photos:?}");
    refuse(["train", "digits", "--data", "somewhere"], 2, &["data somewhere", "in the program"]);
    let folder = folder();
    let path = folder.path().to_str().unwrap();
    refuse(["train", "mnist", "--data", path], 1, &[path, "`train-images-idx3-ubyte`"]);
    // Where sets are kept is looked at too.
    let kept = folder.path().join("mnist");
    std::fs::create_dir(&kept).unwrap();
    let ran: Ran = thalweg().env("THALWEG_CACHE", path).args(["train", "mnist"]).output().unwrap().into();
    assert!(ran.code == Some(1) && ran.stderr.contains(kept.to_str().unwrap()), "{ran:?}");
    refuse(["train", "mnist", "--data", "/no/such/folder"], 1, &["/no/such/folder is no folder", "images-idx3-ubyte"]);
}

#[test]
fn a_folder_that_cannot_hold_a_run_is_refused_before_training() {
    let folder = folder();
    let file = folder.path().join("a file");
    std::fs::write(&file, "mine").unwrap();
    let of = |path: &std::path::Path| path.to_str().unwrap().to_string();
    refuse(["train", "digits", "--run", &of(folder.path())], 1, &["not empty", "a file", "`--resume`"]);
    refuse(["train", "digits", "--run", &of(&file)], 1, &["a file"]);
    refuse(["train", "digits", "--run", &of(&file.join("run"))], 1, &["a file"]);
    refuse(["train", "digits", "--run", "/proc/run"], 1, &["/proc/run"]);
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
}

#[test]
fn a_workload_that_is_not_known_gets_the_list() {
    refuse(
        ["bench", "--only", "nope"],
        2,
        &["there is no workload `nope`; there are: W1_mlp_mnist, ", "W12_sgemm_256"],
    );
    refuse(["bench", "--only", "W1,W1_mlp_mnits"], 2, &["did you mean `W1_mlp_mnist`?"]);
}

#[test]
fn a_run_that_is_not_there_is_named() {
    refuse(["evaluate", "/no/such/run"], 1, &["/no/such/run", "name the folder of a run"]);
    refuse(["predict", "/no/such/run", "--row", "0"], 1, &["/no/such/run"]);
}

#[test]
fn a_reader_that_went_away_ends_the_program_without_a_word() {
    let commands: [&[&str]; 3] = [&["recipes"], &["graph", "digits"], &["graph", "digits", "--explain"]];
    for args in commands {
        let mut child = thalweg().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{args:?}: {ended:?}");
        assert!(ended.stderr.is_empty(), "{args:?}: {ended:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_is_full_is_an_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ended = thalweg().arg("recipes").stdout(full).output().unwrap();
    let message = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{message}");
    assert!(message.starts_with("error: standard output: cannot write"), "{message}");
}

/// A reader that takes a line and goes, as `head -n 1` does.
#[test]
fn a_reader_that_has_seen_enough_ends_the_program_without_a_word() {
    for args in [&["recipes"][..], &["graph", "digits"], &["train", "digits", "--steps", "3"], &["--help"]] {
        let mut child = thalweg().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ended = Ran::from(child.wait_with_output().unwrap());
        assert_eq!(ended.code, Some(0), "{args:?}: {ended:?}");
        assert!(!line.is_empty() && !ended.stderr.contains("panicked") && !ended.stderr.contains("error"), "{ended:?}");
    }
}

#[test]
fn a_poor_terminal_gets_plain_text() {
    for (name, value) in [("TERM", "dumb"), ("NO_COLOR", "1"), ("TERM", "xterm-256color")] {
        let train = ["train", "digits", "--epochs", "1"];
        for args in [&train[..], &["recipes"], &["graph", "digits", "--explain"], &["train", "nothing"], &["--help"]] {
            // Standard error is no terminal here: colors and a bar that moves are for terminals alone.
            let ran = Ran::from(thalweg().args(args).env(name, value).output().unwrap());
            let said = format!("{}{}", ran.stdout, ran.stderr);
            assert!(!said.contains(['\u{1b}', '\r']), "{name}={value} {args:?}: {ran:?}");
        }
    }
}

#[test]
fn help_shows_the_way() {
    let help = succeed(["--help"]).stdout;
    for part in ["Exit codes:", "130, 143, 129"] {
        assert!(help.contains(part), "{part}\n{help}");
    }
    for command in
        ["recipes", "train", "evaluate", "predict", "maps", "lr-find", "summary", "diagnose", "graph", "bench"]
    {
        assert!(help.contains(&format!("\n  {command}")), "{help}");
        assert!(succeed([command, "--help"]).stdout.contains(&format!("Usage: thalweg {command}")));
    }
    assert!(succeed(["--version"]).stdout.starts_with("thalweg "));
    assert_eq!(run::<&str>([]).code, Some(2));
}

#[test]
fn recipes_are_listed_with_what_can_be_set() {
    let listed = succeed(["recipes"]).stdout;
    for part in ["digits: ", "mnist: ", "--set dropout=", "--data DIR"] {
        assert!(listed.contains(part), "{part}\n{listed}");
    }
}
