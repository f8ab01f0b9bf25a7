//! Pictures for the examples: panels with axes, side by side in one SVG file.

use std::error::Error;
use std::path::{Path, PathBuf};

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

/// What the examples return.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A picture with axes.
#[derive(Default)]
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    /// Rows of numbers from 0 to 1, the lowest row first, drawn from blue over white to red across the whole panel.
    pub(crate) surface: Vec<Vec<f64>>,
    pub(crate) lines: Vec<Series>,
    pub(crate) dots: Vec<Series>,
}

/// What an axis is called, and its ends.
#[derive(Default)]
pub(crate) struct Axis(pub(crate) &'static str, pub(crate) f64, pub(crate) f64);

/// Points of one color: its number in the palette, and the line of the legend; none where it is empty.
pub(crate) struct Series(pub(crate) usize, pub(crate) String, pub(crate) Vec<(f64, f64)>);

/// Black, blue, vermilion, green, orange: told apart by color-blind eyes too (Okabe and Ito 2008).
const PALETTE: [RGBColor; 5] =
    [RGBColor(40, 40, 40), RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(230, 159, 0)];
const WIDTH: u32 = 460;
const HEIGHT: u32 = 420;

/// Draws `panels` into `folder/name.svg`, and says so.
pub(crate) fn draw(folder: &Path, name: &str, panels: &[Panel]) -> Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join(name).with_extension("svg");
    let root = SVGBackend::new(&path, (WIDTH * panels.len() as u32, HEIGHT)).into_drawing_area();
    root.fill(&WHITE)?;
    for (panel, area) in panels.iter().zip(root.split_evenly((1, panels.len()))) {
        panel.draw(&area)?;
    }
    root.present()?;
    drop(root);
    println!("picture: {}", path.display());
    Ok(path)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

impl Panel {
    fn draw(&self, area: &Area<'_>) -> Result<()> {
        let (Axis(x, left, right), Axis(y, bottom, top)) = (&self.x, &self.y);
        let (_, below) = area.margin(8, 0, 0, 0).titled(&self.title, ("sans-serif", 17))?.split_vertically(0);
        let (legend, plot) = below.split_vertically(24);
        self.draw_legend(&legend)?;
        let mut chart = ChartBuilder::on(&plot)
            .margin(12)
            .margin_top(4)
            .x_label_area_size(44)
            .y_label_area_size(54)
            .build_cartesian_2d(*left..*right, *bottom..*top)?;
        self.draw_surface(&mut chart)?;
        // In hundredths, and without the sign of −0.
        let number = |x: &f64| ((x * 100.0).round() / 100.0 + 0.0).to_string();
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(if self.surface.is_empty() { BLACK.mix(0.12) } else { TRANSPARENT })
            .axis_style(BLACK.mix(0.6))
            .label_style(("sans-serif", 13))
            .axis_desc_style(("sans-serif", 15))
            .x_labels(6)
            .y_labels(6)
            .x_label_formatter(&number)
            .y_label_formatter(&number)
            .x_desc(*x)
            .y_desc(*y)
            .draw()?;
        for Series(color, _, points) in &self.lines {
            chart.draw_series(LineSeries::new(points.iter().copied(), PALETTE[*color].stroke_width(2)))?;
        }
        for Series(color, _, points) in &self.dots {
            let dot = |&place| {
                EmptyElement::at(place)
                    + Circle::new((0, 0), 4, PALETTE[*color].filled())
                    + Circle::new((0, 0), 4, WHITE)
            };
            chart.draw_series(points.iter().map(dot))?;
        }
        Ok(())
    }

    /// One line above the plot: a stroke or a dot and its label for each series that has one.
    fn draw_legend(&self, area: &Area<'_>) -> Result<()> {
        const SIGN: i32 = 26;
        let lines = self.lines.iter().map(|series| (series, true));
        let all = lines.chain(self.dots.iter().map(|series| (series, false)));
        let labeled: Vec<(&Series, bool)> = all.filter(|(Series(_, label, _), _)| !label.is_empty()).collect();
        let width = |label: &str| SIGN + 12 + 13 * label.chars().count() as i32 / 2;
        let total: i32 = labeled.iter().map(|(Series(_, label, _), _)| width(label)).sum();
        let mut x = (area.dim_in_pixel().0 as i32 - total) / 2;
        for (Series(color, label, _), is_line) in labeled {
            let color = PALETTE[*color];
            if is_line {
                area.draw(&PathElement::new([(x, 13), (x + SIGN - 6, 13)], color.stroke_width(2)))?;
            } else {
                area.draw(&Circle::new((x + SIGN - 12, 13), 4, color.filled()))?;
            }
            area.draw(&Text::new(label.clone(), (x + SIGN, 6), ("sans-serif", 13)))?;
            x += width(label);
        }
        Ok(())
    }

    /// Neighbors of one shade become one rectangle. Each reaches two pixels under the next ones: no seams.
    fn draw_surface(&self, chart: &mut Chart<'_, '_>) -> Result<()> {
        let (Axis(_, left, right), Axis(_, bottom, top)) = (&self.x, &self.y);
        let under = (2.0 * (right - left) / f64::from(WIDTH), 2.0 * (top - bottom) / f64::from(HEIGHT));
        let height = (top - bottom) / self.surface.len() as f64;
        for (row, values) in self.surface.iter().enumerate() {
            let width = (right - left) / values.len() as f64;
            let shade = |value: f64| (value.clamp(0.0, 1.0) * 32.0).round() as i32;
            let y = bottom + row as f64 * height;
            let mut begin = 0;
            while begin < values.len() {
                let color = shade(values[begin]);
                let end = begin + values[begin..].iter().take_while(|&&value| shade(value) == color).count();
                let far = (left + end as f64 * width + under.0, y + height + under.1);
                let corners = [(left + begin as f64 * width, y), (far.0.min(*right), far.1.min(*top))];
                chart.draw_series([Rectangle::new(corners, tint(color as f64 / 32.0).filled())])?;
                begin = end;
            }
        }
        Ok(())
    }
}

/// Blue at 0, white in the middle, red at 1; pale, so that dots stand out.
fn tint(value: f64) -> RGBColor {
    let (end, strength) = if value < 0.5 { (PALETTE[1], 1.0 - 2.0 * value) } else { (PALETTE[2], 2.0 * value - 1.0) };
    let mix = |channel: u8| (255.0 - (255.0 - channel as f64) * 0.65 * strength) as u8;
    RGBColor(mix(end.0), mix(end.1), mix(end.2))
}
