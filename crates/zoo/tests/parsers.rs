//! Every parser of ours on damaged input: it answers, within a second and in memory bounded by what was there.
//!
//! Whole files are edited at random, cut, repeated and spliced; the numbers are the same in every run.
//! `THALWEG_MUTATIONS=100000` tries so many of each kind.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use thalweg::array::npy;
use thalweg::array::random::Philox;
use thalweg::data::{Csv, Limits, read_idx};
use thalweg::formats::{safetensors, weights};
use thalweg::graph::{Graph, text};
use thalweg::prelude::*;
use thalweg::train::checkpoint;
use thalweg::train::events::{self, EventWriter};
use thalweg::train::{Length, Trained};
use thalweg_zoo::{Options, build, picture, recipe, train};

/// The system's allocator, which knows how much is in use.
struct Measuring;

static USED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grow(bytes: usize) {
    PEAK.fetch_max(USED.fetch_add(bytes, Relaxed) + bytes, Relaxed);
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Measuring {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the contract of this function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the contract of this function.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the contract of this function.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Measuring = Measuring;

/// Memory is measured for the whole process: one parser at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Random choices.
struct Dice {
    generator: Philox,
    drawn: u64,
}

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice { generator: Philox::new(seed, 0), drawn: 0 }
    }

    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        self.drawn += 1;
        self.generator.block(self.drawn, 0)[0] as usize % bound
    }

    /// `bytes` with one to four edits.
    fn mutated(&mut self, bytes: &[u8]) -> Vec<u8> {
        const ODD: [&[u8]; 12] = [
            b"\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\0\0\0\0",
            b"\x7f\xff\xff\xff",
            b"-1",
            b"99999999999999999999",
            b"1e400",
            b"nan",
            b"\"",
            b"{[",
            b"\n",
            b"\xf0\x9f",
            b",",
        ];
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(16)).min(bytes.len());
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = self.below(256) as u8,
                2 => bytes.truncate(at),
                3 => drop(bytes.drain(at..end)),
                4 => {
                    let piece = bytes[at..end].to_vec();
                    let to = self.below(bytes.len() + 1);
                    bytes.splice(to..to, piece);
                }
                _ => {
                    let piece = ODD[self.below(ODD.len())];
                    let over = if self.below(2) == 0 { at } else { (at + piece.len()).min(bytes.len()) };
                    bytes.splice(at..over, piece.iter().copied());
                }
            }
        }
        bytes
    }
}

fn cases(usual: usize) -> u64 {
    let wanted = std::env::var("THALWEG_MUTATIONS").ok().and_then(|number| number.parse().ok());
    wanted.unwrap_or(if cfg!(miri) { 3 } else { usual as u64 })
}

/// Gives `parse` every seed and `usual` damaged ones. It may refuse or accept; it must not panic, be slow or waste memory.
fn survives(name: &str, usual: usize, seeds: &[Vec<u8>], mut parse: impl FnMut(&[u8]) -> bool) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for seed in seeds {
        assert!(parse(seed), "{name}: the undamaged input is refused");
    }
    let mut dice = Dice::new(1);
    let mut accepted = 0;
    for case in 0..cases(usual) {
        let input = match case % 16 {
            0 => (0..dice.below(64)).map(|_| dice.below(256) as u8).collect(),
            _ => {
                let seed = dice.below(seeds.len());
                dice.mutated(&seeds[seed])
            }
        };
        let before = USED.load(Relaxed);
        PEAK.store(before, Relaxed);
        let begin = Instant::now();
        accepted += u64::from(parse(&input));
        let (seconds, bytes) = (begin.elapsed().as_secs_f64(), PEAK.load(Relaxed).saturating_sub(before));
        let shown = String::from_utf8_lossy(&input[..input.len().min(2000)]);
        assert!(seconds < 1.0, "{name}, case {case}: {seconds} s for {shown:?}");
        assert!(bytes <= (64 << 20) + 2 * input.len(), "{name}, case {case}: {bytes} bytes for {shown:?}");
    }
    assert!(accepted < cases(usual), "{name}: nothing was refused");
}

/// As [`survives`], of what reads files.
fn survives_as_file(name: &str, usual: usize, seeds: &[Vec<u8>], parse: impl Fn(&Path) -> bool) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    survives(name, usual, seeds, |bytes| {
        std::fs::write(&path, bytes).unwrap();
        parse(&path)
    });
}

#[test]
fn npy() {
    let seeds = [
        Array::from([[1.0f32, 2.0], [3.0, 4.0]]),
        Array::from([1i64, 2, 3]),
        Array::from([true, false]),
        Array::scalar(0.5f64),
    ];
    let seeds = seeds.map(|array| npy::to_bytes("seed", &array).unwrap());
    survives("npy", 20_000, &seeds, |bytes| npy::from_bytes("damaged.npy", bytes).is_ok());
}

#[test]
fn idx() {
    let labels = [&[0, 0, 8, 1, 0, 0, 0, 5][..], &[3, 1, 4, 1, 5]].concat();
    let images = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3][..], &[7; 12]].concat();
    let numbers = [&[0, 0, 13, 1, 0, 0, 0, 2][..], &1.5f32.to_be_bytes(), &2.5f32.to_be_bytes()].concat();
    survives_as_file("damaged-idx", 4000, &[labels, images, numbers], |path| read_idx(path).is_ok());
}

#[test]
fn csv() {
    let seeds = [
        "height,kind,grade\n1.5,cat,A\n2.25,dog,B\n-1e-3,cat,A\n",
        "\u{feff}height,kind,grade\r\n1,\"a, b\",A\r\n2,\"c \"\"d\"\"\",B\r\n",
    ];
    let csv = Csv::new().category("kind").class("grade");
    let seeds = seeds.map(|text| text.as_bytes().to_vec());
    survives_as_file("damaged.csv", 4000, &seeds, |path| csv.read(path).and_then(|table| table.dataset()).is_ok());
}

#[test]
fn safetensors() {
    let header = |json: &str, data: &[u8]| [&(json.len() as u64).to_le_bytes(), json.as_bytes(), data].concat();
    let of_others = header(
        r#"{"__metadata__":{"made by":"another"},"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"b":{"dtype":"I64","shape":[],"data_offsets":[8,16]}}"#,
        &[1; 16],
    );
    let empty = header(r#"{"nothing":{"dtype":"BF16","shape":[0,3],"data_offsets":[0,0]}}"#, &[]);
    survives("safetensors", 20_000, &[of_others, empty], |bytes| {
        safetensors::decode(&mut &*bytes, bytes.len() as u64, Path::new("damaged.safetensors")).is_ok()
    });
}

/// Files of PyTorch in both forms: a state dictionary of one tensor.
#[test]
fn weights_of_others() {
    let value = b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQK\x00K\x02\x85K\x01\x85\x89}tRs.";
    let begin = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.";
    let end = b"\x80\x02]X\x01\x00\x00\x000a.\x02\0\0\0\0\0\0\0\0\0\x80\x3f\0\0\0\x40";
    let stream = [&begin[..], value, end].concat();
    let zipped = |entries: &[(&str, &[u8])]| {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, bytes) in entries {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            std::io::Write::write_all(&mut zip, bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    };
    let archive = zipped(&[("m/data.pkl", value), ("m/data/0", &[0; 8])]);
    let arrays = zipped(&[("a.npy", &npy::to_bytes("a", &Array::from([1i64, 2, 3])).unwrap())]);
    survives("weights", 20_000, &[stream, archive, arrays], |bytes| {
        weights::decode(bytes, Path::new("damaged.pt")).is_ok()
    });
}

#[test]
fn event_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut events = EventWriter::create(folder.path(), 1e9).unwrap();
    for step in 0..3 {
        events.scalar(step, 1e9, "loss/train", 1.0 / (step + 1) as f64).unwrap();
    }
    let seed = std::fs::read(events.path()).unwrap();
    // What is torn is read up to there: never an error.
    survives_as_file("events", 4000, &[seed], |path| events::read(path).is_ok_and(|file| file.torn.is_none()));
}

#[test]
fn graphs() {
    let (task, step) = build(recipe("digits").unwrap(), &Options::default()).unwrap();
    let training = Graph::capture(std::slice::from_ref(&task.inference.loss), &step.updates);
    let model = Graph::capture(std::slice::from_ref(&task.inference.loss), &[]);
    let seeds = [model, training].map(|graph| graph.to_string().into_bytes());
    survives("graph text", 1500, &seeds, |bytes| {
        std::str::from_utf8(bytes).is_ok_and(|text| text::parse(text).is_ok())
    });
}

#[test]
fn pictures() {
    let folder = tempfile::tempdir().unwrap();
    let seeds = [(8, 8), (1, 30), (17, 5)].map(|(height, width)| {
        let path = folder.path().join(format!("{height}x{width}.png"));
        let pixels = (0..height * width).map(|pixel| (pixel % 7) as f32).collect();
        picture::write(&path, &Array::new(&[height, width], pixels).unwrap(), 6.0, 1).unwrap();
        std::fs::read(path).unwrap()
    });
    survives_as_file("damaged.png", 4000, &seeds, |path| {
        let Ok(picture) = picture::read(path) else { return false };
        assert_eq!(picture.pixels.len(), picture.size.0 * picture.size.1);
        true
    });
}

#[test]
fn photos() {
    macro_rules! seeds {
        ($($name:literal),*) => { [$(include_bytes!(concat!("../../data/assets/pictures/", $name)).to_vec()),*] };
    }
    let seeds = seeds![
        "baseline.jpg",
        "progressive.jpg",
        "restart.jpg",
        "gray.jpg",
        "cmyk.jpg",
        "oriented.jpg",
        "interlaced.png",
        "palette.gif",
        "animated.gif",
        "palette.bmp",
        "true.bmp",
        "lossless.webp",
        "lossy.webp",
        "alpha.webp"
    ];
    let limits = Limits::default();
    survives("photos", 8000, &seeds, |bytes| {
        let Ok(picture) = thalweg::data::Picture::decode(bytes, &limits) else { return false };
        assert_eq!(picture.pixels().len(), 3 * picture.height() * picture.width());
        true
    });
}

/// Drawings of any size and content: blank, full, infinite, not a number.
#[test]
fn drawings() {
    let seeds = [vec![0; 64], (0..=255).collect::<Vec<u8>>()];
    survives("drawings", 3000, &seeds, |bytes| {
        let size = bytes.len();
        let number = |&byte: &u8| match byte {
            253 => f32::NAN,
            254 => f32::INFINITY,
            255 => -1e30,
            byte => f32::from(byte) / 252.0,
        };
        let height = (1..=size).rev().find(|height| height * height <= size && size % height == 0).unwrap_or(1);
        let pixels: Vec<f32> = bytes.iter().map(number).collect();
        let size = (height, size / height);
        let _ = thalweg::data::image::like_mnist(&pixels, size);
        let _ = thalweg::data::image::like_digits(&pixels, size);
        bytes.len() % 16 == 0
    });
}

/// Checkpoints whose checksums are right and whose content is not: a part of the metadata is damaged, or a tensor.
#[test]
fn checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let options = Options {
        run: Some(run.clone()),
        length: Some(Length::Steps(1)),
        set: vec![("width".into(), 8.0)],
        ..Options::default()
    };
    train(recipe("digits").unwrap(), &options).unwrap();
    let step = checkpoint::steps(&run).unwrap()[0];
    let path = run.join(format!("checkpoints/step-{step:09}.safetensors"));
    let whole = safetensors::read(&path).unwrap();
    let blank = Array::zeros(&[8, 8], f32);
    let opened = |metadata: &BTreeMap<String, String>, tensors: &BTreeMap<String, Array>| {
        safetensors::write(&path, tensors, metadata).unwrap();
        let Ok(trained) = Trained::open(&run) else { return false };
        let (predicted, training) = (trained.predict(&blank).is_ok(), trained.training().is_ok());
        predicted && training
    };
    for key in whole.metadata.keys() {
        let seed = whole.metadata[key].clone().into_bytes();
        survives(&format!("checkpoint {key}"), 150, &[seed], |bytes| {
            let value = String::from_utf8_lossy(bytes).into_owned();
            let mut metadata = whole.metadata.clone();
            let same = metadata.insert(key.clone(), value.clone()).as_ref() == Some(&value);
            let accepted = opened(&metadata, &whole.tensors);
            assert!(accepted || !same, "{key}: the undamaged checkpoint is refused");
            accepted && same
        });
    }
    for name in whole.tensors.keys() {
        for array in [Array::zeros(&[], f32), Array::zeros(&[0, 3], f32), Array::zeros(&[8], i64)] {
            let mut tensors = whole.tensors.clone();
            tensors.insert(name.clone(), array.clone());
            opened(&whole.metadata, &tensors);
            tensors.remove(name);
            opened(&whole.metadata, &tensors);
        }
    }
}
