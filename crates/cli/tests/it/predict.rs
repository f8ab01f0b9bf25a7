//! Reading drawings, good and bad ones.

use std::path::{Path, PathBuf};

use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgba, RgbaImage};

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

fn drawn(size: (u32, u32), ink: fn(f32, f32) -> bool, light_on_dark: bool) -> GrayImage {
    GrayImage::from_fn(size.0, size.1, |x, y| {
        let inked = ink(x as f32 / size.0 as f32, y as f32 / size.1 as f32);
        Luma([if inked == light_on_dark { 240 } else { 12 }])
    })
}

fn save(folder: &Path, name: &str, image: impl Into<DynamicImage>) -> PathBuf {
    let path = folder.join(name);
    image.into().save_with_format(&path, ImageFormat::Png).unwrap();
    path
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
    let color = |ink: fn(f32, f32) -> bool, paper: Rgba<u8>| {
        RgbaImage::from_fn(120, 120, |x, y| {
            if ink(x as f32 / 120.0, y as f32 / 120.0) { Rgba([30, 20, 160, 255]) } else { paper }
        })
    };
    let deep = DynamicImage::ImageLuma8(drawn((90, 90), ring, false)).to_luma16();
    let zeros = [
        save(path, "dark on light.png", drawn((64, 64), ring, false)),
        save(path, "light on dark.png", drawn((301, 257), ring, true)),
        save(path, "small ü.png", drawn((20, 20), ring, false)),
        save(path, "color.png", color(ring, Rgba([250, 240, 200, 255]))),
        save(path, "transparent.png", color(ring, Rgba([0, 0, 0, 0]))),
        save(path, "deep.png", deep),
    ];
    assert_eq!(classes(&zeros.each_ref().map(|path| &**path)), ["0"; 6]);
    let ones = [save(path, "1.png", drawn((500, 400), bar, false)), save(path, "2.png", drawn((40, 40), bar, true))];
    assert_eq!(classes(&ones.each_ref().map(|path| &**path)), ["1"; 2]);
}

#[test]
fn a_prediction_shows_class_and_probabilities() {
    let folder = folder();
    let file = save(folder.path(), "zero.png", drawn((64, 64), ring, false));
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
    let file = save(folder.path(), "bar.png", drawn((64, 64), bar, false));
    let seen = folder.path().join("seen.png");
    let args = ["predict".as_ref(), digits().as_os_str(), file.as_os_str(), "--show".as_ref(), seen.as_os_str()];
    succeed(args);
    let picture = image::open(&seen).unwrap().to_luma8();
    assert_eq!(picture.dimensions(), (280, 280));
    assert!(picture.get_pixel(157, 140).0[0] > 150 && picture.get_pixel(5, 140).0[0] == 0);
    let two = ["predict".as_ref(), digits().as_os_str(), file.as_os_str(), file.as_os_str()];
    succeed(two.into_iter().chain(["--show".as_ref(), seen.as_os_str()]));
    assert_eq!(image::open(&seen).unwrap().to_luma8().dimensions(), (17 * 35, 280));
    let ran = run(args[..4].iter().copied().chain(["/no/such/folder/seen.png".as_ref()]));
    assert!(ran.code == Some(1) && ran.stderr.contains("/no/such/folder/seen.png"), "{ran:?}");
}

#[test]
fn a_bad_file_does_not_keep_the_others_from_being_read() {
    let folder = folder();
    let good = save(folder.path(), "good.png", drawn((64, 64), ring, false));
    let bad = folder.path().join("bad.png");
    std::fs::write(&bad, "not a picture").unwrap();
    let ran = run(["predict".as_ref(), digits().as_os_str(), bad.as_os_str(), good.as_os_str()]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("good.png: 0") && ran.stderr.contains("bad.png"), "{ran:?}");
}

#[test]
fn files_that_are_no_pictures_are_refused_by_name() {
    let folder = folder();
    let good = std::fs::read(save(folder.path(), "good.png", drawn((64, 64), ring, false))).unwrap();
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
        save(folder.path(), "blank.png", GrayImage::from_pixel(30, 30, Luma([255]))),
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
