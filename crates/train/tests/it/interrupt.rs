//! Real signals, sent to a process of our own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use thalweg_train::interrupt::{Interrupt, Reaction};

#[test]
fn the_first_request_finishes_and_the_second_ends() {
    let interrupt = Interrupt::default();
    let seen_by_the_loop = interrupt.clone();
    assert_eq!(interrupt.request(), Reaction::Finish);
    assert!(seen_by_the_loop.requested());
    assert_eq!(interrupt.request(), Reaction::ExitNow);
    interrupt.clear();
    assert!(!seen_by_the_loop.requested());
    assert_eq!(interrupt.exit_code(), 130);
    assert_eq!(interrupt.request(), Reaction::Finish);
}

const CHILD: &str = "THALWEG_TEST_INTERRUPTED";

/// Waits for the first signal, says so, and goes on until the second if `stubborn`.
fn child(stubborn: bool) -> ! {
    let interrupt = Interrupt::listen().unwrap();
    Interrupt::listen().expect("listening twice is fine");
    eprintln!("ready");
    while !interrupt.requested() {
        std::thread::sleep(Duration::from_millis(1));
    }
    eprintln!("asked");
    if stubborn {
        std::thread::sleep(Duration::from_secs(60));
        std::process::exit(1);
    }
    std::process::exit(interrupt.exit_code().into())
}

fn send(signal: &str, child: &Child) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

#[cfg(unix)]
#[test]
fn signals_ask_and_then_end() {
    if let Some(mode) = std::env::var_os(CHILD) {
        child(mode == "stubborn");
    }
    for (mode, signals, code) in [
        ("orderly", &["-INT"][..], 130),
        ("orderly", &["-TERM"], 143),
        ("orderly", &["-HUP"], 129),
        ("stubborn", &["-INT", "-INT"], 130),
        ("stubborn", &["-INT", "-TERM"], 143),
    ] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "interrupt::signals_ask_and_then_end", "--nocapture"])
            .env(CHILD, mode)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        for (signal, word) in signals.iter().zip(["ready", "asked"]) {
            assert_eq!(said.next().unwrap().unwrap(), word);
            send(signal, &child);
        }
        assert_eq!(child.wait().unwrap().code(), Some(code), "{mode} {signals:?}");
        let last = said.last().map(Result::unwrap);
        assert_eq!(last.as_deref(), (mode == "orderly").then_some("asked"));
    }
}
