//! The UCI optical digits, embedded: real handwriting with no file and no network.

use std::path::Path;

use thalweg_array::Array;

use crate::dataset::Dataset;
use crate::read::gunzip;

/// 1,797 handwritten digits of 8 x 8 pixels: `image`, f32 `[1797, 8, 8]` from 0 (paper) to 16 (ink), and `label`, i64
/// `[1797]`.
///
/// E. Alpaydin and C. Kaynak (1998), *Optical Recognition of Handwritten Digits*, UCI Machine Learning Repository,
/// CC BY 4.0; the copy in scikit-learn (`assets/digits.md`).
///
/// ```
/// let digits = thalweg_data::digits();
/// assert_eq!(digits["image"].shape(), [1797, 8, 8]);
/// ```
pub fn digits() -> Dataset {
    let text = gunzip(Path::new("assets/digits.csv.gz"), include_bytes!("../assets/digits.csv.gz"))
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    text.as_deref().and_then(parse).expect("the embedded digits are whole")
}

/// Rows of 64 pixels and a label.
fn parse(text: &str) -> Option<Dataset> {
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let (pixels, label) = line.rsplit_once(',')?;
        for pixel in pixels.split(',') {
            images.push(pixel.parse::<u8>().ok()? as f32);
        }
        labels.push(label.parse::<i64>().ok()?);
    }
    let images = Array::new(&[labels.len(), 8, 8], images).ok()?;
    let data = Dataset::new([("image", images), ("label", labels.into())]).ok()?;
    Some(data.with_classes((0..10).map(|digit: u8| digit.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::check_labels;

    #[test]
    fn the_set_is_whole() {
        let digits = digits();
        check_labels("label", &digits["label"], digits.classes().len()).unwrap();
        let pixels = digits["image"].as_slice::<f32>().unwrap();
        assert!(pixels.iter().all(|pixel| (0.0..=16.0).contains(pixel)));
        assert_eq!(pixels[..8], [0.0, 0.0, 5.0, 13.0, 9.0, 1.0, 0.0, 0.0]);
        // The counts of the set's description (optdigits.names, test part).
        let labels = digits["label"].as_slice::<i64>().unwrap();
        let counts: Vec<usize> = (0..10).map(|digit| labels.iter().filter(|&&label| label == digit).count()).collect();
        assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    }
}
