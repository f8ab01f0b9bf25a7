//! Memory that the system refuses: every run says so, names what needed it, and changes nothing.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use thalweg_run::graph::{Array, DType, Variable, grad, placeholder, random_normal};
use thalweg_run::{RunError, Session, feeds};

/// The system's allocator, that refuses one of the stretches in which numbers are kept: those alone are aligned to
/// cache lines.
struct Refusing;

/// The stretch that is refused; none at `usize::MAX`.
static REFUSED: AtomicUsize = AtomicUsize::new(usize::MAX);
static ASKED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator, or refused.
unsafe impl GlobalAlloc for Refusing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() == 64 && ASKED.fetch_add(1, Relaxed) == REFUSED.load(Relaxed) {
            return null_mut();
        }
        // SAFETY: the contract of this function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the contract of this function.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Refusing = Refusing;

#[test]
fn whichever_stretch_is_refused_nothing_has_changed() {
    let x = placeholder("x", DType::F32, (8, 30));
    let w = Variable::new("w", random_normal([30, 20], DType::F32) * 0.1);
    let loss = x.matmul(&w).tanh().square().mean();
    let step = w.assign(&(&*w - grad(&loss, &[&w]).remove(0)));
    // At an odd address: a run makes a copy.
    let bytes = vec![0u8; 8 * 30 * 4 + 1];
    let odd = usize::from(bytes.as_ptr().addr().is_multiple_of(2));
    let odd = thalweg_run::RawBytes { dtype: DType::F32, shape: &[8, 30], bytes: &bytes[odd..][..8 * 30 * 4] };
    let mut refused = 0;
    loop {
        let session = Session::builder().threads(1).build().unwrap();
        ASKED.store(0, Relaxed);
        REFUSED.store(refused, Relaxed);
        let result = session.run((&loss, &step), feeds! { x => odd });
        REFUSED.store(usize::MAX, Relaxed);
        let Err(error) = result else { break };
        let message = error.to_string();
        assert!(matches!(error, RunError::OutOfMemory { .. }), "{message}");
        assert!(message.contains("the system refuses"), "{message}");
        let named = ["`w`", "matmul", "random", "mul", "x with"];
        assert!(named.iter().any(|name| message.contains(name)), "nothing is named in {message:?}");
        assert_eq!(session.step(), 0);
        // The same session goes on.
        session.run((&loss, &step), feeds! { x => Array::zeros(&[8, 30], DType::F32) }).unwrap();
        assert_eq!(session.step(), 1);
        refused += 1;
    }
    assert!(refused >= 3, "only {refused} stretches were asked for");
}
