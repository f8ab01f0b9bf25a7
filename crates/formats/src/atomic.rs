//! Replacing a file so that a reader, or the next start after a crash, sees the old or the new, never a mix.
//!
//! The new bytes go into a temporary file in the same folder, which is synced, renamed over the old one, and made lasting
//! by syncing the folder. A process killed on the way leaves at most a temporary file behind, which [`remove_stale`] clears.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::FormatError;

/// The end of the names of temporary files.
const TEMPORARY: &str = ".tmp";

/// The operations that an atomic write is made of, so that a test can make each of them fail.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// Makes a new file for writing; an existing one is an error.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Moves a file over another.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the entries of a folder lasting.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// A file being written on a [`Disk`].
pub trait DiskFile: Write {
    /// Makes the bytes written so far lasting.
    fn sync(&mut self) -> io::Result<()>;
}

/// The disk of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().write(true).create_new(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        // Windows has no handles on folders to sync; its renames are journaled.
        if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

impl DiskFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// Replaces the file at `path` by what `write` writes, all or nothing. `need`, the size of the whole file, stands in the
/// message if the disk is full.
///
/// # Errors
/// If writing, syncing or renaming fails; the old file is then untouched and the temporary one removed. If only the last
/// step fails, the syncing of the folder, the new file is in place but may not outlast a power cut.
///
/// ```
/// use thalweg_formats::atomic::{LocalDisk, replace};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("answer.txt");
/// replace(&LocalDisk, &path, 2, |file| file.write_all(b"42"))?;
/// assert_eq!(std::fs::read(&path)?, b"42");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn replace(
    disk: &dyn Disk,
    path: &Path,
    need: u64,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), FormatError> {
    let failed = |action| {
        move |source: io::Error| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                FormatError::Full { path: path.to_path_buf(), need }
            }
            _ => FormatError::Io { path: path.to_path_buf(), action, source },
        }
    };
    let temporary = temporary_beside(path);
    let written = || {
        let file = disk.create(&temporary).map_err(failed("create"))?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        write(&mut file).and_then(|()| file.flush()).map_err(failed("write"))?;
        file.get_mut().sync().map_err(failed("sync"))?;
        drop(file);
        disk.rename(&temporary, path).map_err(failed("rename"))
    };
    written().inspect_err(|_| {
        // Nothing better can be done if this fails too; `remove_stale` finds the file later.
        let _ = disk.remove(&temporary);
    })?;
    disk.sync_folder(folder_of(path)).map_err(failed("sync the folder of"))
}

/// Removes the temporary files that killed processes left in `folder`, and returns their paths. Nobody else may be writing
/// there.
///
/// # Errors
/// If the folder cannot be listed or a file not be removed.
pub fn remove_stale(disk: &dyn Disk, folder: &Path) -> Result<Vec<PathBuf>, FormatError> {
    let mut removed = Vec::new();
    for entry in fs::read_dir(folder).map_err(FormatError::io(folder, "list"))? {
        let path = entry.map_err(FormatError::io(folder, "list"))?.path();
        if path.file_name().is_some_and(|name| is_temporary(&name.to_string_lossy())) {
            disk.remove(&path).map_err(FormatError::io(&path, "remove"))?;
            removed.push(path);
        }
    }
    removed.sort();
    Ok(removed)
}

/// Whether a file of this name is one that [`replace`] had not finished.
pub fn is_temporary(name: &str) -> bool {
    name.ends_with(TEMPORARY)
}

/// A name of its own for each write of each process, beside `path`.
fn temporary_beside(path: &Path) -> PathBuf {
    static ORDINAL: AtomicU64 = AtomicU64::new(0);
    let ordinal = ORDINAL.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}-{ordinal}{TEMPORARY}", std::process::id()));
    path.with_file_name(name)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;

    use super::*;

    /// Fails the operation whose number is reached; writes count one by one.
    #[derive(Debug)]
    struct Failing {
        left: std::sync::Arc<AtomicI64>,
        kind: io::ErrorKind,
    }

    struct FailingFile {
        file: Box<dyn DiskFile>,
        left: std::sync::Arc<AtomicI64>,
        kind: io::ErrorKind,
    }

    fn count(left: &AtomicI64, kind: io::ErrorKind) -> io::Result<()> {
        if left.fetch_sub(1, Ordering::Relaxed) == 0 { Err(kind.into()) } else { Ok(()) }
    }

    impl Disk for Failing {
        fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            count(&self.left, self.kind)?;
            let file = LocalDisk.create(path)?;
            Ok(Box::new(FailingFile { file, left: self.left.clone(), kind: self.kind }))
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            count(&self.left, self.kind)?;
            LocalDisk.rename(from, to)
        }
        fn sync_folder(&self, path: &Path) -> io::Result<()> {
            count(&self.left, self.kind)?;
            LocalDisk.sync_folder(path)
        }
        fn remove(&self, path: &Path) -> io::Result<()> {
            LocalDisk.remove(path)
        }
    }

    impl Write for FailingFile {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            count(&self.left, self.kind)?;
            self.file.write(&bytes[..bytes.len().div_ceil(2)])
        }
        fn flush(&mut self) -> io::Result<()> {
            self.file.flush()
        }
    }

    impl DiskFile for FailingFile {
        fn sync(&mut self) -> io::Result<()> {
            count(&self.left, self.kind)?;
            self.file.sync()
        }
    }

    /// Replaces "old" by 4 MiB, the `n`-th operation failing; returns what stands there afterwards.
    fn replace_failing_at(n: i64, kind: io::ErrorKind) -> (Result<(), FormatError>, Vec<u8>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "old").unwrap();
        let disk = Failing { left: std::sync::Arc::new(AtomicI64::new(n)), kind };
        let new = vec![7u8; 4 << 20];
        let result =
            replace(&disk, &path, new.len() as u64, |file| new.chunks(1000).try_for_each(|x| file.write_all(x)));
        (result, fs::read(&path).unwrap(), fs::read_dir(folder.path()).unwrap().count())
    }

    #[test]
    fn whatever_fails_the_old_file_stands_and_no_temporary_one() {
        let mut actions = Vec::new();
        for n in 0.. {
            let (result, found, files) = replace_failing_at(n, io::ErrorKind::Other);
            assert_eq!(files, 1, "a temporary file is left after failure {n}");
            match result {
                Ok(()) => {
                    assert_eq!(found.len(), 4 << 20);
                    break;
                }
                Err(FormatError::Io { action, path, .. }) => {
                    assert!(path.ends_with("file"));
                    assert!(found == b"old" || action == "sync the folder of", "{action} at {n}");
                    actions.push(action);
                }
                Err(other) => panic!("{other}"),
            }
        }
        actions.dedup();
        assert_eq!(actions, ["create", "write", "sync", "rename", "sync the folder of"]);
    }

    #[test]
    fn a_full_disk_names_the_file_and_the_need() {
        let (result, found, _) = replace_failing_at(3, io::ErrorKind::StorageFull);
        let message = result.unwrap_err().to_string();
        assert!(message.contains("file: the disk is full: the file needs 4194304 bytes"), "{message}");
        assert_eq!(found, b"old");
    }

    #[test]
    fn stale_temporary_files_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let stale = temporary_beside(&folder.path().join("step.safetensors"));
        fs::write(&stale, "half").unwrap();
        fs::write(folder.path().join("step.safetensors"), "whole").unwrap();
        assert_eq!(remove_stale(&LocalDisk, folder.path()).unwrap(), [stale]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
