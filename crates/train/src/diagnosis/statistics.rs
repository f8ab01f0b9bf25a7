//! [`Statistics`]: many numbers in a few.

use std::fmt;

use thalweg_formats::array::Array;

/// What the numbers of an array are like. Mean, deviation and ends are those of the finite ones.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Statistics {
    /// How many there are.
    pub count: usize,
    /// Their mean; 0 of none.
    pub mean: f64,
    /// Their standard deviation.
    pub std: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// √Σ x².
    pub norm: f64,
    /// How many are NaN.
    pub nan: usize,
    /// How many are infinite.
    pub infinite: usize,
}

impl Statistics {
    /// Those of an array.
    ///
    /// ```
    /// use thalweg_train::diagnosis::Statistics;
    /// let statistics = Statistics::of(&[1.0f32, 3.0, f32::NAN].into());
    /// assert_eq!((statistics.mean, statistics.std, statistics.nan), (2.0, 1.0, 1));
    /// assert_eq!(statistics.to_string(), "3 numbers from 1 to 3, mean 2, deviation 1, 1 NaN");
    /// ```
    pub fn of(array: &Array) -> Statistics {
        let all = array.to_vec::<f64>();
        let finite: Vec<f64> = all.iter().copied().filter(|x| x.is_finite()).collect();
        let nan = all.iter().filter(|x| x.is_nan()).count();
        let infinite = all.len() - finite.len() - nan;
        let statistics = Statistics { count: all.len(), nan, infinite, ..Statistics::default() };
        let Some(&first) = finite.first() else { return statistics };
        let mean = finite.iter().sum::<f64>() / finite.len() as f64;
        let square = |x: f64| x * x;
        let std = (finite.iter().map(|x| square(x - mean)).sum::<f64>() / finite.len() as f64).sqrt();
        let (min, max) = finite.iter().fold((first, first), |(min, max), &x| (min.min(x), max.max(x)));
        let norm = finite.iter().map(|&x| square(x)).sum::<f64>().sqrt();
        Statistics { mean, std, min, max, norm, ..statistics }
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Statistics { count, mean, std, min, max, nan, infinite, .. } = self;
        match count {
            0 => return write!(f, "no numbers"),
            1 if nan + infinite == 0 => return write!(f, "{}", short(*mean)),
            1 => {}
            _ => {
                let [min, max, mean, std] = [min, max, mean, std].map(|x| short(*x));
                write!(f, "{count} numbers from {min} to {max}, mean {mean}, deviation {std}")?;
            }
        }
        let separator = if *count == 1 { "" } else { ", " };
        if *nan > 0 {
            write!(f, "{separator}{nan} NaN")?;
        }
        if *infinite > 0 {
            write!(f, "{}{infinite} infinite", if *count == 1 && *nan == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// A number with three digits that count.
pub(crate) fn short(x: f64) -> String {
    let size = x.abs();
    match size {
        _ if x == 0.0 || !x.is_finite() => format!("{x}"),
        _ if !(1e-3..1e6).contains(&size) => format!("{x:.2e}"),
        _ => {
            let digits = (2 - size.log10().floor() as i32).clamp(0, 6) as usize;
            let text = format!("{x:.digits$}");
            if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_few_words() {
        let shown = |array: Array| Statistics::of(&array).to_string();
        assert_eq!(shown(Array::from(Vec::<f32>::new())), "no numbers");
        assert_eq!(shown(Array::scalar(0.5f32)), "0.5");
        assert_eq!(shown(Array::scalar(f32::INFINITY)), "1 infinite");
        assert_eq!(
            shown([f32::NAN, f32::INFINITY].into()),
            "2 numbers from 0 to 0, mean 0, deviation 0, 1 NaN, 1 infinite"
        );
        assert_eq!(
            [1234.5, 0.012345, 1e-9, 2e7, 10.0, 0.0].map(short),
            ["1234", "0.0123", "1.00e-9", "2.00e7", "10", "0"]
        );
    }
}
