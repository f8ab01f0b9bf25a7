//! The form since version 1.6: a zip archive of `…/data.pkl`, the value, and `…/data/KEY`, the bytes of each storage.

use std::collections::BTreeMap;
use std::path::Path;

use super::malformed;
use super::pickle::Pickle;
use super::walk::walk;
use crate::archive::Archive;
use crate::error::FormatError;
use crate::safetensors::TensorFile;

/// The entry that holds the value, if the archive is one of PyTorch.
pub(crate) fn program(zip: &Archive<'_>) -> Option<String> {
    let is_program = |name: &&String| name.as_str() == "data.pkl" || name.ends_with("/data.pkl");
    zip.names().iter().find(is_program).cloned()
}

/// Reads the archive, whose value stands in the entry `program`.
pub(crate) fn decode(mut zip: Archive<'_>, program: &str, path: &Path) -> Result<TensorFile, FormatError> {
    let folder = program.trim_end_matches("data.pkl");
    let order = format!("{folder}byteorder");
    if zip.names().contains(&order) && zip.read(&order)? != b"little" {
        return Err(malformed(
            path,
            "its elements have the most significant byte first; save it again on another machine",
        ));
    }
    let bytes = zip.read(program)?;
    let pickle = Pickle::read(&bytes).map_err(|error| malformed(path, error.to_string()))?;
    let refused = |(tensor, reason)| FormatError::Tensor { path: path.to_path_buf(), tensor, reason };
    let described = walk(&pickle).map_err(refused)?;

    // Tensors of one storage one after the other, so that each is read once and let go.
    let mut by_storage: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    for (name, place) in &described.tensors {
        by_storage.entry(&place.storage).or_default().push(name);
    }
    let mut tensors = BTreeMap::new();
    for (key, names) in by_storage {
        let entry = format!("{folder}data/{key}");
        if !zip.names().contains(&entry) {
            return Err(refused((names[0].clone(), format!("its storage `{key}` is not in the file"))));
        }
        let storage = zip.read(&entry)?;
        for name in names {
            let place = &described.tensors[name];
            if storage.len() / place.kind.width() < place.storage_length {
                let (there, said) = (storage.len() / place.kind.width(), place.storage_length);
                let reason = format!("its storage `{key}` has {there} elements, {said} are announced");
                return Err(refused((name.clone(), reason)));
            }
            let array = place.array(&storage).and_then(|array| zip.budget.spend(array));
            tensors.insert(name.clone(), array.map_err(|reason| refused((name.clone(), reason)))?);
        }
    }
    Ok(TensorFile { tensors, metadata: described.metadata })
}
