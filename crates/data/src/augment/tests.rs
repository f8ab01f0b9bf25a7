//! Tests: what becomes of pictures, with chance and without.

use std::collections::BTreeSet;

use super::*;
use crate::picture::tests::numbered;

fn random(row: u64) -> Random {
    Random::new(1, 0, "row", row)
}

fn reds(picture: &Picture) -> Vec<u8> {
    picture.pixels().chunks(3).map(|pixel| pixel[0]).collect()
}

/// What becomes of `picture` in training, row by row.
fn drawn(augment: &Augment, picture: &Picture) -> Vec<Picture> {
    (0..200).map(|row| augment.apply(picture.clone(), Some(&mut random(row))).unwrap()).collect()
}

/// Each step with chance in it.
fn steps() -> Vec<(&'static str, Augment)> {
    vec![
        ("random crop", Augment::new().random_crop(12, 16, 3)),
        ("random resized crop", Augment::new().random_resized_crop(9, 9)),
        ("flip", Augment::new().flip()),
        ("flip vertical", Augment::new().flip_vertical()),
        ("any position", Augment::new().any_position()),
        ("rotate", Augment::new().rotate(30.0)),
        ("brightness", Augment::new().brightness(0.5)),
        ("contrast", Augment::new().contrast(0.5)),
        ("saturation", Augment::new().saturation(0.5)),
        ("cutout", Augment::new().cutout(5)),
    ]
}

#[test]
fn chance_depends_on_the_row_alone_and_takes_its_middle_without() {
    let picture = numbered(12, 16);
    for (name, augment) in steps() {
        let drawn = drawn(&augment, &picture);
        let different: BTreeSet<&[u8]> = drawn.iter().map(Picture::pixels).collect();
        assert!(different.len() > 1, "{name}");
        let again = augment.apply(picture.clone(), Some(&mut random(17))).unwrap();
        assert_eq!(again, drawn[17], "{name}");
        let middle = augment.apply(picture.clone(), None).unwrap();
        let untouched = name != "random resized crop";
        assert_eq!(middle == picture, untouched, "{name}");
        assert!(drawn.iter().all(|picture| picture.size() == augment.size_of((12, 16))), "{name}");
    }
}

#[test]
fn a_part_is_cut_out_of_the_padded_picture() {
    let picture = numbered(4, 4);
    let augment = Augment::new().random_crop(4, 4, 2);
    let seen: BTreeSet<Vec<u8>> = drawn(&augment, &picture).iter().map(reds).collect();
    assert_eq!(seen.len(), 25, "every place comes");
    assert!(seen.contains(&vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 4, 5]));
    assert!(seen.contains(&vec![10, 11, 0, 0, 14, 15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    let mirrored = Step::RandomCrop { height: 4, width: 4, padding: 2, border: Border::Mirror };
    let seen: BTreeSet<Vec<u8>> = drawn(&Augment::new().step(mirrored), &picture).iter().map(reds).collect();
    assert!(seen.contains(&vec![10, 9, 8, 9, 6, 5, 4, 5, 2, 1, 0, 1, 6, 5, 4, 5]), "{seen:?}");
    let center = Augment::new().crop(2, 2).apply(picture.clone(), None).unwrap();
    assert_eq!(reds(&center), [5, 6, 9, 10]);
    let message = Augment::new().crop(5, 2).apply(picture, None).unwrap_err().to_string();
    assert_eq!(message, "image of 4 x 4: is too small to cut 5 x 2 out of it; resize it before");
}

#[test]
fn flips_come_every_other_time_and_positions_one_in_eight() {
    let square = numbered(3, 3);
    let count = |augment: &Augment| drawn(augment, &square).iter().filter(|picture| **picture == square).count();
    assert!((80..120).contains(&count(&Augment::new().flip())));
    assert!((80..120).contains(&count(&Augment::new().flip_vertical())));
    assert!((12..40).contains(&count(&Augment::new().any_position())));
    let positions: BTreeSet<Vec<u8>> = drawn(&Augment::new().any_position(), &square).iter().map(reds).collect();
    assert_eq!(positions.len(), 8);
    let positions: BTreeSet<Vec<u8>> =
        drawn(&Augment::new().any_position(), &numbered(2, 3)).iter().map(reds).collect();
    assert_eq!(positions.len(), 4);
}

#[test]
fn a_random_part_keeps_its_promises() {
    for row in 0..500 {
        let mut random = random(row);
        let ((y, x), (height, width)) = chance::part((60, 90), (0.2, 0.5), (0.5, 2.0), &mut random);
        assert!(y + height <= 60 && x + width <= 90);
        let (area, ratio) = (height as f32 * width as f32 / 5400.0, width as f32 / height as f32);
        assert!((0.17..0.53).contains(&area) && (0.47..2.1).contains(&ratio), "{area} {ratio}");
    }
    // Nothing of these proportions fits: the largest part in the middle.
    assert_eq!(chance::part((10, 400), (1.0, 1.0), (0.75, 1.5), &mut random(0)), ((0, 192), (10, 15)));
    assert_eq!(chance::middle_part((80, 160), (40, 40)), ((5, 45), (70, 70)));
}

#[test]
fn a_quarter_turn_and_no_turn_are_exact() {
    let picture = numbered(5, 5);
    assert_eq!(picture.rotated(0.0, Border::Mirror), picture);
    let quarter = picture.rotated(90.0, Border::Color([0; 3]));
    assert_eq!(quarter, picture.turned(Position { transposed: true, mirrored: false, upside_down: true }));
    let corner = Picture::plain(9, 9, [200; 3]).rotated(45.0, Border::Color([7; 3]));
    assert_eq!((corner.at(0, 0), corner.at(4, 4)), ([7; 3], [200; 3]));
    assert_eq!(Picture::plain(9, 9, [200; 3]).rotated(45.0, Border::Mirror), Picture::plain(9, 9, [200; 3]));
}

#[test]
fn colors_change_as_much_as_they_should() {
    let pixels = |picture: Picture| picture.pixels().to_vec();
    let picture = || Picture::new(1, 2, vec![100, 50, 200, 20, 220, 60]).unwrap();
    assert_eq!(pixels(picture().brightened(1.5)), [150, 75, 255, 30, 255, 90]);
    // The mean gray is 0.299 · 60 + 0.587 · 135 + 0.114 · 130 = 112.
    assert_eq!(pixels(picture().contrasted(0.0)), [112; 6]);
    assert_eq!(pixels(picture().contrasted(2.0)), [88, 0, 255, 0, 255, 8]);
    assert_eq!(pixels(picture().contrasted(1.0)), pixels(picture()));
    assert_eq!(pixels(picture().saturated(0.0)), [82, 82, 82, 142, 142, 142]);
    assert_eq!(pixels(picture().saturated(1.0)), pixels(picture()));
}

#[test]
fn cutout_covers_a_square_with_the_mean() {
    let augment = Augment::new().cutout(4).normalize(Normalize::imagenet()).unwrap();
    let mut most = 0;
    for picture in drawn(&augment, &Picture::plain(8, 8, [0; 3])) {
        let covered = picture.pixels().chunks(3).filter(|pixel| **pixel == [124, 116, 104]).count();
        assert!((4..=16).contains(&covered), "{covered}");
        most = most.max(covered);
    }
    assert_eq!(most, 16);
}

/// Pixels without a pattern.
fn noise() -> Picture {
    let channel = |index: usize, channel: usize| ((index * index * 7 + index * 3 + channel * 50) % 256) as u8;
    let pixels = (0..13 * 17).flat_map(|index| [0, 1, 2].map(|c| channel(index, c))).collect();
    Picture::new(17, 13, pixels).unwrap()
}

#[test]
fn resizing_is_as_pillow_does_it() {
    // The first channel of `resize(…, BILINEAR)` of Pillow 13, which rounds in between.
    let smaller = [
        95, 91, 75, 129, 126, 105, 120, 142, 140, 170, 139, 151, 159, 146, 145, 150, 117, 95, 131, 142, 164, 143, 158,
        150, 121, 158, 136, 135, 115, 124, 149, 95, 87, 86, 86,
    ];
    let larger = [
        0, 5, 13, 29, 50, 76, 110, 149, 186, 71, 45, 106, 176, 179, 92, 160, 194, 125, 64, 20, 69, 62, 53, 52, 57, 66,
        83, 105, 127, 54, 40, 84, 137, 148, 102, 161, 178, 92, 61, 47,
    ];
    let lower = [
        118, 84, 113, 92, 117, 124, 103, 92, 111, 149, 180, 139, 141, 116, 143, 157, 103, 173, 106, 153, 154, 93, 169,
        151, 176, 107, 176, 151, 169, 93, 154, 153, 106, 173, 103, 157, 143, 116, 120, 139,
    ];
    for (size, expected) in [((7, 5), &smaller[..]), ((30, 20), &larger), ((4, 13), &lower)] {
        let resized = noise().resized(size, Filter::Bilinear);
        assert_eq!(resized.size(), size);
        for (index, (own, expected)) in reds(&resized).iter().zip(expected).enumerate() {
            assert!(own.abs_diff(*expected) <= 1, "{size:?} at {index}: {own}, Pillow has {expected}");
        }
    }
    assert_eq!(noise().resized((17, 13), Filter::Area), noise());
    let half = numbered(2, 2).resized((1, 1), Filter::Area);
    assert_eq!(half.at(0, 0), [2, 100, 200]);
}

#[test]
fn sizes_are_known_before_a_picture_is() {
    let photos = Augment::new().resize_shorter(64).random_crop(56, 56, 0).flip();
    assert_eq!((photos.size(), photos.size_of((100, 300))), (Some((56, 56)), (56, 56)));
    let shorter = Augment::new().resize_shorter(64).flip();
    assert_eq!(
        (shorter.size(), shorter.size_of((100, 300)), shorter.size_of((300, 100))),
        (None, (64, 192), (192, 64))
    );
    let behind = Augment::new().resize(10, 20).resize_shorter(5);
    assert_eq!(behind.size(), Some((5, 10)));
    let resized = shorter.apply(numbered(10, 15), None).unwrap();
    assert_eq!(resized.size(), (64, 96));
}

#[test]
fn settings_that_cannot_be_followed_are_refused() {
    for (augment, part) in [
        (Augment::new().resize(0, 5), "Resize { height: 0"),
        (Augment::new().resize(1 << 15, 5), "from 1 to 16384 pixels"),
        (Augment::new().cutout(0), "Cutout { side: 0 }"),
        (Augment::new().rotate(f32::NAN), "an angle goes from 0 to 180 degrees"),
        (Augment::new().brightness(1.5), "Brightness { by: 1.5 }: a change goes from 0 to 1"),
        (Augment::new().random_crop(5, 5, 1 << 20), "at most 16384 pixels can be added"),
        (
            Augment::new().step(Step::RandomResizedCrop { height: 5, width: 5, area: (0.5, 0.1), ratio: (1.0, 1.0) }),
            "the least first",
        ),
        (
            Augment::new().step(Step::RandomResizedCrop { height: 5, width: 5, area: (0.5, 1.0), ratio: (0.0, 1.0) }),
            "proportions are above 0",
        ),
    ] {
        let message = augment.check().unwrap_err().to_string();
        assert!(message.starts_with("augmentation step ") && message.contains(part), "{message}");
    }
    let two = Normalize::new(vec![0.0; 2], vec![1.0; 2]).unwrap();
    let message = Augment::new().normalize(two).unwrap_err().to_string();
    assert!(message.contains("normalization with 2 means: pictures have one mean for all"), "{message}");
}

#[test]
fn what_is_written_reads_back() {
    let all = steps().into_iter().flat_map(|(_, augment)| augment.steps().to_vec());
    let augment = all.fold(Augment::new().resize(9, 9).resize_shorter(8).crop(3, 3), Augment::step);
    let augment = augment.normalize(Normalize::imagenet()).unwrap();
    let text = serde_json::to_string(&augment).unwrap();
    assert_eq!(serde_json::from_str::<Augment>(&text).unwrap(), augment);
}

#[test]
fn pictures_in_memory_become_numbers() {
    use thalweg_array::{Array, DType};

    use crate::dataset::Dataset;
    let pixels: Vec<u8> = (0..2 * 3 * 2 * 2).map(|x| x * 10).collect();
    let data = Dataset::new([("image", Array::new(&[2, 3, 2, 2], pixels).unwrap())]).unwrap();
    let normalize = Normalize::new(vec![0.0, 0.5, 1.0], vec![1.0 / 255.0, 1.0, 2.0]).unwrap();
    let augmented = data.clone().augment("image", &Augment::new().crop(1, 1).normalize(normalize).unwrap()).unwrap();
    assert_eq!(augmented.row("image").unwrap(), (&[3, 1, 1][..], DType::F32));
    let expected = [120.0, 160.0 / 255.0 - 0.5, (200.0 / 255.0 - 1.0) / 2.0];
    let read = augmented.select(&[1]).in_memory().unwrap();
    let near = |(a, b): (&f32, f64)| (f64::from(*a) - b).abs() < 1e-4;
    assert!(read["image"].as_slice::<f32>().unwrap().iter().zip(expected).all(near), "{:?}", read["image"]);
    assert_eq!(augmented.select(&[1]).fingerprint(), augmented.select(&[0, 1]).select(&[1]).fingerprint());
    assert_ne!(augmented.select(&[1]).fingerprint(), augmented.select(&[0]).fingerprint());
    let message = data.clone().augment("x", &Augment::new()).unwrap_err().to_string();
    assert!(message.contains("no column `x`"), "{message}");
    let message = data.map("image", |x| Ok(x.cast(DType::F32))).unwrap().augment("image", &Augment::new());
    assert!(message.unwrap_err().to_string().contains("pictures are u8"));
}
