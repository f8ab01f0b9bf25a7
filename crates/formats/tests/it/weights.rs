//! Weights of others: what PyTorch and NumPy wrote is read as they meant it, and what is wrong with a file is said.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use thalweg_formats::array::{Array, DType, npy};
use thalweg_formats::safetensors::{self, TensorFile};
use thalweg_formats::weights::{self, Extra, LoadReport, Names};
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

fn decode(bytes: &[u8]) -> Result<TensorFile, String> {
    weights::decode(bytes, Path::new("model.pt")).map_err(|error| error.to_string())
}

/// A program for a pickle, written as `torch.save` writes.
#[derive(Default)]
struct Program(Vec<u8>);

impl Program {
    fn op(mut self, bytes: &[u8]) -> Program {
        self.0.extend(bytes);
        self
    }

    fn text(self, text: &str) -> Program {
        self.op(b"X").op(&(text.len() as u32).to_le_bytes()).op(text.as_bytes())
    }

    fn int(self, number: usize) -> Program {
        self.op(b"J").op(&(number as i32).to_le_bytes())
    }

    fn tuple(self, numbers: &[usize]) -> Program {
        numbers.iter().fold(self.op(b"("), |program, &number| program.int(number)).op(b"t")
    }

    /// A tensor of `class` in the storage `key`.
    fn tensor(
        self,
        class: &str,
        key: &str,
        length: usize,
        offset: usize,
        shape: &[usize],
        strides: &[usize],
    ) -> Program {
        self.op(b"ctorch._utils\n_rebuild_tensor_v2\n((")
            .text("storage")
            .op(format!("ctorch\n{class}\n").as_bytes())
            .text(key)
            .text("cpu")
            .int(length)
            .op(b"tQ")
            .int(offset)
            .tuple(shape)
            .tuple(strides)
            .op(b"\x89ccollections\nOrderedDict\n)RtR")
    }

    /// A dictionary of these entries.
    fn dictionary(entries: impl IntoIterator<Item = (&'static str, Program)>) -> Program {
        let begin = Program::default().op(b"ccollections\nOrderedDict\n)R(");
        let put = |program: Program, (key, value): (&str, Program)| program.text(key).op(&value.0);
        entries.into_iter().fold(begin, put).op(b"u")
    }

    fn bytes(self) -> Vec<u8> {
        [&b"\x80\x02"[..], &self.0, b"."].concat()
    }
}

fn zipped(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn floats(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The same weights in both forms of PyTorch: a transposed one, one that shares its storage, a number and text.
fn program() -> Program {
    let state = Program::dictionary([
        ("w", Program::default().tensor("FloatStorage", "0", 6, 0, &[3, 2], &[1, 3])),
        ("tied", Program::default().tensor("FloatStorage", "0", 6, 4, &[2], &[1])),
        ("count", Program::default().tensor("LongStorage", "1", 1, 0, &[], &[])),
    ]);
    Program::dictionary([
        ("state_dict", state),
        ("epoch", Program::default().int(7)),
        ("arch", Program::default().text("line")),
    ])
}

fn archive() -> Vec<u8> {
    let storage = floats(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let entries: [(&str, &[u8]); 4] = [
        ("line/data.pkl", &program().bytes()),
        ("line/byteorder", b"little"),
        ("line/data/0", &storage),
        ("line/data/1", &9i64.to_le_bytes()),
    ];
    zipped(&entries, CompressionMethod::Stored)
}

fn stream() -> Vec<u8> {
    let keys = Program::default().op(b"](").text("0").text("1").op(b"e");
    let mut bytes = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.".to_vec();
    bytes.extend(program().bytes());
    bytes.extend(keys.bytes());
    bytes.extend(6u64.to_le_bytes());
    bytes.extend(floats(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
    bytes.extend(1u64.to_le_bytes());
    bytes.extend(9i64.to_le_bytes());
    bytes
}

#[test]
fn both_forms_of_pytorch_are_read() {
    for bytes in [archive(), stream()] {
        let file = decode(&bytes).unwrap();
        let expected = BTreeMap::from([
            ("state_dict.w".to_string(), Array::from([[0.0f32, 3.0], [1.0, 4.0], [2.0, 5.0]])),
            ("state_dict.tied".to_string(), Array::from([4.0f32, 5.0])),
            ("state_dict.count".to_string(), Array::scalar(9i64)),
        ]);
        assert_eq!(file.tensors, expected);
        let metadata = [("arch", "line"), ("epoch", "7")].map(|(key, text)| (key.to_string(), text.to_string()));
        assert_eq!(file.metadata, BTreeMap::from(metadata));
    }
}

/// As a module pickled whole: its parameters are told by `BUILD`, and named as in its state dictionary.
#[test]
fn a_whole_module_has_the_names_of_its_state_dictionary() {
    let tensor = || Program::default().tensor("FloatStorage", "0", 1, 0, &[1], &[1]);
    let parameter = Program::default().op(b"ctorch._utils\n_rebuild_parameter\n(").op(&tensor().0).op(b"\x88NtR");
    let module = |state: Program| Program::default().op(b"c__main__\nNet\n)\x81").op(&state.0).op(b"b");
    let inner = module(Program::dictionary([("_parameters", Program::dictionary([("weight", parameter)]))]));
    let outer = module(Program::dictionary([
        ("_modules", Program::dictionary([("fc", inner)])),
        ("_buffers", Program::dictionary([("mean", tensor())])),
    ]));
    let bytes = zipped(&[("m/data.pkl", &outer.bytes()), ("m/data/0", &floats(&[2.5]))], CompressionMethod::Stored);
    let file = decode(&bytes).unwrap();
    assert_eq!(file.tensors.keys().collect::<Vec<_>>(), ["fc.weight", "mean"]);
    assert_eq!(file.tensors["fc.weight"], Array::from([2.5f32]));
}

#[test]
fn npz_is_read_stored_and_deflated() {
    let (a, b) = (Array::from([[1.0f32, 2.0]]), Array::from([1i64, 2, 3]));
    let entries = [("a.npy", npy::to_bytes("a", &a).unwrap()), ("layer/b.npy", npy::to_bytes("b", &b).unwrap())];
    let entries = entries.each_ref().map(|(name, bytes)| (*name, &**bytes));
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        let file = decode(&zipped(&entries, method)).unwrap();
        assert_eq!(file.tensors, BTreeMap::from([("a".to_string(), a.clone()), ("layer/b".to_string(), b.clone())]));
    }
}

#[test]
fn what_is_wrong_is_said() {
    let pickled = |entries: &[(&str, &[u8])]| zipped(entries, CompressionMethod::Stored);
    let one = |tensor: Program| Program::dictionary([("w", tensor)]).bytes();
    let tensor = |class: &str, length: usize, shape: &[usize], strides: &[usize]| {
        let value = one(Program::default().tensor(class, "0", length, 0, shape, strides));
        pickled(&[("m/data.pkl", &value), ("m/data/0", &[0; 24])])
    };
    let sparse = one(Program::default().op(b"ctorch._utils\n_rebuild_sparse_tensor\n)R"));
    let missing = one(Program::default().tensor("FloatStorage", "7", 6, 0, &[6], &[1]));
    let zeros = npy::to_bytes("zeros", &Array::zeros(&[(64 << 20) + (4 << 20)], DType::U8)).unwrap();
    let mut flipped = archive();
    let at = flipped.windows(4).position(|bytes| bytes == 3.0f32.to_le_bytes()).unwrap();
    flipped[at] ^= 1;
    let bad: [(Vec<u8>, &str); 14] = [
        (tensor("FloatStorage", 6, &[7], &[1]), "tensor `w`: [7] with strides [1] from 0 on leaves its storage of 6"),
        (tensor("FloatStorage", 6, &[100], &[0]), "tensor `w`: [100] repeats the 6 elements"),
        (tensor("FloatStorage", 7, &[6], &[1]), "tensor `w`: its storage `0` has 6 elements, 7 are announced"),
        (tensor("ComplexFloatStorage", 3, &[3], &[1]), "tensor `w`: elements of `torch.ComplexFloatStorage`"),
        (tensor("FloatStorage", 6, &[2, 3], &[1]), "tensor `w`: 2 sizes and 1 strides"),
        (pickled(&[("m/data.pkl", &sparse)]), "tensor `w`: a sparse tensor; only dense tensors"),
        (pickled(&[("m/data.pkl", &missing)]), "tensor `w`: its storage `7` is not in the file"),
        (pickled(&[("readme.txt", b"hello")]), "without `data.pkl` (PyTorch) or `.npy` (NumPy)"),
        (pickled(&[("m/data.pkl", b"\x80\x02}u.")]), "byte 4 of the pickle: the end of a group"),
        (flipped, "the entry `line/data/0`: Invalid checksum"),
        (zipped(&[("z.npy", &zeros)], CompressionMethod::Deflated), "the entry `z.npy`: with it the tensors take more"),
        (b"\x80\x04K\x01.".to_vec(), "not one that `torch.save` wrote"),
        (b"\x89HDF\r\n\x1a\n".to_vec(), "an HDF5 file (Keras)"),
        (b"GGUF\x03\0\0\0".to_vec(), "it begins with [47, 47, 55, 46, 03, 00, 00, 00]"),
    ];
    for (bytes, part) in bad {
        let error = decode(&bytes).unwrap_err();
        assert!(error.starts_with("model.pt: ") && error.contains(part), "{error}\n  expected: {part}");
    }
}

#[test]
fn no_cut_is_taken_for_a_whole_file() {
    for bytes in [archive(), stream()] {
        for end in 0..bytes.len() {
            let error = decode(&bytes[..end]).unwrap_err();
            assert!(error.starts_with("model.pt: "), "{error}");
        }
    }
}

#[test]
fn names_that_fall_together_and_what_does_not_fit_are_named() {
    let tensors = BTreeMap::from([
        ("module.a".to_string(), Array::from([1.0f32])),
        ("module.b".to_string(), Array::from([1.0f32, 2.0])),
        ("module.n".to_string(), Array::scalar(3i64)),
    ]);
    let renamed = Names::new().strip("module.").ignore("n").apply(tensors.clone()).unwrap();
    assert!(renamed.keys().eq(["a", "b"]));
    let clash = Names::new().rename("module.a", "module.b").apply(tensors).unwrap_err().to_string();
    assert!(clash.contains("`module.a` and `module.b` would both be `module.b`"), "{clash}");

    let wanted = [("b", vec![3]), ("c", vec![])].map(|(name, shape)| (name.to_string(), (DType::F32, shape)));
    let report = LoadReport::new(&renamed, &BTreeMap::from(wanted));
    assert_eq!(report.to_string(), "missing: c; unexpected: a; b is f32[2], expected f32[3]");
    assert!(!report.fits(Extra::Ignore));
}

#[test]
fn matrices_are_turned_and_nothing_else() {
    let (matrix, vector) = (Array::from([[1i64, 2, 3], [4, 5, 6]]), Array::from([1.0f32, 2.0]));
    let tensors = BTreeMap::from([("w".to_string(), matrix), ("b".to_string(), vector.clone())]);
    let turned = Names::new().transpose_matrices().apply(tensors).unwrap();
    assert_eq!(turned["w"], Array::from([[1i64, 4], [2, 5], [3, 6]]));
    assert_eq!(turned["b"], vector);
}

fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("THALWEG_DATA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: THALWEG_DATA is not set");
    }
    folder
}

/// Σ i·xᵢ: changes where elements change places.
fn moment(array: &Array) -> f64 {
    array.to_vec::<f32>().into_iter().enumerate().map(|(i, x)| i as f64 * f64::from(x)).sum()
}

/// The moments are those that PyTorch 2.15 gives for its own file; another training of the same net is there as safetensors.
#[test]
fn a_real_archive_is_read_as_pytorch_reads_it() {
    let Some(folder) = data().map(|folder| folder.join("models/mnist-convnet")) else { return };
    let file = weights::read(folder.join("mnist.pt")).unwrap();
    assert_eq!(file.tensors.values().map(Array::len).sum::<usize>(), 376_940);
    let expected = [
        ("conv1.weight", -28.815224413760006),
        ("fc1.weight", -122952679.71403487),
        ("norm2.running_var", 3219.804210662842),
    ];
    for (name, expected) in expected {
        let found = moment(&file.tensors[name]);
        assert!((found / expected - 1.0).abs() < 1e-12, "{name}: {found}, PyTorch has {expected}");
    }
    let sister = safetensors::read(folder.join("mnist.safetensors")).unwrap();
    let wanted = sister.tensors.into_iter().map(|(name, array)| (name, (array.dtype(), array.shape().to_vec())));
    assert_eq!(LoadReport::new(&file.tensors, &wanted.collect()), LoadReport::default());
}

#[test]
fn real_files_of_the_older_form_are_read_as_pytorch_reads_them() {
    let Some(folder) = data().map(|folder| folder.join("models/resnet-cifar10")) else { return };
    let expected = [
        ("resnet20-12fca82f.th", 97, "91.78000183105469", [453.0575594469992, -97184.6194862497, -1.893714815378189]),
        (
            "resnet32-d509ac18.th",
            157,
            "92.78000144958496",
            [938.8521493029002, -2618187.8491366114, -0.509484276175499],
        ),
    ];
    for (file, entries, best, moments) in expected {
        let found = weights::read(folder.join(file)).unwrap();
        assert_eq!(found.tensors.len(), entries, "{file}");
        assert_eq!(found.metadata["best_prec1"], best);
        for (name, expected) in ["conv1.weight", "layer3.2.conv2.weight", "linear.bias"].into_iter().zip(moments) {
            let found = moment(&found.tensors[&format!("state_dict.module.{name}")]);
            assert!((found / expected - 1.0).abs() < 1e-12, "{file}, {name}: {found}, PyTorch has {expected}");
        }
    }
}
