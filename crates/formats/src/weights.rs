//! Trained weights of others: reading them from any of the usual files, and finding out whether they fit a model.
//!
//! | file | read by |
//! | --- | --- |
//! | safetensors | [`safetensors`] |
//! | PyTorch `.pt`, `.pth`, `.bin`, zip and the older form | `torch`, without executing anything |
//! | NumPy `.npz`, and `.npy` as one array of the name `array` | `array::npy` |
//!
//! What a file is shows in its first bytes, not in its name.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::Path;

use thalweg_graph::array::{Array, DType, npy, with_dtype};

use crate::archive::Archive;
use crate::error::FormatError;
use crate::safetensors::{self, TensorFile};
use crate::{npz, regular, torch};

/// Reads the tensors of the file at `path`, whichever of the forms it has.
///
/// # Errors
/// If it cannot be read, has none of these forms, is damaged, or holds what no array can.
///
/// ```
/// use thalweg_formats::array::{Array, npy};
/// use thalweg_formats::weights;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("line.npy");
/// npy::save(&path, &Array::from([0.1f32, 0.3]))?;
/// assert_eq!(weights::read(&path)?.tensors["array"], Array::from([0.1f32, 0.3]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read(path: impl AsRef<Path>) -> Result<TensorFile, FormatError> {
    let path = path.as_ref();
    let (mut file, length) = regular::open(path)?;
    let mut bytes = Vec::new();
    let too_large = |_| FormatError::Malformed {
        path: path.to_path_buf(),
        format: "weights",
        reason: format!("{length} bytes, more memory than there is"),
    };
    bytes.try_reserve_exact(usize::try_from(length).unwrap_or(usize::MAX)).map_err(too_large)?;
    file.read_to_end(&mut bytes).map_err(FormatError::io(path, "read"))?;
    decode(&bytes, path)
}

/// Reads the tensors of the file of these bytes, whose name in messages is `path`.
///
/// # Errors
/// As [`read`].
pub fn decode(bytes: &[u8], path: &Path) -> Result<TensorFile, FormatError> {
    let malformed = |format, reason: String| FormatError::Malformed { path: path.to_path_buf(), format, reason };
    match bytes {
        _ if Archive::is_one(bytes) => {
            let zip = Archive::open(bytes, path)?;
            match torch::archive_program(&zip) {
                Some(program) => torch::decode_archive(zip, &program, path),
                None if npz::is_one(&zip) => npz::decode(zip, path),
                None => {
                    Err(malformed("weights", "a zip archive without `data.pkl` (PyTorch) or `.npy` (NumPy)".into()))
                }
            }
        }
        [0x80, 2..=5, ..] => torch::decode_stream(bytes, path),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => {
            let array = npy::from_bytes(&path.display().to_string(), bytes);
            let array = array.map_err(|error| malformed("npy", error.to_string()))?;
            Ok(TensorFile { tensors: BTreeMap::from([("array".into(), array)]), ..TensorFile::default() })
        }
        [0x89, b'H', b'D', b'F', ..] => {
            Err(malformed("weights", "an HDF5 file (Keras); export it as safetensors or `.npz`".into()))
        }
        // A safetensors file begins with the length of its header, and the header with a brace.
        [_, _, _, _, _, _, 0, 0, b'{', ..] => safetensors::decode(&mut { bytes }, bytes.len() as u64, path),
        _ => {
            let first = &bytes[..bytes.len().min(8)];
            Err(malformed(
                "weights",
                format!("it begins with {first:02x?}; safetensors, PyTorch and NumPy files are read"),
            ))
        }
    }
}

/// How the names of a file become those of a model, rule by rule in the order given.
///
/// ```
/// use thalweg_formats::weights::Names;
/// let names = Names::new().ignore("num_batches_tracked").strip("module.").replace("linear.", "head.");
/// assert_eq!(names.of("module.linear.weight").as_deref(), Some("head.weight"));
/// assert_eq!(names.of("module.bn1.num_batches_tracked"), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    rules: Vec<Rule>,
    transposed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Ignore(String),
    Strip(String),
    Replace(String, String),
    Rename(String, String),
}

impl Names {
    /// Every name as it is.
    pub fn new() -> Names {
        Names::default()
    }

    /// Leaves out tensors whose name ends with `suffix`.
    pub fn ignore(self, suffix: &str) -> Names {
        self.with(Rule::Ignore(suffix.into()))
    }

    /// Takes `prefix` away where a name begins with it.
    pub fn strip(self, prefix: &str) -> Names {
        self.with(Rule::Strip(prefix.into()))
    }

    /// Puts `to` for every `from` in a name.
    pub fn replace(self, from: &str, to: &str) -> Names {
        self.with(Rule::Replace(from.into(), to.into()))
    }

    /// Calls the tensor `from` by the name `to`.
    pub fn rename(self, from: &str, to: &str) -> Names {
        self.with(Rule::Rename(from.into(), to.into()))
    }

    /// Turns what has two axes, rows for columns: dense weights are `[out, in]` in PyTorch, `[in, out]` here.
    pub fn transpose_matrices(self) -> Names {
        Names { transposed: true, ..self }
    }

    fn with(mut self, rule: Rule) -> Names {
        self.rules.push(rule);
        self
    }

    /// What a tensor of the file is called in the model; `None` where it is left out.
    pub fn of(&self, name: &str) -> Option<String> {
        self.rules.iter().try_fold(name.to_string(), |name, rule| match rule {
            Rule::Ignore(suffix) => (!name.ends_with(&**suffix)).then_some(name),
            Rule::Strip(prefix) => Some(name.strip_prefix(&**prefix).map_or(name.clone(), String::from)),
            Rule::Replace(from, to) => Some(name.replace(&**from, to)),
            Rule::Rename(from, to) => Some(if name == *from { to.clone() } else { name }),
        })
    }

    /// The tensors under the names of the model.
    ///
    /// # Errors
    /// If two of the file would have one name.
    pub fn apply(&self, tensors: BTreeMap<String, Array>) -> Result<BTreeMap<String, Array>, NameClash> {
        let mut from: BTreeMap<String, String> = BTreeMap::new();
        let mut renamed = BTreeMap::new();
        for (name, array) in tensors {
            let Some(new) = self.of(&name) else { continue };
            if let Some(first) = from.insert(new.clone(), name.clone()) {
                return Err(NameClash { name: new, first, second: name });
            }
            let array = if self.transposed && array.rank() == 2 { transposed(&array) } else { array };
            renamed.insert(new, array);
        }
        Ok(renamed)
    }
}

/// A matrix with its rows as columns.
fn transposed(matrix: &Array) -> Array {
    let (rows, columns) = (matrix.shape()[0], matrix.shape()[1]);
    with_dtype!(matrix.dtype(), T => {
        let elements = matrix.to_vec::<T>();
        let turned = (0..columns).flat_map(|column| (0..rows).map(move |row| row * columns + column));
        let turned = turned.map(|position| elements[position]).collect();
        Array::new(&[columns, rows], turned).expect("as many elements as before")
    })
}

/// Two tensors that would have one name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{first}` and `{second}` would both be `{name}`; check the rules of the names")]
pub struct NameClash {
    /// The name.
    pub name: String,
    /// One of them in the file.
    pub first: String,
    /// The other.
    pub second: String,
}

/// Dtype and shape of the arrays, by name.
pub type Signature = BTreeMap<String, (DType, Vec<usize>)>;

/// What to do about arrays that nobody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// They are an error.
    Refuse,
    /// They are left out.
    Ignore,
}

/// How arrays differ from those wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Wanted, but not there.
    pub missing: Vec<String>,
    /// There, but not wanted.
    pub unexpected: Vec<String>,
    /// Of another dtype or shape.
    pub different: Vec<Difference>,
}

/// An array that is not as wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its name.
    pub name: String,
    /// Dtype and shape wanted.
    pub expected: (DType, Vec<usize>),
    /// Dtype and shape found.
    pub found: (DType, Vec<usize>),
}

impl LoadReport {
    /// Compares `tensors` with those that are wanted.
    pub fn new(tensors: &BTreeMap<String, Array>, wanted: &Signature) -> LoadReport {
        let mut report = LoadReport::default();
        for (name, expected) in wanted {
            match tensors.get(name).map(|array| (array.dtype(), array.shape().to_vec())) {
                None => report.missing.push(name.clone()),
                Some(found) if found != *expected => {
                    report.different.push(Difference { name: name.clone(), expected: expected.clone(), found });
                }
                Some(_) => {}
            }
        }
        report.unexpected = tensors.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        report
    }

    /// Whether all that is wanted can be had.
    pub fn fits(&self, extra: Extra) -> bool {
        let extra_fits = match extra {
            Extra::Refuse => self.unexpected.is_empty(),
            Extra::Ignore => true,
        };
        self.missing.is_empty() && self.different.is_empty() && extra_fits
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.missing.is_empty() {
            parts.push(format!("missing: {}", self.missing.join(", ")));
        }
        if !self.unexpected.is_empty() {
            parts.push(format!("unexpected: {}", self.unexpected.join(", ")));
        }
        for Difference { name, expected, found } in &self.different {
            parts.push(format!("{name} is {}{:?}, expected {}{:?}", found.0, found.1, expected.0, expected.1));
        }
        f.write_str(&parts.join("; "))
    }
}
