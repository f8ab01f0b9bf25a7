//! In the steady state a run allocates nothing.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use thalweg_run::graph::{Array, DType, Tensor, Update, Variable, grad, placeholder, random_normal, scan, zeros};
use thalweg_run::{Session, feeds};

/// The system's allocator, counting.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the contract of this function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the contract of this function.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the contract of this function.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test: what another allocates meanwhile would be counted.
#[test]
fn the_third_equal_run_allocates_nothing() {
    a_training_step();
    a_weight_that_is_packed_anew();
    a_loop_and_its_gradient();
}

fn a_training_step() {
    let x = placeholder("x", DType::F32, ("batch", 300));
    let label = placeholder("label", DType::I64, ["batch"]);
    let lr = placeholder("lr", DType::F32, ());
    let sizes = [300, 200, 10];
    let mut parameters = Vec::new();
    let mut h = x.dropout(0.2);
    for layer in 0..2 {
        let initial = random_normal([sizes[layer], sizes[layer + 1]], DType::F32) * 0.05;
        let w = Variable::new(format!("w{layer}"), initial);
        let b = Variable::new(format!("b{layer}"), Array::zeros(&[sizes[layer + 1]], DType::F32));
        h = h.matmul(&w) + &b;
        if layer == 0 {
            h = h.relu();
        }
        parameters.extend([w, b]);
    }
    let picked = h.log_softmax(-1).take_along(&label.unsqueeze(1), 1);
    let loss = -picked.mean();
    let order = h.argsort(-1);
    let wrt: Vec<&Tensor> = parameters.iter().map(|parameter| parameter.tensor()).collect();
    let steps = parameters.iter().zip(grad(&loss, &wrt));
    let step: Vec<Update> =
        steps.map(|(parameter, gradient)| parameter.assign(&(&**parameter - gradient * &lr))).collect();

    let session = Session::builder().threads(2).build().unwrap();
    let images = Array::full(&[128, 300], DType::F32, 0.5);
    let labels: Vec<i64> = (0..128).map(|i| i % 10).collect();
    let mut outputs = [Array::from(0.0f32), Array::from(0i64)];
    let mut counts = Vec::new();
    for rate in [0.1, 0.2, 0.3, 0.4, 0.5] {
        let before = ALLOCATIONS.load(Relaxed);
        let feeds = feeds! { x => &images, label => &labels, lr => rate };
        session.run_into((&loss, &step, &order), feeds, &mut outputs).unwrap();
        counts.push(ALLOCATIONS.load(Relaxed) - before);
    }
    assert!(counts[0] > 0);
    assert_eq!(counts[2..], [0, 0, 0], "{counts:?}");
    assert_eq!(session.step(), 5);
}

fn a_weight_that_is_packed_anew() {
    let x = placeholder("x", DType::F32, (4, 300));
    let w = Variable::new("w", random_normal([200, 300], DType::F32));
    let (y, step) = (x.matmul(&w.permute(&[1, 0])), w.assign(&(&*w * 0.5)));
    // One thread: what a thread that begins late allocates for itself would be counted.
    let session = Session::builder().threads(1).build().unwrap();
    let xs = Array::full(&[4, 300], DType::F32, 0.5);
    let mut outputs = [Array::from(0.0f32)];
    let mut counts = Vec::new();
    for _ in 0..4 {
        let before = ALLOCATIONS.load(Relaxed);
        session.run_into(&y, feeds! { x => &xs }, &mut outputs).unwrap();
        session.run_into(&step, feeds! {}, &mut []).unwrap();
        counts.push(ALLOCATIONS.load(Relaxed) - before);
    }
    assert!(session.plan(&y, feeds! { x => &xs }).unwrap().packed_bytes > 0);
    assert_eq!(counts[2..], [0, 0], "{counts:?}");
}

fn a_loop_and_its_gradient() {
    let x = placeholder("x", DType::F32, (6, 32, 64));
    let weight = |name: &str| Variable::new(name, random_normal([64, 64], DType::F32) * 0.1);
    let (w, u) = (weight("w"), weight("u"));
    let (_, outputs) = scan(&[&zeros((32, 64), DType::F32)], &[&x], |h, x| {
        let next = (x[0].matmul(&w) + h[0].dropout(0.1).matmul(&u)).tanh();
        (vec![next.clone()], vec![next])
    });
    let gradients = grad(&outputs[0].square().mean(), &[&w, &u]);
    let step = [&w, &u].map(|weight| weight.clone()).into_iter().zip(gradients);
    let step: Vec<Update> = step.map(|(weight, gradient)| weight.assign(&(&*weight - gradient))).collect();
    // One thread, as above.
    let session = Session::builder().threads(1).build().unwrap();
    let xs = Array::full(&[6, 32, 64], DType::F32, 0.5);
    let mut counts = Vec::new();
    for _ in 0..4 {
        let before = ALLOCATIONS.load(Relaxed);
        session.run_into(&step, feeds! { x => &xs }, &mut []).unwrap();
        counts.push(ALLOCATIONS.load(Relaxed) - before);
    }
    assert_eq!(counts[2..], [0, 0], "{counts:?}");
}
