//! Reading event files.

use std::io::Read;
use std::path::Path;

use prost::Message;
use thalweg_formats::{FormatError, regular};

use super::{Event, EventFile, Histogram, SESSION_START, Value, What, proto, record};

/// Reads an event file up to the first record that is not whole.
///
/// # Errors
/// If it cannot be opened or is no regular file.
pub fn read(path: &Path) -> Result<EventFile, FormatError> {
    let (mut file, size) = regular::open(path)?;
    let mut bytes = Vec::with_capacity(size as usize);
    file.read_to_end(&mut bytes).map_err(FormatError::io(path, "read"))?;
    let (records, mut torn) = record::records(&bytes);
    let mut events = Vec::new();
    for record in records {
        match decode(record) {
            Ok(event) => events.push(event),
            Err(error) => {
                torn = Some(format!("record {} is no event: {error}", events.len()));
                break;
            }
        }
    }
    Ok(EventFile { events, torn })
}

fn decode(record: &[u8]) -> Result<Event, prost::DecodeError> {
    let proto::Event { wall_time, step, what } = proto::Event::decode(record)?;
    let what = match what {
        Some(proto::What::FileVersion(version)) => What::Version(version),
        Some(proto::What::GraphDef(bytes)) => {
            let graph = proto::GraphDef::decode(&*bytes)?;
            What::Graph(graph.node.into_iter().map(|node| (node.name, node.op)).collect())
        }
        Some(proto::What::SessionLog(log)) if log.status == SESSION_START => What::Resumed,
        Some(proto::What::Summary(summary)) => What::Values(summary.value.into_iter().filter_map(read_value).collect()),
        Some(proto::What::SessionLog(_)) | None => What::Other,
    };
    Ok(Event { wall_time, step, what })
}

/// `None` for what is not read here.
fn read_value(value: proto::SummaryValue) -> Option<(String, Value)> {
    let read = match value.value? {
        proto::Value::Simple(x) => Value::Scalar(x),
        proto::Value::Histogram(histogram) => Value::Histogram(Histogram {
            min: histogram.min,
            max: histogram.max,
            count: histogram.num,
            sum: histogram.sum,
            sum_squares: histogram.sum_squares,
            limits: histogram.bucket_limit,
            counts: histogram.bucket,
        }),
        proto::Value::Image(image) => Value::Image {
            width: image.width.try_into().ok()?,
            height: image.height.try_into().ok()?,
            channels: image.colorspace.try_into().ok()?,
            png: image.encoded,
        },
        proto::Value::Tensor(tensor) => Value::Text(String::from_utf8(tensor.string_val.into_iter().next()?).ok()?),
    };
    Some((value.tag, read))
}
