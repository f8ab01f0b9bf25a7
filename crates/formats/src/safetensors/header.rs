//! The header: JSON that says where each tensor stands. Parsed into [`Layout`], which is valid by construction.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use thalweg_graph::array::array::byte_count;
use thalweg_graph::array::{DType, MAX_RANK};

use super::FORMAT;
use crate::error::{FormatError, shown};

/// The largest header that is read or written, in bytes.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;
/// The largest number of tensors in a file.
pub const MAX_TENSORS: usize = 500_000;
/// The largest number of metadata entries in a file.
pub const MAX_METADATA: usize = 10_000;

/// The key of the metadata among the tensors.
pub(super) const METADATA: &str = "__metadata__";

/// One tensor of a file.
#[derive(Debug, PartialEq)]
pub(super) struct Placed {
    pub name: String,
    pub dtype: DType,
    pub shape: Vec<usize>,
    /// The first byte, counted from the end of the header.
    pub begin: u64,
    /// The byte after the last.
    pub end: u64,
}

/// A header that has been checked: the tensors lie one behind the other, from the end of the header to the end of the file.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Layout {
    /// In the order of the bytes.
    pub tensors: Vec<Placed>,
    pub metadata: BTreeMap<String, String>,
}

/// The dtypes and their names in the format.
const DTYPES: [(&str, DType); 8] = [
    ("F32", DType::F32),
    ("F64", DType::F64),
    ("F16", DType::F16),
    ("BF16", DType::BF16),
    ("I32", DType::I32),
    ("I64", DType::I64),
    ("U8", DType::U8),
    ("BOOL", DType::Bool),
];

/// The name of a dtype in the format.
pub(super) fn dtype_name(dtype: DType) -> &'static str {
    DTYPES.iter().find(|(_, known)| *known == dtype).expect("the table has every dtype").0
}

impl Layout {
    /// Parses and checks the header `bytes` of the file at `path`, which has `data_bytes` bytes behind its header.
    pub(super) fn parse(bytes: &[u8], data_bytes: u64, path: &Path) -> Result<Layout, FormatError> {
        let malformed = |reason| FormatError::Malformed { path: path.to_path_buf(), format: FORMAT, reason };
        let text = std::str::from_utf8(bytes)
            .map_err(|error| malformed(format!("the header is not UTF-8 at its byte {}", error.valid_up_to())))?;
        if !text.starts_with('{') {
            let found = text.chars().next().map_or("nothing".into(), |c| shown(&c.to_string()));
            return Err(malformed(format!("the header must start with `{{`, found {found}")));
        }
        let place = RefCell::new(None);
        // Each tensor takes a brace and at least this many bytes, so that the room is neither too small nor believed blindly.
        const SHORTEST: usize = r#""":{"dtype":"U8","shape":[],"data_offsets":[0,0]},"#.len();
        let braces = bytes.iter().filter(|&&byte| byte == b'{').count();
        let mut layout = Layout {
            tensors: Vec::with_capacity(braces.min(bytes.len() / SHORTEST + 1).min(MAX_TENSORS)),
            metadata: BTreeMap::new(),
        };
        let mut json = serde_json::Deserializer::from_str(text);
        HeaderSeed { layout: &mut layout, place: &place }.deserialize(&mut json).and_then(|()| json.end()).map_err(
            |error| match place.take() {
                None => malformed(format!("the header is not the JSON wanted: {error}")),
                Some(tensor) => FormatError::Tensor { path: path.to_path_buf(), tensor, reason: error.to_string() },
            },
        )?;
        layout.check(data_bytes, path)?;
        Ok(layout)
    }

    /// Checks that names are unique and that the tensors fill the data without holes or overlaps; orders them by place.
    fn check(&mut self, data_bytes: u64, path: &Path) -> Result<(), FormatError> {
        let refuse = |tensor: &Placed, reason: String| {
            Err(FormatError::Tensor { path: path.to_path_buf(), tensor: tensor.name.clone(), reason })
        };
        self.tensors.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = self.tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return refuse(&pair[0], "the name stands twice in the header".into());
        }
        // Tensors without elements come before the one that begins at the same byte.
        self.tensors.sort_by_key(|tensor| (tensor.begin, tensor.end));
        let mut end = 0;
        let mut before: Option<&str> = None;
        for tensor in &self.tensors {
            let Placed { begin, dtype, shape, .. } = tensor;
            if *begin != end {
                let before = before.map_or("the header".into(), shown);
                let fault = if *begin > end { "a hole" } else { "an overlap" };
                return refuse(tensor, format!("begins at byte {begin}, but {before} ends at {end}: {fault}"));
            }
            let span = tensor.end - begin;
            match byte_count(shape, *dtype) {
                Ok(expected) if expected as u64 == span => {}
                Ok(expected) => {
                    let dtype = dtype_name(*dtype);
                    return refuse(
                        tensor,
                        format!("{dtype}{shape:?} takes {expected} bytes, but data_offsets spans {span}"),
                    );
                }
                Err(error) => return refuse(tensor, error.to_string()),
            }
            end = tensor.end;
            before = Some(&tensor.name);
            if end > data_bytes {
                return refuse(
                    tensor,
                    format!("ends at byte {end} of the data, but the file has {data_bytes}: cut short"),
                );
            }
        }
        if end < data_bytes {
            let extra = data_bytes - end;
            let reason = format!("{extra} bytes stand after the last tensor, which ends at byte {end} of the data");
            return Err(FormatError::Malformed { path: path.to_path_buf(), format: FORMAT, reason });
        }
        Ok(())
    }
}

/// Fills the layout. `place` is the tensor being read, for the message if it breaks.
struct HeaderSeed<'a> {
    layout: &'a mut Layout,
    place: &'a RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for HeaderSeed<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HeaderSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let mut metadata_seen = false;
        while let Some(name) = map.next_key::<String>()? {
            self.place.replace(Some(name.clone()));
            if name == METADATA {
                if std::mem::replace(&mut metadata_seen, true) {
                    return Err(M::Error::custom("the key stands twice"));
                }
                self.layout.metadata = map.next_value::<Metadata>()?.0;
            } else {
                if self.layout.tensors.len() == MAX_TENSORS {
                    return Err(M::Error::custom(format!("more than {MAX_TENSORS} tensors")));
                }
                let TensorEntry(RawTensor { dtype, shape, data_offsets: [begin, end] }) = map.next_value()?;
                if begin > end {
                    return Err(M::Error::custom(format!("begins at byte {begin} and ends at {end}, before that")));
                }
                self.layout.tensors.push(Placed { name, dtype, shape, begin, end });
            }
            self.place.take();
        }
        Ok(())
    }
}

/// The entry of a tensor as it is written. Serde would also take the fields as a list; [`TensorEntry`] does not.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTensor {
    #[serde(deserialize_with = "read_dtype")]
    dtype: DType,
    #[serde(deserialize_with = "read_shape")]
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

struct TensorEntry(RawTensor);

impl<'de> Deserialize<'de> for TensorEntry {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<TensorEntry, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = TensorEntry;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with dtype, shape and data_offsets")
            }
            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<TensorEntry, M::Error> {
                RawTensor::deserialize(MapAccessDeserializer::new(map)).map(TensorEntry)
            }
        }
        from.deserialize_map(Fields)
    }
}

fn read_dtype<'de, D: Deserializer<'de>>(from: D) -> Result<DType, D::Error> {
    let name = std::borrow::Cow::<str>::deserialize(from)?;
    match DTYPES.iter().find(|(known, _)| *known == name) {
        Some((_, dtype)) => Ok(*dtype),
        None => {
            let known = DTYPES.map(|(known, _)| known).join(" ");
            Err(D::Error::custom(format!("the dtype {} is not among {known}", shown(&name))))
        }
    }
}

/// Reads sizes, but no more of them than a tensor may have.
fn read_shape<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<usize>, D::Error> {
    struct Sizes;
    impl<'de> Visitor<'de> for Sizes {
        type Value = Vec<usize>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of sizes")
        }
        fn visit_seq<S: SeqAccess<'de>>(self, mut sequence: S) -> Result<Vec<usize>, S::Error> {
            let mut sizes = Vec::new();
            while let Some(size) = sequence.next_element()? {
                if sizes.len() == MAX_RANK {
                    return Err(S::Error::custom(format!("the shape has more than {MAX_RANK} axes")));
                }
                sizes.push(size);
            }
            sizes.shrink_to_fit();
            Ok(sizes)
        }
    }
    from.deserialize_seq(Sizes)
}

/// Text by key, each key once, not more than [`MAX_METADATA`].
struct Metadata(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Metadata, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Metadata;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Metadata, M::Error> {
                let mut pairs = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    if pairs.len() == MAX_METADATA {
                        return Err(M::Error::custom(format!("more than {MAX_METADATA} entries")));
                    }
                    match pairs.entry(key) {
                        Entry::Vacant(entry) => entry.insert(value),
                        Entry::Occupied(entry) => {
                            return Err(M::Error::custom(format!("the key {} stands twice", shown(entry.key()))));
                        }
                    };
                }
                Ok(Metadata(pairs))
            }
        }
        from.deserialize_map(Pairs)
    }
}
