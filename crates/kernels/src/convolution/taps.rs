//! Where the pixels of a result read a source: the convolution and the gradient to its input in one form.
//!
//! Along an axis, position `first + q · step` of the result adds up the source at `q · advance + offset`, each offset with
//! its own tap of the kernel. Of a convolution, all positions read alike: they step by 1 and advance by the stride. Of
//! the gradient to the input, position p reads output `(p + padding − k · dilation) / stride` where that is whole, so
//! there are as many *phases* as the stride is long, each of which steps by the stride and advances by 1.

use std::ops::Range;

use smallvec::SmallVec;

use super::{Axis, Problem, Side};

/// The positions of one phase of an axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Positions {
    pub(super) first: usize,
    pub(super) step: usize,
    pub(super) advance: usize,
    /// Taps of the kernel and their offsets, in the order of the offsets.
    pub(super) taps: SmallVec<[(usize, isize); 4]>,
}

impl Positions {
    /// The phases of an axis.
    fn phases(axis: &Axis, side: Side) -> Vec<Positions> {
        let signed = |x: usize| x as isize;
        match side {
            Side::Output | Side::Weight => {
                let offset = |k| signed(k * axis.dilation) - signed(axis.padding);
                let taps = (0..axis.kernel).map(|k| (k, offset(k))).collect();
                vec![Positions { first: 0, step: 1, advance: axis.stride, taps }]
            }
            Side::Input => {
                let stride = signed(axis.stride);
                let phase = |first: usize| {
                    let distance = |k: usize| signed(first + axis.padding) - signed(k * axis.dilation);
                    let meets = |k: &usize| distance(*k) % stride == 0;
                    let taps = (0..axis.kernel).rev().filter(meets).map(|k| (k, distance(k) / stride)).collect();
                    Positions { first, step: axis.stride, advance: 1, taps }
                };
                (0..axis.stride.min(axis.input)).map(phase).collect()
            }
        }
    }

    /// Where a position of the result reads the source at offset 0, if it belongs to the phase.
    fn base(&self, position: usize) -> Option<usize> {
        let distance = position.checked_sub(self.first)?;
        distance.is_multiple_of(self.step).then(|| distance / self.step * self.advance)
    }
}

/// The pixels of the result that read the source with the same taps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Phase {
    positions: [Positions; 3],
    /// Sizes of the result.
    result: [usize; 3],
}

/// A pixel of the result.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pixel {
    /// Its number among the pixels of all images.
    pub(super) row: usize,
    pub(super) image: usize,
    /// Where it reads the source at offset 0.
    pub(super) base: [usize; 3],
}

/// Neighboring terms of a pixel's sum.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Segment {
    /// Where the first tap reads, from the pixel's base.
    pub(super) offset: [isize; 3],
    /// Taps side by side along the last axis.
    pub(super) taps: usize,
    /// The first channel, and the number of channels, that is read at each.
    pub(super) channel: usize,
    pub(super) channels: usize,
    /// Elements of the source from the base to the first channel.
    pub(super) distance: isize,
}

/// Some of the terms of the sums of a phase, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Terms {
    pub(super) range: Range<usize>,
    pub(super) segments: Vec<Segment>,
    /// The least and the largest offset along each axis.
    lowest: [isize; 3],
    highest: [isize; 3],
    /// Elements of the source from the base to the end of what is read.
    pub(super) reach: isize,
}

impl Terms {
    pub(super) fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether all taps of the pixel are inside of a source of these sizes.
    #[inline(always)]
    pub(super) fn are_inside(&self, pixel: &Pixel, sizes: [usize; 3]) -> bool {
        let inside = |axis: usize| {
            let base = pixel.base[axis] as isize;
            base + self.lowest[axis] >= 0 && base + self.highest[axis] < sizes[axis] as isize
        };
        inside(0) && inside(1) && inside(2)
    }
}

/// The source that pixels read: what the convolution, or the gradient to its input, is taken of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Source {
    pub(super) sizes: [usize; 3],
    /// Channels of all groups.
    pub(super) channels: usize,
    pub(super) groups: usize,
    /// Elements of all images.
    pub(super) elements: usize,
}

impl Source {
    pub(super) fn new(problem: &Problem) -> Source {
        let axes = problem.three_axes();
        let [x, _, y] = problem.elements();
        let groups = problem.groups;
        match problem.side {
            Side::Output | Side::Weight => {
                let sizes = axes.map(|axis| axis.input);
                Source { sizes, channels: problem.in_channels, groups, elements: x }
            }
            Side::Input => {
                let sizes = axes.map(|axis| axis.output);
                Source { sizes, channels: problem.out_channels, groups, elements: y }
            }
        }
    }

    /// Channels of a group.
    pub(super) fn group_channels(&self) -> usize {
        self.channels / self.groups
    }

    /// Elements from a pixel to the one at this offset.
    fn distance(&self, [d, h, w]: [isize; 3]) -> isize {
        let [_, height, width] = self.sizes.map(|size| size as isize);
        ((d * height + h) * width + w) * self.channels as isize
    }
}

impl Phase {
    /// All phases of the side, the empty ones included, which have pixels but no taps.
    pub(super) fn all(problem: &Problem) -> Vec<Phase> {
        let axes = problem.three_axes();
        let side = problem.side;
        let result = axes.map(|axis| if side == Side::Input { axis.input } else { axis.output });
        let [depth, height, width] = axes.map(|axis| Positions::phases(&axis, side));
        let mut phases = Vec::new();
        for d in &depth {
            for h in &height {
                for w in &width {
                    phases.push(Phase { positions: [d.clone(), h.clone(), w.clone()], result });
                }
            }
        }
        phases
    }

    /// The positions along the two innermost axes.
    pub(super) fn plane(&self) -> [&Positions; 2] {
        let [_, height, width] = &self.positions;
        [height, width]
    }

    /// The number of taps.
    pub(super) fn taps(&self) -> usize {
        self.positions.iter().map(|positions| positions.taps.len()).product()
    }

    /// Tap number `index` of the sum, as a position in a kernel of these sizes.
    pub(super) fn tap(&self, index: usize, kernel: [usize; 3]) -> usize {
        let [d, h, w] = &self.positions;
        let (line, at_w) = (index / w.taps.len(), index % w.taps.len());
        let [kd, kh, kw] = [d.taps[line / h.taps.len()].0, h.taps[line % h.taps.len()].0, w.taps[at_w].0];
        (kd * kernel[1] + kh) * kernel[2] + kw
    }

    /// Where in the source a pixel reads with tap number `index` of the sum, if that is inside.
    pub(super) fn source_of(&self, pixel: &Pixel, index: usize, source: &Source) -> Option<usize> {
        let [d, h, w] = &self.positions;
        let (line, at_w) = (index / w.taps.len(), index % w.taps.len());
        let offset = [d.taps[line / h.taps.len()].1, h.taps[line % h.taps.len()].1, w.taps[at_w].1];
        let at = |axis: usize| {
            pixel.base[axis].checked_add_signed(offset[axis]).filter(|&position| position < source.sizes[axis])
        };
        let [_, height, width] = source.sizes;
        let (d, h, w) = (at(0)?, at(1)?, at(2)?);
        let line = (pixel.image * source.sizes[0] + d) * height + h;
        Some((line * width + w) * source.channels)
    }

    /// Terms `range` of the sum over taps and the channels of a group of `source`, as few segments as possible.
    pub(super) fn terms(&self, range: Range<usize>, source: &Source) -> Terms {
        let [d, h, w] = &self.positions;
        let channels = source.channels / source.groups;
        let mut segments: Vec<Segment> = Vec::new();
        let mut first = 0;
        for (_, at_d) in &d.taps {
            for (_, at_h) in &h.taps {
                let mut last = None;
                for (_, at_w) in &w.taps {
                    let clamp = |term: usize| term.clamp(first, first + channels) - first;
                    let (start, end) = (clamp(range.start), clamp(range.end));
                    let is_all = end - start == channels;
                    // Neighboring pixels are neighbors in memory if all of their channels are read.
                    let joins = source.groups == 1 && is_all && last == Some(*at_w - 1);
                    if joins && let Some(segment) = segments.last_mut() {
                        segment.taps += 1;
                    } else if start < end {
                        let offset = [*at_d, *at_h, *at_w];
                        let distance = source.distance(offset) + start as isize;
                        segments.push(Segment { offset, taps: 1, channel: start, channels: end - start, distance });
                    }
                    last = is_all.then_some(*at_w);
                    first += channels;
                }
            }
        }
        let last = |segment: &Segment| {
            let [d, h, w] = segment.offset;
            [d, h, w + segment.taps as isize - 1]
        };
        let of = |f: fn(isize, isize) -> isize, offset: &dyn Fn(&Segment) -> [isize; 3]| {
            let offsets = segments.iter().map(offset);
            offsets.reduce(|a, b| std::array::from_fn(|axis| f(a[axis], b[axis]))).unwrap_or_default()
        };
        let (lowest, highest) = (of(isize::min, &|segment| segment.offset), of(isize::max, &last));
        let end = |segment: &Segment| source.distance(last(segment)) + (segment.channel + segment.channels) as isize;
        let reach = segments.iter().map(end).max().unwrap_or(0);
        Terms { range, segments, lowest, highest, reach }
    }

    /// Those of the pixels `rows` that belong to the phase.
    pub(super) fn pixels(&self, rows: Range<usize>) -> Pixels<'_> {
        let width = self.result[2];
        let line = rows.start / width.max(1);
        let mut pixels = Pixels { phase: self, end: rows.end, line, at: 0, line_end: 0, image: 0, base: [0; 2] };
        pixels.enter_line(rows.start - line * width);
        pixels
    }
}

/// The pixels of a phase within a range.
#[derive(Debug)]
pub(super) struct Pixels<'a> {
    phase: &'a Phase,
    /// The first pixel beyond.
    end: usize,
    /// The line of pixels, among those of all images.
    line: usize,
    /// The next position in it, and the first that does not belong.
    at: usize,
    line_end: usize,
    image: usize,
    /// Where the line reads the source.
    base: [usize; 2],
}

impl Pixels<'_> {
    /// Sets the line up, from position `from` on.
    fn enter_line(&mut self, from: usize) {
        let [depth, height, width] = self.phase.result;
        let [at_d, at_h, at_w] = &self.phase.positions;
        let (slice, h) = (self.line / height.max(1), self.line % height.max(1));
        (self.at, self.line_end) = (0, 0);
        if let (Some(base_d), Some(base_h)) = (at_d.base(slice % depth.max(1)), at_h.base(h)) {
            (self.image, self.base) = (slice / depth, [base_d, base_h]);
            self.at = at_w.first + from.saturating_sub(at_w.first).next_multiple_of(at_w.step);
            self.line_end = width.min(self.end - self.line * width);
        }
    }
}

impl Iterator for Pixels<'_> {
    type Item = Pixel;

    fn next(&mut self) -> Option<Pixel> {
        let width = self.phase.result[2];
        let along = &self.phase.positions[2];
        while self.at >= self.line_end {
            self.line += 1;
            if self.line * width >= self.end {
                return None;
            }
            self.enter_line(0);
        }
        let base = [self.base[0], self.base[1], (self.at - along.first) / along.step * along.advance];
        let pixel = Pixel { row: self.line * width + self.at, image: self.image, base };
        self.at += along.step;
        Some(pixel)
    }
}
