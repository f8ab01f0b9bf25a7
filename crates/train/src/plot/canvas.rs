//! What a plot is drawn on: SVG, or pixels.

use std::fmt::Write;

use thalweg_data::Picture;

/// A place in the picture: to the right and down, in pixels.
pub(super) type Place = (f64, f64);

/// How a line is drawn.
pub(super) struct Stroke {
    pub(super) color: [u8; 3],
    pub(super) width: u32,
    pub(super) dashed: bool,
}

/// Where a text lies beside its place.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// What a plot is drawn on.
pub(super) trait Canvas {
    /// A line through these places.
    fn path(&mut self, places: &[Place], stroke: &Stroke);
    /// A text whose letters stand on its place.
    fn text(&mut self, at: Place, anchor: Anchor, words: &str);
}

/// A picture as SVG.
pub(super) struct Svg(String);

impl Svg {
    pub(super) fn new((width, height): (u32, u32)) -> Svg {
        Svg(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        ))
    }

    pub(super) fn finish(self) -> String {
        self.0 + "</svg>\n"
    }
}

impl Canvas for Svg {
    fn path(&mut self, places: &[Place], stroke: &Stroke) {
        let points: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let [red, green, blue] = stroke.color;
        let dashes = if stroke.dashed { " stroke-dasharray=\"4 3\"" } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(
            self.0,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"#{red:02x}{green:02x}{blue:02x}\" stroke-width=\"{}\"{dashes}/>",
            points.join(" "),
            stroke.width
        );
    }

    fn text(&mut self, (x, y): Place, anchor: Anchor, words: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let words = words.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(self.0, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>");
    }
}

/// A picture as pixels.
pub(super) struct Pixels(pub(super) Picture);

impl Pixels {
    /// A square of `width` pixels around a place.
    fn dot(&mut self, (x, y): Place, width: u32, color: [u8; 3]) {
        let (height, columns) = self.0.size();
        let first = |at: f64| (at - f64::from(width) / 2.0).round().max(0.0) as usize;
        for row in first(y)..(first(y) + width as usize).min(height) {
            for column in first(x)..(first(x) + width as usize).min(columns) {
                let at = 3 * (row * columns + column);
                self.0.pixels_mut()[at..at + 3].copy_from_slice(&color);
            }
        }
    }
}

impl Canvas for Pixels {
    fn path(&mut self, places: &[Place], stroke: &Stroke) {
        let mut drawn = 0u32;
        for pair in places.windows(2) {
            let [(x, y), (to_x, to_y)] = [pair[0], pair[1]];
            let steps = (to_x - x).abs().max((to_y - y).abs()).ceil().max(1.0);
            for step in 0..=steps as u32 {
                let share = f64::from(step) / steps;
                drawn += 1;
                if !stroke.dashed || drawn % 7 < 4 {
                    self.dot((x + share * (to_x - x), y + share * (to_y - y)), stroke.width, stroke.color);
                }
            }
        }
    }

    fn text(&mut self, (x, y): Place, anchor: Anchor, words: &str) {
        let (height, width) = Picture::text_size(words);
        let left = match anchor {
            Anchor::Start => x,
            Anchor::Middle => x - width as f64 / 2.0,
            Anchor::End => x - width as f64,
        };
        let place = ((y - height as f64).max(0.0) as usize, left.max(0.0) as usize);
        self.0.write_text(words, place, [40; 3]);
    }
}
