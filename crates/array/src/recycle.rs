//! [`Recycler`]: the memory of arrays that are gone, for the next ones.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::array::{Array, Storage};
use crate::dtype::DType;

/// Arrays of fewer bytes are not kept: allocators hand such memory out again by themselves.
const SMALLEST: usize = 64 << 10;

/// Makes arrays whose memory comes back when the last clone of them is dropped, for the next array of the same dtype
/// and count. Memory fresh from the system costs a page fault per page, which for large results is several times the
/// arithmetic.
///
/// What waits for use is bounded: the oldest goes where there would be more than the limit. Memory that comes back when
/// the recycler is gone is freed.
///
/// ```
/// use thalweg_array::{DType, Recycler};
/// let recycler = Recycler::new(1 << 20);
/// let x = recycler.array(&[100, 200], DType::F32);
/// let address = x.storage().bytes().as_ptr();
/// drop(x);
/// assert_eq!(recycler.bytes(), 80_000);
/// assert_eq!(recycler.array(&[200, 100], DType::F32).storage().bytes().as_ptr(), address);
/// ```
#[derive(Clone, Debug)]
pub struct Recycler(Arc<Mutex<Kept>>);

/// What waits for use, the oldest first.
#[derive(Debug)]
pub(crate) struct Kept {
    storages: VecDeque<Storage>,
    bytes: usize,
    limit: usize,
}

impl Recycler {
    /// Keeps at most `limit` bytes.
    pub fn new(limit: usize) -> Recycler {
        Recycler(Arc::new(Mutex::new(Kept { storages: VecDeque::new(), bytes: 0, limit })))
    }

    /// An array for results: its numbers are any, to be overwritten.
    ///
    /// # Panics
    /// As [`Array::zeros`].
    #[track_caller]
    pub fn array(&self, shape: &[usize], dtype: DType) -> Array {
        self.array_or(shape, dtype, || Array::zeros(shape, dtype))
    }

    /// As [`array`](Recycler::array); where nothing waits that fits, what `fresh` makes is taken, an array of that shape and
    /// dtype.
    pub fn array_or(&self, shape: &[usize], dtype: DType, fresh: impl FnOnce() -> Array) -> Array {
        let kept = lock(&self.0).take(dtype, shape.iter().product());
        let array = match kept {
            Some(storage) => Array::from_storage(shape, storage).expect("as many elements as the shape has"),
            None => fresh(),
        };
        if array.storage().bytes().len() < SMALLEST { array } else { array.returning_to(Arc::downgrade(&self.0)) }
    }

    /// The bytes that wait for use.
    pub fn bytes(&self) -> usize {
        lock(&self.0).bytes
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kept {
    /// The newest that fits: it is likely to be in cache.
    fn take(&mut self, dtype: DType, count: usize) -> Option<Storage> {
        let fits = |storage: &Storage| storage.dtype() == dtype && storage.len() == count;
        let storage = self.storages.remove(self.storages.iter().rposition(fits)?)?;
        self.bytes -= storage.bytes().len();
        Some(storage)
    }

    fn put(&mut self, storage: Storage) {
        self.bytes += storage.bytes().len();
        self.storages.push_back(storage);
        while self.bytes > self.limit {
            let oldest = self.storages.pop_front().expect("bytes are those of storages");
            self.bytes -= oldest.bytes().len();
        }
    }
}

/// What an array shares with its clones: the elements, and where their memory goes afterwards.
pub(crate) struct Shared {
    pub(crate) storage: Storage,
    /// The recycler; none for most arrays.
    pub(crate) home: Weak<Mutex<Kept>>,
}

impl From<Storage> for Shared {
    fn from(storage: Storage) -> Shared {
        Shared { storage, home: Weak::new() }
    }
}

/// The copy belongs to nobody.
impl Clone for Shared {
    fn clone(&self) -> Shared {
        self.storage.clone().into()
    }
}

impl PartialEq for Shared {
    fn eq(&self, other: &Shared) -> bool {
        self.storage == other.storage
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(kept) = self.home.upgrade() {
            lock(&kept).put(std::mem::replace(&mut self.storage, Storage::U8(Vec::new().into())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_with_the_last_clone() {
        let recycler = Recycler::new(1 << 20);
        let x = recycler.array(&[1 << 15], DType::F32);
        let clone = x.reshape(&[1 << 5, 1 << 10]).unwrap();
        drop(x);
        assert_eq!(recycler.bytes(), 0);
        // Only a copy is written to while the elements are shared; the copy belongs to nobody.
        let mut written = clone.clone();
        written.as_mut_slice::<f32>().unwrap()[0] = 1.0;
        drop(written);
        assert_eq!(recycler.bytes(), 0);
        drop(clone);
        assert_eq!(recycler.bytes(), 1 << 17);
        // Another dtype or count has no use for it.
        let others = [recycler.array(&[1 << 15], DType::I32), recycler.array(&[1 << 14], DType::F64)];
        assert_eq!(recycler.bytes(), 1 << 17);
        assert_eq!(recycler.array(&[1 << 15], DType::F32).shape(), [1 << 15]);
        drop(others);
        assert_eq!(recycler.bytes(), 3 << 17);
    }

    #[test]
    fn what_waits_is_bounded_and_large() {
        let recycler = Recycler::new(300_000);
        let arrays: Vec<Array> = (0..5).map(|_| recycler.array(&[100_000], DType::U8)).collect();
        drop(arrays);
        assert_eq!(recycler.bytes(), 300_000);
        drop(recycler.array(&[400_000], DType::U8));
        assert_eq!(recycler.bytes(), 0);
        drop(recycler.array(&[], DType::F32));
        assert_eq!(recycler.bytes(), 0);
    }

    #[test]
    fn an_array_outlives_its_recycler() {
        let recycler = Recycler::new(1 << 20);
        let array = recycler.array(&[100_000], DType::U8);
        drop(recycler);
        assert_eq!(array.len(), 100_000);
    }

    #[test]
    fn threads_share_it() {
        let recycler = Recycler::new(1 << 20);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let recycler = &recycler;
                scope.spawn(move || {
                    for _ in 0..50 {
                        let mut array = recycler.array(&[1 << 16], DType::U8);
                        array.as_mut_slice::<u8>().unwrap().fill(thread);
                        assert!(array.as_slice::<u8>().unwrap().iter().all(|&x| x == thread));
                    }
                });
            }
        });
        assert!(recycler.bytes() <= 4 << 16 && recycler.bytes() >= 1 << 16);
    }
}
