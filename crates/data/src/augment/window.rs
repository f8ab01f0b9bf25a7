//! What lies within a frame that may reach beyond a picture: padding, cutting, rotating, covering.

use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::picture::Picture;
use crate::random::Random;
use crate::resample::level;

/// What lies beyond the edges of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Border {
    /// One color.
    Color([u8; 3]),
    /// The picture mirrored; the pixels of the edge come once.
    Mirror,
}

impl Border {
    /// The place along an axis of `len` pixels that is seen at `at`; none where the color is.
    fn place(self, at: isize, len: usize) -> Option<usize> {
        let len = len as isize;
        match self {
            _ if (0..len).contains(&at) => Some(at as usize),
            Border::Color(_) => None,
            Border::Mirror => {
                let period = (2 * (len - 1)).max(1);
                let at = at.rem_euclid(period);
                Some(at.min(period - at).min(len - 1) as usize)
            }
        }
    }

    fn color(self) -> [u8; 3] {
        match self {
            Border::Color(color) => color,
            Border::Mirror => [0; 3],
        }
    }
}

impl Picture {
    /// The part of `size` whose upper left corner is at (`top`, `left`), wherever that is.
    fn window(&self, (top, left): (isize, isize), (height, width): (usize, usize), border: Border) -> Picture {
        let mut window = Picture::plain(height, width, border.color());
        // The columns that are inside the picture are copied at once.
        let inside =
            (-left).clamp(0, width as isize) as usize..(self.width() as isize - left).clamp(0, width as isize) as usize;
        for (y, to) in window.pixels_mut().chunks_exact_mut(3 * width).enumerate() {
            let Some(y) = border.place(top + y as isize, self.height()) else { continue };
            let from = &self.pixels()[3 * y * self.width()..][..3 * self.width()];
            if !inside.is_empty() {
                let first = 3 * (inside.start as isize + left) as usize;
                to[3 * inside.start..3 * inside.end].copy_from_slice(&from[first..][..3 * inside.len()]);
            }
            for x in (0..width).filter(|x| !inside.contains(x)) {
                let Some(from_x) = border.place(left + x as isize, self.width()) else { continue };
                to[3 * x..3 * x + 3].copy_from_slice(&from[3 * from_x..3 * from_x + 3]);
            }
        }
        window
    }

    /// The middle, after `padding` pixels of `border` were added on each side.
    pub(super) fn center(&self, size: (usize, usize), padding: usize, border: Border) -> Result<Picture, DataError> {
        let free = self.free(size, padding)?;
        let at = |free: usize| (free / 2) as isize - padding as isize;
        Ok(self.window((at(free.0), at(free.1)), size, border))
    }

    /// As [`center`](Picture::center), anywhere.
    pub(super) fn random_crop(
        &self,
        size: (usize, usize),
        padding: usize,
        border: Border,
        random: &mut Random,
    ) -> Result<Picture, DataError> {
        let free = self.free(size, padding)?;
        let mut at = |free: usize| random.within(0..=free as i32) as isize - padding as isize;
        Ok(self.window((at(free.0), at(free.1)), size, border))
    }

    /// How far a frame of this size can move over the padded picture.
    fn free(&self, size: (usize, usize), padding: usize) -> Result<(usize, usize), DataError> {
        let free = |own: usize, wanted: usize| (own + 2 * padding).checked_sub(wanted);
        free(self.height(), size.0).zip(free(self.width(), size.1)).ok_or_else(|| DataError::Image {
            height: self.height(),
            width: self.width(),
            reason: format!("is too small to cut {} x {} out of it; resize it before", size.0, size.1),
        })
    }

    /// Rotated counterclockwise around its middle, at the same size, with linear interpolation.
    pub(super) fn rotated(&self, degrees: f32, border: Border) -> Picture {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let (middle_y, middle_x) = ((self.height() - 1) as f32 / 2.0, (self.width() - 1) as f32 / 2.0);
        let at = |y: isize, x: isize| match (border.place(y, self.height()), border.place(x, self.width())) {
            (Some(y), Some(x)) => self.at(y, x),
            (None, _) | (_, None) => border.color(),
        };
        let mut rotated = Picture::plain(self.height(), self.width(), [0; 3]);
        for (y, row) in rotated.pixels_mut().chunks_exact_mut(3 * self.width()).enumerate() {
            let y = y as f32 - middle_y;
            for (x, to) in row.chunks_exact_mut(3).enumerate() {
                let x = x as f32 - middle_x;
                let (from_y, from_x) = (middle_y + cos * y + sin * x, middle_x - sin * y + cos * x);
                let (top, left) = (floor(from_y), floor(from_x));
                let (down, right) = (from_y - top as f32, from_x - left as f32);
                let corners = [at(top, left), at(top, left + 1), at(top + 1, left), at(top + 1, left + 1)];
                let weights = [(1.0 - down) * (1.0 - right), (1.0 - down) * right, down * (1.0 - right), down * right];
                for (channel, to) in to.iter_mut().enumerate() {
                    let mean = |index: usize| weights[index] * f32::from(corners[index][channel]);
                    *to = level(mean(0) + mean(1) + mean(2) + mean(3));
                }
            }
        }
        rotated
    }

    /// A square of `side` around any pixel covered with `color`.
    pub(super) fn covered(mut self, side: usize, color: [u8; 3], random: &mut Random) -> Picture {
        let (height, width) = self.size();
        let mut span = |length: usize| {
            let center = random.within(0..=length as i32 - 1) as usize;
            center.saturating_sub(side / 2)..(center + side.div_ceil(2)).min(length)
        };
        let (rows, columns) = (span(height), span(width));
        for row in self.pixels_mut().chunks_exact_mut(3 * width).take(rows.end).skip(rows.start) {
            row[3 * columns.start..3 * columns.end].chunks_exact_mut(3).for_each(|to| to.copy_from_slice(&color));
        }
        self
    }
}

/// The next whole number below; without the call that `f32::floor` is on many machines.
fn floor(x: f32) -> isize {
    let truncated = x as isize;
    truncated - isize::from(x < truncated as f32)
}
