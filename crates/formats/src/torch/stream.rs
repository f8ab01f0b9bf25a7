//! The form before version 1.6: a magic number, a version, a word on the machine, the value and the keys of its storages as
//! five pickles; then each storage, as its number of elements and their bytes.

use std::collections::BTreeMap;
use std::path::Path;

use super::malformed;
use super::pickle::{Pickle, Value};
use super::tensor::Kind;
use super::walk::{Described, walk};
use crate::budget::Budget;
use crate::error::FormatError;
use crate::safetensors::TensorFile;

/// `torch.save` begins with it, as a pickled number of ten bytes.
const MAGIC: &[u8] = b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// Reads the file of these bytes.
pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<TensorFile, FormatError> {
    let mut rest = bytes;
    let mut next = |what: &str| {
        let pickle = Pickle::read(rest).map_err(|error| malformed(path, format!("{what}: {error}")))?;
        let (own, after) = rest.split_at(pickle.length);
        rest = after;
        Ok((pickle, own))
    };
    let (_, magic) = next("the magic number")?;
    if !magic.windows(MAGIC.len()).any(|window| window == MAGIC) {
        return Err(malformed(path, "a pickle, but not one that `torch.save` wrote; save a state dictionary with it"));
    }
    let (version, _) = next("the version")?;
    if version.as_int(version.root()) != Some(1001) {
        return Err(malformed(path, "a version of the format other than 1001"));
    }
    next("the word on the machine")?;
    let (value, _) = next("the value")?;
    let (keys, _) = next("the keys of the storages")?;
    let described = walk(&value).map_err(|(tensor, reason)| tensor_error(path, tensor, reason))?;
    let storages = storages(&described, &keys, rest, path)?;

    let mut budget = Budget::new(bytes.len(), 4);
    let mut file = TensorFile { metadata: described.metadata, ..TensorFile::default() };
    for (name, place) in described.tensors {
        let array = match storages.get(&*place.storage) {
            None => Err(format!("its storage `{}` is not in the file", place.storage)),
            Some(storage) => place.array(storage).and_then(|array| budget.spend(array)),
        };
        file.tensors.insert(name.clone(), array.map_err(|reason| tensor_error(path, name, reason))?);
    }
    Ok(file)
}

fn tensor_error(path: &Path, tensor: String, reason: String) -> FormatError {
    FormatError::Tensor { path: path.to_path_buf(), tensor, reason }
}

/// The bytes of each storage, which stand one after the other in the order of the keys.
fn storages<'a>(
    described: &Described,
    keys: &Pickle<'_>,
    mut rest: &'a [u8],
    path: &Path,
) -> Result<BTreeMap<String, &'a [u8]>, FormatError> {
    let kinds: BTreeMap<&str, Kind> = described.tensors.values().map(|place| (&*place.storage, place.kind)).collect();
    let mut storages = BTreeMap::new();
    for &key in keys.as_sequence(keys.root()).unwrap_or_default() {
        let key = match keys.value(key) {
            &Value::Text(span) => keys.text(span).to_string(),
            Value::Int(number) => number.to_string(),
            _ => return Err(malformed(path, "a storage without a key")),
        };
        let Some((count, after)) = rest.split_first_chunk::<8>() else {
            return Err(malformed(path, format!("the storage `{key}` is missing: cut short")));
        };
        let Some(kind) = kinds.get(&*key) else {
            // How long it is depends on what nobody says.
            return Err(malformed(path, format!("the storage `{key}` belongs to no tensor that is read")));
        };
        let length = usize::try_from(u64::from_le_bytes(*count)).ok().and_then(|count| count.checked_mul(kind.width()));
        let Some((storage, after)) = length.and_then(|length| after.split_at_checked(length)) else {
            let count = u64::from_le_bytes(*count);
            let found = after.len();
            return Err(malformed(
                path,
                format!("the storage `{key}` has {count} elements, but {found} bytes follow: cut short"),
            ));
        };
        storages.insert(key, storage);
        rest = after;
    }
    Ok(storages)
}
