//! MNIST and the sets that took over its four files (Fashion-MNIST, KMNIST).

use std::path::{Path, PathBuf};

use thalweg_array::{Array, DType};

use crate::dataset::Dataset;
use crate::error::DataError;
use crate::idx::read_idx;
use crate::labels::check_labels;

const CLASSES: usize = 10;
const HINT: &str = "MNIST is four files, train- and t10k-, images-idx3-ubyte and labels-idx1-ubyte, plain or .gz; get \
                    them from https://ossci-datasets.s3.amazonaws.com/mnist/ (train-images-idx3-ubyte.gz, …)";

/// The two parts of a set that comes as four IDX files.
#[derive(Clone, Debug)]
pub struct Mnist {
    /// The training part.
    pub train: Dataset,
    /// The test part.
    pub test: Dataset,
}

/// MNIST in `folder`: four files, each plain or gzip. The columns are `image`, f32 `[n, 28, 28]` from 0 (paper) to 255
/// (ink), and `label`, i64 `[n]`.
///
/// # Errors
/// If a file is missing (the message says where to get it) or damaged, images and labels differ in number, or a label
/// is not one of the ten digits.
pub fn mnist(folder: impl AsRef<Path>) -> Result<Mnist, DataError> {
    let folder = folder.as_ref();
    if !folder.is_dir() {
        return Err(DataError::NoFolder { folder: folder.into(), hint: HINT.into() });
    }
    Ok(Mnist { train: part(folder, "train")?, test: part(folder, "t10k")? })
}

fn part(folder: &Path, prefix: &str) -> Result<Dataset, DataError> {
    let (images_path, images) = read(folder, &format!("{prefix}-images-idx3-ubyte"), 3)?;
    let (labels_path, labels) = read(folder, &format!("{prefix}-labels-idx1-ubyte"), 1)?;
    if images.shape()[0] != labels.shape()[0] {
        let expected = format!("{} labels, one for each image of {}", images.shape()[0], images_path.display());
        return Err(DataError::malformed(&labels_path, "IDX sizes", expected, labels.shape()[0].to_string()));
    }
    check_labels(&labels_path.display().to_string(), &labels, CLASSES)?;
    let columns = [("image", images.cast(DType::F32)), ("label", labels.cast(DType::I64))];
    Ok(Dataset::new(columns)?.with_classes((0..CLASSES).map(|digit| digit.to_string())))
}

/// The bytes in the IDX file `name` or `name.gz` of `folder`.
fn read(folder: &Path, name: &str, rank: usize) -> Result<(PathBuf, Array), DataError> {
    let candidates = [folder.join(name), folder.join(format!("{name}.gz"))];
    let Some(path) = candidates.into_iter().find(|path| path.exists()) else {
        return Err(DataError::MissingFile { folder: folder.into(), file: name.into(), hint: HINT.into() });
    };
    let array = read_idx(&path)?;
    if array.rank() != rank || array.dtype() != DType::U8 {
        let found = format!("{} with {} axes", array.dtype(), array.rank());
        return Err(DataError::malformed(&path, "IDX magic number", format!("u8 with {rank} axes"), found));
    }
    Ok((path, array))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::read::tests::gzip;

    /// A folder with two training images and one test image of 2 x 2.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (prefix, count) in [("train", 2u8), ("t10k", 1)] {
            let mut images = vec![0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 2, 0, 0, 0, 2];
            images.extend((0..4 * count).map(|pixel| pixel * 10));
            fs::write(folder.path().join(format!("{prefix}-images-idx3-ubyte.gz")), gzip(&images)).unwrap();
            let mut labels = vec![0, 0, 8, 1, 0, 0, 0, count];
            labels.extend((0..count).map(|label| label + 7));
            fs::write(folder.path().join(format!("{prefix}-labels-idx1-ubyte")), labels).unwrap();
        }
        folder
    }

    fn refusal(folder: &tempfile::TempDir) -> String {
        mnist(folder.path()).unwrap_err().to_string()
    }

    #[test]
    fn four_files_become_two_parts() {
        let set = mnist(folder().path()).unwrap();
        assert_eq!(set.train["image"].shape(), [2, 2, 2]);
        assert_eq!(set.train["image"].as_slice::<f32>().unwrap(), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0]);
        assert_eq!(set.train["label"], Array::from([7i64, 8]));
        assert_eq!(set.test.len(), 1);
        assert_eq!(set.test.classes()[9], "9");
    }

    #[test]
    fn a_missing_file_is_named_with_where_to_get_it() {
        let folder = folder();
        fs::remove_file(folder.path().join("t10k-images-idx3-ubyte.gz")).unwrap();
        let message = refusal(&folder);
        assert!(message.contains("`t10k-images-idx3-ubyte`") && message.contains("https://"), "{message}");
    }

    #[test]
    fn files_that_do_not_fit_together_are_refused() {
        let folder = folder();
        let labels = folder.path().join("train-labels-idx1-ubyte");
        fs::write(&labels, [0, 0, 8, 1, 0, 0, 0, 1, 7]).unwrap();
        assert!(refusal(&folder).contains("expected 2 labels"), "{}", refusal(&folder));
        fs::write(&labels, [0, 0, 8, 1, 0, 0, 0, 2, 7, 10]).unwrap();
        assert!(refusal(&folder).contains("row 1: label 10"), "{}", refusal(&folder));
        fs::copy(folder.path().join("train-images-idx3-ubyte.gz"), &labels).unwrap();
        assert!(refusal(&folder).contains("expected u8 with 1 axes, found u8 with 3"), "{}", refusal(&folder));
    }

    #[test]
    fn the_real_set_is_whole() {
        let Some(data) = std::env::var_os("THALWEG_DATA") else {
            eprintln!("skipped: THALWEG_DATA is not set");
            return;
        };
        let set = mnist(Path::new(&data).join("mnist")).unwrap();
        assert_eq!((set.train.len(), set.test.len()), (60_000, 10_000));
        assert_eq!(set.train["image"].shape(), [60_000, 28, 28]);
        let sum: f64 = set.train["image"].as_slice::<f32>().unwrap().iter().map(|&pixel| pixel as f64).sum();
        // The mean of the training pixels is widely quoted as 0.1307 of 255.
        assert!((sum / (60_000.0 * 784.0 * 255.0) - 0.1307).abs() < 1e-4);
        let ones = set.train["label"].as_slice::<i64>().unwrap().iter().filter(|&&label| label == 1).count();
        assert_eq!(ones, 6_742);
    }
}
