//! Numbers picked and added by position: gather and scatter-add, along one axis for all or for each line, positions
//! themselves, checks of indices, one-hot.
//!
//! Indices are i32 or i64. An index below 0 or beyond the axis is an error of the run
//! ([`EvalError::Index`]) that names op, position, index and bound; nothing is clamped.

use serde::{Deserialize, Serialize};
use thalweg_array::{Array, DType, IntoShape, IntoSize, Shape, Size, with_dtype};

use crate::error::{EvalError, ShapeError};
use crate::op::{OpRules, Reference, Vjp, exactly};
use crate::reference::{built, multi_indices, ravel, rearrange};
use crate::tensor::{Meta, Tensor};

/// The position along `axis`: 0, 1, 2, …, the same for all positions along the other axes.
///
/// ```
/// use thalweg_graph::{DType, iota};
/// assert_eq!(iota(["n"], 0, DType::I64).meta().to_string(), "i64[n]");
/// ```
///
/// # Panics
/// If there is no such axis, or the dtype is u8 or bool, which soon overflow.
#[track_caller]
pub fn iota(shape: impl IntoShape, axis: usize, dtype: DType) -> Tensor {
    Tensor::apply(Iota { axis, shape: shape.into_shape(), dtype }, [])
}

impl Tensor {
    /// The slices of this tensor at `indices` along `axis`: shape `[…, n, …]` becomes `[…, indices…, …]`. Rows of a
    /// table by `gather(&rows, 0)`.
    ///
    /// ```
    /// use thalweg_graph::{DType, placeholder};
    /// let table = placeholder("table", DType::F32, [1000, 64]);
    /// let words = placeholder("words", DType::I64, ("batch", "time"));
    /// assert_eq!(table.gather(&words, 0).meta().to_string(), "f32[batch,time,64]");
    /// ```
    ///
    /// # Panics
    /// If the indices are not i32 or i64, or the axis is empty.
    #[track_caller]
    pub fn gather(&self, indices: &Tensor, axis: isize) -> Tensor {
        Tensor::apply(Gather { axis: self.axis(axis) }, [self.clone(), indices.clone()])
    }

    /// This tensor with `updates` added to its slices at `indices` along `axis`; where an index repeats, all its
    /// updates are added, in the order of the indices.
    ///
    /// # Panics
    /// If `updates` is not of the shape that [`Tensor::gather`] would give.
    #[track_caller]
    pub fn scatter_add(&self, indices: &Tensor, updates: &Tensor, axis: isize) -> Tensor {
        Tensor::apply(ScatterAdd { axis: self.axis(axis) }, [self.clone(), indices.clone(), updates.clone()])
    }

    /// On each line along `axis` the numbers at that line's `indices`: y\[i, j\] = x\[i, indices\[i, j\]\] for axis 1.
    /// The other sizes of `indices` are those of this tensor.
    #[track_caller]
    pub fn take_along(&self, indices: &Tensor, axis: isize) -> Tensor {
        Tensor::apply(TakeAlong { axis: self.axis(axis) }, [self.clone(), indices.clone()])
    }

    /// This tensor with `updates` added on each line along `axis` at that line's `indices`.
    #[track_caller]
    pub fn scatter_add_along(&self, indices: &Tensor, updates: &Tensor, axis: isize) -> Tensor {
        Tensor::apply(ScatterAddAlong { axis: self.axis(axis) }, [self.clone(), indices.clone(), updates.clone()])
    }

    /// The same integers; a run in which one of them is below 0 or not below `bound` fails and names it.
    #[track_caller]
    pub fn check_indices(&self, bound: impl IntoSize) -> Tensor {
        Tensor::apply(CheckIndices { bound: bound.into_size() }, [self.clone()])
    }

    /// 1 at the position that each index names, 0 elsewhere, along a new last axis of size `n`. An index outside 0..n
    /// fails the run.
    ///
    /// ```
    /// use thalweg_graph::{DType, placeholder};
    /// let label = placeholder("label", DType::I64, ["batch"]);
    /// assert_eq!(label.one_hot(10, DType::F32).meta().to_string(), "f32[batch,10]");
    /// ```
    #[track_caller]
    pub fn one_hot(&self, n: impl IntoSize, dtype: DType) -> Tensor {
        let n = n.into_size();
        let shape: Shape = self.shape().iter().cloned().chain([n.clone()]).collect();
        let positions = iota(&shape, self.rank(), self.dtype());
        self.check_indices(n).unsqueeze(-1).equal(positions).cast(dtype)
    }
}

fn expect_indices(indices: &Meta) -> Result<(), ShapeError> {
    match indices.dtype {
        DType::I32 | DType::I64 => Ok(()),
        DType::F32 | DType::F64 | DType::F16 | DType::BF16 | DType::U8 | DType::Bool => {
            Err(ShapeError::new(format!("the indices are {}; they must be i32 or i64", indices.dtype))
                .hint("`cast` them to i64"))
        }
    }
}

fn expect_axis(x: &Meta, axis: usize) -> Result<(), ShapeError> {
    if axis < x.shape.rank() { Ok(()) } else { Err(ShapeError::new(format!("there is no axis {axis} in {x}"))) }
}

fn expect_not_empty(x: &Meta, axis: usize) -> Result<(), ShapeError> {
    if x.shape[axis].is(0) {
        return Err(ShapeError::new(format!("axis {axis} of {x} is empty: there is nothing that an index could name")));
    }
    Ok(())
}

fn expect_updates(base: &Meta, updates: &Meta, shape: &Shape) -> Result<(), ShapeError> {
    if updates.dtype != base.dtype {
        return Err(ShapeError::new(format!("dtypes differ: {} and {}", base.dtype, updates.dtype))
            .hint("nothing is converted silently; `cast` one of them"));
    }
    if base.dtype == DType::Bool {
        return Err(ShapeError::new("bool cannot be added").hint("`cast` to i64 first"));
    }
    if &updates.shape != shape {
        return Err(ShapeError::new(format!("the updates have shape {}; these indices need {shape}", updates.shape)));
    }
    Ok(())
}

/// The indices as positions below `bound`.
fn positions_below(indices: &Array, bound: usize, cx: &Reference<'_>) -> Result<Vec<usize>, EvalError> {
    let check = |(position, index): (usize, i64)| {
        usize::try_from(index).ok().filter(|&index| index < bound).ok_or_else(|| EvalError::Index {
            op: cx.label.to_string(),
            position,
            index,
            bound,
            place: String::new(),
        })
    };
    indices.to_vec::<i64>().into_iter().enumerate().map(check).collect()
}

/// `base` with each element of `updates`, by its multi-index, added at the position that `target` gives; floats add up
/// in f64, rounded once.
fn add_at(base: &Array, updates: &Array, target: impl Fn(&[usize], usize) -> usize) -> Array {
    let targets = multi_indices(updates.shape()).enumerate().map(|(position, index)| target(&index, position));
    let storage = with_dtype!(base.dtype(), T => {
        use thalweg_array::Element;
        if T::DTYPE.is_float() {
            let mut sums = base.to_vec::<f64>();
            targets.zip(updates.to_vec::<f64>()).for_each(|(target, update)| sums[target] += update);
            T::into_storage(sums.into_iter().map(T::from_f64).collect())
        } else {
            let mut sums = base.to_vec::<i64>();
            targets.zip(updates.to_vec::<i64>()).for_each(|(target, x)| sums[target] = sums[target].wrapping_add(x));
            T::into_storage(sums.into_iter().map(T::from_i64).collect())
        }
    });
    built(base.shape(), storage)
}

/// The position along an axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Iota {
    /// The axis along which the numbers rise.
    pub axis: usize,
    /// The sizes.
    pub shape: Shape,
    /// i32, i64 or a float.
    pub dtype: DType,
}

impl OpRules for Iota {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [] = exactly(inputs)?;
        let meta = Meta::new(self.dtype, self.shape.clone());
        expect_axis(&meta, self.axis)?;
        match self.dtype {
            DType::U8 | DType::Bool => {
                Err(ShapeError::new(format!("positions of {}", self.dtype)).hint("use i64 and `cast`"))
            }
            DType::F32 | DType::F64 | DType::F16 | DType::BF16 | DType::I32 | DType::I64 => Ok(meta),
        }
    }

    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        Vec::new()
    }

    fn reference(&self, _: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        let positions: Vec<i64> = multi_indices(cx.shape).map(|index| index[self.axis] as i64).collect();
        Ok(built(cx.shape, positions_storage(positions)).cast(self.dtype))
    }
}

fn positions_storage(positions: Vec<i64>) -> thalweg_array::Storage {
    thalweg_array::Element::into_storage(positions)
}

/// x at indices along an axis. Inputs: x `[a…, n, b…]`, indices `[i…]`. Result: `[a…, i…, b…]`.
///
/// Gradient: [`ScatterAdd`] to zeros.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Gather {
    /// The axis of x that the indices name positions of.
    pub axis: usize,
}

impl Gather {
    fn shape(&self, x: &Shape, indices: &Shape) -> Shape {
        x[..self.axis].iter().chain(indices.iter()).chain(&x[self.axis + 1..]).cloned().collect()
    }
}

/// The parts of a multi-index `[a…, i…, b…]` put together with the index that `i…` names: a position in
/// `shape` = `[a…, n, b…]`.
fn named_position(index: &[usize], axis: usize, positions: &[usize], indices: &[usize], shape: &[usize]) -> usize {
    let (before, rest) = index.split_at(axis);
    let (which, after) = rest.split_at(indices.len());
    let mut source = before.to_vec();
    source.push(positions[ravel(which, indices)]);
    source.extend_from_slice(after);
    ravel(&source, shape)
}

impl OpRules for Gather {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x, indices] = exactly(inputs)?;
        expect_axis(x, self.axis)?;
        expect_indices(indices)?;
        expect_not_empty(x, self.axis)?;
        Ok(Meta::new(x.dtype, self.shape(&x.shape, &indices.shape)))
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let (x, indices) = (&cx.inputs[0], &cx.inputs[1]);
        vec![Some(x.zeros_like().scatter_add(indices, cx.cotangent, self.axis as isize)), None]
    }

    fn reference(&self, inputs: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        let (x, indices) = (inputs[0], inputs[1]);
        let positions = positions_below(indices, x.shape()[self.axis], cx)?;
        Ok(rearrange(x, cx.shape, 0.into(), |index| {
            Some(named_position(index, self.axis, &positions, indices.shape(), x.shape()))
        }))
    }
}

/// base with updates added at indices along an axis. Inputs: base `[a…, n, b…]`, indices `[i…]`, updates
/// `[a…, i…, b…]`.
///
/// Gradients: of base the cotangent, of the updates [`Gather`] of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ScatterAdd {
    /// The axis of base that the indices name positions of.
    pub axis: usize,
}

impl OpRules for ScatterAdd {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [base, indices, updates] = exactly(inputs)?;
        expect_axis(base, self.axis)?;
        expect_indices(indices)?;
        expect_not_empty(base, self.axis)?;
        expect_updates(base, updates, &Gather { axis: self.axis }.shape(&base.shape, &indices.shape))?;
        Ok(base.clone())
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let gathered = || cx.cotangent.gather(&cx.inputs[1], self.axis as isize);
        vec![Some(cx.cotangent.clone()), None, cx.wanted[2].then(gathered)]
    }

    fn reference(&self, inputs: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        let (base, indices, updates) = (inputs[0], inputs[1], inputs[2]);
        let positions = positions_below(indices, base.shape()[self.axis], cx)?;
        Ok(add_at(base, updates, |index, _| {
            named_position(index, self.axis, &positions, indices.shape(), base.shape())
        }))
    }
}

/// The rules that [`TakeAlong`] and [`ScatterAddAlong`] share: indices have the sizes of x but along the axis.
fn expect_along(x: &Meta, indices: &Meta, axis: usize) -> Result<(), ShapeError> {
    expect_axis(x, axis)?;
    expect_indices(indices)?;
    expect_not_empty(x, axis)?;
    let differs = |&other: &usize| other != axis && x.shape[other] != indices.shape[other];
    if x.shape.rank() != indices.shape.rank() || (0..x.shape.rank()).any(|other| differs(&other)) {
        return Err(ShapeError::new(format!("the indices {indices} do not lie along axis {axis} of {x}"))
            .detail("the other sizes must be equal"));
    }
    Ok(())
}

/// The position in `shape` of the multi-index with its entry at `axis` replaced.
fn replaced(index: &[usize], axis: usize, entry: usize, shape: &[usize]) -> usize {
    let mut source = index.to_vec();
    source[axis] = entry;
    ravel(&source, shape)
}

/// On each line along an axis the numbers at that line's indices. Inputs: x and indices, of equal sizes but along the
/// axis. Result: of the shape of the indices.
///
/// Gradient: [`ScatterAddAlong`] to zeros.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TakeAlong {
    /// The axis along which the lines lie.
    pub axis: usize,
}

impl OpRules for TakeAlong {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [x, indices] = exactly(inputs)?;
        expect_along(x, indices, self.axis)?;
        Ok(Meta::new(x.dtype, indices.shape.clone()))
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let (x, indices) = (&cx.inputs[0], &cx.inputs[1]);
        vec![Some(x.zeros_like().scatter_add_along(indices, cx.cotangent, self.axis as isize)), None]
    }

    fn reference(&self, inputs: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        let (x, indices) = (inputs[0], inputs[1]);
        let positions = positions_below(indices, x.shape()[self.axis], cx)?;
        Ok(rearrange(x, cx.shape, 0.into(), |index| {
            Some(replaced(index, self.axis, positions[ravel(index, cx.shape)], x.shape()))
        }))
    }
}

/// base with updates added on each line along an axis at that line's indices. Inputs: base, indices, updates; indices
/// and updates of one shape, which is that of base but along the axis.
///
/// Gradients: of base the cotangent, of the updates [`TakeAlong`] of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ScatterAddAlong {
    /// The axis along which the lines lie.
    pub axis: usize,
}

impl OpRules for ScatterAddAlong {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [base, indices, updates] = exactly(inputs)?;
        expect_along(base, indices, self.axis)?;
        expect_updates(base, updates, &indices.shape)?;
        Ok(base.clone())
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let taken = || cx.cotangent.take_along(&cx.inputs[1], self.axis as isize);
        vec![Some(cx.cotangent.clone()), None, cx.wanted[2].then(taken)]
    }

    fn reference(&self, inputs: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        let (base, indices, updates) = (inputs[0], inputs[1], inputs[2]);
        let positions = positions_below(indices, base.shape()[self.axis], cx)?;
        Ok(add_at(base, updates, |index, position| replaced(index, self.axis, positions[position], base.shape())))
    }
}

/// Identity on integers that fails the run where one is outside 0..bound.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CheckIndices {
    /// The first number that is too large.
    pub bound: Size,
}

impl OpRules for CheckIndices {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let [indices] = exactly(inputs)?;
        expect_indices(indices)?;
        Ok(indices.clone())
    }

    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![None]
    }

    fn reference(&self, inputs: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        let bound = self
            .bound
            .evaluate(cx.bindings)
            .map_err(|error| EvalError::Size { op: cx.label.into(), reason: error.to_string() })?;
        positions_below(inputs[0], bound, cx)?;
        Ok(inputs[0].clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::source::{constant, placeholder};
    use crate::reference::{Feeds, evaluate, interpret};

    #[test]
    fn gather_and_scatter_by_rows_and_by_lines() {
        let x = constant([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
        let rows = constant([1i64, 1, 0]);
        assert_eq!(
            evaluate(&x.gather(&rows, 0)).unwrap(),
            Array::from([[4.0, 5.0, 6.0], [4.0, 5.0, 6.0], [1.0, 2.0, 3.0]])
        );
        let columns = constant([[2i32, 0], [1, 1]]);
        assert_eq!(evaluate(&x.gather(&columns, 1)).unwrap().shape(), [2, 2, 2]);
        assert_eq!(evaluate(&x.take_along(&columns, -1)).unwrap(), Array::from([[3.0, 1.0], [5.0, 5.0]]));
        let updates = constant([[10.0, 20.0], [30.0, 40.0]]);
        assert_eq!(
            evaluate(&x.scatter_add_along(&columns, &updates, 1)).unwrap(),
            Array::from([[21.0, 2.0, 13.0], [4.0, 75.0, 6.0]])
        );
        let twice = constant([1i64, 1]);
        assert_eq!(
            evaluate(&x.scatter_add(&twice, &constant([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]), 0)).unwrap(),
            Array::from([[1.0, 2.0, 3.0], [15.0, 27.0, 39.0]])
        );
    }

    #[test]
    fn one_hot_and_iota() {
        let label = constant([2i64, 0]);
        assert_eq!(evaluate(&label.one_hot(3, DType::F64)).unwrap(), Array::from([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]));
        assert_eq!(evaluate(&iota([2, 2], 1, DType::I32)).unwrap(), Array::from([[0i32, 1], [0, 1]]));
    }

    #[test]
    fn an_index_that_no_element_has_is_named() {
        let x = placeholder("x", DType::F64, ["n"]);
        let at = placeholder("at", DType::I64, ["m"]);
        let run = |y: &Tensor, at: [i64; 3]| {
            let graph = crate::graph::Graph::capture([y], &[]);
            let feeds = Feeds::new([("x", Array::from([1.0, 2.0])), ("at", Array::from(at))]);
            interpret(&graph, &feeds).unwrap_err().to_string()
        };
        let message = run(&x.gather(&at, 0).named("rows"), [0, 1, 2]);
        assert!(message.contains("gather 'rows'") && message.contains("index 2 at position 2"), "{message}");
        assert!(message.contains("outside 0..2") && message.contains("index.rs"), "{message}");
        let message = run(&x.take_along(&at, 0), [0, -1, 0]);
        assert!(message.contains("take_along") && message.contains("index -1 at position 1"), "{message}");
        let message = run(&(at.one_hot(x.size(0), DType::F64).sum() + x.sum()), [5, 0, 0]);
        assert!(message.contains("check_indices") && message.contains("index 5 at position 0"), "{message}");
        let message = run(&x.scatter_add(&at, &at.cast(DType::F64), 0), [0, 0, 9]);
        assert!(message.contains("scatter_add") && message.contains("index 9 at position 2"), "{message}");
    }

    #[test]
    fn what_cannot_be_indexed_is_refused_at_build() {
        let refuse = |op: crate::op::Op, inputs: Vec<Tensor>| Tensor::try_apply(op, inputs).unwrap_err().to_string();
        let empty = placeholder("empty", DType::F32, (0, 3));
        let at = placeholder("at", DType::I64, ["m"]);
        let message = refuse(Gather { axis: 0 }.into(), vec![empty.clone(), at.clone()]);
        assert!(message.contains("axis 0 of f32[0,3] is empty"), "{message}");
        let message = refuse(Gather { axis: 2 }.into(), vec![empty.clone(), at.clone()]);
        assert!(message.contains("no axis 2"), "{message}");
        let message = refuse(Gather { axis: 1 }.into(), vec![empty.clone(), empty.clone()]);
        assert!(message.contains("indices are f32") && message.contains("cast"), "{message}");
        let message = refuse(TakeAlong { axis: 1 }.into(), vec![empty.clone(), at.clone()]);
        assert!(message.contains("do not lie along axis 1"), "{message}");
        let message = refuse(ScatterAdd { axis: 1 }.into(), vec![empty.clone(), at.clone(), empty.clone()]);
        assert!(message.contains("updates have shape [0,3]") && message.contains("[0,m]"), "{message}");
        let message = refuse(Gather { axis: 1 }.into(), vec![empty]);
        assert!(message.contains("takes 2 inputs, got 1"), "{message}");
    }
}
