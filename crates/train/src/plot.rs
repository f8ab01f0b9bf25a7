//! [`Plot`]: lines over two axes, as a picture that any browser shows.
//!
//! ```
//! use thalweg_train::plot::{Axis, Plot, Scale};
//! let loss: Vec<(f64, f64)> = (0..100).map(|step| (f64::from(step), 1.0 / f64::from(step + 1))).collect();
//! let x = Axis { name: "step".into(), scale: Scale::Linear };
//! let y = Axis { name: "loss".into(), scale: Scale::Logarithmic };
//! let picture = Plot::new(x, y).line("training", &loss).svg();
//! assert!(picture.starts_with("<svg"));
//! ```

use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
/// Room for the labels: left, top, right, bottom of the plot.
const MARGINS: (f64, f64, f64, f64) = (64.0, 32.0, 16.0, 48.0);
/// Blue, vermilion, green, orange: told apart by color-blind eyes too (Okabe and Ito 2008).
const PALETTE: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#e69f00"];

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
}

impl Plot {
    /// Without lines.
    pub fn new(x: Axis, y: Axis) -> Plot {
        Plot { x, y, lines: Vec::new(), marks: Vec::new() }
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

    /// The picture as SVG.
    pub fn svg(&self) -> String {
        let (left, top, right, bottom) = MARGINS;
        let along_x = Span::of(self.x.scale, self.points().map(|point| point.0), (left, WIDTH - right));
        let along_y = Span::of(self.y.scale, self.points().map(|point| point.1), (HEIGHT - bottom, top));
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        self.draw_grid(&mut svg, &along_x, &along_y);
        for (index, (_, points)) in self.lines.iter().enumerate() {
            let place = |&(x, y): &(f64, f64)| Some(format!("{:.1},{:.1}", along_x.place(x)?, along_y.place(y)?));
            let places: Vec<String> = points.iter().filter_map(place).collect();
            let (color, places) = (PALETTE[index % PALETTE.len()], places.join(" "));
            put(
                &mut svg,
                format_args!("<polyline points=\"{places}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>"),
            );
        }
        for (name, x) in &self.marks {
            if let Some(x) = along_x.place(*x) {
                let line = "stroke=\"#555\" stroke-dasharray=\"4 3\"";
                put(&mut svg, format_args!("<path d=\"M{x:.1} {top}V{:.1}\" {line}/>", HEIGHT - bottom));
                text(&mut svg, (x, top - 6.0), "middle", name);
            }
        }
        self.draw_legend(&mut svg);
        svg += "</svg>\n";
        svg
    }

    /// All points, and the marks as far as they have a place.
    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.lines.iter().flat_map(|(_, points)| points.iter().copied())
    }

    fn draw_grid(&self, svg: &mut String, along_x: &Span, along_y: &Span) {
        let (left, top, right, bottom) = MARGINS;
        let (low, far) = (HEIGHT - bottom, WIDTH - right);
        for tick in along_x.ticks() {
            let Some(x) = along_x.place(tick) else { continue };
            put(svg, format_args!("<path d=\"M{x:.1} {top}V{low}\" stroke=\"#ddd\"/>"));
            text(svg, (x, low + 16.0), "middle", &number(tick));
        }
        for tick in along_y.ticks() {
            let Some(y) = along_y.place(tick) else { continue };
            put(svg, format_args!("<path d=\"M{left} {y:.1}H{far}\" stroke=\"#ddd\"/>"));
            text(svg, (left - 6.0, y + 4.0), "end", &number(tick));
        }
        put(svg, format_args!("<path d=\"M{left} {top}V{low}H{far}\" fill=\"none\" stroke=\"#555\"/>"));
        text(svg, ((left + far) / 2.0, HEIGHT - 10.0), "middle", &self.x.name);
        text(svg, (8.0, top - 12.0), "start", &self.y.name);
    }

    fn draw_legend(&self, svg: &mut String) {
        let named = self.lines.iter().enumerate().filter(|(_, (name, _))| !name.is_empty());
        for (row, (index, (name, _))) in named.enumerate() {
            let (x, y) = (WIDTH - MARGINS.2 - 120.0, MARGINS.1 + 14.0 * (row + 1) as f64);
            let color = PALETTE[index % PALETTE.len()];
            put(svg, format_args!("<path d=\"M{x} {:.1}h18\" stroke=\"{color}\" stroke-width=\"2\"/>", y - 4.0));
            text(svg, (x + 24.0, y), "start", name);
        }
    }
}

fn put(svg: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(svg, "{line}");
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    put(svg, format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"));
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
