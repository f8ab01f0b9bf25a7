//! What the system is told about memory, and asked.
//!
//! Memory fresh from the system costs a page fault per page, which for results is as much as the arithmetic: large
//! stretches are asked for in huge pages, others are mapped by all threads before they are written.
#![allow(unsafe_code)]

use thalweg_kernels::pool::Pool;
use thalweg_plan::graph::array::{self, with_elements};

/// A huge page.
pub(super) const HUGE: usize = 2 << 20;

/// Smaller stretches have mostly been used before.
const SMALLEST: usize = 64 << 10;

/// What a thread maps at least, in bytes: about 13 µs of work.
const PART: usize = 128 << 10;

/// Prepares the memory of an array whose elements are all about to be written.
pub(crate) fn prepare(storage: &mut array::Storage, pool: &Pool) {
    with_elements!(storage, elements => {
        let bytes = size_of_val(&elements[..]);
        let start: *mut u8 = elements.as_mut_ptr().cast();
        // SAFETY: the memory of the elements, which nobody else uses meanwhile.
        unsafe {
            ask_for_huge(start, bytes);
            map(start, bytes, pool);
        }
    });
}

/// Asks for pages of 2 MiB where they fit: the processor keeps the addresses of few small ones, and a product steps from
/// page to page.
///
/// # Safety
/// The memory is allocated.
pub(super) unsafe fn ask_for_huge(start: *mut u8, bytes: usize) {
    let ends = whole(start, bytes, HUGE);
    // SAFETY: the contract.
    unsafe { system::advise(start, ends, system::HUGE_PAGES) };
}

/// Maps what is smaller than a huge page. What the memory holds stays.
///
/// # Safety
/// The memory is allocated.
pub(super) unsafe fn map(start: *mut u8, bytes: usize, pool: &Pool) {
    if !(SMALLEST..HUGE).contains(&bytes) {
        return;
    }
    let (first, end) = whole(start, bytes, system::PAGE);
    let parts = (bytes / PART).clamp(1, pool.threads());
    let border = |part: usize| first + (end - first) / system::PAGE * part / parts * system::PAGE;
    let stretch = Stretch(start);
    pool.run(parts, &|part, _| {
        let Stretch(start) = &stretch;
        // SAFETY: the contract.
        unsafe { system::advise(*start, (border(part), border(part + 1)), system::MAP) }
    });
}

/// The bytes of this machine's memory; no limit where the system does not say.
pub(crate) fn physical_memory() -> usize {
    system::memory().unwrap_or(isize::MAX as usize)
}

/// Where the whole pages in a stretch begin and end, as distances from its beginning.
fn whole(start: *mut u8, bytes: usize, page: usize) -> (usize, usize) {
    let address = start.addr();
    let first = address.next_multiple_of(page) - address;
    (first, ((address + bytes) / page * page).saturating_sub(address).max(first))
}

/// The beginning of a stretch.
struct Stretch(*mut u8);

// SAFETY: a plain address; each thread maps a part of its own.
unsafe impl Sync for Stretch {}

/// What the system is told about memory, and asked. Its answer to advice does not matter: without it memory comes page by
/// page.
#[cfg(all(target_os = "linux", not(miri)))]
mod system {
    /// The smallest page of any processor; where pages are larger, the system refuses what is not whole.
    pub(super) const PAGE: usize = 4096;
    pub(super) const HUGE_PAGES: i32 = libc::MADV_HUGEPAGE;
    pub(super) const MAP: i32 = libc::MADV_POPULATE_WRITE;

    /// # Safety
    /// The memory from `start + first` to `start + end` is allocated.
    pub(super) unsafe fn advise(start: *mut u8, (first, end): (usize, usize), advice: i32) {
        if first < end {
            // SAFETY: the contract; neither advice changes what the memory holds.
            unsafe { libc::madvise(start.add(first).cast(), end - first, advice) };
        }
    }

    /// The bytes of memory.
    pub(super) fn memory() -> Option<usize> {
        // SAFETY: the structure is numbers, for which zeros are valid; the call writes nothing else.
        let (status, information) = unsafe {
            let mut information: libc::sysinfo = std::mem::zeroed();
            (libc::sysinfo(&mut information), information)
        };
        let unit = information.mem_unit as usize;
        (status == 0).then(|| (information.totalram as usize).saturating_mul(unit))
    }
}

/// Other systems are not told, and not asked.
#[cfg(not(all(target_os = "linux", not(miri))))]
mod system {
    pub(super) const PAGE: usize = 4096;
    pub(super) const HUGE_PAGES: i32 = 0;
    pub(super) const MAP: i32 = 0;

    pub(super) unsafe fn advise(_: *mut u8, _: (usize, usize), _: i32) {}

    pub(super) fn memory() -> Option<usize> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_pages_lie_inside() {
        let at = |address: usize| std::ptr::without_provenance_mut::<u8>(address);
        assert_eq!(whole(at(8192), 8192, 4096), (0, 8192));
        assert_eq!(whole(at(8200), 8192, 4096), (4088, 8184));
        assert_eq!(whole(at(8200), 4096, 4096), (4088, 4088));
        assert_eq!(whole(at(8200), 10, 4096), (4088, 4088));
    }

    #[test]
    #[cfg(all(target_os = "linux", not(miri)))]
    fn the_memory_is_what_the_system_reports() {
        let report = std::fs::read_to_string("/proc/meminfo").unwrap();
        let line = report.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
        let kibibytes: usize = line.trim().trim_end_matches("kB").trim().parse().unwrap();
        assert_eq!(physical_memory() / 1024, kibibytes);
    }

    #[test]
    fn memory_keeps_what_it_holds() {
        let pool = Pool::new(2).unwrap();
        for count in [0, 1, 10_000, 100_000, 3_000_000] {
            let mut array = thalweg_plan::graph::Array::full(&[count], thalweg_plan::graph::DType::F32, 1.5);
            prepare(array.storage_mut(), &pool);
            assert!(array.as_slice::<f32>().unwrap().iter().all(|&x| x == 1.5));
        }
    }
}
