//! [`Elements`]: the numbers of an array, in a vector or in memory that somebody else made.

use std::fmt;
use std::ops::{Deref, DerefMut};

use bytemuck::Pod;

/// Memory that is handed to arrays, for those who choose how it is aligned and paged. It is aligned for every dtype and
/// keeps its address and size.
pub trait Memory: Send + Sync {
    /// All of it.
    fn bytes(&self) -> &[u8];
    /// All of it, for writing.
    fn bytes_mut(&mut self) -> &mut [u8];
}

/// Numbers one after the other: a slice that owns its memory. A clone owns a vector.
///
/// ```
/// use thalweg_array::Elements;
/// let elements = Elements::from(vec![1.0f32, 2.0]);
/// assert_eq!(elements[1], 2.0);
/// ```
pub struct Elements<T>(Place<T>);

enum Place<T> {
    Vector(Vec<T>),
    Memory(Box<dyn Memory>),
}

impl<T: Pod> Elements<T> {
    /// The numbers that fill `memory`.
    ///
    /// # Panics
    /// If the memory is not aligned for `T` or no whole number of them.
    pub fn over(memory: Box<dyn Memory>) -> Elements<T> {
        // Looked at once here, so that it holds at every later look.
        let _: &[T] = bytemuck::cast_slice(memory.bytes());
        Elements(Place::Memory(memory))
    }
}

impl<T> From<Vec<T>> for Elements<T> {
    fn from(vector: Vec<T>) -> Elements<T> {
        Elements(Place::Vector(vector))
    }
}

impl<T: Pod> Deref for Elements<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            Place::Vector(vector) => vector,
            Place::Memory(memory) => bytemuck::cast_slice(memory.bytes()),
        }
    }
}

impl<T: Pod> DerefMut for Elements<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.0 {
            Place::Vector(vector) => vector,
            Place::Memory(memory) => bytemuck::cast_slice_mut(memory.bytes_mut()),
        }
    }
}

impl<T: Pod> Clone for Elements<T> {
    fn clone(&self) -> Elements<T> {
        self.to_vec().into()
    }
}

impl<T: Pod + PartialEq> PartialEq for Elements<T> {
    fn eq(&self, other: &Elements<T>) -> bool {
        self[..] == other[..]
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for Elements<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self[..].fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Words(Vec<u64>);

    impl Memory for Words {
        fn bytes(&self) -> &[u8] {
            bytemuck::cast_slice(&self.0)
        }

        fn bytes_mut(&mut self) -> &mut [u8] {
            bytemuck::cast_slice_mut(&mut self.0)
        }
    }

    #[test]
    fn memory_reads_as_numbers() {
        let mut elements = Elements::<f32>::over(Box::new(Words(vec![0; 3])));
        assert_eq!(elements[..], [0.0; 6]);
        elements[5] = 2.5;
        let copy = elements.clone();
        elements[0] = 1.0;
        assert_eq!(copy[..], [0.0, 0.0, 0.0, 0.0, 0.0, 2.5]);
        assert_ne!(copy, elements);
    }
}
