//! Rows picked, or added, by index, by all threads.
#![allow(unsafe_code)]

use thalweg_kernels::movement::index::Add;
use thalweg_kernels::movement::{Axis, Gather, IndexError, ScatterAdd, check_indices};
use thalweg_kernels::pool::Pool;
use thalweg_plan::graph::DType;
use thalweg_plan::graph::array::{Element, with_dtype};
use thalweg_plan::{AroundAxis, BufferId, Plan};

use super::share_out;

/// Rows picked by index, made ready.
#[derive(Debug)]
pub(crate) struct Rows {
    gather: Gather,
    /// How many there are to pick from.
    bound: usize,
    /// What is read.
    elements: usize,
    indices: usize,
    index_dtype: DType,
    /// Bytes of an element: what it means does not matter.
    size: usize,
    pub(super) buffers: [BufferId; 3],
}

impl Rows {
    /// `buffers`: what is picked from, the indices, the result.
    pub(crate) fn new(plan: &Plan, buffers: [BufferId; 3], around: AroundAxis) -> Rows {
        let [x, indices, _] = buffers;
        let axis = Axis { outer: around.outer, n: around.size, inner: around.inner };
        let (size, count) = (plan[x].dtype.size(), plan[indices].count());
        Rows {
            gather: Gather::new(axis, count, size),
            bound: axis.n,
            elements: axis.len(),
            indices: count,
            index_dtype: plan[indices].dtype,
            size,
            buffers,
        }
    }

    /// What runs, in a line for profiles.
    pub(crate) fn describe(&self) -> String {
        match self.gather.chunks() {
            1 => "gather, 1 chunk".into(),
            chunks => format!("gather, {chunks} chunks"),
        }
    }

    /// Runs.
    ///
    /// # Errors
    /// If an index is outside; nothing is written then.
    ///
    /// # Safety
    /// The addresses are those of the buffers, aligned, with all their elements; nobody else uses what is written.
    pub(super) unsafe fn run(&self, pool: &Pool, addresses: [*mut u8; 3]) -> Result<(), IndexError> {
        // SAFETY (all): the caller's promise; elements of any kind are moved as numbers of their size.
        unsafe {
            match self.index_dtype {
                DType::I32 => self.run_with::<i32>(pool, addresses),
                _ => self.run_with::<i64>(pool, addresses),
            }
        }
    }

    unsafe fn run_with<I: Element + Sync>(&self, pool: &Pool, [x, indices, y]: [*mut u8; 3]) -> Result<(), IndexError> {
        // SAFETY: the caller's promise.
        let indices = unsafe { super::execute::slice::<I>(indices, self.indices) };
        check_indices(indices, self.bound)?;
        // SAFETY (all): as above.
        unsafe {
            match self.size {
                1 => self.pick::<u8, I>(pool, x, indices, y),
                2 => self.pick::<u16, I>(pool, x, indices, y),
                4 => self.pick::<u32, I>(pool, x, indices, y),
                _ => self.pick::<u64, I>(pool, x, indices, y),
            }
        }
        Ok(())
    }

    unsafe fn pick<T: Copy + Sync, I: Element + Sync>(&self, pool: &Pool, x: *mut u8, indices: &[I], y: *mut u8) {
        // SAFETY: the caller's promise.
        let x = unsafe { super::execute::slice::<T>(x, self.elements) };
        let to = Output(y.cast::<T>());
        let chunk = |chunk: usize, _| {
            let written = self.gather.written(chunk);
            // SAFETY: the caller's promise; chunks write different elements.
            let out = unsafe { super::execute::slice_mut(to.at(written.start).cast(), written.len()) };
            self.gather.run_chunk(chunk, x, indices, out);
        };
        share_out(pool, self.gather.chunks(), &chunk);
    }
}

/// Rows added by index, made ready.
#[derive(Debug)]
pub(crate) struct AddedRows {
    scatter: ScatterAdd,
    /// How many there are to be added to.
    bound: usize,
    /// What is added.
    elements: usize,
    dtype: DType,
    indices: usize,
    index_dtype: DType,
    pub(super) buffers: [BufferId; 3],
}

impl AddedRows {
    /// `buffers`: what is added, the indices, what it is added to.
    pub(crate) fn new(plan: &Plan, buffers: [BufferId; 3], around: AroundAxis) -> AddedRows {
        let [x, indices, _] = buffers;
        let axis = Axis { outer: around.outer, n: around.size, inner: around.inner };
        let (dtype, count) = (plan[x].dtype, plan[indices].count());
        AddedRows {
            scatter: ScatterAdd::new(axis, count, dtype.size()),
            bound: axis.n,
            elements: plan[x].count(),
            dtype,
            indices: count,
            index_dtype: plan[indices].dtype,
            buffers,
        }
    }

    /// What runs, in a line for profiles.
    pub(crate) fn describe(&self) -> String {
        match self.scatter.chunks() {
            1 => "scatter-add, 1 chunk".into(),
            chunks => format!("scatter-add, {chunks} chunks"),
        }
    }

    /// Runs.
    ///
    /// # Errors
    /// If an index is outside; nothing is added then.
    ///
    /// # Safety
    /// As for [`Rows::run`].
    pub(super) unsafe fn run(&self, pool: &Pool, addresses: [*mut u8; 3]) -> Result<(), IndexError> {
        // SAFETY (all): the caller's promise.
        with_dtype!(self.dtype, T => unsafe {
            match self.index_dtype {
                DType::I32 => self.add::<T, i32>(pool, addresses),
                _ => self.add::<T, i64>(pool, addresses),
            }
        })
    }

    unsafe fn add<T: Add + Sync, I: Element + Sync>(
        &self,
        pool: &Pool,
        [x, indices, y]: [*mut u8; 3],
    ) -> Result<(), IndexError> {
        // SAFETY: the caller's promise.
        let (x, indices) = unsafe {
            (super::execute::slice::<T>(x, self.elements), super::execute::slice::<I>(indices, self.indices))
        };
        check_indices(indices, self.bound)?;
        let to = Output(y.cast::<T>());
        // SAFETY: the caller's promise; chunks add to different elements.
        let chunk = |chunk: usize, _| unsafe { self.scatter.run_chunk(chunk, x, indices, to.at(0)) };
        share_out(pool, self.scatter.chunks(), &chunk);
        Ok(())
    }
}

/// Where the result goes.
struct Output<T>(*mut T);

// SAFETY: a plain address; chunks write different elements.
unsafe impl<T> Sync for Output<T> {}

impl<T> Output<T> {
    fn at(&self, element: usize) -> *mut T {
        self.0.wrapping_add(element)
    }
}
