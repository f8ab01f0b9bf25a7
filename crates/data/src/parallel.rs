//! Work on several threads, with results in order.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// Locks it; what another thread left in it when it panicked is good, as nothing here holds a lock while it may panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work` on so many threads, this one among them, until all return.
pub(crate) fn together(workers: usize, work: impl Fn() + Sync) {
    thread::scope(|scope| {
        for _ in 1..workers {
            // Where no thread can be had, the others do its work.
            let _ = thread::Builder::new().name("reader".into()).spawn_scoped(scope, &work);
        }
        work();
    });
}

/// What `f` makes of each item, on `workers` threads.
pub(crate) fn map<T: Sync, U: Send>(items: &[T], workers: usize, f: impl Fn(&T) -> U + Sync) -> Vec<U> {
    let queue = Mutex::new(items.iter().enumerate());
    let results = Mutex::new(Vec::with_capacity(items.len()));
    together(workers.min(items.len()), || {
        loop {
            let next = lock(&queue).next();
            let Some((index, item)) = next else { return };
            let result = f(item);
            lock(&results).push((index, result));
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|&(index, _)| index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// How many threads read unless it is said: as many as run at once, and not more than help.
pub(crate) fn default_workers() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(8)
}
