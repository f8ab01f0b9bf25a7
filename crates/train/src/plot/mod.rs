//! [`Plot`]: lines and labels over two axes, as SVG or as pixels.
//!
//! ```
//! use thalweg_train::plot::{Axis, Plot, Scale};
//! let loss: Vec<(f64, f64)> = (0..100).map(|step| (f64::from(step), 1.0 / f64::from(step + 1))).collect();
//! let x = Axis { name: "step".into(), scale: Scale::Linear };
//! let y = Axis { name: "loss".into(), scale: Scale::Logarithmic };
//! let picture = Plot::new(x, y).line("training", &loss).svg();
//! assert!(picture.starts_with("<svg"));
//! ```

mod canvas;

use thalweg_data::Picture;

use canvas::{Anchor, Canvas, Pixels, Stroke, Svg};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
/// Room for the labels: left, top, right, bottom of the plot.
const MARGINS: (f64, f64, f64, f64) = (64.0, 32.0, 16.0, 48.0);
/// Blue, vermilion, green, orange, purple, sky blue, black: told apart by color-blind eyes too (Okabe and Ito 2008).
const PALETTE: [[u8; 3]; 7] =
    [[0, 114, 178], [213, 94, 0], [0, 158, 115], [230, 159, 0], [204, 121, 167], [86, 180, 233], [0, 0, 0]];
const GRID: Stroke = Stroke { color: [221; 3], width: 1, dashed: false };
const AXES: Stroke = Stroke { color: [85; 3], width: 1, dashed: false };
const MARK: Stroke = Stroke { color: [85; 3], width: 1, dashed: true };

/// How numbers are laid along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// As they are.
    Linear,
    /// As their logarithms; numbers that have none are left out.
    Logarithmic,
}

/// One axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// What it shows.
    pub name: String,
    /// How.
    pub scale: Scale,
}

/// Lines over two axes.
#[derive(Clone, Debug)]
pub struct Plot {
    x: Axis,
    y: Axis,
    lines: Vec<(String, Vec<(f64, f64)>)>,
    marks: Vec<(String, f64)>,
    labels: Vec<(String, (f64, f64))>,
}

impl Plot {
    /// Without lines.
    pub fn new(x: Axis, y: Axis) -> Plot {
        Plot { x, y, lines: Vec::new(), marks: Vec::new(), labels: Vec::new() }
    }

    /// With a line through these points; points that are not finite are left out.
    pub fn line(mut self, name: impl Into<String>, points: &[(f64, f64)]) -> Plot {
        self.lines.push((name.into(), points.to_vec()));
        self
    }

    /// With a line across the plot at this x.
    pub fn mark(mut self, name: impl Into<String>, x: f64) -> Plot {
        self.marks.push((name.into(), x));
        self
    }

    /// With a text at this point.
    pub fn label(mut self, text: impl Into<String>, point: (f64, f64)) -> Plot {
        self.labels.push((text.into(), point));
        self
    }

    /// The picture as SVG.
    pub fn svg(&self) -> String {
        let mut svg = Svg::new((WIDTH as u32, HEIGHT as u32));
        self.draw(&mut svg);
        svg.finish()
    }

    /// The picture as pixels, to be written as PNG.
    pub fn picture(&self) -> Picture {
        let mut pixels = Pixels(Picture::plain(HEIGHT as usize, WIDTH as usize, [255; 3]));
        self.draw(&mut pixels);
        pixels.0
    }

    fn draw(&self, canvas: &mut dyn Canvas) {
        let (left, top, right, bottom) = MARGINS;
        let along_x = Span::of(self.x.scale, self.points().map(|point| point.0), (left, WIDTH - right));
        let along_y = Span::of(self.y.scale, self.points().map(|point| point.1), (HEIGHT - bottom, top));
        self.draw_grid(canvas, &along_x, &along_y);
        for (index, (_, points)) in self.lines.iter().enumerate() {
            let place = |&(x, y): &(f64, f64)| Some((along_x.place(x)?, along_y.place(y)?));
            let places: Vec<_> = points.iter().filter_map(place).collect();
            canvas.path(&places, &line_of(index));
        }
        for (name, x) in &self.marks {
            if let Some(x) = along_x.place(*x) {
                canvas.path(&[(x, top), (x, HEIGHT - bottom)], &MARK);
                canvas.text((x, top - 6.0), Anchor::Middle, name);
            }
        }
        for (text, (x, y)) in &self.labels {
            if let (Some(x), Some(y)) = (along_x.place(*x), along_y.place(*y)) {
                canvas.text((x, y), Anchor::Middle, text);
            }
        }
        self.draw_legend(canvas);
    }

    /// The points of all lines and labels.
    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        let of_lines = self.lines.iter().flat_map(|(_, points)| points);
        of_lines.chain(self.labels.iter().map(|(_, point)| point)).copied()
    }

    fn draw_grid(&self, canvas: &mut dyn Canvas, along_x: &Span, along_y: &Span) {
        let (left, top, right, bottom) = MARGINS;
        let (low, far) = (HEIGHT - bottom, WIDTH - right);
        for tick in along_x.ticks() {
            let Some(x) = along_x.place(tick) else { continue };
            canvas.path(&[(x, top), (x, low)], &GRID);
            canvas.text((x, low + 16.0), Anchor::Middle, &number(tick));
        }
        for tick in along_y.ticks() {
            let Some(y) = along_y.place(tick) else { continue };
            canvas.path(&[(left, y), (far, y)], &GRID);
            canvas.text((left - 6.0, y + 4.0), Anchor::End, &number(tick));
        }
        canvas.path(&[(left, top), (left, low), (far, low)], &AXES);
        canvas.text(((left + far) / 2.0, HEIGHT - 10.0), Anchor::Middle, &self.x.name);
        canvas.text((8.0, 14.0), Anchor::Start, &self.y.name);
    }

    fn draw_legend(&self, canvas: &mut dyn Canvas) {
        let named = self.lines.iter().enumerate().filter(|(_, (name, _))| !name.is_empty());
        for (row, (index, (name, _))) in named.enumerate() {
            let (x, y) = (WIDTH - MARGINS.2 - 120.0, MARGINS.1 + 14.0 * (row + 1) as f64);
            canvas.path(&[(x, y - 4.0), (x + 18.0, y - 4.0)], &line_of(index));
            canvas.text((x + 24.0, y), Anchor::Start, name);
        }
    }
}

/// How the line of this number is drawn.
fn line_of(index: usize) -> Stroke {
    Stroke { color: PALETTE[index % PALETTE.len()], width: 2, dashed: false }
}

/// A number as short as it is told apart.
fn number(x: f64) -> String {
    let size = x.abs();
    if size != 0.0 && !(1e-3..1e5).contains(&size) {
        format!("{x:.0e}")
    } else {
        format!("{}", (x * 1e6).round() / 1e6)
    }
}

/// The numbers of an axis and where they lie in the picture.
struct Span {
    scale: Scale,
    /// From the least to the greatest, as they are laid.
    from: f64,
    to: f64,
    pixels: (f64, f64),
}

impl Span {
    fn of(scale: Scale, numbers: impl Iterator<Item = f64>, pixels: (f64, f64)) -> Span {
        let mut span = Span { scale, from: f64::INFINITY, to: f64::NEG_INFINITY, pixels };
        for x in numbers.filter_map(|x| span.laid(x)).collect::<Vec<_>>() {
            (span.from, span.to) = (span.from.min(x), span.to.max(x));
        }
        if span.from > span.to {
            (span.from, span.to) = (0.0, 1.0);
        }
        if span.from == span.to {
            (span.from, span.to) = (span.from - 0.5, span.to + 0.5);
        }
        span
    }

    fn laid(&self, x: f64) -> Option<f64> {
        let laid = match self.scale {
            Scale::Linear => x,
            Scale::Logarithmic => x.log10(),
        };
        laid.is_finite().then_some(laid)
    }

    fn place(&self, x: f64) -> Option<f64> {
        let share = (self.laid(x)? - self.from) / (self.to - self.from);
        let (begin, end) = self.pixels;
        (-1e-9..=1.0 + 1e-9).contains(&share).then_some(begin + share * (end - begin))
    }

    /// Round numbers, about five.
    fn ticks(&self) -> Vec<f64> {
        let whole = |step: f64| {
            let (first, last) = ((self.from / step).ceil() as i64, (self.to / step).floor() as i64);
            (first..=last).map(move |n| n as f64 * step)
        };
        let rough = (self.to - self.from) / 5.0;
        let decade = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * decade).into_iter().find(|&step| step >= rough).unwrap_or(rough);
        match self.scale {
            Scale::Linear => whole(step).collect(),
            Scale::Logarithmic => whole(step.max(1.0).round()).map(|power| 10f64.powf(power)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(scale: Scale) -> Axis {
        Axis { name: "a < b".into(), scale }
    }

    #[test]
    fn lines_fill_the_plot_and_ticks_are_round() {
        let points = [(0.0, 1.0), (50.0, f64::NAN), (100.0, 1000.0)];
        let svg =
            Plot::new(axis(Scale::Linear), axis(Scale::Logarithmic)).line("one", &points).mark("here", 50.0).svg();
        assert!(svg.contains("<polyline points=\"64.0,352.0 624.0,32.0\""), "{svg}");
        for label in [">0<", ">20<", ">100<", ">1<", ">10<", ">1000<", ">one<", ">here<", "a &lt; b"] {
            assert!(svg.contains(label), "`{label}` is not in {svg}");
        }
    }

    #[test]
    fn labels_stand_at_their_points() {
        let plot = Plot::new(axis(Scale::Linear), axis(Scale::Linear));
        let svg = plot.label("low", (0.0, 0.0)).label("high", (2.0, 4.0)).label("nowhere", (f64::NAN, 1.0)).svg();
        assert!(svg.contains("x=\"64.0\" y=\"352.0\" text-anchor=\"middle\">low<"), "{svg}");
        assert!(
            svg.contains("x=\"624.0\" y=\"32.0\" text-anchor=\"middle\">high<") && !svg.contains("nowhere"),
            "{svg}"
        );
    }

    #[test]
    fn pixels_are_colored_where_lines_go() {
        let plot = Plot::new(axis(Scale::Linear), axis(Scale::Linear)).line("", &[(0.0, 0.0), (1.0, 1.0)]);
        let picture = plot.picture();
        assert_eq!(picture.size(), (400, 640));
        // The middle of the line, and what lies beside it.
        assert_eq!(picture.at(192, 344), PALETTE[0]);
        assert_eq!(picture.at(180, 344), [255; 3]);
    }

    #[test]
    fn nothing_and_one_point_are_pictures_too() {
        for points in [&[][..], &[(1.0, 2.0)], &[(f64::INFINITY, 1.0)]] {
            for scale in [Scale::Linear, Scale::Logarithmic] {
                let svg = Plot::new(axis(scale), axis(scale)).line("", points).mark("far", 1e30).svg();
                assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            }
        }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 0.1 + 0.2, 2.0, 1e-7, 20000.0].map(number), ["0", "0.3", "2", "1e-7", "20000"]);
    }
}
