//! How much memory a file may take: nothing that it says of itself makes it take more.

use thalweg_graph::array::Array;

/// What is left of the memory that the tensors of a file may take: 64 MiB and a multiple of its size.
#[derive(Debug)]
pub(crate) struct Budget {
    left: usize,
    most: usize,
}

impl Budget {
    /// For a file of `length` bytes whose tensors take at most `ratio` times that.
    pub(crate) fn new(length: usize, ratio: usize) -> Budget {
        let most = length.saturating_mul(ratio).saturating_add(64 << 20);
        Budget { left: most, most }
    }

    /// Bytes that may still be taken.
    pub(crate) fn left(&self) -> usize {
        self.left
    }

    /// Keeps `array`. The error says that there is no room for it.
    pub(crate) fn spend(&mut self, array: Array) -> Result<Array, String> {
        match self.left.checked_sub(array.storage().bytes().len()) {
            Some(left) => {
                self.left = left;
                Ok(array)
            }
            None => Err(self.exceeded()),
        }
    }

    /// That there is no room for more.
    pub(crate) fn exceeded(&self) -> String {
        format!("with it the tensors take more than {} bytes, the most for a file of this size", self.most)
    }
}
