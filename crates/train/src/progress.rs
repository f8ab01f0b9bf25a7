//! How far training is: a bar where there is a terminal, plain lines where there is none, or JSON lines.
//!
//! All goes to standard error, so that standard output holds results alone. If nobody reads it any more, training goes on.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value};

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A bar that moves.
    Bar,
    /// A line every few seconds and at the end of each epoch.
    Lines,
    /// The same lines as JSON objects, each with `event`: `step`, `epoch` or `message`. NaN and infinities are `null`.
    Json,
    /// Nothing.
    Silent,
}

impl Style {
    /// A bar if standard error is a terminal that can draw one and `NO_COLOR` is not set, else lines.
    pub fn detect() -> Style {
        let variable = |name| std::env::var(name).ok();
        Style::of(std::io::stderr().is_terminal(), variable("TERM").as_deref(), variable("NO_COLOR").as_deref())
    }

    fn of(is_terminal: bool, term: Option<&str>, no_color: Option<&str>) -> Style {
        // NO_COLOR counts if it is set and not empty: https://no-color.org
        let plain = term == Some("dumb") || no_color.is_some_and(|value| !value.is_empty());
        if is_terminal && !plain { Style::Bar } else { Style::Lines }
    }
}

/// Shows the progress of one training.
///
/// ```
/// use thalweg_train::progress::{Progress, Style};
/// let mut progress = Progress::new(Style::Lines, 0, Some(200));
/// for step in 1..=200 {
///     progress.step(step, 1 + step / 101, 1.0 / step as f64);
///     if step % 100 == 0 {
///         progress.epoch(step / 100, step, &[("valid_loss", 0.5)]);
///     }
/// }
/// progress.finish();
/// ```
pub struct Progress {
    sink: Sink,
    last: Option<u64>,
    /// When which step was first heard of: the rate counts from there, for before it graphs were compiled.
    first: Option<(Duration, u64)>,
    clock: Box<dyn Fn() -> Duration + Send>,
    /// When a step may be shown again.
    next: Duration,
}

enum Sink {
    Bar(ProgressBar),
    Text { output: Box<dyn Write + Send>, json: bool },
    Silent,
}

/// The time between two steps that are shown.
const BAR_INTERVAL: Duration = Duration::from_millis(100);
const LINE_INTERVAL: Duration = Duration::from_secs(5);

impl Progress {
    /// Begins after step `first` (0, or that of the checkpoint); `last` is the step at which training ends, if known.
    pub fn new(style: Style, first: u64, last: Option<u64>) -> Progress {
        let sink = match style {
            Style::Bar => Sink::Bar(bar(first, last)),
            Style::Lines => Sink::Text { output: Box::new(std::io::stderr()), json: false },
            Style::Json => Sink::Text { output: Box::new(std::io::stderr()), json: true },
            Style::Silent => Sink::Silent,
        };
        let begun = Instant::now();
        Progress::with(sink, last, Box::new(move || begun.elapsed()))
    }

    /// `clock` counts from the beginning.
    fn with(sink: Sink, last: Option<u64>, clock: Box<dyn Fn() -> Duration + Send>) -> Progress {
        Progress { sink, last, first: None, clock, next: Duration::ZERO }
    }

    /// After a step; cheap, and shown only now and then.
    pub fn step(&mut self, step: u64, epoch: u64, loss: f64) {
        let interval = match self.sink {
            Sink::Bar(_) => BAR_INTERVAL,
            Sink::Text { .. } => LINE_INTERVAL,
            Sink::Silent => return,
        };
        let elapsed = (self.clock)();
        let (began, first) = *self.first.get_or_insert((elapsed, step));
        if elapsed < self.next {
            return;
        }
        self.next = elapsed + interval;
        let rate = (step > first).then(|| (step - first) as f64 / (elapsed - began).as_secs_f64().max(1e-9));
        let left = self.last.zip(rate).map(|(last, rate)| last.saturating_sub(step) as f64 / rate);
        let pace = rate.map(|rate| format!("{} steps/s", number(rate)));
        let time = left.map(|left| format!("{} left", duration(left)));
        let (epochs, losses) = (format!("epoch {epoch}"), format!("loss {}", number(loss)));
        if let Sink::Bar(bar) = &self.sink {
            bar.set_position(step);
            let taken = bar_width() + format!(" {step}/{}  ", self.last.unwrap_or(step)).len();
            let fields = [Some(losses), time, Some(epochs), pace];
            bar.set_message(as_fits(fields.into_iter().flatten(), columns().saturating_sub(taken)));
            return;
        }
        let of = self.last.map_or(String::new(), |last| format!("/{last}"));
        let fields = [Some(format!("step {step}{of}")), Some(epochs), Some(losses), pace, time];
        let line = as_fits(fields.into_iter().flatten(), usize::MAX);
        let mut object = event("step", &[("step", step.into()), ("epoch", epoch.into()), ("loss", loss.into())]);
        object.insert("steps_per_second".into(), rate.into());
        object.insert("seconds_left".into(), left.into());
        self.write(line, object);
    }

    /// After an epoch, with what was measured; always shown.
    pub fn epoch(&mut self, epoch: u64, step: u64, values: &[(&str, f64)]) {
        let shown = values.iter().map(|(name, x)| format!("  {name} {}", number(*x))).collect::<String>();
        let mut object = event("epoch", &[("epoch", epoch.into()), ("step", step.into())]);
        object.extend(values.iter().map(|(name, x)| (name.to_string(), Value::from(*x))));
        self.write(format!("epoch {epoch}  step {step}{shown}"), object);
    }

    /// Something the user should know: a checkpoint was saved, a run is resumed.
    pub fn message(&mut self, text: &str) {
        self.write(text.to_string(), event("message", &[("text", text.into())]));
    }

    /// The end: the bar goes, what was said stays.
    pub fn finish(&mut self) {
        if let Sink::Bar(bar) = &self.sink {
            bar.finish_and_clear();
        }
    }

    fn write(&mut self, line: String, object: Map<String, Value>) {
        match &mut self.sink {
            Sink::Bar(bar) => bar.println(line),
            Sink::Text { output, json } => {
                let line = if *json { Value::Object(object).to_string() } else { line };
                // Nobody may be reading any more; that is no reason to stop.
                let _ = writeln!(output, "{line}").and_then(|()| output.flush());
            }
            Sink::Silent => {}
        }
    }
}

fn event(kind: &str, fields: &[(&str, Value)]) -> Map<String, Value> {
    let kind = ("event".to_string(), kind.into());
    std::iter::once(kind).chain(fields.iter().map(|(name, value)| (name.to_string(), value.clone()))).collect()
}

fn bar(first: u64, last: Option<u64>) -> ProgressBar {
    let (bar, template) = match last {
        Some(last) => (ProgressBar::new(last), format!("{{bar:{}}} {{pos}}/{{len}}  {{wide_msg}}", bar_width())),
        None => (ProgressBar::new_spinner(), "{spinner} {pos}  {wide_msg}".into()),
    };
    let style = ProgressStyle::with_template(&template).expect("the template is fixed").progress_chars("━╸─");
    bar.with_style(style).with_position(first)
}

/// Four significant digits, small and large numbers with an exponent.
fn number(x: f64) -> String {
    match x.abs() {
        0.0 => "0".into(),
        size if (1e-3..1e5).contains(&size) => {
            let digits = 3 - size.log10().floor() as i32;
            format!("{x:.*}", digits.max(0) as usize)
        }
        size if size.is_finite() => format!("{x:.3e}"),
        _ => format!("{x}"),
    }
}

/// As many of the fields, the first first, as stand side by side in `width` columns.
fn as_fits(fields: impl Iterator<Item = String>, width: usize) -> String {
    let mut line = String::new();
    for field in fields {
        let gap = if line.is_empty() { "" } else { "  " };
        if line.len() + gap.len() + field.len() > width {
            break;
        }
        line += gap;
        line += &field;
    }
    line
}

/// The columns of the terminal behind standard error.
fn columns() -> usize {
    Term::stderr().size().1.into()
}

/// A third of the terminal, at most 30 columns.
fn bar_width() -> usize {
    (columns() / 3).min(30)
}

fn duration(seconds: f64) -> String {
    let seconds = seconds.ceil() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m {s:02}s"),
        (h, m, _) => format!("{h}h {m:02}m"),
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let style = match &self.sink {
            Sink::Bar(_) => Style::Bar,
            Sink::Text { json: false, .. } => Style::Lines,
            Sink::Text { json: true, .. } => Style::Json,
            Sink::Silent => Style::Silent,
        };
        f.debug_struct("Progress").field("style", &style).field("last", &self.last).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Forty steps of a second each, from step 100; an epoch at 120.
    fn shown(json: bool) -> String {
        let output = Shared::default();
        // Compiling takes a while.
        let now = Arc::new(Mutex::new(7));
        let clock = now.clone();
        let sink = Sink::Text { output: Box::new(output.clone()), json };
        let clock = Box::new(move || Duration::from_secs(*clock.lock().unwrap()));
        let mut progress = Progress::with(sink, Some(200), clock);
        for step in 101..=140 {
            *now.lock().unwrap() += 1;
            progress.step(step, 3, 12.5 / step as f64);
            if step == 120 {
                progress.epoch(3, step, &[("valid_loss", f64::NAN), ("valid_accuracy", 0.98765)]);
            }
        }
        progress.message("saved");
        progress.finish();
        let bytes = output.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_come_now_and_then_and_at_the_end_of_an_epoch() {
        let text = shown(false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 8 + 1 + 1, "{text}");
        assert_eq!(lines[0], "step 101/200  epoch 3  loss 0.1238", "no rate: the first step compiles");
        assert_eq!(lines[1], "step 106/200  epoch 3  loss 0.1179  1.000 steps/s  1m 34s left");
        assert_eq!(lines[4], "epoch 3  step 120  valid_loss NaN  valid_accuracy 0.9877");
        assert_eq!(lines[9], "saved");
    }

    #[test]
    fn each_json_line_is_an_object() {
        let text = shown(true);
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["event"], "step");
        assert_eq!((&lines[0]["step"], &lines[0]["steps_per_second"]), (&101.into(), &Value::Null));
        assert_eq!((&lines[1]["steps_per_second"], &lines[1]["seconds_left"]), (&1.0.into(), &94.0.into()));
        assert_eq!((&lines[4]["event"], &lines[4]["valid_loss"]), (&"epoch".into(), &Value::Null));
        assert_eq!(lines[9]["text"], "saved");
    }

    #[test]
    fn a_reader_that_went_away_does_not_stop_training() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let sink = Sink::Text { output: Box::new(Closed), json: false };
        let mut progress = Progress::with(sink, None, Box::new(|| Duration::from_secs(1)));
        progress.step(1, 1, 0.5);
        progress.epoch(1, 1, &[]);
        progress.finish();
    }

    #[test]
    fn a_bar_is_for_terminals_that_can_draw_it() {
        for (is_terminal, term, no_color, style) in [
            (true, Some("xterm"), None, Style::Bar),
            (true, None, Some(""), Style::Bar),
            (false, Some("xterm"), None, Style::Lines),
            (true, Some("dumb"), None, Style::Lines),
            (true, Some("xterm"), Some("1"), Style::Lines),
        ] {
            assert_eq!(Style::of(is_terminal, term, no_color), style, "{is_terminal} {term:?} {no_color:?}");
        }
    }

    #[test]
    fn fields_that_do_not_fit_are_left_out() {
        let fields = || ["loss 0.1238", "1m 34s left", "epoch 3"].map(str::to_string).into_iter();
        assert_eq!(as_fits(fields(), 33), "loss 0.1238  1m 34s left  epoch 3");
        assert_eq!(as_fits(fields(), 32), "loss 0.1238  1m 34s left");
        assert_eq!(as_fits(fields(), 10), "");
    }

    #[test]
    fn numbers_and_durations_are_short() {
        let shown = [0.123456, 12345.6, 1.5e-7, -3.0, 0.0, f64::INFINITY, 99999.9].map(number);
        assert_eq!(shown, ["0.1235", "12346", "1.500e-7", "-3.000", "0", "inf", "100000"]);
        assert_eq!([0.2, 61.0, 7322.0].map(duration), ["1s", "1m 01s", "2h 02m"]);
    }
}
