//! How a camera was held: the orientation in EXIF data.

use super::Position;

/// The position in which the picture stands upright, from EXIF data (a TIFF header and its first directory; CIPA
/// DC-008, tag 274). Without a readable orientation the picture stays as it is, as other programs have it.
pub(super) fn upright(exif: &[u8]) -> Position {
    let (transposed, mirrored, upside_down) = match orientation(exif) {
        Some(2) => (false, true, false),
        Some(3) => (false, true, true),
        Some(4) => (false, false, true),
        Some(5) => (true, false, false),
        Some(6) => (true, true, false),
        Some(7) => (true, true, true),
        Some(8) => (true, false, true),
        _ => (false, false, false),
    };
    Position { transposed, mirrored, upside_down }
}

fn orientation(exif: &[u8]) -> Option<u16> {
    const ORIENTATION: u16 = 274;
    // Some writers keep the name of the JPEG segment.
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let little = match exif.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let u16_at = |at: usize| {
        let bytes: [u8; 2] = exif.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let (high, low) = if little { (6, 4) } else { (4, 6) };
    let directory = usize::from(u16_at(high)?) << 16 | usize::from(u16_at(low)?);
    let entries = (0..usize::from(u16_at(directory)?)).map(|entry| directory + 2 + 12 * entry);
    entries.map_while(|at| Some((u16_at(at)?, u16_at(at + 8)?))).find(|&(tag, _)| tag == ORIENTATION).map(|(_, x)| x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::tests::numbered;

    /// EXIF data with two entries, the second of which is an orientation.
    fn exif(little: bool, orientation: u16) -> Vec<u8> {
        let u16_of = |x: u16| if little { x.to_le_bytes() } else { x.to_be_bytes() };
        let u32_of = |x: u32| if little { x.to_le_bytes() } else { x.to_be_bytes() };
        let mut bytes = if little { b"II*\0".to_vec() } else { b"MM\0*".to_vec() };
        bytes.extend(u32_of(8));
        bytes.extend(u16_of(2));
        for (tag, value) in [(271, 0), (274, orientation)] {
            bytes.extend([u16_of(tag), u16_of(3)].concat());
            bytes.extend(u32_of(1));
            bytes.extend([u16_of(value), [0, 0]].concat());
        }
        bytes
    }

    #[test]
    fn orientation_is_read_in_either_order_of_bytes() {
        for little in [true, false] {
            assert_eq!(orientation(&exif(little, 6)), Some(6));
            assert_eq!(orientation(&[b"Exif\0\0", &exif(little, 8)[..]].concat()), Some(8));
            assert_eq!(upright(&exif(little, 3)), Position { transposed: false, mirrored: true, upside_down: true });
            assert_eq!(upright(&exif(little, 77)), Position::default());
        }
    }

    #[test]
    fn every_orientation_stands_upright() {
        // Where the standard has the first and the last pixel of the first row: (at the bottom, on the right).
        let corners = [
            [(false, false), (false, true)],
            [(false, true), (false, false)],
            [(true, true), (true, false)],
            [(true, false), (true, true)],
            [(false, false), (true, false)],
            [(false, true), (true, true)],
            [(true, true), (false, true)],
            [(true, false), (false, false)],
        ];
        for (orientation, [first, last]) in (1..).zip(corners) {
            let turned = numbered(2, 3).turned(upright(&exif(true, orientation)));
            let (height, width) = turned.size();
            let at =
                |(bottom, right)| turned.at(usize::from(bottom) * (height - 1), usize::from(right) * (width - 1))[0];
            assert_eq!((at(first), at(last)), (0, 2), "orientation {orientation}");
        }
    }

    #[test]
    fn damaged_data_mean_nothing() {
        let whole = exif(true, 6);
        for cut in 0..whole.len() - 4 {
            assert_eq!(orientation(&whole[..cut]), None, "{cut}");
        }
        let mut far = whole;
        far[4..8].fill(0xff);
        assert_eq!(orientation(&far), None);
    }
}
