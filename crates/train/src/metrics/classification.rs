//! Metrics of classifiers: accuracy, top-k, and what a confusion matrix tells.

use std::fmt;

use thalweg_formats::array::Array;

use super::{MetricError, kind};

/// How often the label is among the `k` classes with the highest logits; with `k` = 1, the accuracy.
///
/// ```
/// use thalweg_train::metrics::TopK;
/// let mut accuracy = TopK::new(1);
/// accuracy.update(&[[0.1f32, 0.9], [0.8, 0.2]].into(), &[1i64, 1].into())?;
/// assert_eq!(accuracy.value(), 0.5);
/// # Ok::<(), thalweg_train::metrics::MetricError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopK {
    k: usize,
    correct: u64,
    rows: u64,
}

impl TopK {
    /// Nothing seen yet.
    ///
    /// # Panics
    /// If `k` is 0.
    #[track_caller]
    pub fn new(k: usize) -> TopK {
        assert!(k > 0, "no label is among the top 0");
        TopK { k, correct: 0, rows: 0 }
    }

    /// Adds a batch: `logits` of shape `[rows, classes]`, integer `labels` of shape `[rows]`.
    ///
    /// # Errors
    /// If the shapes or dtypes are others, or a label is no class. Nothing is added then.
    pub fn update(&mut self, logits: &Array, labels: &Array) -> Result<(), MetricError> {
        let batch = Batch::new(logits, labels)?;
        self.correct += batch.rows().filter(|(logits, label)| rank(logits, *label) < self.k).count() as u64;
        self.rows += batch.labels.len() as u64;
        Ok(())
    }

    /// The share of rows so far, from 0 to 1; NaN if there are none.
    pub fn value(&self) -> f64 {
        self.correct as f64 / self.rows as f64
    }
}

/// How many rows of each class were taken for which.
///
/// ```
/// use thalweg_train::metrics::ConfusionMatrix;
/// let mut matrix = ConfusionMatrix::new(2);
/// matrix.update(&[[0.1f32, 0.9], [0.8, 0.2], [0.3, 0.7]].into(), &[1i64, 1, 1].into())?;
/// assert_eq!(matrix.count(1, 0), 1);
/// assert_eq!(matrix.recall(1), 2.0 / 3.0);
/// println!("{}", matrix.named(&["cat", "dog"]));
/// # Ok::<(), thalweg_train::metrics::MetricError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfusionMatrix {
    classes: usize,
    /// `counts[label * classes + predicted]`
    counts: Vec<u64>,
}

/// Precision, recall and their harmonic mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Of the rows predicted as the class, the share that are of it; 0 if there are none.
    pub precision: f64,
    /// Of the rows of the class, the share predicted as it; 0 if there are none.
    pub recall: f64,
    /// 2·tp / (2·tp + fp + fn); 0 if that is 0/0.
    pub f1: f64,
}

impl ConfusionMatrix {
    /// Nothing seen yet.
    ///
    /// # Panics
    /// If there are no classes.
    #[track_caller]
    pub fn new(classes: usize) -> ConfusionMatrix {
        assert!(classes > 0, "a confusion matrix needs classes");
        ConfusionMatrix { classes, counts: vec![0; classes * classes] }
    }

    /// Adds a batch: `logits` of shape `[rows, classes]`, integer `labels` of shape `[rows]`. The class with the highest
    /// logit is the prediction.
    ///
    /// # Errors
    /// If the shapes or dtypes are others, or a label is no class. Nothing is added then.
    pub fn update(&mut self, logits: &Array, labels: &Array) -> Result<(), MetricError> {
        let batch = Batch::new(logits, labels)?;
        if batch.classes != self.classes {
            let expected = format!("[rows, {}]", self.classes);
            return Err(MetricError::Input { what: "logits", expected, found: kind(logits) });
        }
        for (logits, label) in batch.rows() {
            self.add(label, argmax(logits));
        }
        Ok(())
    }

    /// Adds one row.
    ///
    /// # Panics
    /// If one of them is no class.
    #[track_caller]
    pub fn add(&mut self, label: usize, predicted: usize) {
        let classes = self.classes;
        assert!(label < classes && predicted < classes, "label {label} taken for {predicted}, of {classes} classes");
        self.counts[label * classes + predicted] += 1;
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How many rows of class `label` were taken for `predicted`.
    pub fn count(&self, label: usize, predicted: usize) -> u64 {
        self.counts[label * self.classes + predicted]
    }

    /// The pairs of a class and another for which rows of it were taken, with their number: the most frequent first, then in
    /// the order of the classes.
    ///
    /// ```
    /// use thalweg_train::metrics::ConfusionMatrix;
    /// let mut matrix = ConfusionMatrix::new(3);
    /// [(0, 0), (0, 2), (1, 0), (1, 0)].map(|(label, predicted)| matrix.add(label, predicted));
    /// assert_eq!(matrix.most_confused(), [(1, 0, 2), (0, 2, 1)]);
    /// ```
    pub fn most_confused(&self) -> Vec<(usize, usize, u64)> {
        let all = (0..self.classes).flat_map(|label| (0..self.classes).map(move |predicted| (label, predicted)));
        let counted = all.map(|(label, predicted)| (label, predicted, self.count(label, predicted)));
        let mut confused: Vec<_> =
            counted.filter(|(label, predicted, count)| label != predicted && *count > 0).collect();
        confused.sort_by_key(|(.., count)| std::cmp::Reverse(*count));
        confused
    }

    /// The number of rows of a class.
    pub fn support(&self, class: usize) -> u64 {
        (0..self.classes).map(|predicted| self.count(class, predicted)).sum()
    }

    /// The number of rows predicted as a class.
    fn predicted(&self, class: usize) -> u64 {
        (0..self.classes).map(|label| self.count(label, class)).sum()
    }

    /// The number of rows.
    pub fn rows(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The share of rows on the diagonal; NaN if there are no rows.
    pub fn accuracy(&self) -> f64 {
        let correct: u64 = (0..self.classes).map(|class| self.count(class, class)).sum();
        correct as f64 / self.rows() as f64
    }

    /// See [`Scores::precision`].
    pub fn precision(&self, class: usize) -> f64 {
        self.scores(class).precision
    }

    /// See [`Scores::recall`].
    pub fn recall(&self, class: usize) -> f64 {
        self.scores(class).recall
    }

    /// See [`Scores::f1`].
    pub fn f1(&self, class: usize) -> f64 {
        self.scores(class).f1
    }

    /// The scores of one class.
    pub fn scores(&self, class: usize) -> Scores {
        scores(self.count(class, class), self.predicted(class), self.support(class))
    }

    /// The mean of the scores over the classes that occur, as label or as prediction; 0 if none does.
    pub fn macro_average(&self) -> Scores {
        let occurs = |class: &usize| self.support(*class) + self.predicted(*class) > 0;
        let each: Vec<Scores> = (0..self.classes).filter(occurs).map(|class| self.scores(class)).collect();
        let mean = |of: fn(&Scores) -> f64| each.iter().map(of).sum::<f64>() / each.len().max(1) as f64;
        Scores { precision: mean(|s| s.precision), recall: mean(|s| s.recall), f1: mean(|s| s.f1) }
    }

    /// The scores of all classes counted together: where each row has one label, all three are the accuracy.
    pub fn micro_average(&self) -> Scores {
        let correct = (0..self.classes).map(|class| self.count(class, class)).sum();
        scores(correct, self.rows(), self.rows())
    }

    /// The matrix as a table with the names of the classes.
    ///
    /// # Panics
    /// If there are not as many names as classes.
    #[track_caller]
    pub fn named<'a, S: AsRef<str>>(&'a self, names: &'a [S]) -> Named<'a> {
        assert_eq!(names.len(), self.classes, "names and classes");
        Named { matrix: self, names: names.iter().map(|name| name.as_ref().to_string()).collect() }
    }
}

/// A [`ConfusionMatrix`] with names: labels downward, predictions across, and the scores of each class.
#[derive(Clone, Debug)]
pub struct Named<'a> {
    matrix: &'a ConfusionMatrix,
    names: Vec<String>,
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Named { matrix, names } = self;
        let widest = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
        const CORNER: &str = "label \\ predicted";
        let left = widest(&mut names.iter().map(|name| name.chars().count())).max(CORNER.len());
        write!(f, "{CORNER:<left$}")?;
        let column = |class: usize| {
            let counts = (0..matrix.classes).map(|label| matrix.count(label, class).to_string().len());
            widest(&mut counts.chain([names[class].chars().count()]))
        };
        let columns: Vec<usize> = (0..matrix.classes).map(column).collect();
        for (name, &width) in names.iter().zip(&columns) {
            write!(f, "  {name:>width$}")?;
        }
        writeln!(f, "  precision  recall     f1")?;
        for (label, name) in names.iter().enumerate() {
            write!(f, "{name:<left$}")?;
            for (predicted, &width) in columns.iter().enumerate() {
                write!(f, "  {:>width$}", matrix.count(label, predicted))?;
            }
            let Scores { precision, recall, f1 } = matrix.scores(label);
            writeln!(f, "  {precision:>9.4}  {recall:>6.4}  {f1:.4}")?;
        }
        Ok(())
    }
}

/// The table of [`Named`], with the numbers of the classes for names.
impl fmt::Display for ConfusionMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = (0..self.classes).map(|class| class.to_string()).collect();
        self.named(&numbers).fmt(f)
    }
}

/// A batch that has been checked.
pub(super) struct Batch {
    classes: usize,
    logits: Vec<f64>,
    labels: Vec<usize>,
}

impl Batch {
    pub(super) fn new(logits: &Array, labels: &Array) -> Result<Batch, MetricError> {
        let &[rows, classes] = logits.shape() else {
            return Err(MetricError::Input { what: "logits", expected: "[rows, classes]".into(), found: kind(logits) });
        };
        if labels.shape() != [rows] || !labels.dtype().is_int() {
            let expected = format!("integers of shape [{rows}]");
            return Err(MetricError::Input { what: "labels", expected, found: kind(labels) });
        }
        let class_of = |(row, label): (usize, i64)| match usize::try_from(label) {
            Ok(class) if class < classes => Ok(class),
            _ => Err(MetricError::Label { row, label, classes }),
        };
        let labels = labels.to_vec::<i64>().into_iter().enumerate().map(class_of).collect::<Result<_, _>>()?;
        Ok(Batch { classes, logits: logits.to_vec(), labels })
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = (&[f64], usize)> {
        // Without rows there may be no classes either, and chunks of nothing are not allowed.
        self.logits.chunks(self.classes.max(1)).zip(self.labels.iter().copied())
    }
}

/// The position of the highest logit: the first of equals, NaN before all.
fn argmax(logits: &[f64]) -> usize {
    let mut highest = 0;
    for (class, x) in logits.iter().enumerate() {
        if logits[highest].is_nan() {
            break;
        }
        if x.is_nan() || *x > logits[highest] {
            highest = class;
        }
    }
    highest
}

/// How many classes come before `label`; all of them if its logit is NaN.
fn rank(logits: &[f64], label: usize) -> usize {
    let own = logits[label];
    if own.is_nan() {
        return logits.len();
    }
    let before = |(class, x): (usize, &f64)| x.is_nan() || *x > own || (*x == own && class < label);
    logits.iter().enumerate().filter(|&pair| before(pair)).count()
}

fn scores(correct: u64, predicted: u64, labeled: u64) -> Scores {
    let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    Scores {
        precision: share(correct, predicted),
        recall: share(correct, labeled),
        f1: share(2 * correct, predicted + labeled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Labels and predictions whose scores below are those of scikit-learn 1.x (`zero_division=0`).
    fn example() -> ConfusionMatrix {
        let mut matrix = ConfusionMatrix::new(6);
        let labels = [0, 0, 0, 1, 1, 2, 2, 2, 2, 0];
        let predicted = [0, 0, 1, 1, 1, 2, 0, 2, 1, 4];
        labels.into_iter().zip(predicted).for_each(|(label, predicted)| matrix.add(label, predicted));
        matrix
    }

    #[track_caller]
    fn assert_close(found: Scores, [precision, recall, f1]: [f64; 3]) {
        for (x, y) in [(found.precision, precision), (found.recall, recall), (found.f1, f1)] {
            assert!((x - y).abs() < 1e-12, "{found:?}, expected {precision} {recall} {f1}");
        }
    }

    #[test]
    fn scores_are_those_of_scikit_learn() {
        let matrix = example();
        assert_eq!((matrix.rows(), matrix.accuracy()), (10, 0.6));
        assert_close(matrix.scores(0), [2.0 / 3.0, 0.5, 4.0 / 7.0]);
        assert_close(matrix.scores(1), [0.5, 1.0, 2.0 / 3.0]);
        assert_close(matrix.scores(2), [1.0, 0.5, 2.0 / 3.0]);
        assert_close(matrix.scores(4), [0.0, 0.0, 0.0]);
        assert_close(matrix.macro_average(), [0.541666666666667, 0.5, 0.476190476190476]);
        assert_close(matrix.micro_average(), [0.6, 0.6, 0.6]);
    }

    #[test]
    fn nothing_seen_is_defined() {
        let matrix = ConfusionMatrix::new(3);
        assert!(matrix.accuracy().is_nan() && TopK::new(1).value().is_nan());
        assert_close(matrix.macro_average(), [0.0; 3]);
        assert_close(matrix.micro_average(), [0.0; 3]);
        let mut matrix = ConfusionMatrix::new(3);
        matrix.update(&Array::new(&[0, 3], Vec::<f32>::new()).unwrap(), &Vec::<i64>::new().into()).unwrap();
        assert_eq!(matrix.rows(), 0);
    }

    #[test]
    fn the_label_is_among_the_top_k_or_not() {
        let logits = Array::from([[0.5f32, 0.2, 0.1], [0.3, 0.4, 0.2], [0.2, 0.4, 0.3], [0.7, 0.2, 0.1]]);
        for (k, share) in [(1, 0.5), (2, 0.75), (3, 1.0), (9, 1.0)] {
            let mut metric = TopK::new(k);
            metric.update(&logits.rows(0..3), &[0i64, 1, 2].into()).unwrap();
            metric.update(&logits.rows(3..4), &[2u8].into()).unwrap();
            assert_eq!(metric.value(), share, "top {k}");
        }
    }

    #[test]
    fn the_first_of_equals_counts_and_nan_is_never_correct() {
        let nan = f32::NAN;
        let logits =
            Array::from([[1.0f32, 1.0], [1.0, 1.0], [nan, 1.0], [1.0, nan], [nan, nan], [f32::NEG_INFINITY; 2]]);
        let mut top = TopK::new(1);
        top.update(&logits, &[0i64, 1, 1, 1, 0, 0].into()).unwrap();
        assert_eq!(top.value(), 2.0 / 6.0);
        let mut matrix = ConfusionMatrix::new(2);
        matrix.update(&logits, &[0i64; 6].into()).unwrap();
        assert_eq!((matrix.count(0, 0), matrix.count(0, 1)), (5, 1));
    }

    #[test]
    fn wrong_batches_are_refused_and_nothing_is_added() {
        let logits = Array::from([[0.1f32, 0.9], [0.8, 0.2]]);
        let mut matrix = ConfusionMatrix::new(2);
        for (labels, message) in [
            (Array::from([1i64, 2]), "row 1: the label 2 is not one of the classes 0..2"),
            (Array::from([1i64, -1]), "row 1: the label -1"),
            (Array::from([1i64]), "labels: expected integers of shape [2], found i64[1]"),
            (Array::from([1.0f32, 0.0]), "labels: expected integers of shape [2], found f32[2]"),
        ] {
            let found = matrix.update(&logits, &labels).unwrap_err().to_string();
            assert!(found.contains(message), "{found}");
        }
        let found = ConfusionMatrix::new(3).update(&logits, &[0i64, 1].into()).unwrap_err().to_string();
        assert_eq!(found, "logits: expected [rows, 3], found f32[2, 2]");
        let found = TopK::new(1).update(&[1.0f32].into(), &[0i64].into()).unwrap_err().to_string();
        assert_eq!(found, "logits: expected [rows, classes], found f32[1]");
        assert_eq!(matrix.rows(), 0);
    }

    #[test]
    fn the_table_is_readable() {
        let mut matrix = ConfusionMatrix::new(2);
        for _ in 0..1200 {
            matrix.add(0, 0);
        }
        matrix.add(1, 0);
        matrix.add(1, 1);
        let expected = "\
label \\ predicted   cat  größe  precision  recall     f1
cat                1200      0     0.9992  1.0000  0.9996
größe                 1      1     1.0000  0.5000  0.6667
";
        assert_eq!(matrix.named(&["cat", "größe"]).to_string(), expected);
        assert!(matrix.to_string().starts_with("label \\ predicted     0  1  precision"), "{matrix}");
    }
}
