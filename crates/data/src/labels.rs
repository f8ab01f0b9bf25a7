//! Are the labels class numbers?

use thalweg_array::{Array, Element, with_elements};

use crate::error::DataError;

/// Checks that every element of `labels` is a whole number from 0 to `classes` - 1; floats are accepted if they are
/// whole. `name` names the column in errors.
///
/// ```
/// use thalweg_array::Array;
/// use thalweg_data::check_labels;
///
/// check_labels("label", &Array::from([0i64, 2, 1]), 3)?;
/// let error = check_labels("label", &Array::from([0i64, 3, 1]), 3).unwrap_err();
/// assert_eq!(error.to_string(), "column `label`, row 1: label 3 is not a class: there are 3, numbered from 0 to 2");
/// # Ok::<(), thalweg_data::DataError>(())
/// ```
///
/// # Errors
/// If a label is out of range, negative, not whole or NaN; the message names the first such row.
pub fn check_labels(name: &str, labels: &Array, classes: usize) -> Result<(), DataError> {
    fn first_bad<T: Element>(labels: &[T], classes: usize) -> Option<usize> {
        labels.iter().position(|label| {
            let label = label.to_f64();
            !(label >= 0.0 && label < classes as f64 && label.fract() == 0.0)
        })
    }
    let Some(at) = with_elements!(labels.storage(), elements => first_bad(elements, classes)) else { return Ok(()) };
    let label = with_elements!(labels.storage(), elements => elements[at].to_f64());
    let reason = if label.is_nan() {
        "is not a number".to_string()
    } else if label.fract() != 0.0 {
        "is not a whole number: labels are class numbers".to_string()
    } else if label < 0.0 {
        "is negative: classes are numbered from 0".to_string()
    } else if classes == 0 {
        "is not a class: there are none".to_string()
    } else {
        format!("is not a class: there are {classes}, numbered from 0 to {}", classes - 1)
    };
    // A row may hold several labels.
    let width: usize = labels.shape().iter().skip(1).product();
    Err(DataError::Label { column: name.to_string(), row: at / width, label: label.to_string(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_labels_are_refused_with_their_row() {
        let cases: [(Array, &str); 6] = [
            (Array::from([0i64, 1, -1]), "row 2: label -1 is negative"),
            (Array::from([0u8, 10]), "row 1: label 10 is not a class: there are 10, numbered from 0 to 9"),
            (Array::from([0.0f32, 1.5]), "row 1: label 1.5 is not a whole number"),
            (Array::from([f32::NAN]), "row 0: label NaN is not a number"),
            (Array::from([f64::INFINITY]), "row 0: label inf is not a"),
            (Array::from([[1i32, 2], [3, 11]]), "row 1: label 11"),
        ];
        for (labels, part) in cases {
            let message = check_labels("digit", &labels, 10).unwrap_err().to_string();
            assert!(message.starts_with("column `digit`, ") && message.contains(part), "{message}");
        }
        assert!(check_labels("digit", &Array::from([0i64]), 0).unwrap_err().to_string().contains("there are none"));
    }

    #[test]
    fn good_labels_pass() {
        check_labels("y", &Array::from([0i64, 9]), 10).unwrap();
        check_labels("y", &Array::from([0.0f32, 9.0, -0.0]), 10).unwrap();
        check_labels("y", &Array::from([true, false]), 2).unwrap();
        check_labels("y", &Array::from(Vec::<i64>::new()), 0).unwrap();
    }
}
