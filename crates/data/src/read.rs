//! Whole files into memory, decompressed where they are gzip, within limits.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::error::DataError;

/// No file may hold more bytes than this, decompressed.
pub(crate) const MAX_BYTES: u64 = 8 << 30;

/// A compressed file may grow to this size whatever its ratio …
const FREE_BYTES: u64 = 64 << 20;

/// … and beyond it to this many times its own size. Images and tables stay below 20; what compresses better than 200
/// to 1 is made to fill memory.
const MAX_RATIO: u64 = 200;

/// The bytes of the file at `path`; decompressed if they begin as gzip does.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, DataError> {
    let read = |source| DataError::Read { path: path.to_path_buf(), source };
    let file = File::open(path).map_err(read)?;
    if file.metadata().map_err(read)?.is_dir() {
        return Err(read(io::Error::other("it is a folder, a file is needed")));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(DataError::malformed(path, "the file", format!("at most {MAX_BYTES} bytes"), "more"));
    }
    if bytes.starts_with(&[0x1f, 0x8b]) { gunzip(path, &bytes) } else { Ok(bytes) }
}

/// The content of the gzip file `compressed`; `path` names it in errors.
pub(crate) fn gunzip(path: &Path, compressed: &[u8]) -> Result<Vec<u8>, DataError> {
    gunzip_at_most(path, compressed, expanded_at_most(compressed.len()))
}

/// How many bytes so many compressed ones may become.
pub(crate) fn expanded_at_most(compressed: usize) -> u64 {
    (compressed as u64 * MAX_RATIO).clamp(FREE_BYTES, MAX_BYTES)
}

fn gunzip_at_most(path: &Path, compressed: &[u8], limit: u64) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    let result = MultiGzDecoder::new(compressed).take(limit + 1).read_to_end(&mut bytes);
    if bytes.len() as u64 > limit {
        let expected = format!("at most {limit} bytes from {} compressed ones", compressed.len());
        return Err(DataError::malformed(path, "gzip", expected, "more: the file is made to fill memory"));
    }
    match result {
        Ok(_) => Ok(bytes),
        Err(error) => {
            let found = if error.kind() == io::ErrorKind::UnexpectedEof {
                format!("the end of the file after {} decompressed bytes (truncated)", bytes.len())
            } else {
                format!("`{error}` after {} decompressed bytes", bytes.len())
            };
            Err(DataError::malformed(path, "gzip", "an intact stream", found))
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// `bytes` as a gzip file.
    pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn refusal(bytes: &[u8]) -> String {
        gunzip(Path::new("some/file.gz"), bytes).unwrap_err().to_string()
    }

    #[test]
    fn a_file_is_read_plain_or_compressed() {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in [("plain", b"content".to_vec()), ("compressed", gzip(b"content"))] {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            assert_eq!(read_file(&path).unwrap(), b"content");
        }
        let message = read_file(folder.path()).unwrap_err().to_string();
        assert!(message.contains("folder"), "{message}");
        let message = read_file(&folder.path().join("absent")).unwrap_err().to_string();
        assert!(message.contains("cannot read") && message.contains("absent"), "{message}");
    }

    #[test]
    fn damaged_gzip_is_refused_with_the_file() {
        let whole = gzip(&(0..=255).cycle().take(5000).collect::<Vec<u8>>());
        for cut in 2..whole.len() {
            assert!(refusal(&whole[..cut]).starts_with("some/file.gz: gzip: expected an intact stream"));
        }
        assert!(refusal(&whole[..whole.len() / 2]).contains("truncated"));
        let mut wrong_sum = whole.clone();
        let last = wrong_sum.len() - 8;
        wrong_sum[last] ^= 1;
        assert!(refusal(&wrong_sum).contains("checksum"), "{}", refusal(&wrong_sum));
        let mut trailing = whole;
        trailing.extend(b"trailing");
        assert!(refusal(&trailing).contains("gzip"));
    }

    #[test]
    fn a_bomb_is_refused_before_it_fills_memory() {
        let bomb = gzip(&vec![0; FREE_BYTES as usize + 1]);
        assert!((bomb.len() as u64) < FREE_BYTES / MAX_RATIO);
        let message = refusal(&bomb);
        assert!(message.contains("some/file.gz") && message.contains("at most 67108864 bytes"), "{message}");
        assert_eq!(gunzip_at_most(Path::new("f"), &gzip(&[7; 100]), 100).unwrap(), [7; 100]);
        assert!(gunzip_at_most(Path::new("f"), &gzip(&[7; 101]), 100).is_err());
    }
}
