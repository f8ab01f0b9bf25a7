//! Fork and join over a fixed set of threads.
//!
//! A step of training forks and joins some hundred times, each time for microseconds, so the threads stay awake between
//! two runs (spinning for up to [`SPIN`]) and a run costs a fraction of a microsecond. It allocates nothing.
//!
//! Each thread has a *slot* on cache lines of its own, with a contiguous share of the chunks. It claims those one by
//! one, then helps the others with theirs; in a sequence of similar runs a chunk therefore stays mostly on one
//! processor, near its data.

use std::any::Any;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::cpu::FlushDenormals;

/// How long an idle worker spins before it sleeps, where every thread has a processor of its own.
pub const SPIN: Duration = Duration::from_millis(2);

/// The largest number of threads of a pool.
pub const MAX_THREADS: usize = 1024;

/// Why there is no pool.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// A pool holds the thread that calls it, so it has at least one.
    #[error("a thread pool of 0 threads cannot run anything; the least is 1, which is the calling thread alone")]
    NoThreads,
    /// More than [`MAX_THREADS`].
    #[error("a thread pool of {0} threads was asked for; the most is {MAX_THREADS}")]
    TooManyThreads(usize),
    /// The system refused a thread.
    #[error("thread {index} of {threads} could not be started ({source}); use fewer threads")]
    Spawn {
        /// Which one.
        index: usize,
        /// Of how many.
        threads: usize,
        /// What the system said.
        source: io::Error,
    },
}

/// A fixed set of threads that run the chunks of one task at a time; the calling thread is one of them.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
/// use thalweg_kernels::pool::Pool;
///
/// let pool = Pool::new(2)?;
/// let sum = AtomicUsize::new(0);
/// pool.run(100, &|chunk, _worker| {
///     sum.fetch_add(chunk, Relaxed);
/// });
/// assert_eq!(sum.into_inner(), 4950);
/// # Ok::<(), thalweg_kernels::pool::PoolError>(())
/// ```
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// A pool of `threads` threads: the caller of [`run`](Pool::run) and `threads - 1` workers.
    ///
    /// # Errors
    /// For 0 threads, more than [`MAX_THREADS`], or more than the system grants.
    pub fn new(threads: usize) -> Result<Pool, PoolError> {
        Pool::start(threads, &[])
    }

    /// As [`new`](Pool::new), with each worker bound to one of the processors that this process may use, in turn. The
    /// calling thread stays free. Where the system cannot bind threads (anywhere but Linux) this is the same as `new`.
    ///
    /// # Errors
    /// As [`new`](Pool::new).
    pub fn pinned(threads: usize) -> Result<Pool, PoolError> {
        Pool::start(threads, &affinity::allowed())
    }

    fn start(threads: usize, processors: &[usize]) -> Result<Pool, PoolError> {
        if threads == 0 {
            return Err(PoolError::NoThreads);
        }
        if threads > MAX_THREADS {
            return Err(PoolError::TooManyThreads(threads));
        }
        let shared = Arc::new(Shared {
            slots: (0..threads).map(|_| Slot::default()).collect(),
            pending: Padded(AtomicUsize::new(0)),
            busy: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            first_panic: Mutex::new(None),
        });
        let mut pool = Pool { shared, workers: Vec::with_capacity(threads - 1) };
        for index in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let processor = (!processors.is_empty()).then(|| processors[index % processors.len()]);
            let worker = thread::Builder::new().name(format!("thalweg-{index}")).spawn(move || {
                if let Some(processor) = processor {
                    affinity::bind(processor);
                }
                let _flush = FlushDenormals::new();
                shared.work(index);
            });
            match worker {
                Ok(worker) => pool.workers.push(worker),
                Err(source) => return Err(PoolError::Spawn { index, threads, source }),
            }
        }
        Ok(pool)
    }

    /// The number of threads, the calling one included.
    pub fn threads(&self) -> usize {
        self.shared.slots.len()
    }

    /// Calls `task(chunk, worker)` once for each chunk below `chunks`, on all threads, and returns when every call has
    /// returned. `worker` is below [`threads`](Pool::threads), and no two calls of one run that overlap in time have
    /// the same; the calling thread is worker 0. Denormals are flushed to zero meanwhile.
    ///
    /// If the pool is busy, with a run of another thread or with the one that this call was made from, the calling
    /// thread does all chunks by itself as worker 0. Scratch memory that is chosen by `worker` must therefore belong to
    /// the caller of the run, not to the pool.
    ///
    /// # Panics
    /// If calls panic, the others still happen; then the panic of the lowest chunk goes on in the caller. The pool
    /// stays usable. Also panics for 2²⁴ - 1 chunks or more.
    pub fn run<F: Fn(usize, usize) + Sync>(&self, chunks: usize, task: &F) {
        assert!(chunks < CLOSED as usize, "{chunks} chunks in one run; the most is {}", CLOSED - 1);
        let _flush = FlushDenormals::new();
        let threads = self.threads().min(chunks);
        if threads <= 1 || self.shared.busy.swap(true, Ordering::Acquire) {
            return run_alone(chunks, task);
        }
        self.shared.pending.0.store(chunks, Ordering::Relaxed);
        for (index, slot) in self.shared.slots[..threads].iter().enumerate() {
            slot.publish(index * chunks / threads..(index + 1) * chunks / threads, task);
        }
        // Pairs with the fence of a worker that is about to sleep: either it sees the chunks or we see it asleep.
        fence(Ordering::SeqCst);
        for (slot, worker) in self.shared.slots[1..threads].iter().zip(&self.workers) {
            if slot.asleep.load(Ordering::Relaxed) {
                worker.thread().unpark();
            }
        }
        self.shared.participate(0);
        self.shared.wait_for_the_others();
        let panic = self.shared.take_panic();
        self.shared.busy.store(false, Ordering::Release);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for worker in &self.workers {
            worker.thread().unpark();
        }
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its chunks, so it ends without one.
            let _ = worker.join();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads()).finish_non_exhaustive()
    }
}

type Payload = Box<dyn Any + Send>;

/// All chunks on the calling thread.
fn run_alone<F: Fn(usize, usize)>(chunks: usize, task: &F) {
    let mut panic: Option<Payload> = None;
    for chunk in 0..chunks {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| task(chunk, 0))) {
            panic.get_or_insert(payload);
        }
    }
    if let Some(payload) = panic {
        resume_unwind(payload);
    }
}

/// What the threads of a pool share.
struct Shared {
    slots: Box<[Slot]>,
    /// Chunks of the current run whose call has not returned.
    pending: Padded<AtomicUsize>,
    /// Whether a run is under way.
    busy: AtomicBool,
    /// Whether the workers shall end.
    stop: AtomicBool,
    /// Whether `first_panic` holds something.
    panicked: AtomicBool,
    /// The lowest chunk of the current run that panicked, and with what.
    first_panic: Mutex<Option<(usize, Payload)>>,
}

#[repr(align(128))]
struct Padded<T>(T);

/// One thread's share of the current run.
///
/// `ticket` is a serial number of the run (upper 40 bits) and the next unclaimed chunk (lower 24 bits); to claim a
/// chunk is to step the ticket by compare-and-swap. As the serial number is in it, a step can only succeed while the
/// run in which it was read still has that chunk unclaimed, hence is not over, hence `end`, `call` and `task` belong
/// to that run.
#[repr(align(128))]
struct Slot {
    ticket: AtomicU64,
    end: AtomicU64,
    /// A function of type [`Call`].
    call: AtomicPtr<()>,
    task: AtomicPtr<()>,
    asleep: AtomicBool,
}

/// Calls the task behind the pointer.
type Call = unsafe fn(*const (), usize, usize);

const CHUNK_BITS: u32 = 24;

/// The chunk number of a slot that is being filled: nothing can be claimed.
const CLOSED: u64 = (1 << CHUNK_BITS) - 1;

impl Default for Slot {
    fn default() -> Slot {
        Slot {
            ticket: AtomicU64::new(CLOSED),
            end: AtomicU64::new(0),
            call: AtomicPtr::default(),
            task: AtomicPtr::default(),
            asleep: AtomicBool::new(false),
        }
    }
}

impl Slot {
    /// Opens the slot with `chunks` of `task`. Only the thread that holds `busy` does this, after the last run's end.
    fn publish<F: Fn(usize, usize) + Sync>(&self, chunks: std::ops::Range<usize>, task: &F) {
        unsafe fn call<F: Fn(usize, usize)>(task: *const (), chunk: usize, worker: usize) {
            // SAFETY: `task` is the `&F` that `publish` stored beside this very function.
            unsafe { (*task.cast::<F>())(chunk, worker) }
        }
        let serial = (self.ticket.load(Ordering::Relaxed) >> CHUNK_BITS).wrapping_add(1) << CHUNK_BITS;
        // Closed first: else a thread could read the new `end` and step the old ticket.
        self.ticket.store(serial | CLOSED, Ordering::Relaxed);
        self.end.store(chunks.end as u64, Ordering::Release);
        self.call.store(call::<F> as *mut (), Ordering::Relaxed);
        self.task.store(std::ptr::from_ref(task).cast_mut().cast(), Ordering::Relaxed);
        self.ticket.store(serial | chunks.start as u64, Ordering::Release);
    }

    /// Whether there was an unclaimed chunk.
    fn has_chunks(&self) -> bool {
        self.ticket.load(Ordering::Acquire) & CLOSED < self.end.load(Ordering::Acquire)
    }

    /// Claims a chunk.
    fn claim(&self) -> Option<(usize, Call, *const ())> {
        loop {
            let ticket = self.ticket.load(Ordering::Acquire);
            let chunk = ticket & CLOSED;
            if chunk >= self.end.load(Ordering::Acquire) {
                return None;
            }
            let call = self.call.load(Ordering::Relaxed);
            let task = self.task.load(Ordering::Relaxed);
            if self.ticket.compare_exchange(ticket, ticket + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                // SAFETY: the step succeeded, so `call` is the one that `publish` stored for this run, of type `Call`.
                let call = unsafe { std::mem::transmute::<*mut (), Call>(call) };
                return Some((chunk as usize, call, task));
            }
        }
    }
}

/// How many processors this process may use, at least 1. The system is asked once: it takes as long to answer as to start
/// a thread.
pub fn processors() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}

impl Shared {
    /// How long an idle worker spins. Where nobody has asked for the processors yet, a worker does, not the caller.
    fn spin(&self) -> Duration {
        if self.slots.len() <= processors() { SPIN } else { Duration::ZERO }
    }

    /// The life of a worker.
    fn work(&self, index: usize) {
        while self.wait_for_chunks(index) {
            self.participate(index);
        }
    }

    /// Does chunks until none is unclaimed, its own first.
    fn participate(&self, worker: usize) {
        let threads = self.slots.len();
        for slot in (worker..worker + threads).map(|index| &self.slots[index % threads]) {
            let mut done = 0;
            while let Some((chunk, call, task)) = slot.claim() {
                // SAFETY: the chunk was claimed and is still pending, so the run that lent us `task` has not returned.
                let result = catch_unwind(AssertUnwindSafe(|| unsafe { call(task, chunk, worker) }));
                if let Err(payload) = result {
                    self.keep_panic(chunk, payload);
                }
                done += 1;
            }
            if done > 0 {
                self.pending.0.fetch_sub(done, Ordering::Release);
            }
        }
    }

    /// Waits until the worker's slot has chunks (true) or the pool ends (false).
    fn wait_for_chunks(&self, index: usize) -> bool {
        let (slot, spin) = (&self.slots[index], self.spin());
        let ready = || slot.has_chunks() || self.stop.load(Ordering::Relaxed);
        while !ready() {
            let idle_since = Instant::now();
            while !ready() && idle_since.elapsed() < spin {
                for _ in 0..64 {
                    if slot.has_chunks() {
                        break;
                    }
                    std::hint::spin_loop();
                }
            }
            if !ready() {
                slot.asleep.store(true, Ordering::Relaxed);
                fence(Ordering::SeqCst);
                if !ready() {
                    thread::park();
                }
                slot.asleep.store(false, Ordering::Relaxed);
            }
        }
        !self.stop.load(Ordering::Relaxed)
    }

    /// The caller's side of the join.
    fn wait_for_the_others(&self) {
        if self.pending.0.load(Ordering::Acquire) == 0 {
            return;
        }
        // Where threads outnumber processors, one that we wait for may need ours.
        let mut patience = if self.spin().is_zero() { 32 } else { 32_768 };
        while self.pending.0.load(Ordering::Acquire) > 0 {
            if patience > 0 {
                patience -= 1;
                std::hint::spin_loop();
            } else {
                thread::yield_now();
            }
        }
    }

    fn keep_panic(&self, chunk: usize, payload: Payload) {
        let mut first = self.first_panic.lock().unwrap_or_else(PoisonError::into_inner);
        if first.as_ref().is_none_or(|(earlier, _)| chunk < *earlier) {
            *first = Some((chunk, payload));
        }
        self.panicked.store(true, Ordering::Relaxed);
    }

    /// Called after the join, whose acquiring load makes everything the workers wrote visible.
    fn take_panic(&self) -> Option<Payload> {
        if !self.panicked.swap(false, Ordering::Relaxed) {
            return None;
        }
        self.first_panic.lock().unwrap_or_else(PoisonError::into_inner).take().map(|(_, payload)| payload)
    }
}

/// Which processors a thread may run on.
#[cfg(all(target_os = "linux", not(miri)))]
mod affinity {
    /// The processors that the calling thread may use, in order; none if the system does not say.
    pub(super) fn allowed() -> Vec<usize> {
        // SAFETY: a mask is plain bits, for which zeros are valid; the call writes at most the size that it is given.
        let (status, mask) = unsafe {
            let mut mask: libc::cpu_set_t = std::mem::zeroed();
            (libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut mask), mask)
        };
        if status != 0 {
            return Vec::new();
        }
        // SAFETY: the index is below the number of bits of a mask.
        (0..libc::CPU_SETSIZE as usize).filter(|&processor| unsafe { libc::CPU_ISSET(processor, &mask) }).collect()
    }

    /// Binds the calling thread to one processor; a refusal changes nothing but speed and is not reported.
    pub(super) fn bind(processor: usize) {
        // SAFETY: as in `allowed`, from which the index comes.
        unsafe {
            let mut mask: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(processor, &mut mask);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &mask);
        }
    }
}

/// No binding here.
#[cfg(not(all(target_os = "linux", not(miri))))]
mod affinity {
    pub(super) fn allowed() -> Vec<usize> {
        Vec::new()
    }

    pub(super) fn bind(_: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    /// Pools of several sizes, one with more threads than most machines have processors.
    fn pools() -> impl Iterator<Item = Pool> {
        [1, 2, 3, 7].into_iter().map(|threads| Pool::new(threads).unwrap())
    }

    #[test]
    fn every_chunk_runs_once_and_workers_do_not_overlap() {
        for pool in pools() {
            let at_work: Vec<AtomicBool> = (0..pool.threads()).map(|_| AtomicBool::new(false)).collect();
            for chunks in [0, 1, 2, 3, 5, 64, 1000] {
                let counts: Vec<AtomicUsize> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(chunks, &|chunk, worker| {
                    assert!(!at_work[worker].swap(true, Relaxed), "worker {worker} is in two calls");
                    counts[chunk].fetch_add(1, Relaxed);
                    at_work[worker].store(false, Relaxed);
                });
                assert!(counts.iter().all(|count| count.load(Relaxed) == 1), "{chunks} chunks on {pool:?}");
            }
        }
    }

    #[test]
    fn many_short_runs_lose_no_chunk() {
        let rounds = if cfg!(miri) { 50 } else { 20_000 };
        for pool in pools() {
            let total = AtomicUsize::new(0);
            for round in 0..rounds {
                pool.run(round % 9, &|_, _| {
                    total.fetch_add(1, Relaxed);
                });
            }
            assert_eq!(total.into_inner(), (0..rounds).map(|round| round % 9).sum());
        }
    }

    #[test]
    fn sleeping_workers_wake() {
        let pool = Pool::new(2).unwrap();
        for _ in 0..3 {
            while !pool.shared.slots[1].asleep.load(Relaxed) {
                thread::yield_now();
            }
            // Each chunk waits for the other, so both threads must take part.
            let met = AtomicUsize::new(0);
            pool.run(2, &|_, _| {
                met.fetch_add(1, Relaxed);
                while met.load(Relaxed) < 2 {
                    thread::yield_now();
                }
            });
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_after_the_run_and_the_pool_goes_on() {
        for pool in pools() {
            for _ in 0..3 {
                let ran = AtomicUsize::new(0);
                let result = catch_unwind(AssertUnwindSafe(|| {
                    pool.run(20, &|chunk, _| {
                        ran.fetch_add(1, Relaxed);
                        if chunk % 7 == 5 {
                            std::panic::panic_any(chunk);
                        }
                    });
                }));
                assert_eq!(result.unwrap_err().downcast_ref::<usize>(), Some(&5));
                assert_eq!(ran.load(Relaxed), 20);
            }
        }
    }

    #[test]
    fn a_busy_pool_leaves_the_work_to_the_caller() {
        for pool in pools() {
            let total = AtomicUsize::new(0);
            pool.run(5, &|_, _| {
                pool.run(5, &|_, worker| {
                    assert_eq!(worker, 0);
                    total.fetch_add(1, Relaxed);
                });
            });
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        for _ in 0..100 {
                            pool.run(4, &|_, _| {
                                total.fetch_add(1, Relaxed);
                            });
                        }
                    });
                }
            });
            assert_eq!(total.into_inner(), 25 + 1200);
        }
    }

    #[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
    #[test]
    fn denormals_are_flushed_in_every_chunk_and_not_after() {
        use std::hint::black_box;
        for pool in pools() {
            pool.run(50, &|_, _| assert_eq!(black_box(f32::MIN_POSITIVE) * black_box(0.5), 0.0));
            assert_ne!(black_box(f32::MIN_POSITIVE) * black_box(0.5), 0.0);
            let result = catch_unwind(AssertUnwindSafe(|| pool.run(4, &|_, _| panic!("for the test"))));
            assert!(result.is_err());
            assert_ne!(black_box(f32::MIN_POSITIVE) * black_box(0.5), 0.0);
        }
    }

    #[test]
    fn impossible_sizes_are_refused() {
        assert!(Pool::new(0).unwrap_err().to_string().contains("0 threads"));
        assert!(Pool::new(1_000_000_000).unwrap_err().to_string().contains("1000000000 threads"));
    }

    #[test]
    fn pinned_workers_leave_the_caller_free() {
        let before = affinity::allowed();
        let pool = Pool::pinned(3).unwrap();
        let total = AtomicUsize::new(0);
        pool.run(9, &|chunk, _| {
            total.fetch_add(chunk, Relaxed);
        });
        assert_eq!(total.into_inner(), 36);
        assert_eq!(affinity::allowed(), before);
    }
}
