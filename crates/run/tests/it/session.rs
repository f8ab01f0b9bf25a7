//! Runs, evaluations, variables.

use std::sync::Arc;

use thalweg_kernels::cpu::Isa;
use thalweg_run::graph::{
    Array, ConvOptions, DType, Tensor, Variable, constant, placeholder, random_normal, random_uniform, scope,
};
use thalweg_run::{Session, feeds};

/// w := w − 0.1 · mean(2 (w x − y) x), and the loss.
fn line() -> (Tensor, Tensor, Variable, Tensor) {
    let x = placeholder("x", DType::F32, ["n"]);
    let y = placeholder("y", DType::F32, ["n"]);
    let w = Variable::new("w", 0.0);
    let loss = (&*w * &x - &y).square().mean();
    (x, y, w, loss)
}

#[test]
fn a_line_is_fitted() {
    let (x, y, w, loss) = line();
    let slope = thalweg_run::graph::grad(&loss, &[&w]).remove(0);
    let step = w.assign(&(&*w - slope * 0.1));
    let session = Session::cpu();
    let (xs, ys) = ([0.5f32, 1.0, 1.5], vec![1.0f32, 2.0, 3.0]);
    let mut last = f64::INFINITY;
    for _ in 0..100 {
        let (loss, ()) = session.run((&loss, &step), feeds! { x => &xs, y => &ys }).unwrap();
        let loss = loss.item().unwrap();
        assert!(loss <= last);
        last = loss;
    }
    assert!((session.read(&w).unwrap().item().unwrap() - 2.0).abs() < 1e-3);
    assert_eq!((session.step(), session.cached_plans()), (100, 1));
}

#[test]
fn what_is_read_is_the_value_before_the_run() {
    let w = Variable::new("w", 1.0);
    let session = Session::cpu();
    let doubled = &*w * 2.0;
    let (before, seen, ()) = session.run((&w, &doubled, w.assign(&doubled)), feeds! {}).unwrap();
    assert_eq!((before.item().unwrap(), seen.item().unwrap()), (1.0, 2.0));
    assert_eq!(session.read(&w).unwrap().item().unwrap(), 2.0);
}

#[test]
fn variables_are_exchanged_without_a_third() {
    let (a, b) = (Variable::new("a", 1.0), Variable::new("b", 2.0));
    let session = Session::cpu();
    session.run([a.assign(&b), b.assign(&a)], feeds! {}).unwrap();
    let value = |variable| session.read(variable).unwrap().item().unwrap();
    assert_eq!((value(&a), value(&b)), (2.0, 1.0));
}

#[test]
fn other_sizes_are_another_plan_and_the_cache_has_a_bound() {
    let x = placeholder("x", DType::F32, ("n", 2));
    let sum = x.sum();
    let session = Session::builder().plan_cache(3).build().unwrap();
    for n in [0, 1, 2, 37, 100, 37, 5] {
        let fed = Array::full(&[n, 2], DType::F32, 1.0);
        assert_eq!(session.run(&sum, feeds! { x => &fed }).unwrap().item().unwrap(), 2.0 * n as f64);
    }
    assert_eq!(session.cached_plans(), 3);
}

#[test]
fn lists_come_back_as_lists() {
    let tensors: Vec<Tensor> = [1.0f32, 2.0].into_iter().map(constant).collect();
    let session = Session::cpu();
    let (list, none, [a, b]) = session.run((&tensors, None::<Tensor>, [&tensors[1], &tensors[0]]), feeds! {}).unwrap();
    let number = |array: &Array| array.item().unwrap();
    assert_eq!(list.iter().map(number).collect::<Vec<_>>(), [1.0, 2.0]);
    assert!(none.is_none());
    assert_eq!((number(&a), number(&b)), (2.0, 1.0));
}

#[test]
fn feeds_come_from_everywhere_and_need_no_alignment() {
    let x = placeholder("x", DType::F32, (2, 2));
    let doubled = &x * 2.0;
    let session = Session::cpu();
    let rows = [[1.0f32, 2.0], [3.0, 4.0]];
    let matrix = ndarray::arr2(&[[1.0f32, 3.0], [2.0, 4.0]]);
    let bytes: Vec<u8> = [0].into_iter().chain([1.0f32, 2.0, 3.0, 4.0].iter().flat_map(|x| x.to_ne_bytes())).collect();
    let raw = thalweg_run::RawBytes { dtype: DType::F32, shape: &[2, 2], bytes: &bytes[1..] };
    for feeds in [
        feeds! { x => rows },
        feeds! { x => &rows },
        feeds! { x => &Array::from(rows) },
        feeds! { x => &matrix.t() },
        feeds! { x => vec![1.0f32, 2.0, 3.0, 4.0] },
        feeds! { x => raw },
    ] {
        assert_eq!(session.run(&doubled, feeds).unwrap().as_slice::<f32>().unwrap(), [2.0, 4.0, 6.0, 8.0]);
    }
}

#[test]
fn results_are_written_into_arrays_of_the_caller() {
    let x = placeholder("x", DType::F32, ["n"]);
    let (doubled, sum) = (&x * 2.0, x.sum());
    let session = Session::cpu();
    let mut outputs = [Array::zeros(&[3], DType::F32), Array::from(0i64)];
    for feed in [vec![1.0f32, 2.0, 3.0], vec![1.0, 5.0]] {
        session.run_into((&doubled, &sum), feeds! { x => &feed }, &mut outputs).unwrap();
        assert_eq!(outputs[0].to_vec::<f32>(), feed.iter().map(|x| x * 2.0).collect::<Vec<_>>());
        assert_eq!(outputs[1].item().unwrap() as f32, feed.iter().sum::<f32>());
    }
    let message = session.run_into(&sum, feeds! { x => [1.0f32] }, &mut outputs).unwrap_err().to_string();
    assert!(message.contains("1 tensors are fetched into 2 arrays"), "{message}");
}

#[test]
fn evaluation_drops_nothing_and_changes_nothing() {
    let w = Variable::new("w", Array::from([1.0f32; 64]));
    let dropped = w.dropout(0.5);
    let session = Session::cpu();
    let ones = |array: Array| array.to_vec::<f32>().iter().all(|&x| x == 1.0);
    assert!(ones(session.evaluate(&dropped, feeds! {}).unwrap()));
    assert!(!ones(session.run(&dropped, feeds! {}).unwrap()));
    let message = session.evaluate(w.assign(&dropped), feeds! {}).unwrap_err().to_string();
    assert!(message.contains("`w`") && message.contains("evaluation"), "{message}");
}

#[test]
fn noise_and_dropout_written_by_hand_are_off_in_evaluation() {
    let x = placeholder("x", DType::F32, ("n", 3));
    let kept = random_uniform(x.shape(), DType::F32).greater_equal(0.25).cast(DType::F32);
    let hidden = (&x * kept / 0.75 + random_normal(x.shape(), DType::F32) * 0.5).relu();
    let session = Session::cpu();
    let feed = Array::from([[1.0f32, -2.0, 4.0], [0.5, 8.0, -1.0]]);
    let evaluated = session.evaluate(&hidden, feeds! { x => &feed }).unwrap();
    for (found, expected) in evaluated.to_vec::<f64>().iter().zip([1.0, 0.0, 4.0, 0.5, 8.0, 0.0]) {
        assert!((found - expected).abs() < 1e-6, "{evaluated:?}");
    }
    assert_ne!(session.run(&hidden, feeds! { x => &feed }).unwrap(), evaluated);
    let drawn = random_normal(["n"], DType::F32).named("drawn");
    let message =
        session.evaluate(&drawn + x.sum_over(1) * drawn.exp(), feeds! { x => &feed }).unwrap_err().to_string();
    assert!(message.contains("random 'drawn' (made at") && message.contains("session.rs"), "{message}");
}

#[test]
fn what_stands_along_the_axes_is_dropped_together() {
    let x = placeholder("x", DType::F32, ("n", 5, 3));
    let channels = x.dropout_along(0.5, [0, 2]);
    let feed = Array::full(&[7, 5, 3], DType::F32, 1.0);
    let session = Session::cpu();
    for _ in 0..10 {
        let y: Vec<f32> = session.run(&channels, feeds! { x => &feed }).unwrap().to_vec();
        let first = &y[..15];
        assert!(first.chunks(3).all(|channel| channel == [0.0; 3] || channel == [2.0; 3]), "{first:?}");
        assert!(y.chunks(15).all(|row| row == first));
    }
}

#[test]
fn random_numbers_depend_on_seed_and_step_alone() {
    let build = || {
        let w = Variable::new("layer/w", random_uniform([5], DType::F32));
        let step = w.assign(&(&*w + random_uniform([5], DType::F32)));
        (w, step)
    };
    let values = |seed, threads| {
        let (w, step) = build();
        let session = Session::builder().seed(seed).threads(threads).build().unwrap();
        let first = session.read(&w).unwrap();
        session.run(&step, feeds! {}).unwrap();
        session.run(&step, feeds! {}).unwrap();
        [first, session.read(&w).unwrap()].map(|array| array.to_vec::<f32>())
    };
    assert_eq!(values(7, 1), values(7, 3));
    assert_ne!(values(7, 1)[0], values(8, 1)[0]);
    let (a, b) = (build().0, Variable::new("layer/v", random_uniform([5], DType::F32)));
    let session = Session::cpu();
    assert_ne!(session.read(&a).unwrap(), session.read(&b).unwrap());
}

#[test]
fn two_variables_of_one_name_are_refused() {
    let (first, second) =
        (Variable::new("same", 1.0), scope("b", || Variable::new("same", Array::from([1.0f32, 2.0]))));
    let session = Session::cpu();
    session.read(&first).unwrap();
    let message = session.run(&second, feeds! {}).unwrap_err().to_string();
    for part in ["`same`", "f32[]", "f32[2]"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(message.matches("session.rs:").count(), 2, "both places: {message}");
}

#[test]
fn tensors_belong_to_no_session() {
    let (w, x) = (Variable::new("w", 1.0), placeholder("x", DType::F32, ()));
    let y = &*w * &x;
    let (first, second) = (Session::cpu(), Session::cpu());
    first.run(w.assign(&y), feeds! { x => 3.0 }).unwrap();
    for (session, expected) in [(&first, 6.0), (&second, 2.0)] {
        assert_eq!(session.run(&y, feeds! { x => 2.0 }).unwrap().item().unwrap(), expected);
    }
}

#[test]
fn two_assigns_to_one_variable_are_refused() {
    let w = Variable::new("w", 1.0);
    let session = Session::cpu();
    let message = session.run([w.assign(&w), w.assign(&(&*w + 1.0))], feeds! {}).unwrap_err().to_string();
    assert!(message.contains("`w` is assigned twice"), "{message}");
    assert_eq!(session.step(), 0);
}

#[test]
fn a_value_of_another_shape_is_not_written() {
    let w = Variable::new("w", Array::from([1.0f32, 2.0]));
    let session = Session::cpu();
    let message = session.write(&w, [1.0f32]).unwrap_err().to_string();
    assert!(message.contains("`w` is f32[2], the value is f32[1]"), "{message}");
    session.write(&w, [3.0f32, 4.0]).unwrap();
    assert_eq!(session.read(&w).unwrap().as_slice::<f32>().unwrap(), [3.0, 4.0]);
}

#[test]
fn no_threads_are_refused() {
    let message = Session::builder().threads(0).build().unwrap_err().to_string();
    assert!(message.contains("0 threads"), "{message}");
}

#[test]
fn threads_share_a_session() {
    let x = placeholder("x", DType::F32, ["n"]);
    let w = Variable::new("w", 0.0);
    let sum = (&x + &*w * 0.0).sum();
    let step = w.assign(&(&*w + 1.0));
    let session = Arc::new(Session::builder().threads(2).build().unwrap());
    std::thread::scope(|threads| {
        for n in 1..5usize {
            let (session, x, sum, step) = (session.clone(), &x, &sum, &step);
            threads.spawn(move || {
                for _ in 0..20 {
                    let fed = vec![1.0f32; n];
                    assert_eq!(session.run(sum, feeds! { x => &fed }).unwrap().item().unwrap(), n as f64);
                    session.run(step, feeds! {}).unwrap();
                }
            });
        }
    });
    assert_eq!(session.read(&w).unwrap().item().unwrap(), 80.0);
    assert_eq!(session.step(), 80);
}

#[test]
fn a_profile_has_a_time_for_each_call() {
    let x = placeholder("x", DType::F32, ("n", 8));
    let y = x.matmul(&x.t()).softmax(-1);
    let session = Session::cpu();
    let fed = Array::full(&[16, 8], DType::F32, 0.5);
    let (found, profile) = session.profile(&y, feeds! { x => &fed }).unwrap();
    assert_eq!(found, session.run(&y, feeds! { x => &fed }).unwrap());
    assert_eq!(profile.times.len(), profile.plan.calls.len());
    assert!(profile.total() > std::time::Duration::ZERO);
    let table = profile.to_string();
    assert!(table.contains("matmul") && table.contains("GFLOP/s") && table.contains("together"), "{table}");
}

#[test]
fn dropped_results_lend_their_memory_to_the_next() {
    let x = placeholder("x", DType::F32, ["n"]);
    let y = &x * 2.0;
    let session = Session::cpu();
    let run = |value: f32| session.run(&y, feeds! { x => Array::full(&[100_000], DType::F32, value) }).unwrap();
    let address = |array: &Array| array.storage().bytes().as_ptr();
    let (first, second) = (run(1.0), run(2.0));
    assert_ne!(address(&first), address(&second));
    let dropped = address(&first);
    drop(first);
    let mut third = run(3.0);
    assert_eq!(address(&third), dropped);
    // Who holds a result holds its numbers; nothing is copied when they are written to.
    assert!(second.as_slice::<f32>().unwrap().iter().all(|&y| y == 4.0));
    third.as_mut_slice::<f32>().unwrap()[0] = 7.0;
    assert_eq!(address(&third), dropped);
}

#[test]
fn sums_are_formed_as_defined_where_that_is_asked() {
    let x = placeholder("x", DType::F32, ("n", 64, 16, 16));
    let w = Variable::new("w", random_normal([64, 64, 3, 3], DType::F32) * 0.05);
    let y = x.conv2d(&w, &ConvOptions::new().padding(1));
    let numbers: Vec<f32> = (0..64 * 256).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
    let picture = Array::new(&[1, 64, 16, 16], numbers).unwrap();
    let run = |session: Session| {
        let (y, profile) = session.profile(&y, feeds! { x => &picture }).unwrap();
        (y.to_vec::<f64>(), profile.to_string().contains("winograd"))
    };
    let (saved, by_winograd) = run(Session::cpu());
    let (exact, as_defined) = run(Session::builder().exact().build().unwrap());
    assert!(by_winograd && !as_defined);
    let worst = saved.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst > 0.0 && worst < 1e-4, "{worst}");
}

/// Matrix units multiply in pieces, and never where products are to be formed as they are defined.
#[test]
fn products_are_those_of_vectors_where_that_is_asked() {
    let a = placeholder("a", DType::F32, (256, 300));
    let b = placeholder("b", DType::F32, (300, 256));
    let numbers = |shift: usize| (0..256 * 300).map(move |i| ((i * 37 + shift) % 1009) as f32 / 500.0 - 1.0).collect();
    let (first, second) = (Array::new(&[256, 300], numbers(0)).unwrap(), Array::new(&[300, 256], numbers(7)).unwrap());
    let y = a.matmul(&b);
    let run = |session: Session| {
        let (y, profile) = session.profile(&y, feeds! { a => &first, b => &second }).unwrap();
        (y.to_vec::<f64>(), profile.to_string().contains("amx"))
    };
    let (fast, by_units) = run(Session::cpu());
    let (exact, by_units_too) = run(Session::builder().exact().build().unwrap());
    assert_eq!((by_units, by_units_too), (Isa::Amx.is_available(), false));
    let worst = fast.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst < 1e-4 && (worst > 0.0) == by_units, "{worst}");
}

/// Rows of a table that are picked again and again, in another order than their indices: forwards, and both factors' gradients.
#[test]
fn a_table_is_multiplied_before_its_rows_are_picked() {
    let table = Variable::new("table", random_normal([5, 24], DType::F64));
    let (w, b) = (random_normal([24, 33], DType::F64), random_normal([33], DType::F64));
    let (w, b) = (Variable::new("w", w), Variable::new("b", b));
    let x = placeholder("x", DType::I64, (7, 13));
    let rows = table.gather(&x, 0).permute(&[1, 0, 2]).reshape([91, 24]);
    let y = rows.matmul(&w).reshape([13, 7, 33]) + &*b;
    let mut fetches = vec![y.clone()];
    fetches.extend(thalweg_run::graph::grad(&y.tanh().sum(), &[&table, &w, &b]));
    let indices = Array::new(&[7, 13], (0..91i64).map(|i| i * i % 5).collect::<Vec<_>>()).unwrap();
    let run = |session: Session| {
        let plan = session.plan(&fetches, feeds! { x => &indices }).unwrap().to_string();
        let found = session.run(&fetches, feeds! { x => &indices }).unwrap();
        (found, plan.contains("[5x24]·[24x33]"))
    };
    let (found, by_table) = run(Session::cpu());
    let (expected, of_each_row) = run(Session::builder().exact().build().unwrap());
    assert!(by_table && !of_each_row);
    for (found, expected) in found.iter().zip(&expected) {
        let pairs = found.to_vec::<f64>().into_iter().zip(expected.to_vec::<f64>());
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-12, "{worst}");
    }
}

/// What is read packed is packed anew when it has changed, in whatever way, and gives the bits that it gives unpacked.
#[test]
fn packed_weights_follow_their_variables() {
    let x = placeholder("x", DType::F32, (2, 20, 9, 9));
    let w = Variable::new("w", random_normal([18, 20, 3, 3], DType::F32));
    let v = Variable::new("v", random_normal([30, 18 * 81], DType::F32));
    let fixed = Array::full(&[18, 18, 3, 3], DType::F32, 0.01);
    let net = |w: &Tensor, v: &Tensor, fixed: &Tensor| {
        let padded = ConvOptions::new().padding(1);
        let y = x.conv2d(w, &padded).relu().conv2d(fixed, &padded);
        y.reshape((2, 18 * 81)).matmul(&v.permute(&[1, 0]))
    };
    let held = net(&w, &v, &constant(fixed.clone()));
    let fed = ["w", "v", "fixed"].map(|name| match name {
        "w" => placeholder(name, DType::F32, (18, 20, 3, 3)),
        "v" => placeholder(name, DType::F32, (30, 18 * 81)),
        _ => placeholder(name, DType::F32, (18, 18, 3, 3)),
    });
    let unpacked = net(&fed[0], &fed[1], &fed[2]);
    let xs = Array::full(&[2, 20, 9, 9], DType::F32, 0.3);

    let session = Session::builder().threads(2).build().unwrap();
    let check = |when: &str| {
        let (w, v) = (session.read(&w).unwrap(), session.read(&v).unwrap());
        let feeds = feeds! { x => &xs, fed[0] => &w, fed[1] => &v, fed[2] => &fixed };
        let expected = session.run(&unpacked, feeds).unwrap();
        for _ in 0..2 {
            assert_eq!(session.run(&held, feeds! { x => &xs }).unwrap(), expected, "{when}");
        }
    };
    check("at first");
    let (_, profile) = session.profile(&held, feeds! { x => &xs }).unwrap();
    let packed = profile.kernels.iter().filter(|kernel| kernel.contains("packed before")).count();
    assert_eq!(packed, 3, "{:?}", profile.kernels);
    assert!(profile.plan.packed_bytes > 4 * 30 * 18 * 81 && profile.plan.to_string().contains("packed weights"));

    let before = session.state().unwrap();
    session.run([w.assign(&(&*w * 0.5)), v.assign(&(&*v + 1.0))], feeds! {}).unwrap();
    check("after updates");
    session.write(&v, Array::full(&[30, 18 * 81], DType::F32, 0.25)).unwrap();
    check("after writing");
    session.load_state(&before).unwrap();
    check("after loading");
}

#[test]
fn where_memory_is_short_nothing_stays_packed() {
    let x = placeholder("x", DType::F32, (8, 64));
    let weights: Vec<Variable> =
        (0..6).map(|i| Variable::new(format!("w{i}"), random_normal([64, 64], DType::F32))).collect();
    let y = weights.iter().fold(x.clone(), |h, w| h.matmul(&w.permute(&[1, 0])));
    let xs = Array::full(&[8, 64], DType::F32, 0.5);
    let with_limit = |bytes: usize| Session::builder().threads(1).memory_limit(bytes).build().unwrap();
    let packed = |session: &Session| session.plan(&y, feeds! { x => &xs }).map(|plan| plan.packed_bytes);
    let roomy = with_limit(1 << 30);
    assert_eq!(packed(&roomy).unwrap(), 6 * 64 * 64 * 4);
    let tight = (1..).map(|i| with_limit(i * 4096)).find(|session| packed(session).is_ok()).unwrap();
    assert_eq!(packed(&tight).unwrap(), 0);
    let [roomy, tight] = [roomy, tight].map(|session| session.run(&y, feeds! { x => &xs }).unwrap());
    assert_eq!(roomy, tight);
}
