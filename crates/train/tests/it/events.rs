//! Event files: the bytes that TensorBoard was seen to read, and what a killed process leaves.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use thalweg_formats::array::{DType, IntoShape};
use thalweg_train::events::{EventWriter, GraphNode, Histogram, Value, What, read};

/// A PNG of one gray pixel.
const PIXEL: [u8; 67] = [
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52, 0x00, 0x00, 0x00,
    0x01, 0x00, 0x00, 0x00, 0x01, 0x08, 0x00, 0x00, 0x00, 0x00, 0x3a, 0x7e, 0x9b, 0x55, 0x00, 0x00, 0x00, 0x0a, 0x49,
    0x44, 0x41, 0x54, 0x78, 0x9c, 0x63, 0x68, 0x00, 0x00, 0x00, 0x82, 0x00, 0x81, 0x77, 0xcd, 0x72, 0xb6, 0x00, 0x00,
    0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
];

/// One of everything.
fn write_everything(folder: &Path) -> std::path::PathBuf {
    let node = |name: &str, op: &str, inputs: &[&str], shape| GraphNode {
        name: name.into(),
        op: op.into(),
        inputs: inputs.iter().map(|input| input.to_string()).collect(),
        dtype: DType::F32,
        shape,
        attributes: vec![],
    };
    let mut events = EventWriter::create(folder, 1.7e9).unwrap();
    events
        .graph(
            1.7e9,
            &[
                node("image", "Placeholder", &[], ("batch", 784).into_shape()),
                node("hidden/weight", "Variable", &[], [784, 128].into_shape()),
                node("hidden/matmul", "MatMul", &["image", "hidden/weight"], ("batch", 128).into_shape()),
            ],
        )
        .unwrap();
    for step in 1..=3 {
        let x = step as f32;
        let values = [
            ("loss/train", Value::Scalar(1.0 / x)),
            ("odd tag/ü <b>", Value::Scalar(f32::NAN)),
            ("weights", Value::Histogram(Histogram::of(&[-x, 0.0, x, x, 2.0 * x].into()))),
            ("nothing", Value::Histogram(Histogram::of(&[f32::NAN].into()))),
            ("note", Value::Text(format!("step *{step}*"))),
            ("pixel", Value::Image { width: 1, height: 1, channels: 1, png: PIXEL.to_vec() }),
        ];
        events.log(step, 1.7e9 + step as f64, &values).unwrap();
    }
    events.path().to_path_buf()
}

/// TensorBoard 2.21 reads the golden file: scalars, histograms, text, image and graph arrive as they were written.
#[test]
fn the_bytes_are_those_that_tensorboard_was_seen_to_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_everything(folder.path());
    assert!(path.ends_with("events.out.tfevents.000001.thalweg"));
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/everything.tfevents");
    let written = fs::read(path).unwrap();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&golden, &written).unwrap();
    }
    assert!(written == fs::read(&golden).unwrap(), "the bytes changed: show them to TensorBoard, then UPDATE_EXPECT=1");
}

#[test]
fn a_process_killed_while_it_records_leaves_a_readable_file() {
    const CHILD: &str = "THALWEG_TEST_RECORDS_INTO";
    if let Some(folder) = std::env::var_os(CHILD) {
        let mut events = EventWriter::create(Path::new(&folder), 0.0).unwrap();
        for step in 0.. {
            let values = Value::Histogram(Histogram::of(&vec![step as f32; 500].into()));
            events.log(step, 0.0, &[("w", values), ("loss", Value::Scalar(step as f32))]).unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    for round in 1..=10 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "events::a_process_killed_while_it_records_leaves_a_readable_file"])
            .env(CHILD, folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let path = folder.path().join(format!("events.out.tfevents.{round:06}.thalweg"));
        let begun = Instant::now();
        while !fs::metadata(&path).is_ok_and(|metadata| metadata.len() > 10_000) {
            assert!(begun.elapsed() < Duration::from_secs(60), "the child records nothing");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let found = read(&path).unwrap();
        assert!(found.events.len() > 50);
        for (step, event) in found.events[1..].iter().enumerate() {
            let What::Values(values) = &event.what else { panic!("{event:?}") };
            assert_eq!((event.step, &values[1].1), (step as i64, &Value::Scalar(step as f32)));
        }
    }
}

#[test]
fn what_is_no_event_file_is_refused_or_read_as_torn() {
    let folder = tempfile::tempdir().unwrap();
    let message = read(folder.path()).unwrap_err().to_string();
    assert!(message.contains("a directory"), "{message}");
    let path = folder.path().join("garbage");
    for (bytes, piece) in [(&[0xffu8; 100][..], "checksum"), (b"short", "cut short")] {
        fs::write(&path, bytes).unwrap();
        let found = read(&path).unwrap();
        assert!(found.events.is_empty() && found.torn.unwrap().contains(piece));
    }
}
