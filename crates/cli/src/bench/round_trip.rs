//! How long it takes until one thread has an answer from another.
//!
//! Where processors do not share a cache, or a virtual machine's are moved apart, this is four times as long as elsewhere,
//! and so is the way of everything that one thread computes and another one needs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use thalweg::run::kernels::pool::processors;

use super::measure::median;

/// Questions and answers between two looks at the clock.
const TRIPS: usize = 16;
/// How long to go on: longer than two threads stay on one processor while another is idle.
const TIME: Duration = Duration::from_millis(30);
/// Until the threads of a session, which wait awake for a while, have fallen asleep.
const PAUSE: Duration = Duration::from_millis(5);
/// In place of a question.
const END: usize = usize::MAX;

/// A cache line of its own, and the one that the processor fetches with it.
#[repr(align(128))]
struct Line(AtomicUsize);

/// The nanoseconds in which a number goes from one thread to another and comes back, the median of some hundred tries; nothing
/// where there is one processor, or no second thread.
pub(super) fn nanoseconds() -> Option<f64> {
    if processors() < 2 {
        return None;
    }
    thread::sleep(PAUSE);
    let line = Line(AtomicUsize::new(0));
    // Odd numbers are questions; the answer is the next one.
    let answer = || {
        loop {
            match line.0.load(Ordering::Acquire) {
                END => break,
                question if question % 2 == 1 => line.0.store(question + 1, Ordering::Release),
                _ => {}
            }
        }
    };
    let ask = |question: usize| {
        line.0.store(question, Ordering::Release);
        while line.0.load(Ordering::Acquire) == question {}
    };
    thread::scope(|scope| {
        thread::Builder::new().spawn_scoped(scope, answer).ok()?;
        ask(1);
        let (mut next, mut tries) = (3, Vec::new());
        let begin = Instant::now();
        while tries.is_empty() || begin.elapsed() < TIME {
            let start = Instant::now();
            for _ in 0..TRIPS {
                ask(next);
                next += 2;
            }
            tries.push(start.elapsed().as_secs_f64() * 1e9 / TRIPS as f64);
        }
        line.0.store(END, Ordering::Release);
        Some(median(tries))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_takes_time() {
        let measured = nanoseconds();
        assert_eq!(measured.is_some(), processors() > 1);
        assert!(measured.is_none_or(|nanoseconds| nanoseconds > 1.0), "{measured:?}");
    }
}
