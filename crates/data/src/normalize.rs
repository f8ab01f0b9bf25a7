//! Normalization with the statistics of the training set, to be kept with the model.

use serde::{Deserialize, Serialize};
use thalweg_array::{Array, DType, Element, with_elements};

use crate::dataset::Dataset;
use crate::error::DataError;
use crate::loader::Loader;

/// Over what statistics are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Per {
    /// One mean and one deviation for each feature: for each place in a row.
    Feature,
    /// One mean and one deviation for each channel, the first axis of a row: for pictures in color,
    /// `[n, channels, height, width]`.
    Channel,
    /// One mean and one deviation for all numbers: for pixels.
    All,
}

/// y = (x - mean) / std, with numbers that were taken from the training set and travel with the model.
///
/// Statistics are population statistics (divided by the number of rows). Where a feature is constant, `std` is 1, so
/// that it becomes 0.
///
/// ```
/// use thalweg_array::Array;
/// use thalweg_data::{Normalize, Per};
///
/// let train = Array::from([[1.0f32, 7.0], [3.0, 7.0]]);
/// let normalize = Normalize::standard("x", &train, Per::Feature)?;
/// assert_eq!(normalize.apply("x", &train)?, Array::from([[-1.0f32, 0.0], [1.0, 0.0]]));
/// assert_eq!(normalize.apply("x", &Array::from([[5.0f32, 8.0]]))?, Array::from([[3.0f32, 1.0]]));
/// # Ok::<(), thalweg_data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Normalize {
    mean: Vec<f64>,
    std: Vec<f64>,
}

impl Normalize {
    /// Mean 0 and standard deviation 1 over `train`, whose first axis counts rows. `name` names the column in errors.
    ///
    /// # Errors
    /// If there are no rows, or a number is NaN or infinite; the message names its row.
    pub fn standard(name: &str, train: &Array, per: Per) -> Result<Normalize, DataError> {
        Ok(Statistics::of(name, train, per)?.standard())
    }

    /// As [`Normalize::standard`] of the column `name` of `train`, which may be made row by row: it is read once, as
    /// for validation.
    ///
    /// # Errors
    /// As [`Normalize::standard`]; or if there is no such column, or a row cannot be made.
    pub fn of_dataset(name: &str, train: &Dataset, per: Per) -> Result<Normalize, DataError> {
        train.row(name)?;
        let mut all: Option<Statistics> = None;
        for batch in Loader::new(train, 64)?.epoch(0)? {
            let part = Statistics::of(name, &batch?[name], per)?;
            all = Some(match all {
                Some(all) => all.merged(&part),
                None => part,
            });
        }
        Ok(all.expect("a loader has at least one batch").standard())
    }

    /// The channels of pictures from 0 to 1 as most models trained on ImageNet expect them: means 0.485, 0.456, 0.406
    /// of red, green and blue, deviations 0.229, 0.224, 0.225.
    pub fn imagenet() -> Normalize {
        Normalize { mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225] }
    }

    /// From 0 to 1 over `train`. As [`Normalize::standard`] with the least number in place of the mean and the range in
    /// place of the deviation.
    ///
    /// # Errors
    /// As [`Normalize::standard`].
    pub fn range(name: &str, train: &Array, per: Per) -> Result<Normalize, DataError> {
        let Statistics { least, greatest, .. } = Statistics::of(name, train, per)?;
        let range = |(least, greatest): (&f64, &f64)| if least == greatest { 1.0 } else { greatest - least };
        let std = least.iter().zip(&greatest).map(range).collect();
        Ok(Normalize { mean: least, std })
    }

    /// With known numbers: one for all, or one for each feature or channel.
    ///
    /// # Errors
    /// If the two differ in length or are empty, a mean is not finite, or a deviation is not finite or 0.
    pub fn new(mean: Vec<f64>, std: Vec<f64>) -> Result<Normalize, DataError> {
        let refuse = |reason: String| Err(DataError::setting("normalization", reason));
        if mean.is_empty() || mean.len() != std.len() {
            return refuse(format!(
                "{} means and {} deviations; there must be as many, and at least one",
                mean.len(),
                std.len()
            ));
        }
        if let Some(feature) = mean.iter().position(|mean| !mean.is_finite()) {
            return refuse(format!("the mean of feature {feature} is {}", mean[feature]));
        }
        if let Some(feature) = std.iter().position(|std| !std.is_finite() || *std == 0.0) {
            return refuse(format!("the deviation of feature {feature} is {}", std[feature]));
        }
        Ok(Normalize { mean, std })
    }

    /// What is subtracted: one number, or one for each feature or channel.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// What divides: one number, or one for each feature or channel.
    pub fn std(&self) -> &[f64] {
        &self.std
    }

    /// `x` normalized, as f64 if it is f64 and as f32 otherwise. Its first axis counts rows. `name` names the column in
    /// errors.
    ///
    /// # Errors
    /// If a row has neither as many features nor as many channels as there are statistics.
    pub fn apply(&self, name: &str, x: &Array) -> Result<Array, DataError> {
        self.map(name, x, |x, mean, std| (x - mean) / std)
    }

    /// `y` scaled back: y · std + mean.
    ///
    /// # Errors
    /// As [`Normalize::apply`].
    pub fn invert(&self, name: &str, y: &Array) -> Result<Array, DataError> {
        self.map(name, y, |y, mean, std| y * std + mean)
    }

    fn map(&self, name: &str, x: &Array, f: impl Fn(f64, f64, f64) -> f64) -> Result<Array, DataError> {
        let width = self.mean.len();
        let features: usize = x.shape().iter().skip(1).product();
        // How many neighbors share their statistics.
        let plane = match x.shape() {
            _ if width == 1 => features,
            [_, ..] if features == width => 1,
            &[_, channels, _, ..] if channels == width => features / channels,
            shape => {
                let reason = format!("has {features} numbers a row (shape {shape:?}), the statistics are of {width}");
                return Err(DataError::column(name, reason));
            }
        };
        fn each<T: Element, U: Element>(x: &[T], f: impl Fn(usize, f64) -> f64) -> Vec<U> {
            x.iter().enumerate().map(|(index, x)| U::from_f64(f(index, x.to_f64()))).collect()
        }
        let plane = plane.max(1);
        let f = |index: usize, x: f64| f(x, self.mean[index / plane % width], self.std[index / plane % width]);
        Ok(if x.dtype() == DType::F64 {
            Array::new::<f64>(x.shape(), each(x.as_slice::<f64>()?, f))?
        } else {
            Array::new::<f32>(x.shape(), with_elements!(x.storage(), elements => each(elements, f)))?
        })
    }
}

/// What is written in a file, before it is known to be sound.
#[derive(Deserialize)]
struct Unchecked {
    mean: Vec<f64>,
    std: Vec<f64>,
}

impl TryFrom<Unchecked> for Normalize {
    type Error = DataError;

    fn try_from(unchecked: Unchecked) -> Result<Normalize, DataError> {
        Normalize::new(unchecked.mean, unchecked.std)
    }
}

/// What is known of each feature of a column.
struct Statistics {
    /// The numbers of each.
    count: f64,
    least: Vec<f64>,
    greatest: Vec<f64>,
    mean: Vec<f64>,
    /// The sum of the squared distances from the mean.
    squares: Vec<f64>,
}

impl Statistics {
    fn of(name: &str, x: &Array, per: Per) -> Result<Statistics, DataError> {
        if x.is_empty() {
            let reason = format!("has no numbers to take statistics of (shape {:?})", x.shape());
            return Err(DataError::column(name, reason));
        }
        let per_row: usize = x.shape().iter().skip(1).product();
        let width = match (per, x.shape()) {
            (Per::Feature, _) => per_row,
            (Per::All, _) => 1,
            (Per::Channel, &[_, channels, _, ..]) => channels,
            (Per::Channel, shape) => {
                return Err(DataError::column(name, format!("has shape {shape:?}, which has no channels")));
            }
        };
        let measured = with_elements!(x.storage(), elements => Statistics::measure(elements, width, per_row / width));
        measured.map_err(|(index, x)| {
            let reason =
                format!("row {}, feature {}: {x} has no place in statistics", index / per_row, index % per_row);
            DataError::column(name, reason)
        })
    }

    /// Over `x`, rows of `width` features, each `plane` neighboring numbers; the first number that is not finite comes
    /// back with its place.
    fn measure<T: Element>(x: &[T], width: usize, plane: usize) -> Result<Statistics, (usize, f64)> {
        if let Some(index) = x.iter().position(|x| !x.to_f64().is_finite()) {
            return Err((index, x[index].to_f64()));
        }
        let features = || x.chunks_exact(plane).enumerate().map(|(index, numbers)| (index % width, numbers));
        let count = (x.len() / width) as f64;
        let mut least = vec![f64::INFINITY; width];
        let mut greatest = vec![f64::NEG_INFINITY; width];
        let mut mean = vec![0.0; width];
        for (feature, numbers) in features() {
            for x in numbers.iter().map(|x| x.to_f64()) {
                least[feature] = least[feature].min(x);
                greatest[feature] = greatest[feature].max(x);
                mean[feature] += x;
            }
        }
        mean.iter_mut().for_each(|mean| *mean /= count);
        // A second pass: E[x²] - E[x]² would cancel where the mean is large beside the deviation.
        let mut squares = vec![0.0; width];
        for (feature, numbers) in features() {
            numbers.iter().for_each(|x| squares[feature] += (x.to_f64() - mean[feature]).powi(2));
        }
        Ok(Statistics { count, least, greatest, mean, squares })
    }

    /// Of both (Chan, Golub and LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample
    /// variances").
    fn merged(&self, other: &Statistics) -> Statistics {
        let count = self.count + other.count;
        let pairs = |a: &[f64], b: &[f64], f: fn(f64, f64) -> f64| a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect();
        let mean = self.mean.iter().zip(&other.mean).map(|(a, b)| a + (b - a) * (other.count / count)).collect();
        let between =
            self.mean.iter().zip(&other.mean).map(|(a, b)| (b - a).powi(2) * self.count * other.count / count);
        let within = self.squares.iter().zip(&other.squares).map(|(a, b)| a + b);
        Statistics {
            count,
            least: pairs(&self.least, &other.least, f64::min),
            greatest: pairs(&self.greatest, &other.greatest, f64::max),
            mean,
            squares: within.zip(between).map(|(within, between)| within + between).collect(),
        }
    }

    /// Mean 0 and deviation 1.
    fn standard(self) -> Normalize {
        let std = self.squares.iter().map(|squares| (squares / self.count).sqrt());
        let mut normalize = Normalize { std: std.collect(), mean: self.mean };
        for feature in 0..normalize.mean.len() {
            if self.least[feature] == self.greatest[feature] {
                // Rounding in the mean of a constant must not be blown up.
                (normalize.mean[feature], normalize.std[feature]) = (self.least[feature], 1.0);
            }
        }
        normalize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_standardized_column_has_mean_0_and_deviation_1(
            x in prop::collection::vec(-1e3f64..1e3, 6..60), shift in -1e6f64..1e6,
        ) {
            let x: Vec<f64> = x.iter().map(|x| x + shift).collect();
            let n = x.len() as f64;
            let x = Array::from(x);
            let normalize = Normalize::standard("x", &x, Per::Feature).unwrap();
            let y = normalize.apply("x", &x).unwrap();
            let y = y.as_slice::<f64>().unwrap();
            prop_assert!((y.iter().sum::<f64>() / n).abs() < 1e-6);
            prop_assert!((y.iter().map(|y| y * y).sum::<f64>() / n - 1.0).abs() < 1e-6);
            let back = normalize.invert("x", &normalize.apply("x", &x).unwrap()).unwrap().to_vec::<f64>();
            prop_assert!(back.iter().zip(x.to_vec::<f64>()).all(|(back, x)| (back - x).abs() < 1e-6));
        }
    }

    #[test]
    fn a_constant_column_becomes_0() {
        // 0.1 added up a thousand times and divided is not 0.1: the deviation must not come from that rounding.
        let x = Array::from(vec![0.1f32; 1000]);
        for normalize in [Normalize::standard("x", &x, Per::All), Normalize::range("x", &x, Per::All)] {
            let normalize = normalize.unwrap();
            assert_eq!((normalize.mean(), normalize.std()), (&[0.1f32 as f64][..], &[1.0][..]));
            assert!(normalize.apply("x", &x).unwrap().as_slice::<f32>().unwrap().iter().all(|&x| x == 0.0));
        }
    }

    #[test]
    fn integers_become_f32_over_all_or_per_feature() {
        let x = Array::from([[0u8, 10], [4, 30]]);
        let all = Normalize::range("x", &x, Per::All).unwrap();
        assert_eq!((all.mean(), all.std()), (&[0.0][..], &[30.0][..]));
        let each = Normalize::range("x", &x, Per::Feature).unwrap();
        assert_eq!(each.apply("x", &x).unwrap(), Array::from([[0.0f32, 0.0], [1.0, 1.0]]));
    }

    #[test]
    fn channels_have_their_own_statistics() {
        let x = Array::new::<f32>(&[2, 2, 1, 2], vec![0.0, 2.0, 5.0, 5.0, 4.0, 6.0, 5.0, 5.0]).unwrap();
        let normalize = Normalize::standard("x", &x, Per::Channel).unwrap();
        assert_eq!((normalize.mean(), normalize.std()), (&[3.0, 5.0][..], &[5f64.sqrt(), 1.0][..]));
        let y = normalize.apply("x", &x).unwrap();
        assert_eq!(y.as_slice::<f32>().unwrap()[2..4], [0.0, 0.0]);
        assert!((y.as_slice::<f32>().unwrap()[5] - 3.0 / 5f32.sqrt()).abs() < 1e-6);
        let message = Normalize::standard("x", &Array::from([1.0f32]), Per::Channel).unwrap_err().to_string();
        assert_eq!(message, "column `x`: has shape [1], which has no channels");
    }

    #[test]
    fn statistics_of_a_data_set_are_those_of_its_column() {
        let x: Vec<f32> = (0..300 * 6).map(|x| ((x * x) % 101) as f32 + 1e3).collect();
        let x = Array::new(&[300, 2, 3, 1], x).unwrap();
        let data = Dataset::new([("x", x.clone())]).unwrap();
        for per in [Per::Feature, Per::Channel, Per::All] {
            let (whole, read) =
                (Normalize::standard("x", &x, per).unwrap(), Normalize::of_dataset("x", &data, per).unwrap());
            let close = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9);
            assert!(close(whole.mean(), read.mean()) && close(whole.std(), read.std()), "{whole:?} {read:?}");
        }
        assert!(Normalize::of_dataset("y", &data, Per::All).unwrap_err().to_string().contains("no column `y`"));
    }

    #[test]
    fn numbers_without_statistics_are_refused() {
        let x = Array::from([[1.0f32, 2.0], [3.0, f32::NAN]]);
        let message = Normalize::standard("age", &x, Per::All).unwrap_err().to_string();
        assert_eq!(message, "column `age`: row 1, feature 1: NaN has no place in statistics");
        let message = Normalize::standard("age", &Array::zeros(&[0, 3], DType::F32), Per::Feature).unwrap_err();
        assert!(message.to_string().contains("column `age`: has no numbers"), "{message}");
    }

    #[test]
    fn another_number_of_features_is_refused() {
        let normalize = Normalize::new(vec![0.0; 3], vec![1.0; 3]).unwrap();
        let message = normalize.apply("x", &Array::zeros(&[2, 4], DType::F32)).unwrap_err().to_string();
        assert_eq!(message, "column `x`: has 4 numbers a row (shape [2, 4]), the statistics are of 3");
    }

    #[test]
    fn statistics_are_written_and_checked_when_read() {
        let normalize = Normalize::new(vec![0.1, -2.0], vec![1.0 / 3.0, 4.0]).unwrap();
        let text = serde_json::to_string(&normalize).unwrap();
        assert_eq!(serde_json::from_str::<Normalize>(&text).unwrap(), normalize);
        for (text, part) in [
            (r#"{"mean":[0.0],"std":[0.0]}"#, "deviation of feature 0 is 0"),
            (r#"{"mean":[0.0,1.0],"std":[1.0]}"#, "2 means and 1 deviations"),
            (r#"{"mean":[],"std":[]}"#, "at least one"),
        ] {
            let message = serde_json::from_str::<Normalize>(text).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
        assert!(Normalize::new(vec![f64::NAN], vec![1.0]).unwrap_err().to_string().contains("mean of feature 0"));
    }
}
