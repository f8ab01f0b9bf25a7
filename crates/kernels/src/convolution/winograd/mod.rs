//! Convolutions with 3 x 3 kernels and stride 1 by Winograd's algorithm.
//!
//! The result is cut into tiles of m x m pixels. The (m + 2)² source pixels that a tile reads, and the 3 x 3 taps, are
//! evaluated at (m + 2)² points (`transform.rs`); there the convolution is one product per point, tiles by channels times
//! channels by channels, where it was nine: (m + 2)² multiplications for m² pixels instead of 9 m².
//!
//! A chunk takes some rows of tiles through all three steps while they are in the second-level cache.

mod gradient;
mod product;
pub(super) mod transform;

pub(super) use gradient::WinogradGradient;
pub(super) use product::WinogradProduct;

use super::{Axis, Problem, Side, Winograd};
use crate::matmul::output_dtype;
use transform::Transform;

/// Which of the algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Algorithm {
    /// F(2x2, 3x3).
    F2,
    /// F(4x4, 3x3).
    F4,
}

impl Algorithm {
    /// Pixels of a tile along an axis.
    pub(super) fn pixels(self) -> usize {
        match self {
            Algorithm::F2 => 2,
            Algorithm::F4 => 4,
        }
    }

    /// Source pixels of a tile along an axis.
    pub(super) fn sources(self) -> usize {
        self.pixels() + 2
    }

    /// As it is written in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Algorithm::F2 => "winograd 2x2",
            Algorithm::F4 => "winograd 4x4",
        }
    }

    /// Points at which products are formed.
    pub(super) fn points(self) -> usize {
        self.sources() * self.sources()
    }
}

/// The algorithm for a problem, if one is possible, allowed and faster than without.
pub(super) fn best(problem: &Problem) -> Option<Algorithm> {
    let [depth, height, width] = problem.three_axes();
    let fits = |axis: &Axis| axis.kernel == 3 && axis.stride == 1 && axis.dilation == 1;
    if depth != Axis::POINT || !fits(&height) || !fits(&width) || problem.groups != 1 {
        return None;
    }
    if output_dtype(problem.dtype) != problem.dtype || problem.in_channels.min(problem.out_channels) < LEAST_CHANNELS {
        return None;
    }
    let allowed: &[Algorithm] = match (problem.winograd, problem.side) {
        (Winograd::Never, _) => return None,
        (Winograd::UpTo4x4, Side::Output | Side::Input) => &[Algorithm::F2, Algorithm::F4],
        (Winograd::UpTo2x2, _) | (Winograd::UpTo4x4, Side::Weight) => &[Algorithm::F2],
    };
    let best = allowed.iter().copied().min_by_key(|&algorithm| cost(problem, Some(algorithm)))?;
    (cost(problem, Some(best)) < cost(problem, None)).then_some(best)
}

/// What an algorithm, or the definition, takes: multiplications by vectors of output channels, with some more for each
/// transform and each pass over the weight.
fn cost(problem: &Problem, algorithm: Option<Algorithm>) -> usize {
    let [_, height, width] = problem.three_axes();
    let sizes = |axis: &Axis| if problem.side == Side::Input { axis.input } else { axis.output };
    let (pixels, products) = algorithm.map_or((1, 9), |algorithm| (algorithm.pixels(), algorithm.points()));
    let tiles = problem.batch * sizes(&height).div_ceil(pixels) * sizes(&width).div_ceil(pixels);
    let (inputs, outputs) = (problem.in_channels, problem.out_channels);
    let transforms = if algorithm.is_some() { TRANSFORM * (inputs + outputs) * products } else { 0 };
    (tiles + WEIGHT_PASS) * products * inputs * outputs + tiles * transforms
}

/// What a transform takes for each value, in multiplications by vectors.
const TRANSFORM: usize = 4;
/// What it takes to bring the weight into the form that products need, as tiles.
const WEIGHT_PASS: usize = 8;

/// Channels with fewer of which the transforms take longer than the multiplications that they save.
const LEAST_CHANNELS: usize = 16;

/// Tiles of a result, in rows of tiles.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Tiles {
    /// Pixels of a tile along an axis.
    pixels: usize,
    /// Sizes of the result and the source.
    result: [usize; 2],
    source: [usize; 2],
    /// Source pixel that tap 0 of pixel 0 reads.
    offset: [isize; 2],
    /// Rows of tiles of an image, and tiles of a row.
    down: usize,
    across: usize,
    images: usize,
}

impl Tiles {
    fn new(problem: &Problem, algorithm: Algorithm) -> Tiles {
        let [_, height, width] = problem.three_axes();
        let of = |f: fn(&Axis) -> usize| [f(&height), f(&width)];
        let (input, output) = (of(|axis| axis.input), of(|axis| axis.output));
        let padding = of(|axis| axis.padding).map(|padding| padding as isize);
        let (result, source, offset) = match problem.side {
            Side::Output | Side::Weight => (output, input, padding.map(|padding| -padding)),
            // The kernel is mirrored: tap 2 of the input's pixel 0 is tap 0 of the output.
            Side::Input => (input, output, padding.map(|padding| padding - 2)),
        };
        let pixels = algorithm.pixels();
        let [down, across] = result.map(|size| size.div_ceil(pixels));
        Tiles { pixels, result, source, offset, down, across, images: problem.batch }
    }

    /// Rows of tiles in all images.
    fn strips(&self) -> usize {
        self.images * self.down
    }

    /// Image, row and column of tiles of tile number `tile` of the strips from `strip` on.
    fn locate(&self, strip: usize, tile: usize) -> [usize; 3] {
        let (strip, column) = (strip + tile / self.across, tile % self.across);
        [strip / self.down, strip % self.down, column]
    }

    /// The first pixel of a strip, among those of all images.
    fn first_pixel(&self, strip: usize) -> usize {
        let (image, down) = (strip / self.down, strip % self.down);
        (image * self.result[0] + (down * self.pixels).min(self.result[0])) * self.result[1]
    }

    /// The pixels of a tile of the result, of `channels` elements each from channel 0 at `first`.
    fn result<T>(&self, [image, down, across]: [usize; 3], first: *mut T, channels: usize) -> Transform<T> {
        let at = [down * self.pixels, across * self.pixels].map(|at| at as isize);
        patch(image, at, self.result, self.pixels, first, channels)
    }

    /// The source pixels that a tile reads.
    fn source<T>(&self, [image, down, across]: [usize; 3], first: *mut T, channels: usize) -> Transform<T> {
        let at = [down * self.pixels, across * self.pixels].map(|at| at as isize);
        let at = [at[0] + self.offset[0], at[1] + self.offset[1]];
        patch(image, at, self.source, self.pixels + 2, first, channels)
    }
}

/// The square of `side` pixels at `at`, of an image of these sizes.
fn patch<T>(
    image: usize,
    at: [isize; 2],
    sizes: [usize; 2],
    side: usize,
    first: *mut T,
    channels: usize,
) -> Transform<T> {
    let inside = |at: isize, size: usize| {
        let clamp = |x: isize| x.clamp(0, side as isize) as usize;
        clamp(-at)..clamp(size as isize - at)
    };
    let line = (image * sizes[0]).wrapping_add_signed(at[0]);
    let pixel = line.wrapping_mul(sizes[1]).wrapping_add_signed(at[1]);
    Transform {
        patch: first.wrapping_add(pixel.wrapping_mul(channels)),
        row: (sizes[1] * channels) as isize,
        column: channels as isize,
        rows: inside(at[0], sizes[0]),
        columns: inside(at[1], sizes[1]),
        points: std::ptr::null_mut(),
        step: 0,
        channels,
    }
}
