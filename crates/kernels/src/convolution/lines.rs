//! Lines of a source with zeros around them, in which the terms of few channels are found in place.
//!
//! The channels of all taps of a line of the kernel lie side by side in a line of the source: a *run*. The next pixel's
//! begins `advance` pixels further on, and the next line of the kernel reads the next line of the source. So a line of pixels
//! is multiplied without its terms being gathered. Zeros around the source leave no pixel to be looked at by itself;
//! only some lines are copied at a time, and stay in the nearest caches.

use std::ops::Range;

use super::taps::{Phase, Positions};
use super::{Axis, Problem, Side};
use crate::cpu::Isa;
use crate::matmul::block::pack;
use crate::matmul::source::Source;
use crate::matmul::tile::{Accumulator, Strip};

/// Where the lines of a plane of pixels are, with zeros around it, and the runs in them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lines {
    /// Height and width of the source, of it with zeros around, and what is put before it.
    source: [usize; 2],
    padded: [usize; 2],
    before: [usize; 2],
    channels: usize,
    /// Height and width of the result.
    pub(super) result: [usize; 2],
    /// Those of each phase.
    pub(super) runs: Vec<Runs>,
}

/// The runs of a phase.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Runs {
    /// How many a pixel has, and the terms of each.
    pub(super) count: usize,
    pub(super) length: usize,
    /// Along both axes: the first position of the result, the distance to the next, that of what they read, and where the
    /// first tap reads.
    pub(super) first: [usize; 2],
    pub(super) step: [usize; 2],
    pub(super) advance: [usize; 2],
    offset: [isize; 2],
}

impl Runs {
    fn new([height, width]: [&Positions; 2], channels: usize) -> Runs {
        let of = |f: fn(&Positions) -> usize| [f(height), f(width)];
        let offset = [height, width].map(|positions| positions.taps.first().map_or(0, |tap| tap.1));
        let [count, taps] = of(|positions| positions.taps.len());
        let (first, step) = (of(|positions| positions.first), of(|positions| positions.step));
        Runs { count, length: taps * channels, first, step, advance: of(|positions| positions.advance), offset }
    }
}

/// Elements from a pixel's run to the next pixel's up to which this is faster than to gather: with 128, 3 x 3 kernels of
/// stride 2 take 3 % longer.
const NEAR: usize = 64;
/// The most terms of a pixel that are added up in one go.
const MAX_TERMS: usize = 640;
/// Elements between lines, so that a whole vector may be read from the last pixel.
const SLACK: usize = 16;

impl Lines {
    /// None where runs are not in place, or lie too far from each other.
    pub(super) fn new(problem: &Problem) -> Option<Lines> {
        let axes = problem.three_axes();
        let [depth, height, width] = axes;
        let dense = |axis: &Axis| axis.dilation == 1;
        let sizes = |f: fn(&Axis) -> usize| [f(&height), f(&width)];
        let (input, output) = (sizes(|axis| axis.input), sizes(|axis| axis.output));
        let (source, result, channels, advance) = match problem.side {
            Side::Output | Side::Weight => (input, output, problem.in_channels, width.stride),
            Side::Input => (output, input, problem.out_channels, 1),
        };
        let taps = height.kernel * width.kernel;
        if depth != Axis::POINT || problem.groups != 1 || !dense(&height) || !dense(&width) || taps < 2 {
            return None;
        }
        if channels * advance > NEAR || channels * taps > MAX_TERMS || result.contains(&0) || channels == 0 {
            return None;
        }
        let phases = Phase::all(problem);
        let planes: Vec<[&Positions; 2]> = phases.iter().map(Phase::plane).collect();
        let mut before = [0; 2];
        let mut padded = [1; 2];
        for axis in 0..2 {
            for positions in planes.iter().map(|plane| plane[axis]) {
                let offsets = || positions.taps.iter().map(|tap| tap.1);
                let last = (result[axis] - 1 - positions.first) / positions.step * positions.advance;
                before[axis] = offsets().map(|offset| (-offset).max(0) as usize).fold(before[axis], usize::max);
                let end = offsets().map(|offset| (last as isize + offset + 1).max(1) as usize).fold(1, usize::max);
                padded[axis] = padded[axis].max(end);
            }
        }
        let padded = [before[0] + padded[0], before[1] + padded[1]];
        let runs = planes.iter().map(|&plane| Runs::new(plane, channels)).collect();
        Some(Lines { source, padded, before, channels, result, runs })
    }

    /// Elements from a line to the next, and from a pixel to the next.
    pub(super) fn line(&self) -> usize {
        self.padded[1] * self.channels
    }

    pub(super) fn pixel(&self) -> usize {
        self.channels
    }

    /// The lines, among those of all images with zeros around, that some lines of the result read.
    fn read_by(&self, lines: &Range<usize>) -> Range<usize> {
        let height = self.result[0];
        let least = |f: &dyn Fn(&Runs) -> usize| self.runs.iter().map(f).min().unwrap_or(0);
        let most = |f: &dyn Fn(&Runs) -> usize| self.runs.iter().map(f).max().unwrap_or(0);
        let first = |line: usize, runs: &Runs| {
            let base = line % height / runs.step[0] * runs.advance[0] + self.before[0];
            line / height * self.padded[0] + base.saturating_add_signed(runs.offset[0])
        };
        let start = least(&|runs| first(lines.start, runs));
        let last = most(&|runs| first(lines.end - 1, runs) + runs.count);
        start..last.min((lines.end - 1) / height * self.padded[0] + self.padded[0])
    }

    /// Elements that some lines of the result read.
    pub(super) fn elements(&self, lines: Range<usize>) -> usize {
        self.read_by(&lines).len() * self.line() + SLACK
    }

    /// Copies what some lines of the result read to `to`, which has room for [`elements`](Lines::elements), and gives
    /// the address at which all lines would begin.
    ///
    /// # Safety
    /// `from` holds all images, and the processor has the instruction set.
    pub(super) unsafe fn lay_out<S: Source>(
        &self,
        isa: Isa,
        lines: Range<usize>,
        from: *const S,
        to: *mut S::Sum,
    ) -> *const S::Sum {
        /// Elements that are copied at once.
        const AT_ONCE: usize = 512;
        let read = self.read_by(&lines);
        let before = self.before[1] * self.channels;
        let inside = self.source[1].min(self.padded[1] - self.before[1]) * self.channels;
        for (number, line) in read.clone().enumerate() {
            let to = to.wrapping_add(number * self.line());
            let (image, h) = (line / self.padded[0], (line % self.padded[0]).wrapping_sub(self.before[0]));
            // SAFETY: our caller's promise; zero bytes are a zero of all floats.
            unsafe {
                if h >= self.source[0] {
                    to.write_bytes(0, self.line());
                    continue;
                }
                to.write_bytes(0, before);
                to.add(before + inside).write_bytes(0, self.line() - before - inside);
                let strip = Strip {
                    k: 1,
                    rows: inside,
                    from: from.add((image * self.source[0] + h) * self.source[1] * self.channels),
                    from_row: 1,
                    from_step: 1,
                    to: to.add(before),
                    to_step: 1,
                    panel: AT_ONCE,
                    to_panel: AT_ONCE,
                };
                pack::<S>(S::Sum::kernels(isa).pack, &strip);
            }
        }
        // SAFETY: the room for `SLACK` elements behind the last line.
        unsafe { to.add(read.len() * self.line()).write_bytes(0, SLACK) };
        to.wrapping_sub(read.start * self.line()).cast_const()
    }

    /// Where the first run of the first pixel of a phase is in a line of the result that belongs to it, from where all
    /// lines would begin.
    pub(super) fn first_run(&self, line: usize, runs: &Runs) -> Option<isize> {
        let (image, h) = (line / self.result[0], line % self.result[0]);
        let rest = h.checked_sub(runs.first[0]).filter(|rest| rest.is_multiple_of(runs.step[0]))?;
        let line = image * self.padded[0] + self.before[0] + rest / runs.step[0] * runs.advance[0];
        let pixel = self.before[1] as isize + runs.offset[1];
        Some((line as isize + runs.offset[0]) * self.line() as isize + pixel * self.channels as isize)
    }
}
