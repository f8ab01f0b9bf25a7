//! Loops over the definition.

use std::ops::Range;
use std::slice;

use super::{Problem, Side};
use crate::matmul::Operands;
use crate::matmul::source::Source;

/// Computes some rows of the result.
///
/// # Safety
/// The operands point to the tensors of the problem, of elements `S` and for the result `S::Sum`; nobody else touches
/// those rows.
pub(super) unsafe fn solve<S: Source>(problem: &Problem, rows: Range<usize>, operands: Operands) {
    let [depth, height, width] = problem.three_axes();
    let [_, columns] = problem.result();
    let (inputs, outputs) = (problem.in_channels / problem.groups, problem.out_channels / problem.groups);
    let [x_length, w_length, y_length] = problem.elements();
    let kernel = || cells([depth.kernel, height.kernel, width.kernel]);
    let taps = problem.taps();
    for row in rows {
        // SAFETY: our caller's promise; all positions below are inside of the tensors.
        let result =
            unsafe { slice::from_raw_parts_mut(operands.c.cast::<S::Sum>().wrapping_add(row * columns), columns) };
        result.fill(S::Sum::default());
        let a = |length| unsafe { slice::from_raw_parts(operands.a.cast::<S>(), length) };
        let b = |length| unsafe { slice::from_raw_parts(operands.b.cast::<S>(), length) };
        match problem.side {
            Side::Output => {
                let (x, w) = (a(x_length), b(w_length));
                let (n, [td, th, tw]) = pixel(row, [depth.output, height.output, width.output]);
                for (tap, [kd, kh, kw]) in kernel().enumerate() {
                    let at = (depth.source(td, kd), height.source(th, kh), width.source(tw, kw));
                    let (Some(d), Some(h), Some(w_position)) = at else { continue };
                    let pixel = ((n * depth.input + d) * height.input + h) * width.input + w_position;
                    for (o, sum) in result.iter_mut().enumerate() {
                        let first = pixel * problem.in_channels + o / outputs * inputs;
                        for c in 0..inputs {
                            let weight = w[(o * inputs + c) * taps + tap];
                            *sum = *sum + wide(x[first + c]) * wide(weight);
                        }
                    }
                }
            }
            Side::Input => {
                let (y, w) = (a(y_length), b(w_length));
                let (n, [d, h, w_position]) = pixel(row, [depth.input, height.input, width.input]);
                for (tap, [kd, kh, kw]) in kernel().enumerate() {
                    let at = (depth.target(d, kd), height.target(h, kh), width.target(w_position, kw));
                    let (Some(td), Some(th), Some(tw)) = at else { continue };
                    let pixel = ((n * depth.output + td) * height.output + th) * width.output + tw;
                    for (c, sum) in result.iter_mut().enumerate() {
                        for o in c / inputs * outputs..(c / inputs + 1) * outputs {
                            let weight = w[(o * inputs + c % inputs) * taps + tap];
                            *sum = *sum + wide(y[pixel * problem.out_channels + o]) * wide(weight);
                        }
                    }
                }
            }
            Side::Weight => {
                let (x, y) = (a(x_length), b(y_length));
                for (position, sum) in result.iter_mut().enumerate() {
                    let channel = row / outputs * inputs + position / taps;
                    let [kd, kh, kw] = pixel(position % taps, [depth.kernel, height.kernel, width.kernel]).1;
                    for t in 0..y_length / problem.out_channels {
                        let (n, [td, th, tw]) = pixel(t, [depth.output, height.output, width.output]);
                        let at = (depth.source(td, kd), height.source(th, kh), width.source(tw, kw));
                        let (Some(d), Some(h), Some(w_position)) = at else { continue };
                        let pixel = ((n * depth.input + d) * height.input + h) * width.input + w_position;
                        let x = x[pixel * problem.in_channels + channel];
                        *sum = *sum + wide(x) * wide(y[t * problem.out_channels + row]);
                    }
                }
            }
        }
    }
}

fn wide<S: Source>(x: S) -> S::Sum {
    let mut wide = [S::Sum::default()];
    S::widen(&[x], &mut wide);
    wide[0]
}

/// All positions in a box, in order.
fn cells([depth, height, width]: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    (0..depth * height * width).map(move |cell| pixel(cell, [depth, height, width]).1)
}

/// Image and position of a pixel.
fn pixel(number: usize, [depth, height, width]: [usize; 3]) -> (usize, [usize; 3]) {
    let (line, w) = (number / width, number % width);
    let (slice, h) = (line / height, line % height);
    (slice / depth, [slice % depth, h, w])
}
