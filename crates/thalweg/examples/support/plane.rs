//! A function of two numbers over a square, for [`Panel::surface`](crate::support::Panel).

use crate::support::Result;

const CELLS: usize = 128;

/// The values of `f` at the centers of a grid of cells over `low..high` both ways; `f` is asked once, for all of them.
pub(crate) fn surface(low: f32, high: f32, f: impl FnOnce(&[[f32; 2]]) -> Result<Vec<f64>>) -> Result<Vec<Vec<f64>>> {
    let at = |cell: usize| low + (high - low) * (cell as f32 + 0.5) / CELLS as f32;
    let centers: Vec<[f32; 2]> = (0..CELLS * CELLS).map(|cell| [at(cell % CELLS), at(cell / CELLS)]).collect();
    Ok(f(&centers)?.chunks(CELLS).map(<[f64]>::to_vec).collect())
}
