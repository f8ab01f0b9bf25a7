//! Writing event files.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use prost::Message;
use thalweg_formats::FormatError;
use thalweg_formats::array::{DType, Size};

use super::record::RecordWriter;
use super::{GraphNode, Histogram, SESSION_START, Value, proto};

/// The first record of every file.
const VERSION: &str = "brain.Event:2";
/// The version of the graph format; any since TensorFlow 1.0 will do.
const GRAPH_PRODUCER: i32 = 22;
/// `DT_STRING`.
const TYPE_STRING: i32 = 7;
/// The plugin that shows text.
const TEXT_PLUGIN: &str = "text";

/// Writes an event file.
///
/// ```
/// use thalweg_train::events::{self, EventWriter, Value, What};
///
/// let folder = tempfile::tempdir()?;
/// let now = 1_700_000_000.0;
/// let mut events = EventWriter::create(folder.path(), now)?;
/// events.scalar(1, now, "loss/train", 0.25)?;
/// let read = events::read(events.path())?;
/// assert_eq!(read.events[1].what, What::Values(vec![("loss/train".into(), Value::Scalar(0.25))]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    records: RecordWriter<File>,
}

impl EventWriter {
    /// Begins a new file in `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// If the file cannot be made or written.
    pub fn create(folder: &Path, wall_time: f64) -> Result<EventWriter, FormatError> {
        fs::create_dir_all(folder).map_err(FormatError::io(folder, "create the folder"))?;
        let mut number = 1 + newest_number(folder)?;
        let (path, file) = loop {
            let path = folder.join(file_name(number));
            match OpenOptions::new().append(true).create_new(true).open(&path) {
                Ok(file) => break (path, file),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(FormatError::io(&path, "create")(error)),
            }
        };
        let mut writer = EventWriter { path, records: RecordWriter::new(file) };
        writer.write(0, wall_time, proto::What::FileVersion(VERSION.into()))?;
        Ok(writer)
    }

    /// Begins a new file in `folder` for a run that goes on after `step`. What the older files say about later steps does not
    /// count any more: the state they tell of was lost with the process.
    ///
    /// # Errors
    /// As [`EventWriter::create`].
    pub fn resume(folder: &Path, wall_time: f64, step: u64) -> Result<EventWriter, FormatError> {
        let mut writer = EventWriter::create(folder, wall_time)?;
        writer.write(step + 1, wall_time, proto::What::SessionLog(proto::SessionLog { status: SESSION_START }))?;
        Ok(writer)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Records what tags have at a step, together.
    ///
    /// # Errors
    /// If the record cannot be written; later ones may be.
    pub fn log(&mut self, step: u64, wall_time: f64, values: &[(&str, Value)]) -> Result<(), FormatError> {
        let value = values.iter().map(|(tag, value)| summary_value(tag, value)).collect();
        self.write(step, wall_time, proto::What::Summary(proto::Summary { value }))
    }

    /// Records a number.
    ///
    /// # Errors
    /// As [`EventWriter::log`].
    pub fn scalar(&mut self, step: u64, wall_time: f64, tag: &str, x: f64) -> Result<(), FormatError> {
        self.log(step, wall_time, &[(tag, Value::Scalar(x as f32))])
    }

    /// Records the graph.
    ///
    /// # Errors
    /// As [`EventWriter::log`].
    pub fn graph(&mut self, wall_time: f64, nodes: &[GraphNode]) -> Result<(), FormatError> {
        let node = nodes.iter().map(node_def).collect();
        let graph = proto::GraphDef { node, versions: Some(proto::VersionDef { producer: GRAPH_PRODUCER }) };
        self.write(0, wall_time, proto::What::GraphDef(graph.encode_to_vec()))
    }

    fn write(&mut self, step: u64, wall_time: f64, what: proto::What) -> Result<(), FormatError> {
        let event = proto::Event { wall_time, step: step as i64, what: Some(what) };
        self.records.write(&event.encode_to_vec()).map_err(FormatError::io(&self.path, "write"))
    }
}

/// TensorBoard wants `tfevents` in the name and reads files in the order of their names.
fn file_name(number: u64) -> String {
    format!("events.out.tfevents.{number:06}.thalweg")
}

fn newest_number(folder: &Path) -> Result<u64, FormatError> {
    let mut newest = 0;
    for entry in fs::read_dir(folder).map_err(FormatError::io(folder, "list"))? {
        let name = entry.map_err(FormatError::io(folder, "list"))?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix("events.out.tfevents.")?.strip_suffix(".thalweg")?.parse().ok());
        newest = newest.max(number.unwrap_or(0));
    }
    Ok(newest)
}

fn summary_value(tag: &str, value: &Value) -> proto::SummaryValue {
    let mut metadata = None;
    let value = match value {
        Value::Scalar(x) => proto::Value::Simple(*x),
        Value::Histogram(Histogram { min, max, count, sum, sum_squares, limits, counts }) => {
            proto::Value::Histogram(proto::HistogramProto {
                min: *min,
                max: *max,
                num: *count,
                sum: *sum,
                sum_squares: *sum_squares,
                bucket_limit: limits.clone(),
                bucket: counts.clone(),
            })
        }
        Value::Image { width, height, channels, png } => proto::Value::Image(proto::Image {
            height: *height as i32,
            width: *width as i32,
            colorspace: *channels as i32,
            encoded: png.clone(),
        }),
        Value::Text(text) => {
            let plugin_data = Some(proto::PluginData { plugin_name: TEXT_PLUGIN.into() });
            metadata = Some(proto::SummaryMetadata { plugin_data });
            proto::Value::Tensor(proto::TensorProto {
                dtype: TYPE_STRING,
                tensor_shape: Some(proto::TensorShape { dim: vec![] }),
                string_val: vec![text.clone().into_bytes()],
            })
        }
    };
    proto::SummaryValue { tag: tag.to_string(), metadata, value: Some(value) }
}

fn node_def(node: &GraphNode) -> proto::NodeDef {
    let dim = |size: &Size| match size.number() {
        Some(number) => proto::Dim { size: number as i64, name: String::new() },
        None => proto::Dim { size: -1, name: size.to_string() },
    };
    let shape = proto::TensorShape { dim: node.shape.iter().map(dim).collect() };
    let attr = |value| proto::Attr { value: Some(value) };
    let text =
        |(name, value): &(String, String)| (name.clone(), attr(proto::AttrValue::Text(value.clone().into_bytes())));
    let mut attributes: BTreeMap<_, _> = node.attributes.iter().map(text).collect();
    attributes.insert("dtype".into(), attr(proto::AttrValue::Type(type_number(node.dtype))));
    let shapes = proto::AttrList { shape: vec![shape] };
    attributes.insert("_output_shapes".into(), attr(proto::AttrValue::List(shapes)));
    proto::NodeDef { name: node.name.clone(), op: node.op.clone(), input: node.inputs.clone(), attr: attributes }
}

/// The number of a dtype in `types.proto`.
fn type_number(dtype: DType) -> i32 {
    match dtype {
        DType::F32 => 1,
        DType::F64 => 2,
        DType::I32 => 3,
        DType::U8 => 4,
        DType::I64 => 9,
        DType::Bool => 10,
        DType::BF16 => 14,
        DType::F16 => 19,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Event, What, read};
    use super::*;

    #[test]
    fn numbers_need_not_be_finite_and_tags_not_be_plain() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = EventWriter::create(folder.path(), 1.5).unwrap();
        let tags = ["", "a b", "ä/ö\u{0}\n", "../../x", "<script>"];
        for (tag, x) in tags.into_iter().zip([f64::NAN, f64::INFINITY, -0.0, 1e300, 0.1]) {
            events.scalar(3, 0.5, tag, x).unwrap();
        }
        let read = read(events.path()).unwrap();
        assert_eq!(read.torn, None);
        let version = Event { wall_time: 1.5, step: 0, what: What::Version("brain.Event:2".into()) };
        assert_eq!(read.events[0], version);
        for ((event, tag), x) in
            read.events[1..].iter().zip(tags).zip([f32::NAN, f32::INFINITY, -0.0, f32::INFINITY, 0.1])
        {
            let What::Values(values) = &event.what else { panic!("{event:?}") };
            let (found, Value::Scalar(y)) = &values[0] else { panic!("{values:?}") };
            assert_eq!((&**found, y.to_bits(), event.step), (tag, x.to_bits(), 3));
        }
    }

    #[test]
    fn every_kind_of_value_goes_there_and_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = EventWriter::create(folder.path(), 0.0).unwrap();
        let values = [
            ("weights", Value::Histogram(Histogram::of(&[1.0f32, 2.0, 5.0].into()))),
            ("note", Value::Text("**bold**".into())),
            ("picture", Value::Image { width: 2, height: 3, channels: 1, png: vec![1, 2, 3] }),
            ("loss", Value::Scalar(0.5)),
        ];
        events.log(7, 2.0, &values).unwrap();
        let expected = values.map(|(tag, value)| (tag.to_string(), value)).to_vec();
        assert_eq!(
            read(events.path()).unwrap().events[1],
            Event { wall_time: 2.0, step: 7, what: What::Values(expected) }
        );
    }

    #[test]
    fn a_clock_that_goes_backwards_changes_no_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = EventWriter::create(folder.path(), 1e9).unwrap();
        for (step, wall_time) in [(1, 1e9), (2, 5.0), (3, -1.0), (4, 2e9)] {
            events.scalar(step, wall_time, "loss", 1.0).unwrap();
        }
        drop(events);
        // Files are ordered by their numbers, whatever the clock says.
        let mut later = EventWriter::resume(folder.path(), 0.0, 4).unwrap();
        later.scalar(5, 0.0, "loss", 1.0).unwrap();
        let mut files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let steps = files.iter().flat_map(|file| read(file).unwrap().events).filter_map(|event| match event.what {
            What::Values(_) => Some(event.step),
            _ => None,
        });
        assert_eq!(steps.collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_resumed_run_begins_a_file_that_comes_later_and_leaves_the_torn_one_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = EventWriter::create(folder.path(), 0.0).unwrap();
        events.scalar(10, 0.0, "loss", 1.0).unwrap();
        let first = events.path().to_path_buf();
        drop(events);
        let bytes = fs::read(&first).unwrap();
        fs::write(&first, &bytes[..bytes.len() - 3]).unwrap();
        let second = EventWriter::resume(folder.path(), 0.0, 8).unwrap();
        assert!(second.path() > &*first, "{:?}", second.path());
        assert!(second.path().ends_with("events.out.tfevents.000002.thalweg"));
        assert_eq!(read(second.path()).unwrap().events[1], Event { wall_time: 0.0, step: 9, what: What::Resumed });
        let torn = read(&first).unwrap();
        assert_eq!(torn.events.len(), 1);
        assert!(torn.torn.unwrap().contains("cut short"));
    }

    #[test]
    fn nodes_have_shape_and_dtype() {
        let node = GraphNode {
            name: "hidden/matmul".into(),
            op: "MatMul".into(),
            inputs: vec!["image".into()],
            dtype: DType::F32,
            shape: thalweg_formats::array::IntoShape::into_shape(("batch", 128)),
            attributes: vec![("transpose".into(), "right".into())],
        };
        let proto = node_def(&node);
        let dims = [proto::Dim { size: -1, name: "batch".into() }, proto::Dim { size: 128, name: String::new() }];
        let shape = vec![proto::TensorShape { dim: dims.to_vec() }];
        let shapes = Some(proto::AttrValue::List(proto::AttrList { shape }));
        assert_eq!(proto.attr["_output_shapes"].value, shapes);
        assert_eq!(proto.attr["dtype"].value, Some(proto::AttrValue::Type(1)));
        assert_eq!(proto.attr["transpose"].value, Some(proto::AttrValue::Text(b"right".to_vec())));
        let folder = tempfile::tempdir().unwrap();
        let mut events = EventWriter::create(folder.path(), 0.0).unwrap();
        events.graph(0.0, &[node]).unwrap();
        let names = vec![("hidden/matmul".into(), "MatMul".into())];
        assert_eq!(read(events.path()).unwrap().events[1].what, What::Graph(names));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let message = EventWriter::create(&file.join("run"), 0.0).unwrap_err().to_string();
        assert!(message.contains("file/run: cannot create the folder"), "{message}");
    }
}
