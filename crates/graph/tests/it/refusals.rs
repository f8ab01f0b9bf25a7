//! What is refused when a graph is built, and that the message names the thing, the place and the way out.

use thalweg_graph::autodiff::try_grad;
use thalweg_graph::ops::assemble::{Concat, Slice, SliceAxis};
use thalweg_graph::ops::shape::Permute;
use thalweg_graph::{Array, DType, Op, Tensor, constant, placeholder, zeros};

use crate::support::{refusal, run_error};

#[track_caller]
fn expect(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "no `{part}` in:\n{message}");
    }
}

fn x() -> Tensor {
    placeholder("x", DType::F32, (2, 3))
}

#[test]
fn shapes_that_do_not_fit() {
    let y = placeholder("y", DType::F32, (2, 4));
    expect(&refusal(|| x() + &y), &["add", "x", "f32[2,3]", "y", "f32[2,4]", "3 meets 4 at axis -1", "refusals.rs"]);
    expect(
        &refusal(|| x().matmul(&y)),
        &["matmul: inner sizes differ", "axis 1 of left is 3, axis 0 of right is 2", "refusals.rs"],
    );
    expect(
        &refusal(|| Tensor::concat(&[&x(), &y], 0)),
        &["concat", "sizes of axis 1 differ", "3 in input 0, 4 in input 1", "refusals.rs"],
    );
    expect(&refusal(|| Tensor::concat(&[], 0)), &["concat: of no tensors", "refusals.rs"]);
    expect(&refusal(|| x().expand([2, 6])), &["[2,3] does not repeat to [2,6]", "axis 1 is 3 and would become 6"]);
    expect(&refusal(|| x().equal(0.0).select(&x(), &y)), &["select", "shapes do not broadcast"]);
    let named = placeholder("named", DType::F32, ["n"]);
    expect(&refusal(|| named + zeros([3], DType::F32)), &["n meets 3", "a named size never repeats"]);
}

#[test]
fn dtypes_that_differ() {
    let i = placeholder("i", DType::I64, (2, 3));
    expect(&refusal(|| x() * &i), &["mul: dtypes differ: f32 and i64", "cast"]);
    expect(&refusal(|| x().matmul(&i)), &["matmul: dtypes differ: f32 and i64", "cast"]);
    expect(&refusal(|| Tensor::stack(&[&x(), &i], 0)), &["concat: dtypes differ: f32 and i64", "cast"]);
    expect(&refusal(|| i.exp()), &["exp: not defined on i64", "cast"]);
    expect(&refusal(|| x().gather(&x(), 0)), &["gather: the indices are f32", "cast"]);
    expect(&refusal(|| x().select(&x(), 0.0)), &["the condition is f32, not bool"]);
    expect(&refusal(|| x().equal(0.0).sum()), &["not defined on bool", "any"]);
    expect(&refusal(|| i.softmax(0)), &["softmax: not defined on i64"]);
}

#[test]
fn reshapes_that_lose_elements() {
    expect(&refusal(|| x().reshape([7])), &["6 elements do not fit [7]", "[2,3] has 6 elements, [7] has 7"]);
    expect(&refusal(|| x().reshape_infer(&[-1, -1])), &["two sizes of [-1, -1] are -1", "f32[2,3]"]);
    expect(&refusal(|| x().reshape_infer(&[-1, 0])), &["cannot be inferred", "hold 0 elements"]);
    expect(&refusal(|| x().reshape_infer(&[-1, 4])), &["6 elements do not fit [-1, 4]", "hold 4"]);
}

#[test]
fn tensors_too_large_or_of_too_many_axes() {
    let message = refusal(|| placeholder("huge", DType::F32, [1usize << 40, 1usize << 40]));
    expect(&message, &["1099511627776", "bytes, which no memory can hold"]);
    // One element more than there are addresses for.
    let message = refusal(|| zeros([(isize::MAX as usize) / 4 + 1], DType::F32));
    expect(&message, &["2305843009213693952", "bytes, which no memory can hold"]);
    let deep = placeholder("deep", DType::F32, [1usize; 8]);
    expect(&refusal(|| deep.unsqueeze(0)), &["has 9 axes", "at most 8"]);
}

#[test]
fn axes_that_are_not_there() {
    expect(&refusal(|| x().sum_over(2)), &["axis 2 of x (f32[2,3])", "0..2, or -2..0 from the end", "refusals.rs"]);
    expect(&refusal(|| x().softmax(-3)), &["axis -3 of x"]);
    expect(&refusal(|| x().sum_over([0, -2])), &["axis 0 of x (f32[2,3]) is named twice"]);
    expect(&refusal(|| constant(1.0).sum_over(0)), &["its axes are none"]);
    assert_eq!(x().sum_over(-1).shape(), x().sum_over(1).shape());
    expect(&refusal(|| x().permute(&[0, 0])), &["no order of 2 axes", "every axis must stand exactly once"]);
    let short = Tensor::try_apply(Permute { axes: [0].into_iter().collect() }, [x()]).unwrap_err();
    expect(&short.to_string(), &["[0] is no order of 2 axes"]);
    expect(&refusal(|| x().squeeze(0)), &["squeeze: axis 0 of x (f32[2,3]) is 2, not 1"]);
    expect(&refusal(|| x().unsqueeze(4)), &["unsqueeze: axis 4 of a result with 3 axes"]);
}

#[test]
fn slices_that_are_no_part() {
    let backwards = (2, 1);
    expect(&refusal(|| x().slice(1, backwards.0..backwards.1)), &["slice: 2..1 on axis 1 runs backwards", "f32[2,3]"]);
    expect(&refusal(|| x().slice(1, 1..4)), &["no position 3 of axis 1, which has size 3"]);
    expect(&refusal(|| x().slice_step(1, .., 0)), &["step 0 on axis 1; a step is at least 1"]);
    expect(&refusal(|| x().slice_step(1, .., -1)), &["step -1 on axis 1", "flip"]);
    expect(&refusal(|| x().index(0, 2)), &["no position 2 of axis 0, which has size 2"]);
    expect(&refusal(|| x().index(0, -3)), &["start -1 on axis 0"]);
    let text = r#"{"slice":{"axes":[{"start":0,"length":2,"step":-1}]}}"#;
    expect(&serde_json::from_str::<Op>(text).unwrap_err().to_string(), &["invalid value: integer `-1`"]);
    let step = SliceAxis { start: 0.into(), length: 1.into(), step: 0 };
    let slice = Slice { axes: [step].into_iter().collect() };
    expect(&Tensor::try_apply(slice, [constant([1.0])]).unwrap_err().to_string(), &["step 0 on axis 0"]);
    expect(&refusal(|| x().split(2, 1)), &["3 positions of axis 1 of x (f32[2,3]) do not divide into 2 equal parts"]);
    expect(&refusal(|| x().split_sizes(&[1usize, 1], 1)), &["add up to 2", "is 3"]);
    // Where the size is a name, the run refuses.
    let named = placeholder("rows", DType::F64, ["n"]);
    let error = run_error(&named.slice(0, 1..3), &[("rows", Array::from([1.0]))]);
    expect(&error.to_string(), &["slice", "no position 2 of axis 0, which has size 1", "refusals.rs"]);
}

#[test]
fn indices_that_no_element_has() {
    let at = placeholder("at", DType::I64, ["m"]);
    let table = constant([[1.0, 2.0], [3.0, 4.0]]);
    let column = at.unsqueeze(1);
    let ones = at.cast(DType::F64).ones_like();
    let cases = [
        ("gather", table.gather(&at, 0)),
        ("scatter_add", constant([0.0, 0.0]).scatter_add(&at, &ones, 0)),
        ("take_along", constant([1.0, 2.0]).take_along(&at, 0)),
        ("scatter_add_along", constant([1.0, 2.0]).scatter_add_along(&at, &ones, 0)),
        ("check_indices", column.one_hot(2, DType::F64)),
    ];
    for (op, y) in cases {
        for index in [2i64, -1, i64::MIN] {
            let message = run_error(&y, &[("at", Array::from([0, 1, index]))]).to_string();
            expect(&message, &[op, &format!("index {index} at position 2 is outside 0..2"), "refusals.rs"]);
        }
    }
    expect(&refusal(|| zeros((0, 3), DType::F32).gather(&at, 0)), &["axis 0 of f32[0,3] is empty"]);
    expect(&refusal(|| x().top_k(4, 1)), &["top_k: 4 of the 3 positions of axis 1 of x (f32[2,3])"]);
}

#[test]
fn extremes_of_nothing() {
    let empty = zeros((2, 0), DType::F32);
    expect(&refusal(|| empty.max_over(1)), &["the extreme of no numbers", "[2,0]"]);
    expect(&refusal(|| empty.argmin(1)), &["axis 1 of f32[2,0] is empty"]);
    assert_eq!(empty.max_over(0).shape().to_string(), "[0]");
}

#[test]
fn gradients_that_do_not_exist() {
    let refuse = |loss: &Tensor, wrt: &Tensor| try_grad(loss, &[wrt]).unwrap_err().to_string();
    expect(&refuse(&x().exp(), &x()), &["grad: exp (f32[2,3]) has axes", ".mean()"]);
    let i = placeholder("i", DType::I64, ());
    expect(&refuse(&i, &i), &["grad: i is i64", "cast"]);
    let x = x();
    expect(&refuse(&x.sum(), &i), &["grad: i is i64"]);
    let other = placeholder("other", DType::F32, ());
    expect(&refuse(&x.sum(), &other), &["sum does not depend on other", "refusals.rs"]);
    // Through what has no gradient: named, not silently 0.
    for dead in [x.floor(), x.argmax(0).cast(DType::F32), x.greater(0.0).cast(DType::F32), x.stop_gradient()] {
        expect(&refuse(&dead.sum(), &x), &["does not depend on x (f32[2,3]", "or only through what has no gradient"]);
    }
}

#[test]
fn a_wrong_number_of_inputs() {
    let error = Tensor::try_apply(Concat { axis: 0 }, []).unwrap_err().to_string();
    expect(&error, &["concat: takes at least 1 input, got 0"]);
    let error = Tensor::try_apply(Permute { axes: [0, 1].into_iter().collect() }, [x(), x()]).unwrap_err();
    expect(&error.to_string(), &["takes 1 input, got 2"]);
}
