//! Records of training for TensorBoard: scalars, histograms, images, text and the graph.
//!
//! `tensorboard --logdir runs` shows them. Each record is written at once; a process killed meanwhile leaves at most one torn
//! record, at the end of its file, and a resumed run begins a new file. The time of a record is given by the caller, in
//! seconds since 1970.

mod histogram;
mod proto;
mod read;
mod record;
mod scalars;
mod write;

use thalweg_formats::array::{DType, Shape};

pub use histogram::Histogram;
pub use read::read;
pub use scalars::scalars;
pub use write::EventWriter;

/// What a tag has at a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number; NaN and infinities are numbers too.
    Scalar(f32),
    /// A distribution.
    Histogram(Histogram),
    /// An encoded picture.
    Image {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
        /// 1 for gray, 3 for colors, 4 with transparency.
        channels: u32,
        /// The picture as a PNG file.
        png: Vec<u8>,
    },
    /// Text in Markdown.
    Text(String),
}

/// A node of the graph as TensorBoard draws it. Slashes in names make groups that open and close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphNode {
    /// The name, unique in the graph.
    pub name: String,
    /// What the node computes.
    pub op: String,
    /// The names of the nodes whose output it takes; behind `^`, of those that merely come before it.
    pub inputs: Vec<String>,
    /// The dtype of its output.
    pub dtype: DType,
    /// The shape of its output.
    pub shape: Shape,
    /// Parameters of the op, by name.
    pub attributes: Vec<(String, String)>,
}

/// What an event file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventFile {
    /// The whole records, in order.
    pub events: Vec<Event>,
    /// What is wrong with the first record that is not whole; whatever stands behind it is lost.
    pub torn: Option<String>,
}

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Seconds since 1970.
    pub wall_time: f64,
    /// The step.
    pub step: i64,
    /// What it says.
    pub what: What,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The version of the file, its first record.
    Version(String),
    /// The run was resumed: older records of this step and later do not count.
    Resumed,
    /// The names of the nodes of a graph with their ops.
    Graph(Vec<(String, String)>),
    /// What tags have at the step.
    Values(Vec<(String, Value)>),
    /// Something that is not read here.
    Other,
}

/// `SessionLog.START`.
const SESSION_START: i32 = 1;
