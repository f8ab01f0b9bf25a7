//! Good files go there and back, bad ones are refused by name.

use std::collections::BTreeMap;
use std::path::Path;

use thalweg_formats::array::{Array, DType, bf16, f16};
use thalweg_formats::safetensors::{self, Encoded, MAX_HEADER_BYTES, TensorFile};

fn decode(bytes: &[u8]) -> Result<TensorFile, String> {
    safetensors::decode(&mut &bytes[..], bytes.len() as u64, Path::new("model.st")).map_err(|error| error.to_string())
}

fn encode(file: &TensorFile) -> Vec<u8> {
    let encoded = Encoded::new(&file.tensors, &file.metadata, Path::new("model.st")).unwrap();
    let mut bytes = Vec::new();
    encoded.write_to(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, encoded.len());
    bytes
}

/// A file with this header and so many bytes of data.
fn file(header: impl AsRef<[u8]>, data: usize) -> Vec<u8> {
    let header = header.as_ref();
    [&(header.len() as u64).to_le_bytes(), header, &vec![0; data]].concat()
}

/// One array of every dtype, among them a scalar, an empty one and strange names.
fn every_dtype() -> TensorFile {
    let tensors = [
        ("f32", Array::from([[1.5f32, -0.0], [f32::NAN, f32::INFINITY]])),
        ("f64", Array::scalar(0.1f64)),
        ("f16", Array::from(vec![f16::from_f32(0.5); 3])),
        ("bf16", Array::from(vec![bf16::from_f32(-2.0); 5])),
        ("i32", Array::from([i32::MIN, 7])),
        ("i64", Array::from([i64::MAX])),
        ("u8", Array::from([0u8, 255, 1])),
        ("bool", Array::from([true, false, true])),
        ("../../etc/pass\0wd \"quoted\" ü", Array::zeros(&[3, 0, 2], DType::F32)),
    ];
    TensorFile {
        tensors: tensors.into_iter().map(|(name, array)| (name.to_string(), array)).collect(),
        metadata: BTreeMap::from([("note".to_string(), "two\nlines \u{1}".to_string())]),
    }
}

#[test]
fn every_dtype_goes_there_and_back_bit_for_bit() {
    let before = every_dtype();
    let after = decode(&encode(&before)).unwrap();
    assert_eq!(after.metadata, before.metadata);
    assert!(after.tensors.keys().eq(before.tensors.keys()));
    for (name, array) in &before.tensors {
        let found = &after.tensors[name];
        assert_eq!((found.shape(), found.dtype()), (array.shape(), array.dtype()), "{name}");
        assert_eq!(found.storage().bytes(), array.storage().bytes(), "{name}");
    }
}

#[test]
fn the_same_content_gives_the_same_aligned_bytes() {
    let bytes = encode(&every_dtype());
    assert_eq!(bytes, encode(&decode(&bytes).unwrap()));
    assert_eq!(u64::from_le_bytes(bytes[..8].try_into().unwrap()) % 8, 0);
    let text = String::from_utf8_lossy(&bytes);
    for (name, size) in [("f64", 8), ("i64", 8), ("f32", 4), ("i32", 4), ("f16", 2), ("bf16", 2)] {
        let entry = &text[text.find(&format!("\"{name}\":")).unwrap()..];
        let offsets = &entry[entry.find("offsets\":[").unwrap() + 10..];
        let begin: usize = offsets[..offsets.find(',').unwrap()].parse().unwrap();
        assert_eq!(begin % size, 0, "{name}");
    }
}

#[test]
fn the_reference_implementation_reads_what_is_written() {
    let bytes = encode(&every_dtype());
    let theirs = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(theirs.len(), 9);
    let w = theirs.tensor("f32").unwrap();
    assert_eq!((w.dtype(), w.shape()), (::safetensors::Dtype::F32, &[2, 2][..]));
    assert_eq!(w.data(), every_dtype().tensors["f32"].storage().bytes());
    assert_eq!(theirs.tensor("bool").unwrap().data(), [1, 0, 1]);
}

#[test]
fn what_the_reference_implementation_writes_is_read() {
    let data = [1.0f32.to_le_bytes(), 2.0f32.to_le_bytes()].concat();
    let view = ::safetensors::tensor::TensorView::new(::safetensors::Dtype::F32, vec![2], &data).unwrap();
    let flags = ::safetensors::tensor::TensorView::new(::safetensors::Dtype::BOOL, vec![1], &[1]).unwrap();
    let bytes = ::safetensors::serialize([("w", view), ("flags", flags)], None).unwrap();
    let ours = decode(&bytes).unwrap();
    assert_eq!(ours.tensors["w"], Array::from([1.0f32, 2.0]));
    assert_eq!(ours.tensors["flags"], Array::from([true]));
}

/// Rows C1 to C19 of the catalogue of bad inputs: a file, and what its refusal must say.
#[test]
fn bad_files_are_refused_by_name() {
    let w = |entry: &str| format!(r#"{{"w":{entry}}}"#);
    let spans = |a: &str, b: &str| {
        format!(
            r#"{{"a":{{"dtype":"F32","shape":[2],"data_offsets":{a}}},"b":{{"dtype":"F32","shape":[1],"data_offsets":{b}}}}}"#
        )
    };
    let good = r#"{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
    let deep = format!("{{\"w\":{}", "[".repeat(200_000));
    let deep_metadata = format!("{{\"__metadata__\":{}", "{\"a\":".repeat(200_000));
    let nine_axes = r#"{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}"#;
    let huge = "[1099511627776,1099511627776]";
    let cases: Vec<(&str, Vec<u8>, Vec<&str>)> = vec![
        ("C1 empty", vec![], vec!["0 bytes"]),
        ("C1 short", vec![0; 7], vec!["7 bytes", "8 bytes"]),
        ("C2 header past the end", [&100u64.to_le_bytes()[..], b"{}"].concat(), vec!["100 bytes", "only 2"]),
        ("C3 2^63", [&(1u64 << 63).to_le_bytes()[..], b"{}"].concat(), vec!["9223372036854775808", "100000000"]),
        ("C4 not UTF-8", file(b"{\"\xff\":1}", 0), vec!["not UTF-8 at its byte 2"]),
        ("C5 not JSON", file("{w}", 0), vec!["not the JSON wanted", "column 2"]),
        ("C5 cut", file(r#"{"w":"#, 0), vec!["`w`", "EOF"]),
        ("C5 more behind", file(format!("{} x", w(good)), 8), vec!["trailing characters"]),
        ("C6 a list", file("[]", 0), vec!["must start with `{`, found `[`"]),
        ("C6 nothing", file("", 0), vec!["must start with `{`, found nothing"]),
        ("C6 a space first", file(" {}", 0), vec!["must start with `{`"]),
        ("C7 a name twice", file(format!(r#"{{"w":{good},"w":{good}}}"#), 8), vec!["`w`", "twice"]),
        ("C7 metadata twice", file(r#"{"__metadata__":{},"__metadata__":{}}"#, 0), vec!["`__metadata__`", "twice"]),
        ("C7 a key twice", file(r#"{"__metadata__":{"k":"1","k":"2"}}"#, 0), vec!["`k`", "twice"]),
        (
            "C7 a field twice",
            file(w(r#"{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}"#), 4),
            vec!["`w`", "duplicate field `dtype`"],
        ),
        ("C8 deep", file(deep, 0), vec!["`w`", "object with dtype"]),
        ("C8 deep metadata", file(deep_metadata, 0), vec!["`__metadata__`", "expected a string"]),
        ("C9 a hole", file(spans("[0,8]", "[12,16]"), 16), vec!["`b`", "begins at byte 12", "`a` ends at 8", "hole"]),
        ("C9 a hole first", file(spans("[4,12]", "[12,16]"), 16), vec!["`a`", "byte 4", "header ends at 0"]),
        ("C10 overlap", file(spans("[0,8]", "[4,8]"), 8), vec!["`b`", "byte 4", "`a` ends at 8", "overlap"]),
        ("C11 bytes behind", file(w(good), 11), vec!["3 bytes stand after", "byte 8"]),
        ("C12 cut short", file(w(good), 7), vec!["`w`", "byte 8", "has 7", "cut short"]),
        (
            "C13 span",
            file(w(r#"{"dtype":"F32","shape":[2,3],"data_offsets":[0,20]}"#), 20),
            vec!["`w`", "F32[2, 3] takes 24", "spans 20"],
        ),
        (
            "C14 overflow",
            file(w(&format!(r#"{{"dtype":"F32","shape":{huge},"data_offsets":[0,4]}}"#)), 4),
            vec!["`w`", "[1099511627776, 1099511627776]", "more than"],
        ),
        (
            "C15 negative",
            file(w(r#"{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}"#), 4),
            vec!["`w`", "integer `-1`"],
        ),
        ("C15 float", file(w(r#"{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}"#), 4), vec!["`w`", "floating"]),
        (
            "C15 huge",
            file(w(r#"{"dtype":"F32","shape":[1],"data_offsets":[0,99999999999999999999]}"#), 4),
            vec!["`w`", "floating point `1e+20`, expected u64"],
        ),
        (
            "C16 backwards",
            file(w(r#"{"dtype":"F32","shape":[1],"data_offsets":[8,4]}"#), 8),
            vec!["`w`", "begins at byte 8 and ends at 4"],
        ),
        (
            "C17 dtype",
            file(w(r#"{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}"#), 4),
            vec!["`w`", "dtype `F8_E4M3`", "BOOL"],
        ),
        (
            "C18 empty inside another",
            file(format!(r#"{{"w":{good},"e":{{"dtype":"F32","shape":[0],"data_offsets":[4,4]}}}}"#), 8),
            vec!["`e`", "`w` ends at 8", "overlap"],
        ),
        (
            "C19 metadata",
            file(r#"{"__metadata__":{"k":1}}"#, 0),
            vec!["`__metadata__`", "integer `1`, expected a string"],
        ),
        ("fields as a list", file(w(r#"["F32",[1],[0,4]]"#), 4), vec!["`w`", "expected an object"]),
        (
            "unknown field",
            file(w(r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":1}"#), 4),
            vec!["`w`", "unknown field `more`"],
        ),
        ("missing field", file(w(r#"{"dtype":"F32","shape":[1]}"#), 4), vec!["`w`", "missing field `data_offsets`"]),
        ("nine axes", file(w(nine_axes), 4), vec!["`w`", "more than 8 axes"]),
        (
            "bool",
            [file(w(r#"{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}"#), 1), vec![2]].concat(),
            vec!["`w`", "element 1 is the byte 2"],
        ),
    ];
    for (case, bytes, pieces) in cases {
        let message = decode(&bytes).expect_err(case);
        assert!(message.starts_with("model.st: "), "{case}: {message}");
        assert!(message.len() < 500, "{case}: {} bytes", message.len());
        for piece in pieces {
            assert!(message.contains(piece), "{case}: `{piece}` is not in: {message}");
        }
    }
}

#[test]
fn an_empty_tensor_may_share_its_place() {
    let header = r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"e":{"dtype":"F32","shape":[0,9],"data_offsets":[0,0]},"f":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}}"#;
    let read = decode(&file(header, 4)).unwrap();
    assert_eq!(read.tensors["e"], Array::zeros(&[0, 9], DType::F32));
    assert_eq!(read.tensors["f"].shape(), [0]);
    assert_eq!(read.tensors["w"], Array::from([0.0f32]));
}

#[test]
fn names_are_names_and_long_ones_are_cut_in_messages() {
    let name = "n/".repeat(1 << 19);
    let entry = format!(r#"{{"{name}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#);
    assert_eq!(decode(&file(&entry, 4)).unwrap().tensors[&name].shape(), [1]);
    let message = decode(&file(&entry, 0)).unwrap_err();
    assert!(message.contains("(1048576 bytes)") && message.len() < 400, "{message}");
}

#[test]
fn names_that_look_like_paths_are_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let names = ["../escape", "/etc/absolute", "a/../../b", "nul\0inside", "..", ""];
    let tensors: BTreeMap<String, Array> =
        names.iter().enumerate().map(|(n, name)| (name.to_string(), Array::from([n as i64]))).collect();
    safetensors::write(&path, &tensors, &BTreeMap::new()).unwrap();
    assert_eq!(safetensors::read(&path).unwrap().tensors, tensors);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing but the file was written");
}

#[test]
fn a_header_of_more_than_the_limit_is_refused_though_the_bytes_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("big.safetensors");
    std::fs::write(&path, (MAX_HEADER_BYTES + 1).to_le_bytes()).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(MAX_HEADER_BYTES + 100).unwrap();
    let message = safetensors::read(&path).unwrap_err().to_string();
    assert!(message.contains("big.safetensors") && message.contains("100000001"), "{message}");
}

#[test]
fn a_hundred_thousand_tensors_go_there_and_back() {
    let tensors = (0..100_000).map(|n| (format!("layer{n}.weight"), Array::from([n]))).collect();
    let many = TensorFile { tensors, metadata: BTreeMap::new() };
    assert_eq!(decode(&encode(&many)).unwrap(), many);
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = encode(&every_dtype());
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&flipped).is_err(), "bit {bit} of {}", bytes.len() * 8);
    }
}

#[test]
fn damage_names_the_tensor() {
    let mut bytes = encode(&every_dtype());
    let at = bytes.windows(4).rposition(|window| window == 1.5f32.to_le_bytes()).unwrap();
    bytes[at] ^= 0x10;
    let message = decode(&bytes).unwrap_err();
    assert!(message.contains("damaged: the checksum of tensor `f32` is"), "{message}");
    let header = decode(
        &String::from_utf8_lossy(&encode(&TensorFile {
            tensors: BTreeMap::new(),
            metadata: BTreeMap::from([("step".into(), "1200".into())]),
        }))
        .replace("1200", "1201")
        .into_bytes(),
    );
    assert!(header.unwrap_err().contains("the checksum of the header"));
}

#[test]
fn every_cut_is_refused() {
    let bytes = encode(&every_dtype());
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err(), "{length} of {}", bytes.len());
    }
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.safetensors");
    for (path, piece) in [(folder.path(), "a directory, not a file"), (&missing, "cannot open")] {
        let message = safetensors::read(path).unwrap_err().to_string();
        assert!(message.contains(piece) && message.contains(&path.display().to_string()), "{message}");
    }
}

#[cfg(unix)]
#[test]
fn pipes_devices_and_circular_links_are_refused_without_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let circle = folder.path().join("circle");
    std::os::unix::fs::symlink(&circle, &circle).unwrap();
    let zeros = folder.path().join("zeros");
    std::os::unix::fs::symlink("/dev/zero", &zeros).unwrap();
    for (path, piece) in [
        (&*pipe, "a pipe or device"),
        (Path::new("/dev/zero"), "a pipe or device"),
        (&zeros, "a pipe or device"),
        (&circle, "cannot open"),
    ] {
        let message = safetensors::read(path).unwrap_err().to_string();
        assert!(message.contains(piece) && message.contains(&path.display().to_string()), "{message}");
    }
}

#[test]
fn reserved_names_are_not_written() {
    let tensors = BTreeMap::from([("__metadata__".to_string(), Array::scalar(1i32))]);
    let error = Encoded::new(&tensors, &BTreeMap::new(), Path::new("x")).unwrap_err().to_string();
    assert!(error.contains("__metadata__"), "{error}");
    let metadata = BTreeMap::from([("thalweg.crc32".to_string(), String::new())]);
    let error = Encoded::new(&BTreeMap::new(), &metadata, Path::new("x")).unwrap_err().to_string();
    assert!(error.contains("thalweg.crc32"), "{error}");
}

#[test]
fn the_header_alone_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model with spaces ü.safetensors");
    let file = every_dtype();
    safetensors::write(&path, &file.tensors, &file.metadata).unwrap();
    let header = safetensors::read_header(&path).unwrap();
    assert_eq!(header.metadata, file.metadata);
    assert_eq!(header.tensors["f32"], (DType::F32, vec![2, 2]));
    assert_eq!(safetensors::read(&path).unwrap().metadata, file.metadata);
}
