//! Tests: what files hold, whole and damaged.

use std::path::Path;

use ::png::{BitDepth, ColorType, Encoder};
use flate2::Crc;

use super::tests::numbered;
use super::{Limits, Picture};

macro_rules! asset {
    ($name:literal) => {
        include_bytes!(concat!("../../assets/pictures/", $name)).as_slice()
    };
}

/// What all the pictures show.
fn expected(y: usize, x: usize) -> [u8; 3] {
    [10 * x as u8, 15 * y as u8, 120]
}

fn decode(bytes: &[u8]) -> Picture {
    Picture::decode(bytes, &Limits::default()).unwrap()
}

fn refusal(bytes: &[u8]) -> String {
    match Picture::decode(bytes, &Limits::default()) {
        Ok(picture) => panic!("a picture of {:?}", picture.size()),
        Err(error) => error.to_string(),
    }
}

/// The greatest distance of a number of `picture` from what it should be.
fn distance(picture: &Picture, expected: impl Fn(usize, usize) -> [u8; 3]) -> u8 {
    assert_eq!(picture.size(), (16, 24));
    let pixels = picture.pixels().chunks(3).enumerate();
    let distances = pixels.map(|(index, pixel)| {
        let expected = expected(index / 24, index % 24);
        pixel.iter().zip(expected).map(|(a, b)| a.abs_diff(b)).max().unwrap()
    });
    distances.max().unwrap()
}

#[test]
fn every_format_shows_the_same() {
    for (bytes, tolerance) in [
        (asset!("interlaced.png"), 0),
        (asset!("true.bmp"), 0),
        (asset!("lossless.webp"), 0),
        (asset!("lossy.webp"), 9),
        (asset!("palette.gif"), 32),
        (asset!("baseline.jpg"), 12),
        (asset!("progressive.jpg"), 12),
        (asset!("restart.jpg"), 12),
        (asset!("cmyk.jpg"), 6),
        (asset!("oriented.jpg"), 12),
    ] {
        let distance = distance(&decode(bytes), expected);
        assert!(distance <= tolerance, "{distance} of {tolerance} in {:?}…", &bytes[..12]);
    }
}

#[test]
fn gray_palettes_frames_and_what_is_transparent_become_color() {
    let gray = |y, x| {
        let [red, green, blue] = expected(y, x).map(f32::from);
        [(0.299 * red + 0.587 * green + 0.114 * blue).round() as u8; 3]
    };
    assert!(distance(&decode(asset!("gray.jpg")), gray) <= 3);
    let white_on_the_right = |y, x| if x < 12 { expected(y, x) } else { [255; 3] };
    assert_eq!(distance(&decode(asset!("alpha.webp")), white_on_the_right), 0);
    assert_eq!(distance(&decode(asset!("animated.gif")), |_, _| [200, 30, 40]), 0, "the first frame");
    let palette = [[0, 0, 0], [200, 30, 40], [10, 20, 250]];
    assert_eq!(distance(&decode(asset!("palette.bmp")), |y, x| palette[(x + y) % 3]), 0);
}

/// A PNG file with one row of pixels.
fn png_of(kind: ColorType, depth: BitDepth, width: u32, row: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, width, 1);
    encoder.set_color(kind);
    encoder.set_depth(depth);
    if kind == ColorType::Indexed {
        encoder.set_palette(vec![0, 0, 0, 255, 0, 0, 9, 9, 9]);
        encoder.set_trns(vec![255, 255, 0]);
    }
    encoder.write_header().unwrap().write_image_data(row).unwrap();
    bytes
}

#[test]
fn png_of_all_kinds_becomes_rgb() {
    let pixels = |kind, depth, width, row: &[u8]| decode(&png_of(kind, depth, width, row)).pixels().to_vec();
    let sixteen = pixels(ColorType::Rgb, BitDepth::Sixteen, 1, &[10, 99, 20, 99, 30, 255]);
    assert_eq!(sixteen, [10, 20, 30], "the upper eight of sixteen bits");
    assert_eq!(pixels(ColorType::Grayscale, BitDepth::One, 2, &[0b0100_0000]), [0, 0, 0, 255, 255, 255]);
    assert_eq!(pixels(ColorType::GrayscaleAlpha, BitDepth::Eight, 2, &[50, 255, 50, 0]), [50, 50, 50, 255, 255, 255]);
    assert_eq!(pixels(ColorType::Rgba, BitDepth::Eight, 1, &[0, 100, 200, 51]), [204, 224, 244], "a fifth on white");
    assert_eq!(
        pixels(ColorType::Indexed, BitDepth::Two, 3, &[0b0100_1000]),
        [255, 0, 0, 0, 0, 0, 255, 255, 255],
        "the third color is transparent"
    );
}

#[test]
fn bmp_may_have_opacity_and_stand_upside_down() {
    let mut bytes = b"BM".to_vec();
    // Sizes of the file and of nothing, where the pixels begin; the header's own size, width, height from the top.
    [0, 0, 70, 56, 1, -2i32 as u32].iter().for_each(|x: &u32| bytes.extend(x.to_le_bytes()));
    bytes.extend([1, 0, 32, 0]);
    // Compression: masks. Then sizes that nobody reads, and the masks of red, green, blue and opacity.
    [3, 0, 0, 0, 0, 0, 0xff_0000, 0xff00, 0xff].iter().for_each(|x: &u32| bytes.extend(x.to_le_bytes()));
    let of = |mask: u32| decode(&[&bytes[..], &mask.to_le_bytes(), &[3, 2, 1, 255, 0, 100, 200, 0]].concat());
    assert_eq!(of(0xff00_0000).pixels(), [1, 2, 3, 255, 255, 255]);
    assert_eq!(of(0).pixels(), [1, 2, 3, 200, 100, 0]);
}

#[test]
fn what_is_no_picture_is_named() {
    for (bytes, what) in [
        (&b""[..], "but an empty file"),
        (b"name,age\nAnn,7\n", "but a text"),
        (b"<svg xmlns", "but a drawing in SVG"),
        (b"%PDF-1.7", "but a PDF document"),
        (b"II*\0\x08\0\0\0", "but a TIFF picture"),
        (b"\0\0\0\x20ftypheic", "but a HEIC or AVIF picture"),
        (b"\x89PNG\n\x1a\n", "but a PNG picture that was changed in transfer"),
        (b"\xff\xfe\0\x01\x80", "but something else"),
    ] {
        let message = refusal(bytes);
        assert!(
            message.contains("is no picture in PNG, JPEG, GIF, BMP or WebP") && message.contains(what),
            "{message}"
        );
    }
}

#[test]
fn what_is_cut_off_anywhere_is_refused() {
    for (name, bytes) in [
        ("baseline", asset!("baseline.jpg")),
        ("progressive", asset!("progressive.jpg")),
        ("restart", asset!("restart.jpg")),
        ("interlaced", asset!("interlaced.png")),
        ("palette.bmp", asset!("palette.bmp")),
        ("palette.gif", asset!("palette.gif")),
        ("lossless", asset!("lossless.webp")),
        ("lossy", asset!("lossy.webp")),
    ] {
        // The last bytes of a GIF file only say that nothing follows.
        let whole = if name == "palette.gif" { bytes.len() - 4 } else { bytes.len() };
        for cut in 0..whole {
            if let Ok(picture) = Picture::decode(&bytes[..cut], &Limits::default()) {
                panic!("{name} cut at {cut} of {}: {:?}", bytes.len(), picture.size());
            }
        }
    }
    assert!(refusal(&asset!("baseline.jpg")[..700]).contains("truncated"));
    assert!(refusal(&asset!("interlaced.png")[..500]).contains("truncated"));
    assert!(refusal(&asset!("true.bmp")[..500]).contains("truncated"));
    assert!(refusal(&asset!("palette.gif")[..400]).contains("is damaged"));
}

#[test]
fn damage_never_panics_and_is_mostly_found() {
    for bytes in [asset!("baseline.jpg"), asset!("progressive.jpg"), asset!("restart.jpg"), asset!("palette.gif")] {
        let mut found = 0;
        for at in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 0xff;
            if let Err(error) = Picture::decode(&damaged, &Limits::default()) {
                let message = error.to_string();
                assert!(!message.contains("panicked"), "{at}: {message}");
                found += 1;
            }
        }
        assert!(found * 5 > bytes.len(), "{found} of {}", bytes.len());
    }
}

/// A PNG file whose chunk `kind` is changed by `change`, with the right checksum.
fn with_chunk(bytes: &[u8], kind: &[u8; 4], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = bytes.windows(4).position(|window| window == kind).unwrap();
    let length = u32::from_be_bytes(bytes[at - 4..at].try_into().unwrap()) as usize;
    change(&mut bytes[at..at + 4 + length]);
    let mut crc = Crc::new();
    crc.update(&bytes[at..at + 4 + length]);
    bytes[at + 4 + length..][..4].copy_from_slice(&crc.sum().to_be_bytes());
    bytes
}

#[test]
fn damaged_png_is_refused() {
    let whole = asset!("interlaced.png");
    let mut crc = whole.to_vec();
    crc[30] ^= 1;
    assert!(refusal(&crc).contains("is damaged: CRC error"), "{}", refusal(&crc));
    let zero = with_chunk(whole, b"IHDR", |chunk| chunk[4..8].fill(0));
    assert!(refusal(&zero).contains("is damaged"), "{}", refusal(&zero));
    let critical = with_chunk(whole, b"IDAT", |chunk| chunk[..4].copy_from_slice(b"QDAT"));
    assert!(refusal(&critical).contains("Unrecognized critical chunk"), "{}", refusal(&critical));
    let deflated = with_chunk(whole, b"IDAT", |chunk| chunk[20..30].fill(0x55));
    assert!(refusal(&deflated).contains("is damaged"), "{}", refusal(&deflated));
    let color = png_of(ColorType::Indexed, BitDepth::Two, 3, &[0b0111_0000]);
    let message = refusal(&color);
    assert!(message.contains("the pixel at (1, 0) has color 3 of a palette of 3"), "{message}");
}

#[test]
fn pixels_are_counted_before_they_are_decoded() {
    let png = with_chunk(asset!("interlaced.png"), b"IHDR", |chunk| {
        chunk[4..12].copy_from_slice(&[0x7f, 255, 255, 255].repeat(2))
    });
    assert!(refusal(&png).contains("is too large: it has 2147483647 x 2147483647 pixels"), "{}", refusal(&png));
    let mut jpeg = asset!("baseline.jpg").to_vec();
    let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].fill(0xff);
    assert!(refusal(&jpeg).contains("is too large: it has 65535 x 65535 pixels"), "{}", refusal(&jpeg));
    jpeg[frame + 5..frame + 9].copy_from_slice(&[40, 0, 40, 0]);
    assert!(refusal(&jpeg).contains("is made to fill memory: it declares 10240 x 10240"), "{}", refusal(&jpeg));
    let mut bmp = asset!("true.bmp").to_vec();
    bmp[18..26].copy_from_slice(&[0, 0, 1, 0, 0, 0, 1, 0]);
    assert!(refusal(&bmp).contains("is too large: it has 65536 x 65536"), "{}", refusal(&bmp));
    let mut gif = asset!("palette.gif").to_vec();
    gif[6..10].fill(0xff);
    assert!(refusal(&gif).contains("is too large: it has 65535 x 65535"), "{}", refusal(&gif));
    // 200 MB of zeros in a file of 200 kB.
    let bomb = png_of(ColorType::Grayscale, BitDepth::One, 1 << 26, &vec![0; 1 << 23]);
    assert!(bomb.len() < 1 << 17);
    assert!(refusal(&bomb).contains("is made to fill memory: it declares 67108864 x 1 pixels"), "{}", refusal(&bomb));
    let limits = Limits { pixels: 100, ..Limits::default() };
    let message = Picture::decode(asset!("true.bmp"), &limits).unwrap_err().to_string();
    assert!(message.contains("it has 24 x 16 pixels, of at most 100"), "{message}");
}

#[test]
fn damaged_jpeg_is_refused() {
    let whole = asset!("baseline.jpg");
    let segment = |marker: u8| whole.windows(2).position(|bytes| bytes == [0xff, marker]).unwrap();
    let refuse = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.to_vec();
        change(&mut bytes);
        refusal(&bytes)
    };
    let (tables, end) = (segment(0xc4), whole.len() - 2);
    assert!(refuse(&|bytes| bytes.truncate(end)).contains("is damaged"), "without an end");
    assert!(
        refuse(&|bytes| bytes[tables + 5..tables + 21].fill(0xff)).contains("is damaged: "),
        "more codes than there can be"
    );
    assert!(refuse(&|bytes| bytes[segment(0xc0) + 5..segment(0xc0) + 9].fill(0)).contains("no pixels"));
    assert!(refuse(&|bytes| bytes[segment(0xc0) + 1] = 0xc3).contains("picture is"), "a lossless frame");
    let mut restarts = asset!("restart.jpg").to_vec();
    let restart = restarts.windows(2).position(|bytes| bytes == [0xff, 0xd0]).unwrap();
    restarts[restart + 1] = 0xc8;
    assert!(refusal(&restarts).contains("is damaged"), "another marker where the scan starts again");
}

#[test]
fn kinds_that_are_not_supported_are_named() {
    let mut bmp = asset!("palette.bmp").to_vec();
    bmp[30] = 1;
    assert!(refusal(&bmp).contains("kind that is not supported: 8 bits a pixel, compression 1"), "{}", refusal(&bmp));
    bmp[30] = 0;
    bmp[46] = 2;
    assert!(refusal(&bmp).contains("has color 2 of a palette of 2"), "{}", refusal(&bmp));
    bmp[14] = 12;
    assert!(refusal(&bmp).contains("header of 12 bytes, which is not supported"), "{}", refusal(&bmp));
}

#[test]
fn files_are_read_and_written_and_named_in_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some picture.png");
    let picture = numbered(5, 7);
    picture.write_png(&path).unwrap();
    assert_eq!(Picture::read(&path, &Limits::default()).unwrap(), picture);
    let message = |path: &Path, limits: &Limits| Picture::read(path, limits).unwrap_err().to_string();
    let small = Limits { file_bytes: 20, ..Limits::default() };
    assert!(message(&path, &small).contains("some picture.png is too large: "), "{}", message(&path, &small));
    assert!(message(folder.path(), &small).contains("is a folder, not a file"));
    let absent = folder.path().join("absent.png");
    assert!(message(&absent, &small).contains("absent.png cannot be read: "));
    std::fs::write(&path, "text").unwrap();
    assert!(
        message(&path, &small).contains("some picture.png is no picture in PNG, JPEG, GIF, BMP or WebP but a text")
    );
    let nowhere = folder.path().join("none/picture.png");
    assert!(picture.write_png(&nowhere).unwrap_err().to_string().contains("picture.png cannot be written: "));
}
