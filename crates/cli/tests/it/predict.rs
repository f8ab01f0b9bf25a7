//! Reading drawings, good and bad ones.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use png::{BitDepth, ColorType, Decoder, Encoder};

use crate::support::{Ran, digits, folder, refuse, run, succeed};

/// How much ink is at (x, y), both from 0 to 1: a ring, which is a zero.
fn ring(x: f32, y: f32) -> bool {
    let (dx, dy) = ((x - 0.45) / 0.22, (y - 0.5) / 0.36);
    (0.62..1.0).contains(&(dx * dx + dy * dy).sqrt())
}

/// A wide upright bar, which is a one.
fn bar(x: f32, y: f32) -> bool {
    (0.5..0.62).contains(&x) && (0.15..0.85).contains(&y)
}

/// A picture in memory: the samples of its pixels row by row.
struct Picture {
    size: (u32, u32),
    color: ColorType,
    depth: BitDepth,
    samples: Vec<u8>,
}

impl Picture {
    /// `pixel` holds the samples of paper and of ink: one byte each, or two if they are gray.
    fn new<const N: usize>(
        size: (u32, u32),
        color: ColorType,
        ink: fn(f32, f32) -> bool,
        pixel: [[u8; N]; 2],
    ) -> Picture {
        let places = (0..size.1).flat_map(|y| (0..size.0).map(move |x| (x, y)));
        let inked = places.map(|(x, y)| ink(x as f32 / size.0 as f32, y as f32 / size.1 as f32));
        let samples = inked.flat_map(|inked| pixel[usize::from(inked)]).collect();
        let depth = if (color, N) == (ColorType::Grayscale, 2) { BitDepth::Sixteen } else { BitDepth::Eight };
        Picture { size, color, depth, samples }
    }

    fn gray(size: (u32, u32), ink: fn(f32, f32) -> bool, paper_and_ink: [u8; 2]) -> Picture {
        Picture::new(size, ColorType::Grayscale, ink, paper_and_ink.map(|sample| [sample]))
    }
}

const DARK_ON_LIGHT: [u8; 2] = [240, 12];
const LIGHT_ON_DARK: [u8; 2] = [12, 240];

fn save(folder: &Path, name: &str, picture: &Picture) -> PathBuf {
    let path = folder.join(name);
    let mut encoder = Encoder::new(File::create(&path).unwrap(), picture.size.0, picture.size.1);
    encoder.set_color(picture.color);
    encoder.set_depth(picture.depth);
    encoder.write_header().unwrap().write_image_data(&picture.samples).unwrap();
    path
}

/// Width, height and samples of a gray picture.
fn open(path: &Path) -> ((u32, u32), Vec<u8>) {
    let mut reader = Decoder::new(BufReader::new(File::open(path).unwrap())).read_info().unwrap();
    let mut samples = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut samples).unwrap();
    (reader.info().size(), samples)
}

/// The classes of the pictures, in order.
fn classes(paths: &[&Path]) -> Vec<String> {
    let json = ["predict".as_ref(), digits().as_os_str(), "--json".as_ref()];
    let ran = succeed(json.into_iter().chain(paths.iter().map(|path| path.as_os_str())));
    let predictions = ran.json()["predictions"].as_array().unwrap().clone();
    assert_eq!(predictions.len(), paths.len());
    predictions.iter().map(|prediction| prediction["class"].as_str().unwrap().to_string()).collect()
}

fn predict(file: &Path) -> Ran {
    run(["predict".as_ref(), digits().as_os_str(), file.as_os_str()])
}

#[test]
fn drawings_of_any_kind_are_read() {
    let folder = folder();
    let path = folder.path();
    let zero = |size, color, pixel| Picture::new(size, color, ring, pixel);
    let zeros = [
        save(path, "dark on light.png", &Picture::gray((64, 64), ring, DARK_ON_LIGHT)),
        save(path, "light on dark.png", &Picture::gray((301, 257), ring, LIGHT_ON_DARK)),
        save(path, "small ü.png", &Picture::gray((20, 20), ring, DARK_ON_LIGHT)),
        save(path, "deep.png", &Picture::new((90, 90), ColorType::Grayscale, ring, [[250, 7], [3, 1]])),
        save(path, "color.png", &Picture::new((120, 120), ColorType::Rgb, ring, [[250, 240, 200], [30, 20, 160]])),
        save(path, "transparent.png", &zero((64, 64), ColorType::Rgba, [[0; 4], [30, 20, 160, 255]])),
        save(path, "white on nothing.png", &zero((64, 64), ColorType::Rgba, [[255, 255, 255, 0], [255; 4]])),
    ];
    assert_eq!(classes(&zeros.each_ref().map(|path| &**path)), ["0"; 7]);
    let ones = [
        save(path, "1.png", &Picture::gray((500, 400), bar, DARK_ON_LIGHT)),
        save(path, "2.png", &Picture::gray((40, 40), bar, LIGHT_ON_DARK)),
    ];
    assert_eq!(classes(&ones.each_ref().map(|path| &**path)), ["1"; 2]);
}

#[test]
fn a_prediction_shows_class_and_probabilities() {
    let folder = folder();
    let file = save(folder.path(), "zero.png", &Picture::gray((64, 64), ring, DARK_ON_LIGHT));
    let ran = predict(&file);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines[0].contains("zero.png: 0 (") && lines.len() == 11, "{ran:?}");
    assert!(lines[1].contains('█') && lines[1].ends_with('%'), "{ran:?}");
    let result = succeed(["predict".as_ref(), digits().as_os_str(), "--json".as_ref(), file.as_os_str()]).json();
    let probabilities = result["predictions"][0]["probabilities"].as_array().unwrap();
    let sum: f64 = probabilities.iter().map(|p| p.as_f64().unwrap()).sum();
    assert!(probabilities.len() == 10 && (sum - 1.0).abs() < 1e-4, "{result}");
}

#[test]
fn rows_of_the_test_set_are_read() {
    let run = digits().to_str().unwrap();
    let result = succeed(["predict", run, "--row", "0", "--json"]).json();
    assert_eq!(result["predictions"][0]["label"], "4", "the fifth row of the set: {result}");
    refuse(["predict", run, "--row", "359"], 2, &["row 359", "359 rows"]);
}

#[test]
fn what_the_model_saw_is_drawn() {
    let folder = folder();
    let file = save(folder.path(), "bar.png", &Picture::gray((64, 64), bar, DARK_ON_LIGHT));
    let seen = folder.path().join("seen.png");
    let args = ["predict".as_ref(), digits().as_os_str(), file.as_os_str(), "--show".as_ref(), seen.as_os_str()];
    succeed(args);
    let (size, samples) = open(&seen);
    assert_eq!(size, (280, 280));
    let sample = |x: usize, y: usize| samples[y * 280 + x];
    assert!(sample(157, 140) > 150 && sample(5, 140) == 0, "{} {}", sample(157, 140), sample(5, 140));
    let two = ["predict".as_ref(), digits().as_os_str(), file.as_os_str(), file.as_os_str()];
    succeed(two.into_iter().chain(["--show".as_ref(), seen.as_os_str()]));
    assert_eq!(open(&seen).0, (17 * 35, 280));
    let ran = run(args[..4].iter().copied().chain(["/no/such/folder/seen.png".as_ref()]));
    assert!(ran.code == Some(1) && ran.stderr.contains("/no/such/folder/seen.png"), "{ran:?}");
}

#[test]
fn a_bad_file_does_not_keep_the_others_from_being_read() {
    let folder = folder();
    let good = save(folder.path(), "good.png", &Picture::gray((64, 64), ring, DARK_ON_LIGHT));
    let bad = folder.path().join("bad.png");
    std::fs::write(&bad, "not a picture").unwrap();
    let ran = run(["predict".as_ref(), digits().as_os_str(), bad.as_os_str(), good.as_os_str()]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("good.png: 0") && ran.stderr.contains("bad.png"), "{ran:?}");
}

#[test]
fn files_that_are_no_pictures_are_refused_by_name() {
    let folder = folder();
    let good = std::fs::read(save(folder.path(), "good.png", &Picture::gray((64, 64), ring, DARK_ON_LIGHT))).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let mut signature = good.clone();
    signature[1] = b'p';
    let mut checksum = good.clone();
    let inside = checksum.len() - 30;
    checksum[inside] ^= 1;
    let files = [
        write("empty.png", b""),
        write("text.png", b"hello, I am a text"),
        write("signature.png", &signature),
        write("checksum.png", &checksum),
        write("cut.png", &good[..good.len() / 2]),
        write("header.png", &good[..20]),
        write("no width.png", &with_header(0, 1, 8, 0, 0)),
        write("huge.png", &with_header(0x7fff_ffff, 0x7fff_ffff, 8, 6, 0)),
        write("large.png", &with_header(60_000, 60_000, 8, 0, 0)),
        write("no such color.png", &with_header(4, 4, 8, 5, 0)),
        save(folder.path(), "blank.png", &Picture::gray((30, 30), ring, [255, 255])),
        folder.path().join("not there.png"),
        folder.path().to_path_buf(),
        PathBuf::from("/dev/zero"),
    ];
    for file in files {
        let ran = predict(&file);
        assert_eq!((ran.code, &*ran.stdout), (Some(1), ""), "{ran:?}");
        let named = ran.stderr.starts_with(&format!("error: {}: ", file.display()));
        assert!(named && ran.stderr.lines().count() == 1, "{ran:?}");
    }
}

/// A PNG file that says it has this size and kind, and holds hardly any pixels.
fn with_header(width: u32, height: u32, depth: u8, color: u8, interlaced: u8) -> Vec<u8> {
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([depth, color, 0, 0, interlaced]);
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    // The data: an empty zlib stream.
    for (kind, data) in [(b"IHDR", &header[..]), (b"IDAT", b"\x78\x9c\x03\x00\x00\x00\x00\x01"), (b"IEND", b"")] {
        let chunk = [&kind[..], data].concat();
        png.extend((data.len() as u32).to_be_bytes());
        png.extend(&chunk);
        png.extend(crc32(&chunk).to_be_bytes());
    }
    png
}

/// The checksum of a PNG chunk (ISO 3309).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ byte as u32, |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}
