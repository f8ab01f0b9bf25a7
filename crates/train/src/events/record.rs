//! The framing of event files (TFRecord): length, checksum of the length, bytes, checksum of the bytes.

use std::fs::File;
use std::io::{self, Write};

/// Writes records one by one, each at once, so that a killed process leaves whole records and at most one torn at the end.
#[derive(Debug)]
pub(super) struct RecordWriter<F> {
    file: F,
    /// The bytes of the whole records.
    length: u64,
    /// Whether something of a record that failed may stand behind them.
    torn: bool,
}

/// A file that can be cut.
pub(super) trait RecordFile: Write {
    /// Cuts the file to `length` bytes; writing goes on at its end.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

/// The file must have been opened for appending.
impl RecordFile for File {
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

impl<F: RecordFile> RecordWriter<F> {
    /// Writes to a file that is empty.
    pub(super) fn new(file: F) -> RecordWriter<F> {
        RecordWriter { file, length: 0, torn: false }
    }

    /// Writes one record. After an error the next one stands where this one would have: readers drop everything behind a
    /// torn record.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.cut(self.length)?;
            self.torn = false;
        }
        let length = (bytes.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(bytes.len() + 16);
        record.extend(length);
        record.extend(masked_crc(&length).to_le_bytes());
        record.extend(bytes);
        record.extend(masked_crc(bytes).to_le_bytes());
        self.torn = true;
        self.file.write_all(&record)?;
        self.torn = false;
        self.length += record.len() as u64;
        Ok(())
    }
}

/// The records at the beginning of `file`, and what is wrong with the first that is not whole.
pub(super) fn records(mut file: &[u8]) -> (Vec<&[u8]>, Option<String>) {
    let mut records = Vec::new();
    while !file.is_empty() {
        match split_first(file) {
            Ok((record, rest)) => {
                records.push(record);
                file = rest;
            }
            Err(reason) => return (records, Some(reason)),
        }
    }
    (records, None)
}

fn split_first(file: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let cut_short = || format!("a record is cut short: the file ends after {} bytes of it", file.len());
    let (length, rest) = file.split_first_chunk::<8>().ok_or_else(cut_short)?;
    let (check, rest) = rest.split_first_chunk::<4>().ok_or_else(cut_short)?;
    if u32::from_le_bytes(*check) != masked_crc(length) {
        return Err("the checksum of a record's length differs".into());
    }
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| cut_short())?;
    let (record, rest) = rest.split_at_checked(length).ok_or_else(cut_short)?;
    let (check, rest) = rest.split_first_chunk::<4>().ok_or_else(cut_short)?;
    if u32::from_le_bytes(*check) != masked_crc(record) {
        return Err("the checksum of a record differs".into());
    }
    Ok((record, rest))
}

/// CRC-32C, rotated and offset as the format wants it.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli, reflected polynomial 0x82f63b78), a byte at a time.
fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let mut crc = byte as u32;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
                bit += 1;
            }
            table[byte] = crc;
            byte += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, &byte| (crc >> 8) ^ TABLE[((crc ^ byte as u32) & 0xff) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    impl RecordFile for Vec<u8> {
        fn cut(&mut self, length: u64) -> io::Result<()> {
            self.truncate(length as usize);
            Ok(())
        }
    }

    fn written(contents: &[&[u8]]) -> Vec<u8> {
        let mut writer = RecordWriter::new(Vec::new());
        contents.iter().for_each(|bytes| writer.write(bytes).unwrap());
        writer.file
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        // RFC 3720, B.4
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn records_go_there_and_back() {
        let contents: [&[u8]; 3] = [b"one", b"", &[7; 1000]];
        let file = written(&contents);
        assert_eq!(records(&file), (contents.to_vec(), None));
    }

    #[test]
    fn a_cut_file_gives_the_whole_records_before_the_cut() {
        let file = written(&[b"one", b"two"]);
        for length in 0..file.len() {
            let (found, torn) = records(&file[..length]);
            assert_eq!(found.len(), length / 19);
            assert_eq!(torn.is_none(), length % 19 == 0, "{length}");
        }
    }

    #[test]
    fn damage_is_noticed() {
        let file = written(&[b"one", b"two"]);
        for bit in 19 * 8..file.len() * 8 {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let (found, torn) = records(&flipped);
            assert_eq!(found, [b"one"]);
            assert!(torn.unwrap().contains("checksum"));
        }
    }

    /// Takes only so many bytes until it is cut.
    struct Full {
        bytes: Vec<u8>,
        room: usize,
    }

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.room - self.bytes.len());
            self.bytes.extend(&bytes[..n]);
            if n == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(n) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl RecordFile for Full {
        fn cut(&mut self, length: u64) -> io::Result<()> {
            self.bytes.truncate(length as usize);
            self.room = 1000;
            Ok(())
        }
    }

    #[test]
    fn nothing_is_written_behind_a_torn_record() {
        let mut writer = RecordWriter::new(Full { bytes: Vec::new(), room: 30 });
        writer.write(b"one").unwrap();
        assert!(writer.write(b"two").is_err());
        writer.write(b"three").unwrap();
        assert_eq!(records(&writer.file.bytes), (vec![&b"one"[..], b"three"], None));
    }
}
