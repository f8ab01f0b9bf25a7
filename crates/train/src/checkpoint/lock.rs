//! One writer per folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use thalweg_formats::FormatError;

use super::CheckpointError;

/// The name of the lock in the folder of a run.
pub(super) const NAME: &str = "lock";

/// Held as long as it lives. The operating system releases it when the process ends, however it ends, so that the lock of a
/// dead process never has to be recognized; the pid inside is for messages only.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of the folder `run`.
    pub(super) fn take(run: &Path) -> Result<Lock, CheckpointError> {
        let path = run.join(NAME);
        let io = |action| FormatError::io(&path, action);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let read = Read::by_ref(&mut file).take(20).read_to_string(&mut pid);
                let known = read.is_ok() && !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
                let pid = if known { pid } else { "unknown".into() };
                return Err(CheckpointError::Locked { run: run.to_path_buf(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(io("lock")(source).into()),
        }
        file.set_len(0).map_err(io("write"))?;
        write!(file, "{}", std::process::id()).map_err(io("write"))?;
        Ok(Lock { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A pid that is left behind misleads nobody: it is read only while the lock is held.
        let _ = self.file.set_len(0);
        // Closing would not do if another thread is starting a process just now: until that process runs its own program,
        // it has the file open too.
        let _ = self.file.unlock();
    }
}
