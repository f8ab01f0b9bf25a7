//! The space of a program: its axes, how operands lie in memory, and the merging of axes.

use smallvec::SmallVec;
use thalweg_array::DType;
use thalweg_array::program::{Extent, Instruction, OutputKind, Program};

/// The axes that a program runs over, and the strides of its operands along them, in elements.
///
/// The last axis is the columns, all before it the rows. A stride of 0 repeats; strides may be negative. What the
/// operand does not vary along must have stride 0: an input of [`Extent::Row`] has stride 0 along the columns, one of
/// [`Extent::One`] everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Space {
    /// The sizes of the axes.
    pub dims: Vec<usize>,
    /// How many leading axes are the outer ones of [`OutputKind::FoldRows`]; 0 where there are none.
    pub outer: usize,
    /// For each input a stride per axis.
    pub inputs: Vec<Vec<isize>>,
    /// For each output a stride per axis (0 along the columns for a number per row). Folds are written densely:
    /// `[outer…, columns]` by [`OutputKind::FoldRows`]; their strides are not looked at and may be empty.
    pub outputs: Vec<Vec<isize>>,
}

impl Space {
    /// The space of dense tensors of these sizes, every operand of full extent.
    pub fn dense(dims: &[usize], inputs: usize, outputs: usize) -> Space {
        let strides = dense_strides(dims);
        Space { dims: dims.to_vec(), outer: 0, inputs: vec![strides.clone(); inputs], outputs: vec![strides; outputs] }
    }
}

/// The strides of a dense row-major tensor.
pub fn dense_strides(dims: &[usize]) -> Vec<isize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis] as isize;
    }
    strides
}

/// How an operand is reached: strides along the merged row axes and along the columns.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) dtype: DType,
    pub(super) rows: SmallVec<[isize; 4]>,
    pub(super) column: isize,
    /// A row stands in memory as it would in a register.
    pub(super) has_form_of_registers: bool,
    /// The bytes from a row to the next, if all are equally far apart.
    pub(super) step: Option<isize>,
}

impl Access {
    fn new(dtype: DType, mut along: Vec<isize>) -> Access {
        let column = along.pop().unwrap_or(0);
        let step = match along[..] {
            [] => Some(0),
            [stride] => Some(stride * dtype.size() as isize),
            _ => None,
        };
        let has_form_of_registers = !matches!(dtype, DType::F16 | DType::BF16) && column == 1;
        Access { dtype, rows: along.into(), column, has_form_of_registers, step }
    }
}

/// A space with as few axes as describe it.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    /// The row axes.
    pub(super) axes: SmallVec<[usize; 4]>,
    /// Their product.
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// The product of the outer axes of [`OutputKind::FoldRows`]; 1 where there is none.
    pub(super) outer: usize,
    /// The rows that each of them puts together; all where there is none.
    pub(super) rows_per_outer: usize,
    pub(super) inputs: Vec<Access>,
    pub(super) outputs: Vec<Access>,
}

impl Geometry {
    /// Merges the axes of `space`; the columns keep their identity where the program looks at them or `keep_columns`.
    pub(super) fn new(program: &Program, space: &Space, keep_columns: bool) -> Geometry {
        let extents = program.extents();
        let dtypes = program.dtypes();
        let folds_rows = program.outputs.iter().any(|output| matches!(output.kind, OutputKind::FoldRows(_)));
        let looks_at_columns = folds_rows
            || program.instructions.iter().any(|i| {
                matches!(i, Instruction::Column { .. } | Instruction::IsColumn { .. } | Instruction::FoldRow { .. })
            })
            || program.outputs.iter().any(|output| extents[output.register as usize] == Extent::Row);

        let mut dims = space.dims.clone();
        let mut strides: Vec<Vec<isize>> = Vec::new();
        let mut kinds: Vec<(DType, Extent)> = Vec::new();
        for (input, along) in program.inputs.iter().zip(&space.inputs) {
            strides.push(along.clone());
            kinds.push((input.dtype, input.extent));
        }
        for (output, along) in program.outputs.iter().zip(&space.outputs) {
            let register = output.register as usize;
            let stored = output.kind == OutputKind::Store && extents[register] != Extent::One;
            strides.push(if stored { along.clone() } else { vec![0; dims.len()] });
            // What is not stored must not stand in the way of merging.
            kinds.push((dtypes[register], if stored { extents[register] } else { Extent::One }));
        }
        assert_eq!(space.inputs.len(), program.inputs.len(), "strides for each input of the program");
        assert_eq!(space.outputs.len(), program.outputs.len(), "strides for each output of the program");
        assert!(strides.iter().all(|along| along.len() == dims.len()), "a stride for each axis of {dims:?}");
        if dims.is_empty() {
            dims.push(1);
            strides.iter_mut().for_each(|along| along.push(0));
        }

        let mut outer = if folds_rows { space.outer } else { 0 };
        let outer_count = dims[..outer].iter().product();
        let rows_per_outer = dims[outer..dims.len() - 1].iter().product();

        let mut axis = dims.len() - 1;
        while axis > 0 {
            let to_columns = axis == dims.len() - 1;
            let fits = |along: &Vec<isize>| {
                dims[axis] == 1 || dims[axis - 1] == 1 || along[axis - 1] == along[axis] * dims[axis] as isize
            };
            let varies_by_row = strides
                .iter()
                .zip(&kinds)
                .any(|(along, kind)| kind.1 == Extent::Row && along[axis - 1] != 0 && dims[axis - 1] != 1);
            let pinned = to_columns && (keep_columns || looks_at_columns || varies_by_row);
            if !pinned && axis != outer && strides.iter().all(fits) {
                for along in &mut strides {
                    let kept = if dims[axis] == 1 { along[axis - 1] } else { along[axis] };
                    along[axis - 1] = kept;
                    along.remove(axis);
                }
                dims[axis - 1] *= dims[axis];
                dims.remove(axis);
                outer -= usize::from(axis < outer);
            }
            axis -= 1;
        }

        let columns = dims.pop().unwrap_or(1);
        let rows = dims.iter().product();
        let mut accesses = strides.into_iter().zip(kinds).map(|(along, (dtype, _))| Access::new(dtype, along));
        let inputs = accesses.by_ref().take(program.inputs.len()).collect();
        let outputs = accesses.collect();
        let rows_per_outer = if folds_rows { rows_per_outer } else { rows };
        Geometry { axes: dims.into(), rows, columns, outer: outer_count, rows_per_outer, inputs, outputs }
    }
}
