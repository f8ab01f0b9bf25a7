//! Calls that work on whole buffers on one thread: adding by index, running sums, order, ops of users.

use thalweg_kernels::movement::{self, Axis, Extreme, IndexError, Order};
use thalweg_plan::graph::array::{Element, with_dtype};
use thalweg_plan::graph::{Array, DType};
use thalweg_plan::{AroundAxis, BufferId, Kernel};

/// The buffers of a call as slices.
pub(super) trait Views {
    /// The dtype of a buffer.
    fn dtype(&self, buffer: BufferId) -> DType;
    /// Its sizes.
    fn shape(&self, buffer: BufferId) -> &[usize];
    /// Its elements, which the call reads.
    fn read<T: Element>(&self, buffer: BufferId) -> &[T];
    /// Its elements, which the call writes; to be asked for once.
    #[allow(clippy::mut_from_ref)]
    fn write<T: Element>(&self, buffer: BufferId) -> &mut [T];
}

/// Why a call does not do its work.
#[derive(Debug)]
pub(super) enum Refusal {
    /// An index that no element has.
    Index(IndexError),
    /// What a user's op said.
    Custom(String),
}

impl From<IndexError> for Refusal {
    fn from(error: IndexError) -> Refusal {
        Refusal::Index(error)
    }
}

/// Calls `$body` with `$I` standing for the type of the indices in a buffer, i32 or i64.
macro_rules! with_index {
    ($dtype:expr, $I:ident => $body:expr) => {
        match $dtype {
            DType::I32 => {
                type $I = i32;
                $body
            }
            _ => {
                type $I = i64;
                $body
            }
        }
    };
}

/// How many numbers of scratch memory a kernel needs.
pub(super) fn scratch_elements(kernel: &Kernel) -> usize {
    match kernel {
        Kernel::ArgSort { around, .. } => around.size,
        _ => 0,
    }
}

/// Runs the kernel of a call; `scratch` has room for [`scratch_elements`].
pub(super) fn run(kernel: &Kernel, views: &impl Views, scratch: &mut [i64]) -> Result<(), Refusal> {
    match kernel {
        Kernel::TakeAlong { x, indices, y, around, .. } => with_dtype!(views.dtype(*x), T => {
            let (x, y) = (views.read::<T>(*x), views.write::<T>(*y));
            with_index!(views.dtype(*indices), I => {
                movement::take_along(axis(*around), x, views.read::<I>(*indices), y)?;
            });
        }),
        Kernel::ScatterAddAlong { base, indices, updates, y, around, .. } => with_dtype!(views.dtype(*base), T => {
            let (updates, y) = (views.read::<T>(*updates), views.write::<T>(*y));
            y.copy_from_slice(views.read(*base));
            with_index!(views.dtype(*indices), I => {
                movement::scatter_add_along(axis(*around), updates, views.read::<I>(*indices), y)?;
            });
        }),
        Kernel::CheckIndices { indices, bound } => with_index!(views.dtype(*indices), I => {
            movement::check_indices(views.read::<I>(*indices), *bound)?;
        }),
        Kernel::ArgReduce { x, y, around, max } => with_dtype!(views.dtype(*x), T => {
            let extreme = if *max { Extreme::Max } else { Extreme::Min };
            movement::arg_extreme(extreme, axis(*around), views.read::<T>(*x), views.write(*y));
        }),
        Kernel::CumSum { x, y, around, exclusive, reverse } => with_dtype!(views.dtype(*x), T => {
            movement::cumulative_sum(axis(*around), views.read::<T>(*x), *exclusive, *reverse, views.write(*y));
        }),
        Kernel::ArgSort { x, y, around, descending } => with_dtype!(views.dtype(*x), T => {
            let order = if *descending { Order::Descending } else { Order::Ascending };
            let scratch = &mut scratch[..around.size];
            movement::arg_sort(order, axis(*around), views.read::<T>(*x), views.write(*y), scratch);
        }),
        Kernel::OverlapAdd { x, y, around, kernel, stride, dilation } => with_dtype!(views.dtype(*x), T => {
            let windows = movement::Windows { size: *kernel, stride: *stride, dilation: *dilation };
            movement::overlap_add(axis(*around), windows, views.read::<T>(*x), views.write(*y));
        }),
        Kernel::Custom { op, inputs, y } => {
            let array = |&buffer: &BufferId| with_dtype!(views.dtype(buffer), T => Array::new(views.shape(buffer), views.read::<T>(buffer).to_vec()));
            let arrays = inputs.iter().map(array).collect::<Result<Vec<Array>, _>>();
            let arrays = arrays.map_err(|error| Refusal::Custom(error.to_string()))?;
            let arrays: Vec<&Array> = arrays.iter().collect();
            let result = op.run(&arrays, views.dtype(*y), views.shape(*y)).map_err(Refusal::Custom)?;
            with_dtype!(views.dtype(*y), T => {
                views.write::<T>(*y).copy_from_slice(result.as_slice().expect("`run` has checked the dtype"));
            });
        }
        Kernel::Map(_)
        | Kernel::MatMul(_)
        | Kernel::Convolution(_)
        | Kernel::Attention(_)
        | Kernel::Gather { .. }
        | Kernel::ScatterAdd { .. }
        | Kernel::Copy { .. }
        | Kernel::Assemble { .. }
        | Kernel::Fill { .. }
        | Kernel::Loop(_)
        | Kernel::Fold { .. } => unreachable!("prepared as other work: a bug in Thalweg"),
    }
    Ok(())
}

fn axis(around: AroundAxis) -> Axis {
    Axis { outer: around.outer, n: around.size, inner: around.inner }
}
