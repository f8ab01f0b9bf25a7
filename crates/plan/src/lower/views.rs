//! Views: reshapes, permutations, expansions, slices, flips and windows move nothing. Each node is a strided look at a base: a
//! node whose numbers are computed or given.

use smallvec::{SmallVec, smallvec};
use thalweg_graph::{Graph, NodeId, Op, Scalar};

pub(crate) type Dims = SmallVec<[usize; 4]>;
pub(crate) type Strides = SmallVec<[isize; 4]>;

/// A look at the elements of `base`: the element at a multi-index is number `offset + Σ index·stride`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) base: NodeId,
    pub(crate) offset: usize,
    pub(crate) dims: Dims,
    pub(crate) strides: Strides,
    /// The number of elements of the base.
    pub(crate) count: usize,
    /// What must be computed before somebody looks.
    pub(crate) awaits: SmallVec<[NodeId; 1]>,
}

impl View {
    /// The base as it is.
    fn identity(base: NodeId, dims: Dims) -> View {
        let strides = contiguous(&dims);
        let count = dims.iter().product();
        View { base, offset: 0, dims, strides, count, awaits: SmallVec::new() }
    }

    /// Whether the view shows all elements in row-major order from the first on.
    pub(crate) fn is_identity(&self) -> bool {
        // The first rows of a matrix are contiguous too, but not all of it.
        self.dims.iter().product::<usize>() == self.count
            && self.offset == 0
            && is_contiguous(&self.dims, &self.strides)
    }
}

/// The strides of a row-major array.
pub(crate) fn contiguous(dims: &[usize]) -> Strides {
    let mut strides: Strides = smallvec![0; dims.len()];
    let mut next = 1isize;
    for axis in (0..dims.len()).rev() {
        strides[axis] = next;
        next *= dims[axis] as isize;
    }
    strides
}

/// Whether `strides` walk `dims` in memory order without gaps; strides of axes of size 1 do not matter.
pub(crate) fn is_contiguous(dims: &[usize], strides: &[isize]) -> bool {
    let mut next = 1isize;
    for (&size, &stride) in dims.iter().zip(strides).rev() {
        if size != 1 && stride != next {
            return false;
        }
        next *= size as isize;
    }
    true
}

/// The numeric sizes of a node of a bound graph.
pub(crate) fn dims(graph: &Graph, id: NodeId) -> Dims {
    let size = |size: &thalweg_graph::Size| size.number().expect("lowering works on bound graphs: a bug in Thalweg");
    graph[id].meta.shape.iter().map(size).collect()
}

/// The view of every node.
pub(crate) fn views(graph: &Graph) -> Vec<View> {
    let mut views: Vec<View> = Vec::with_capacity(graph.len());
    for id in graph.ids() {
        let node = &graph[id];
        let dims = dims(graph, id);
        let input = |number: usize| &views[node.inputs[number].index()];
        let view = match &node.op {
            // The check itself is a call of its own; its result is its input.
            Op::StopGradient(_) | Op::WithUpdate(_) | Op::EvaluatedAs(_) | Op::CheckIndices(_) => {
                Some(input(0).clone())
            }
            // A result that is taken out twice.
            Op::Output(output) => {
                let same = |other: &NodeId| {
                    let other = &graph[*other];
                    other.inputs == node.inputs && matches!(&other.op, Op::Output(o) if o.index == output.index)
                };
                graph
                    .ids()
                    .take(id.index())
                    .skip(node.inputs[0].index())
                    .find(same)
                    .map(|first| views[first.index()].clone())
            }
            Op::After(_) => {
                let mut view = input(0).clone();
                view.awaits.push(input(1).base);
                Some(view)
            }
            Op::Reshape(_) => reshaped(input(0), &dims),
            Op::Permute(permute) => Some(View {
                strides: permute.axes.iter().map(|&axis| input(0).strides[axis]).collect(),
                dims: dims.clone(),
                ..input(0).clone()
            }),
            Op::Expand(_) => Some(expanded(input(0), &dims)),
            Op::Slice(slice) => {
                let mut view = input(0).clone();
                for (axis, part) in slice.axes.iter().enumerate() {
                    let start = part.start.number().expect("lowering works on bound graphs: a bug in Thalweg");
                    view.offset = view.offset.wrapping_add_signed(start as isize * view.strides[axis]);
                    view.strides[axis] *= part.step as isize;
                }
                Some(View { dims: dims.clone(), ..view })
            }
            Op::Windows(windows) => {
                let mut view = input(0).clone();
                let stride = view.strides[windows.axis];
                view.strides[windows.axis] = stride * windows.stride as isize;
                view.strides.insert(windows.axis + 1, stride * windows.dilation as isize);
                Some(View { dims: dims.clone(), ..view })
            }
            Op::Flip(flip) => {
                let mut view = input(0).clone();
                for &axis in &flip.axes {
                    let last = view.dims[axis].saturating_sub(1) as isize;
                    view.offset = view.offset.wrapping_add_signed(last * view.strides[axis]);
                    view.strides[axis] = -view.strides[axis];
                }
                Some(view)
            }
            _ => None,
        };
        views.push(view.unwrap_or_else(|| View::identity(id, dims)));
    }
    views
}

fn expanded(view: &View, dims: &[usize]) -> View {
    let extra = dims.len() - view.dims.len();
    let stride = |axis: usize| match axis.checked_sub(extra) {
        Some(from) if view.dims[from] == dims[axis] => view.strides[from],
        _ => 0,
    };
    View { strides: (0..dims.len()).map(stride).collect(), dims: dims.into(), ..view.clone() }
}

/// The view under other sizes, where strides can say it: runs of axes that lie one after the other in memory are cut
/// anew. `None` if the elements must be moved.
fn reshaped(view: &View, dims: &[usize]) -> Option<View> {
    if dims.contains(&0) {
        return Some(View { dims: dims.into(), strides: contiguous(dims), ..view.clone() });
    }
    // Axes of size 1 carry nothing.
    let old: Vec<(usize, isize)> =
        view.dims.iter().copied().zip(view.strides.iter().copied()).filter(|&(size, _)| size != 1).collect();
    let mut strides: Strides = smallvec![0; dims.len()];
    let mut from = 0;
    let mut axis = 0;
    while axis < dims.len() {
        if dims[axis] == 1 {
            axis += 1;
            continue;
        }
        // The smallest runs of old and new axes with equal products.
        let (first_old, first_new) = (from, axis);
        let mut old_count = old.get(from)?.0;
        let mut new_count = dims[axis];
        (from, axis) = (from + 1, axis + 1);
        while old_count != new_count {
            if old_count < new_count {
                old_count *= old.get(from)?.0;
                from += 1;
            } else {
                new_count *= dims[axis];
                axis += 1;
            }
        }
        let run = &old[first_old..from];
        if run.windows(2).any(|pair| pair[0].1 != pair[1].1 * pair[1].0 as isize) {
            return None;
        }
        let mut next = run[run.len() - 1].1;
        for position in (first_new..axis).rev() {
            strides[position] = next;
            next *= dims[position] as isize;
        }
    }
    Some(View { dims: dims.into(), strides, ..view.clone() })
}

/// The number that a node is everywhere, if it is a known one.
pub(crate) fn splat(graph: &Graph, views: &[View], id: NodeId) -> Option<Scalar> {
    match &graph[views[id.index()].base].op {
        Op::Constant(constant) => constant.splat(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(dims: &[usize], strides: &[isize]) -> View {
        let base = Graph::capture([&thalweg_graph::constant(1.0f32)], &[]).fetches()[0];
        View { strides: strides.into(), ..View::identity(base, dims.into()) }
    }

    #[test]
    fn a_reshape_is_a_view_where_strides_can_say_it() {
        let reshape = |from: &View, dims: &[usize]| reshaped(from, dims).map(|view| view.strides.to_vec());
        let plain = view(&[2, 3, 4], &[12, 4, 1]);
        assert_eq!(reshape(&plain, &[6, 4]), Some(vec![4, 1]));
        assert_eq!(reshape(&plain, &[2, 1, 12]), Some(vec![12, 0, 1]));
        assert_eq!(reshape(&plain, &[4, 6]), Some(vec![6, 1]));
        // [3,4] transposed: its rows cannot be run together.
        let transposed = view(&[4, 3], &[1, 4]);
        assert_eq!(reshape(&transposed, &[12]), None);
        assert_eq!(reshape(&transposed, &[2, 2, 3]), Some(vec![2, 1, 4]));
        // A row repeated: the repetition stays an axis of its own.
        let repeated = view(&[5, 4], &[0, 1]);
        assert_eq!(reshape(&repeated, &[20]), None);
        assert_eq!(reshape(&repeated, &[5, 2, 2]), Some(vec![0, 2, 1]));
    }

    #[test]
    fn contiguity_ignores_axes_of_size_one() {
        assert!(is_contiguous(&[2, 1, 3], &[3, 99, 1]));
        assert!(!is_contiguous(&[2, 3], &[1, 2]));
    }
}
