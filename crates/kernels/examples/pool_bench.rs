//! What it costs to hand work to the threads of a pool and to wait for all of them, in microseconds.
//!
//! ```text
//! cargo run --release -p thalweg-kernels --example pool_bench [-- THREADS]
//! ```
//!
//! *Hot*: one run right after the other, as the calls of a training step; with chunks that do nothing, which
//! the calling thread has done before the others see them, and with chunks of a microsecond each, from which that
//! microsecond is taken off (reading the clock is in it). *Parked*: after a pause in which the threads have fallen
//! asleep. Median and 90th percentile; beside other busy programs the latter says little.

use std::time::{Duration, Instant};

use thalweg_kernels::pool::{Pool, SPIN};

fn main() {
    let threads = std::env::args().nth(1).map_or(2, |x| x.parse().expect("the number of threads"));
    let pool = Pool::new(threads).expect("a pool");
    println!("{threads} threads, a chunk for each");
    println!("{:<34}{:>10}{:>10}", "", "median", "90 %");
    print("alone, no threads", 0.0, || {}, 20_000, || (0..threads).for_each(|_| busy_for(Duration::ZERO)));
    print("hot, empty chunks", 0.0, || {}, 20_000, || pool.run(threads, &|_, _| {}));
    let short = Duration::from_micros(1);
    print("hot, chunks of 1 us", 1.0, || {}, 20_000, || pool.run(threads, &|_, _| busy_for(short)));
    let sleep = || std::thread::sleep(SPIN * 3);
    print("parked, chunks of 100 us", 100.0, sleep, 100, || {
        pool.run(threads, &|_, _| busy_for(Duration::from_micros(100)));
    });
}

/// Keeps the processor busy for so long.
fn busy_for(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Measures `run` so many times, each time after `before`, and takes off what the work itself takes.
fn print(name: &str, work: f64, before: impl Fn(), times: usize, run: impl Fn()) {
    let once = |_| {
        before();
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64() * 1e6 - work
    };
    let mut micros: Vec<f64> = (0..times).map(once).collect();
    micros.sort_by(f64::total_cmp);
    println!("{name:<34}{:10.2}{:10.2}", micros[times / 2], micros[times * 9 / 10]);
}
