//! CIFAR-10 and CIFAR-100 in their binary form.

use std::path::{Path, PathBuf};

use thalweg_array::Array;

use crate::dataset::Dataset;
use crate::error::DataError;
use crate::labels::check_labels;
use crate::read::read_file;

const SIDE: usize = 32;
const PIXELS: usize = 3 * SIDE * SIDE;
const CLASSES: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
const HINT_10: &str = "CIFAR-10 in its binary form is data_batch_1.bin to data_batch_5.bin and test_batch.bin, plain or \
                       .gz; get it from https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz";
const HINT_100: &str = "CIFAR-100 in its binary form is train.bin and test.bin, plain or .gz, and \
                        fine_label_names.txt; get it from https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz";

/// The two parts of CIFAR-10 or CIFAR-100.
#[derive(Clone, Debug)]
pub struct Cifar {
    /// The training part.
    pub train: Dataset,
    /// The test part.
    pub test: Dataset,
}

/// CIFAR-10 in `folder`: those of the five training batches that are there, one after the other, and the file whose
/// name begins with `test`; each plain or gzip. The columns are `image`, u8 `[n, 3, 32, 32]` (red, green, blue), which
/// [`Dataset::augment`] prepares for a model, and `label`, i64 `[n]`.
///
/// # Errors
/// If a file is missing (the message says where to get it), is not made of whole rows or is damaged, or a label is no
/// class.
pub fn cifar10(folder: impl AsRef<Path>) -> Result<Cifar, DataError> {
    let folder = Folder::open(folder.as_ref(), HINT_10)?;
    let batches: Vec<PathBuf> = (1..=5).filter_map(|batch| folder.find(&format!("data_batch_{batch}.bin"))).collect();
    if batches.is_empty() {
        return Err(folder.missing("data_batch_1.bin"));
    }
    let test = folder.starting_with("test").ok_or_else(|| folder.missing("test_batch.bin"))?;
    let part = |paths: &[PathBuf]| read(paths, &[("label", CLASSES.len())]).map(|data| data.with_classes(CLASSES));
    Ok(Cifar { train: part(&batches)?, test: part(&[test])? })
}

/// CIFAR-100 in `folder`: `train.bin`, `test.bin` and the names of the classes in `fine_label_names.txt`. The columns
/// are those of [`cifar10`], and `coarse`, i64 `[n]`, which of 20 groups the class belongs to.
///
/// # Errors
/// As [`cifar10`]; or if there are not 100 names.
pub fn cifar100(folder: impl AsRef<Path>) -> Result<Cifar, DataError> {
    let folder = Folder::open(folder.as_ref(), HINT_100)?;
    let find = |name: &str| folder.find(name).ok_or_else(|| folder.missing(name));
    let path = find("fine_label_names.txt")?;
    let text = String::from_utf8_lossy(&read_file(&path)?).into_owned();
    let names: Vec<String> = text.split_whitespace().map(String::from).collect();
    if names.len() != 100 {
        return Err(DataError::malformed(&path, "names of classes", "100", names.len().to_string()));
    }
    let part = |path| read(&[path], &[("coarse", 20), ("label", 100)]).map(|data| data.with_classes(names.clone()));
    Ok(Cifar { train: part(find("train.bin")?)?, test: part(find("test.bin")?)? })
}

/// The rows of the files, one after the other: a byte for each of `labels` (name and number of classes), then the red,
/// the green and the blue of all pixels.
fn read(paths: &[PathBuf], labels: &[(&str, usize)]) -> Result<Dataset, DataError> {
    let row = labels.len() + PIXELS;
    let mut images = Vec::new();
    let mut columns: Vec<Vec<i64>> = vec![Vec::new(); labels.len()];
    for path in paths {
        let bytes = read_file(path)?;
        if bytes.is_empty() || !bytes.len().is_multiple_of(row) {
            let found = format!("{} bytes: {} rows and {} bytes", bytes.len(), bytes.len() / row, bytes.len() % row);
            return Err(DataError::malformed(path, "the file", format!("rows of {row} bytes"), found));
        }
        for (index, &(name, classes)) in labels.iter().enumerate() {
            let own: Vec<i64> = bytes.iter().skip(index).step_by(row).map(|&label| label.into()).collect();
            check_labels(&format!("{name}` of `{}", path.display()), &own.clone().into(), classes)?;
            columns[index].extend(own);
        }
        bytes.chunks_exact(row).for_each(|row| images.extend_from_slice(&row[labels.len()..]));
    }
    let shape = [images.len() / PIXELS, 3, SIDE, SIDE];
    let data = Dataset::new([("image", Array::new(&shape, images)?)])?;
    let columns = labels.iter().zip(columns);
    columns.rev().try_fold(data, |data, (&(name, _), column)| data.with_column(name, column.into()))
}

/// Where the files are.
struct Folder {
    path: PathBuf,
    /// The names of all files, sorted.
    names: Vec<String>,
    hint: &'static str,
}

impl Folder {
    fn open(path: &Path, hint: &'static str) -> Result<Folder, DataError> {
        let none = |_| DataError::NoFolder { folder: path.into(), hint: hint.into() };
        let entries = std::fs::read_dir(path).map_err(none)?;
        let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        Ok(Folder { path: path.into(), names, hint })
    }

    /// The file `name` or `name.gz`.
    fn find(&self, name: &str) -> Option<PathBuf> {
        let compressed = format!("{name}.gz");
        self.names.iter().find(|known| *known == name || **known == compressed).map(|name| self.path.join(name))
    }

    /// The first file in this form whose name begins so.
    fn starting_with(&self, beginning: &str) -> Option<PathBuf> {
        let binary = |name: &str| name.ends_with(".bin") || name.ends_with(".bin.gz");
        self.names.iter().find(|name| name.starts_with(beginning) && binary(name)).map(|name| self.path.join(name))
    }

    fn missing(&self, file: &str) -> DataError {
        DataError::MissingFile { folder: self.path.clone(), file: file.into(), hint: self.hint.into() }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::normalize::{Normalize, Per};
    use crate::read::tests::gzip;

    /// Rows whose labels are these and whose pixels are the number of the row, in the green 100 more.
    fn rows(labels: &[&[u8]]) -> Vec<u8> {
        let row = |(index, labels): (usize, &&[u8])| {
            let plane = |add: u8| vec![index as u8 + add; SIDE * SIDE];
            [labels.to_vec(), plane(0), plane(100), plane(0)].concat()
        };
        labels.iter().enumerate().flat_map(row).collect()
    }

    fn ten() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("data_batch_1.bin.gz"), gzip(&rows(&[&[3], &[9]]))).unwrap();
        fs::write(folder.path().join("data_batch_4.bin"), rows(&[&[0]])).unwrap();
        fs::write(folder.path().join("test_batch.bin"), rows(&[&[5]])).unwrap();
        folder
    }

    fn refusal(folder: &TempDir) -> String {
        cifar10(folder.path()).unwrap_err().to_string()
    }

    #[test]
    fn the_batches_that_are_there_follow_each_other() {
        let set = cifar10(ten().path()).unwrap();
        assert_eq!(set.train["image"].shape(), [3, 3, 32, 32]);
        assert_eq!(set.train["label"], Array::from([3i64, 9, 0]));
        let pixels = set.train["image"].as_slice::<u8>().unwrap();
        assert_eq!([pixels[0], pixels[1024], pixels[PIXELS], pixels[PIXELS + 1024]], [0, 100, 1, 101]);
        assert_eq!((set.test.len(), set.test.classes()[5].as_str()), (1, "dog"));
    }

    #[test]
    fn files_that_are_missing_or_cut_are_named() {
        let folder = ten();
        let cut = folder.path().join("data_batch_4.bin");
        fs::write(&cut, &rows(&[&[0], &[1]])[..5000]).unwrap();
        let message = refusal(&folder);
        assert!(
            message
                .contains("data_batch_4.bin: the file: expected rows of 3073 bytes, found 5000 bytes: 1 rows and 1927"),
            "{message}"
        );
        fs::write(&cut, rows(&[&[0], &[10]])).unwrap();
        let message = refusal(&folder);
        assert!(message.contains("data_batch_4.bin`, row 1: label 10 is not a class"), "{message}");
        fs::write(&cut, b"").unwrap();
        assert!(refusal(&folder).contains("found 0 bytes"), "{}", refusal(&folder));
        fs::remove_file(folder.path().join("test_batch.bin")).unwrap();
        assert!(refusal(&folder).contains("no file `test_batch.bin`") && refusal(&folder).contains("https://"));
        fs::remove_file(&cut).unwrap();
        fs::remove_file(folder.path().join("data_batch_1.bin.gz")).unwrap();
        assert!(refusal(&folder).contains("no file `data_batch_1.bin`"), "{}", refusal(&folder));
        let message = cifar10(folder.path().join("none")).unwrap_err().to_string();
        assert!(message.contains("none is no folder that can be read; CIFAR-10 in its binary form is"), "{message}");
    }

    #[test]
    fn a_hundred_classes_have_names_and_groups() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
        write("train.bin", &rows(&[&[19, 99], &[0, 1]]));
        write("test.bin", &rows(&[&[4, 7]]));
        let names = |count: usize| (0..count).map(|class| format!("name{class}\n")).collect::<String>();
        write("fine_label_names.txt", names(99).as_bytes());
        let message = cifar100(folder.path()).unwrap_err().to_string();
        assert!(message.contains("fine_label_names.txt: names of classes: expected 100, found 99"), "{message}");
        write("fine_label_names.txt", names(100).as_bytes());
        let set = cifar100(folder.path()).unwrap();
        assert_eq!(set.train["label"], Array::from([99i64, 1]));
        assert_eq!(set.train["coarse"], Array::from([19i64, 0]));
        assert_eq!(set.test.classes()[7], "name7");
        write("test.bin", &rows(&[&[20, 7]]));
        let message = cifar100(folder.path()).unwrap_err().to_string();
        assert!(message.contains("`coarse` of `") && message.contains("label 20 is not a class"), "{message}");
    }

    #[test]
    fn the_real_set_is_whole() {
        let Some(data) = std::env::var_os("THALWEG_DATA") else {
            eprintln!("skipped: THALWEG_DATA is not set");
            return;
        };
        let set = cifar10(Path::new(&data).join("cifar10")).unwrap();
        assert_eq!((set.train.len() % 10_000, set.test.classes().len()), (0, 10));
        let first = set.train.select(&(0..10_000).collect::<Vec<_>>());
        let channels = Normalize::standard("image", &first["image"], Per::Channel).unwrap();
        for (mean, expected) in channels.mean().iter().zip([0.4935, 0.4834, 0.4472]) {
            assert!((mean / 255.0 - expected).abs() < 1e-4, "{mean}");
        }
        let labels = set.test["label"].as_slice::<i64>().unwrap();
        assert!(labels.iter().all(|&label| (0..10).contains(&label)));
    }
}
