//! Which part of a picture is left when it is prepared.

use super::{Augment, Step, chance, shorter};

/// A rectangle in a picture, in its pixels; between them too, and where borders were added beyond its edges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// The upper edge.
    pub top: f64,
    /// The left edge.
    pub left: f64,
    /// From the upper edge to the lower.
    pub height: f64,
    /// From the left edge to the right.
    pub width: f64,
}

impl Augment {
    /// The part of a picture of `size` (height, width) that a model sees, without chance: what was not cut off.
    ///
    /// ```
    /// use thalweg_data::{Augment, Part};
    /// // The longer side is 80 of its pixels, of which the middle 40 are left.
    /// let seen = Augment::new().resize_shorter(40).crop(40, 40).seen((100, 200));
    /// assert_eq!(seen, Part { top: 0.0, left: 50.0, height: 100.0, width: 100.0 });
    /// ```
    pub fn seen(&self, size: (usize, usize)) -> Part {
        let mut view = View { size, origin: (0.0, 0.0), scale: (1.0, 1.0) };
        self.steps().iter().for_each(|step| view.take(step));
        Part {
            top: view.origin.0,
            left: view.origin.1,
            height: view.scale.0 * view.size.0 as f64,
            width: view.scale.1 * view.size.1 as f64,
        }
    }
}

/// What is left of a picture: its size now, where its corner was, and how large its pixels are in those of the original.
struct View {
    size: (usize, usize),
    origin: (f64, f64),
    scale: (f64, f64),
}

impl View {
    fn take(&mut self, step: &Step) {
        match *step {
            Step::Resize { height, width, .. } => self.resize((height, width)),
            Step::ResizeShorter { side } => self.resize(shorter(self.size, side)),
            Step::Crop { height, width } => self.center((height, width), 0),
            Step::RandomCrop { height, width, padding, .. } => self.center((height, width), padding),
            Step::RandomResizedCrop { height, width, .. } => {
                let (at, part) = chance::middle_part(self.size, (height, width));
                self.cut((at.0 as f64, at.1 as f64), part);
                self.resize((height, width));
            }
            Step::Flip | Step::FlipVertical | Step::AnyPosition | Step::Rotate { .. } | Step::Cutout { .. } => {}
            Step::Brightness { .. } | Step::Contrast { .. } | Step::Saturation { .. } => {}
        }
    }

    fn resize(&mut self, to: (usize, usize)) {
        self.scale.0 *= self.size.0 as f64 / to.0 as f64;
        self.scale.1 *= self.size.1 as f64 / to.1 as f64;
        self.size = to;
    }

    fn center(&mut self, to: (usize, usize), padding: usize) {
        let at = |own: usize, to: usize| ((own + 2 * padding).saturating_sub(to) / 2) as f64 - padding as f64;
        self.cut((at(self.size.0, to.0), at(self.size.1, to.1)), to);
    }

    fn cut(&mut self, at: (f64, f64), to: (usize, usize)) {
        self.origin.0 += self.scale.0 * at.0;
        self.origin.1 += self.scale.1 * at.1;
        self.size = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Picture;

    /// A picture whose pixels say where they are.
    fn places(height: usize, width: usize) -> Picture {
        let pixels = (0..height * width).flat_map(|at| [(at / width) as u8, (at % width) as u8, 0]).collect();
        Picture::new(height, width, pixels).unwrap()
    }

    #[test]
    fn the_middle_of_what_is_prepared_was_the_middle_of_what_is_seen() {
        for augment in [
            Augment::new().resize(20, 50),
            Augment::new().resize_shorter(60).crop(40, 56),
            Augment::new().crop(41, 31).resize(82, 62),
            Augment::new().random_crop(120, 100, 10).flip(),
            Augment::new().rotate(10.0).random_resized_crop(32, 48).brightness(0.1),
        ] {
            let seen = augment.seen((120, 100));
            let picture = augment.apply(places(120, 100), None).unwrap();
            let (height, width) = picture.size();
            for (y, x) in [(height / 4, width / 3), (height / 2, width / 2)] {
                let place = |begin: f64, length: f64, at: usize, of: usize| {
                    begin + length * (at as f64 + 0.5) / of as f64 - 0.5
                };
                let expected = [place(seen.top, seen.height, y, height), place(seen.left, seen.width, x, width)];
                let [row, column, _] = picture.at(y, x).map(f64::from);
                assert!(
                    (row - expected[0]).abs() <= 1.0 && (column - expected[1]).abs() <= 1.0,
                    "{augment:?} {expected:?}"
                );
            }
        }
    }
}
