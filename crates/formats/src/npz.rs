//! NumPy's `.npz`: a zip archive of `.npy` files, an array each.

use std::path::Path;

use thalweg_graph::array::npy;

use crate::archive::Archive;
use crate::error::FormatError;
use crate::safetensors::TensorFile;

/// How the names of its entries end.
const EXTENSION: &str = ".npy";

/// Whether the archive holds arrays.
pub(crate) fn is_one(zip: &Archive<'_>) -> bool {
    zip.names().iter().any(|name| name.ends_with(EXTENSION))
}

/// Reads the arrays of an archive; other entries are passed over.
pub(crate) fn decode(mut zip: Archive<'_>, path: &Path) -> Result<TensorFile, FormatError> {
    let mut file = TensorFile::default();
    for entry in zip.names().to_vec() {
        let Some(name) = entry.strip_suffix(EXTENSION) else { continue };
        let refused =
            |reason: String| FormatError::Tensor { path: path.to_path_buf(), tensor: name.to_string(), reason };
        let bytes = zip.read(&entry)?;
        let array = npy::from_bytes(&entry, &bytes).map_err(|error| refused(error.to_string()))?;
        file.tensors.insert(name.to_string(), zip.budget.spend(array).map_err(refused)?);
    }
    Ok(file)
}
