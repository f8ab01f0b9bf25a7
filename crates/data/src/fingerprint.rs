//! How sums that tell data apart are written.

use sha2::{Digest, Sha256};

/// The sum of what `hash` was given, in hexadecimal.
pub(crate) fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
