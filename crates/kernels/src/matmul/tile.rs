//! The micro-kernel and the packing, written over any vector type, and the table of their instances.

use std::hint::black_box;
use std::ops::{Add, Mul};

use super::simd::{Plain, Vector};
use crate::cpu::{Isa, by_isa, prefetch_to_second_level, prefetch_to_write};

/// A tile of C and what is added up in it: C[i, j] (+)= Σ A[i, p]·B[p, j] for p below `k`, in that order, in each of the runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile<T> {
    pub(crate) k: usize,
    /// How many times `k` steps are done; single rows know one run only.
    pub(crate) runs: usize,
    /// Elements from the end of a run to the next, of A and B.
    pub(crate) jumps: [isize; 2],
    /// A[i, p] is at `a + i * a_row + p * a_step`.
    pub(crate) a: *const T,
    pub(crate) a_row: usize,
    pub(crate) a_step: usize,
    /// B[p, j] is at `b + p * b_step + j`.
    pub(crate) b: *const T,
    pub(crate) b_step: usize,
    /// C[i, j] is at `c + i * c_row + j`.
    pub(crate) c: *mut T,
    pub(crate) c_row: usize,
    /// Columns: more than all vectors but the last hold, at most what all hold.
    pub(crate) columns: usize,
    /// Add to C instead of overwriting it.
    pub(crate) add: bool,
    /// Write C past the caches, where vectors are whole: they are aligned then, and `add` is not set.
    pub(crate) past_caches: bool,
    /// What will be needed soon, to be fetched meanwhile: for packing, for what comes after the multiply, or of a distant B.
    pub(crate) ahead: [Ahead; 2],
    /// By how many steps tiles of four vectors, and single rows, fetch B into the first-level cache before they use it; 0 where
    /// it is there already, or comes by itself.
    pub(crate) b_ahead: usize,
}

/// Cache lines that are fetched while a tile is computed, a few at a time: stretches of them at equal distances.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead {
    pub(crate) first: *const u8,
    pub(crate) stretches: usize,
    /// Bytes from a stretch to the next.
    pub(crate) distance: usize,
    /// Lines of a stretch.
    pub(crate) lines: usize,
    pub(crate) purpose: Purpose,
}

/// What lines are fetched for.
///
/// It fills a word: to copy a byte and the padding behind it, the processor would wait until that byte, and all results that were
/// stored before it, have left for the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Purpose {
    Read,
    /// They will be read and written, or only written.
    Write,
}

impl Ahead {
    pub(crate) const NOTHING: Ahead =
        Ahead { first: std::ptr::null(), stretches: 0, distance: 0, lines: 0, purpose: Purpose::Read };
    /// Bytes of a line.
    pub(crate) const LINE: usize = 64;
    /// Steps of k between fetches: time for the memory to follow.
    pub(super) const STEPS: usize = 8;
    /// So few lines are fetched in one go.
    const FEW: usize = 8;

    /// Lines that a stretch of so many bytes touches: one that begins within a line ends within one.
    pub(crate) fn lines(first: *const u8, bytes: usize) -> usize {
        if bytes == 0 { 0 } else { (bytes + first.addr() % Ahead::LINE).div_ceil(Ahead::LINE) }
    }

    /// The same, to be fetched while `k` steps are done.
    #[inline(always)]
    pub(super) fn during(self, k: usize) -> Fetching {
        let left = self.stretches * self.lines;
        Fetching {
            next: self.first,
            left,
            at_once: if left <= Ahead::FEW { left } else { left.div_ceil(k.div_ceil(Ahead::STEPS).max(1)) },
            line: self.lines,
            lines: self.lines,
            gap: self.distance.wrapping_sub(self.lines * Ahead::LINE),
            purpose: self.purpose,
        }
    }
}

/// Lines on their way.
pub(super) struct Fetching {
    next: *const u8,
    /// Lines that are left.
    left: usize,
    at_once: usize,
    /// Lines that are left of the stretch.
    line: usize,
    /// Lines of a stretch.
    lines: usize,
    /// Bytes from the end of a stretch to the next.
    gap: usize,
    purpose: Purpose,
}

impl Fetching {
    /// Fetches the next few. No branch depends on where a stretch ends: the processor would guess wrong at each.
    #[inline(always)]
    pub(super) fn fetch(&mut self) {
        let now = self.at_once.min(self.left);
        self.left -= now;
        for _ in 0..now {
            match self.purpose {
                Purpose::Write => prefetch_to_write(self.next),
                Purpose::Read => prefetch_to_second_level(self.next),
            }
            let ends = self.line == 1;
            self.next = self.next.wrapping_add(Ahead::LINE).wrapping_add(if ends { self.gap } else { 0 });
            self.line = if ends { self.lines } else { self.line - 1 };
        }
    }
}

/// What is to be copied into panels, `panel` rows wide: row i, step p of the source, at `from + i * from_row + p *
/// from_step`, goes to `to + i / panel * to_panel + p * to_step + i % panel`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strip<S, T> {
    pub(crate) k: usize,
    pub(crate) rows: usize,
    pub(crate) from: *const S,
    pub(crate) from_row: usize,
    pub(crate) from_step: usize,
    pub(crate) to: *mut T,
    pub(crate) to_step: usize,
    pub(crate) panel: usize,
    pub(crate) to_panel: usize,
}

/// A function on a tile. The processor must have its instruction set, and the elements that the tile names must be there.
pub(crate) type TileKernel<T> = unsafe fn(&Tile<T>);

/// Where what a tile reads of B is copied to: step p to `to + p * step`, in whole vectors, with zeros behind the last column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CopyOfB<T> {
    pub(crate) to: *mut T,
    pub(crate) step: usize,
}

/// A function on a tile that copies B, with the same conditions.
pub(crate) type CopyingKernel<T> = unsafe fn(&Tile<T>, CopyOfB<T>);

/// A function on a strip, with the same conditions.
pub(crate) type StripKernel<T> = unsafe fn(&Strip<T, T>);

/// The instances for one instruction set and element type.
#[derive(Debug)]
pub(crate) struct Kernels<T: 'static> {
    /// Elements per vector.
    pub(crate) lanes: usize,
    /// Micro-kernels of 1, 2, 3 and 4 vectors of columns; each list is for 1 row, 2 rows, ….
    pub(crate) tiles: [&'static [TileKernel<T>]; 4],
    /// The same, with a copy of B; empty where B is not packed as it is.
    pub(crate) copying: [&'static [CopyingKernel<T>]; 4],
    /// The kernel of a single row, for up to [`ROW_COLUMNS`] columns.
    pub(crate) row: TileKernel<T>,
    /// Packs rows of A, or anything of which a step's elements are to be neighbors.
    pub(crate) pack: StripKernel<T>,
    /// Packs columns of B, each a row of the strip, which were fetched before.
    pub(crate) pack_columns: StripKernel<T>,
    /// The same for columns that were not fetched.
    pub(crate) pack_far_columns: StripKernel<T>,
    /// How numbers are kept in packed copies.
    pub(crate) form: Form,
    /// To be called before the micro-kernels of a thread,
    pub(crate) enter: unsafe fn(),
    /// and after them.
    pub(crate) leave: unsafe fn(),
}

/// How numbers are kept in packed copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Form {
    /// Steps of k that are packed together, the last of which are filled up with zeros. Parts that are packed apart begin at
    /// multiples of them.
    pub(crate) block: usize,
    /// Halves of an element that a number takes.
    pub(crate) halves: usize,
}

impl Form {
    /// As they are.
    pub(crate) const WHOLE: Form = Form { block: 1, halves: 2 };

    /// Elements of packed copies in which so many steps of k are kept.
    pub(crate) const fn stored(self, steps: usize) -> usize {
        steps.next_multiple_of(self.block) * self.halves / 2
    }
}

impl<T> Kernels<T> {
    /// The sizes of the tiles.
    pub(crate) fn sizes(&self) -> TileSizes {
        TileSizes { lanes: self.lanes, rows: self.tiles[1].len(), flat_rows: self.tiles[3].len(), form: self.form }
    }

    /// The micro-kernel that copies B, for `rows` and the least vectors that hold `columns`.
    pub(crate) fn copying_tile(&self, rows: usize, columns: usize) -> CopyingKernel<T> {
        self.copying[columns.div_ceil(self.lanes) - 1][rows - 1]
    }

    /// The micro-kernel for `rows` and the least vectors that hold `columns`.
    pub(crate) fn tile(&self, rows: usize, columns: usize) -> TileKernel<T> {
        match self.tiles.get(columns.div_ceil(self.lanes) - 1) {
            Some(tiles) => tiles[rows - 1],
            None => self.row,
        }
    }
}

/// The sizes of the tiles of an instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TileSizes {
    /// Elements per vector.
    pub(crate) lanes: usize,
    /// Most rows of a tile of one or two vectors.
    pub(crate) rows: usize,
    /// Most rows of a tile of three or four vectors; 0 if there are no such tiles.
    pub(crate) flat_rows: usize,
    /// How numbers are kept in packed copies.
    pub(crate) form: Form,
}

impl TileSizes {
    /// Whether a tile of four vectors has nearly as many sums as one of two, which reads more for each multiply-add.
    pub(crate) fn flat_is_enough(&self) -> bool {
        6 * 4 * self.flat_rows >= 5 * 2 * self.rows
    }
}

/// Where a tile is in A and B.
struct Position<T> {
    /// The first row of A.
    upper: *const T,
    /// The row of number `half`.
    lower: *const T,
    b: *const T,
    /// In the copy of B.
    copy: *mut T,
}

impl<T: Copy> Position<T> {
    /// One step of k; of the last vector only the lanes of the mask are there, if one is given.
    #[allow(clippy::needless_range_loop)] // indices, as in the formula
    #[inline(always)]
    unsafe fn step<
        V: Vector<Scalar = T>,
        const ROWS: usize,
        const VECTORS: usize,
        const AHEAD: bool,
        const COPY: bool,
    >(
        &mut self,
        t: &Tile<T>,
        row: &[usize; ROWS],
        half: usize,
        last: Option<V::Mask>,
        sums: &mut [[V; VECTORS]; ROWS],
    ) {
        // SAFETY: the caller's promise on the tile.
        unsafe {
            if AHEAD {
                for v in 0..VECTORS {
                    V::prefetch(self.b.wrapping_add(t.b_ahead * t.b_step + v * V::LANES));
                }
            }
            let mut row_of_b = [V::zero(); VECTORS];
            for v in 0..VECTORS {
                let b = self.b.add(v * V::LANES);
                row_of_b[v] = match last {
                    Some(last) if v == VECTORS - 1 => V::load_masked(b, last),
                    _ => V::load(b),
                };
                if COPY {
                    row_of_b[v].store(self.copy.add(v * V::LANES));
                }
            }
            for i in 0..ROWS {
                let x = V::splat(*if i < half { self.upper.add(row[i]) } else { self.lower.add(row[i]) });
                for v in 0..VECTORS {
                    sums[i][v] = x.mul_add(row_of_b[v], sums[i][v]);
                }
            }
            self.upper = self.upper.wrapping_add(t.a_step);
            self.lower = self.lower.wrapping_add(t.a_step);
            self.b = self.b.wrapping_add(t.b_step);
        }
    }

    /// From the end of a run to the next, so many elements further in A and B.
    #[inline(always)]
    fn jump(&mut self, [a, b]: [isize; 2]) {
        self.upper = self.upper.wrapping_offset(a);
        self.lower = self.lower.wrapping_offset(a);
        self.b = self.b.wrapping_offset(b);
    }
}

/// Eight times the same, one behind the other.
macro_rules! eight_times {
    ($step:expr) => {{
        $step;
        $step;
        $step;
        $step;
        $step;
        $step;
        $step;
        $step;
    }};
}

/// The micro-kernel. The accumulators stay in registers: all loops over rows and vectors are unrolled.
#[inline(always)]
unsafe fn tile<V: Vector, const ROWS: usize, const VECTORS: usize>(t: &Tile<V::Scalar>) {
    let no_copy = CopyOfB { to: std::ptr::null_mut(), step: 0 };
    // SAFETY: the caller's promise on the tile.
    unsafe {
        if t.a_row == 1 {
            // The compiler must see that packed rows are neighbors, to put their distances into the instructions.
            tile_in_rows::<V, ROWS, VECTORS, false, false>(t, std::array::from_fn(|i| i), ROWS, no_copy);
        } else {
            let (rows, half) = distances(t);
            if VECTORS == 4 && t.b_ahead > 0 {
                tile_in_rows::<V, ROWS, VECTORS, true, false>(t, rows, half, no_copy);
            } else {
                tile_in_rows::<V, ROWS, VECTORS, false, false>(t, rows, half, no_copy);
            }
        }
    }
}

/// [`tile`], copying what it reads of B, which it fetches ahead.
#[inline(always)]
unsafe fn tile_and_copy<V: Vector, const ROWS: usize, const VECTORS: usize>(
    t: &Tile<V::Scalar>,
    copy: CopyOfB<V::Scalar>,
) {
    let (rows, half) = distances(t);
    // SAFETY: the caller's promise on the tile and on the copy.
    unsafe { tile_in_rows::<V, ROWS, VECTORS, true, true>(t, rows, half, copy) }
}

/// The distances of the rows of A from the first, or from the one of number `half` for those from there on.
///
/// The compiler must not see through them, or it adds them up row by row in each step, and that chain of additions takes as
/// long as the multiplications. So that they fit the registers, the lower half of the rows is reached from a pointer of its own.
#[inline(always)]
fn distances<T, const ROWS: usize>(t: &Tile<T>) -> ([usize; ROWS], usize) {
    let half = ROWS.div_ceil(2);
    let mut rows = [0; ROWS];
    for i in 1..half {
        rows[i] = black_box(i * t.a_row);
        if half + i < ROWS {
            rows[half + i] = rows[i];
        }
    }
    (rows, half)
}

/// [`tile`] for rows of A at the distances `row` from the first, or from the one of number `half` for those from there on;
/// with `AHEAD` it fetches B ahead, with `COPY` it copies it.
#[allow(clippy::needless_range_loop)] // indices, as in the formula
#[inline(always)]
unsafe fn tile_in_rows<V: Vector, const ROWS: usize, const VECTORS: usize, const AHEAD: bool, const COPY: bool>(
    t: &Tile<V::Scalar>,
    row: [usize; ROWS],
    half: usize,
    copy: CopyOfB<V::Scalar>,
) {
    // SAFETY: the caller's promise on the tile.
    unsafe {
        let full = t.columns == VECTORS * V::LANES;
        let last = V::first(t.columns - (VECTORS - 1) * V::LANES);
        let mut sums = [[V::zero(); VECTORS]; ROWS];
        let past_caches = t.past_caches && full;
        if !past_caches {
            for i in 0..ROWS {
                prefetch_to_write(t.c.wrapping_add(i * t.c_row).cast());
                prefetch_to_write(t.c.wrapping_add(i * t.c_row + (VECTORS - 1) * V::LANES).cast());
            }
        }
        let mut at = Position { upper: t.a, lower: t.a.wrapping_add(half * t.a_row), b: t.b, copy: copy.to };
        let mut ahead = t.ahead.map(|ahead| ahead.during(t.k));
        for _ in 0..t.runs {
            let mut left = t.k;
            while left > 0 {
                if ahead[0].left + ahead[1].left > 0 {
                    ahead.iter_mut().for_each(Fetching::fetch);
                }
                let steps = left.min(Ahead::STEPS);
                left -= steps;
                // Written out: where another program shares the core, what is not a multiplication counts, and a branch
                // that is guessed wrong every few steps counts most.
                if full && steps == Ahead::STEPS && !COPY {
                    eight_times!(at.step::<V, ROWS, VECTORS, AHEAD, false>(t, &row, half, None, &mut sums));
                } else {
                    for _ in 0..steps {
                        at.step::<V, ROWS, VECTORS, AHEAD, COPY>(t, &row, half, Some(last), &mut sums);
                        at.copy = at.copy.wrapping_add(copy.step);
                    }
                }
            }
            at.jump(t.jumps);
        }
        if past_caches {
            for i in 0..ROWS {
                for v in 0..VECTORS {
                    sums[i][v].store_past_caches(t.c.add(i * t.c_row + v * V::LANES));
                }
            }
            return;
        }
        for i in 0..ROWS {
            let c = t.c.add(i * t.c_row);
            for v in 0..VECTORS - 1 {
                let c = c.add(v * V::LANES);
                let sum = if t.add { V::load(c).add(sums[i][v]) } else { sums[i][v] };
                sum.store(c);
            }
            let c = c.add((VECTORS - 1) * V::LANES);
            let sum = sums[i][VECTORS - 1];
            let sum = if t.add { V::load_masked(c, last).add(sum) } else { sum };
            sum.store_masked(c, last);
        }
    }
}

/// The most columns that the kernel of a single row does at once.
pub(crate) const ROW_COLUMNS: usize = 512;

/// The kernel of a single row: it reads long stretches of the rows of B, four rows at a time, and adds in the same order
/// as [`tile`].
#[inline(always)]
unsafe fn row<V: Vector>(t: &Tile<V::Scalar>)
where
    V::Scalar: Default,
{
    let mut sums = [V::Scalar::default(); ROW_COLUMNS];
    // SAFETY: the caller's promise on the tile, which has at most `ROW_COLUMNS` columns.
    unsafe {
        let mut p = 0;
        while p < t.k {
            let rows = if p + 4 <= t.k { 4 } else { 1 };
            let (a, b) = (t.a.add(p * t.a_step), t.b.add(p * t.b_step));
            for j in (0..t.columns).step_by(V::LANES) {
                let mask = V::first(V::LANES.min(t.columns - j));
                let mut sum = V::load(sums.as_ptr().add(j));
                for i in 0..rows {
                    // Stretches of rows that lie far apart end before the processor has noticed that they are stretches.
                    V::prefetch(b.wrapping_add((t.b_ahead + i) * t.b_step + j));
                    let b = V::load_masked(b.add(i * t.b_step + j), mask);
                    sum = V::splat(*a.add(i * t.a_step)).mul_add(b, sum);
                }
                sum.store(sums.as_mut_ptr().add(j));
            }
            p += rows;
        }
        for j in (0..t.columns).step_by(V::LANES) {
            let mask = V::first(V::LANES.min(t.columns - j));
            let sum = V::load(sums.as_ptr().add(j));
            let sum = if t.add { V::load_masked(t.c.add(j), mask).add(sum) } else { sum };
            sum.store_masked(t.c.add(j), mask);
        }
    }
}

/// Panels that are filled at a time where a step's rows are neighbors: the next step's may be far away, each on another page.
const SIDE_BY_SIDE: usize = 8;

/// By how many steps rows that are neighbors are fetched ahead while they are packed.
const PACK_AHEAD: usize = 8;

/// Copies a strip: step by step where a step's rows are neighbors, by transposition where a row's steps are, one by one
/// elsewhere. With `AHEAD` it fetches the steps that come next, each of which may be on another page.
#[inline(always)]
unsafe fn pack<V: Vector, const AHEAD: bool>(s: &Strip<V::Scalar, V::Scalar>) {
    // SAFETY: the caller's promise on the strip.
    unsafe {
        if s.from_row == 1 {
            for first in (0..s.rows).step_by(SIDE_BY_SIDE * s.panel) {
                let rows = (SIDE_BY_SIDE * s.panel).min(s.rows - first);
                let panels = rows.div_ceil(s.panel);
                for p in 0..s.k {
                    let from = s.from.add(p * s.from_step + first);
                    let mut to = s.to.add(first / s.panel * s.to_panel + p * s.to_step);
                    if AHEAD {
                        for line in (0..rows).step_by(Ahead::LINE / size_of::<V::Scalar>()) {
                            V::prefetch(from.wrapping_add(PACK_AHEAD * s.from_step + line));
                        }
                    }
                    for panel in 0..panels {
                        let (from, rows) = (from.add(panel * s.panel), s.panel.min(rows - panel * s.panel));
                        let whole = rows / V::LANES * V::LANES;
                        for i in (0..whole).step_by(V::LANES) {
                            V::load(from.add(i)).store(to.add(i));
                        }
                        if whole < rows {
                            let mask = V::first(rows - whole);
                            V::load_masked(from.add(whole), mask).store_masked(to.add(whole), mask);
                        }
                        to = to.wrapping_add(s.to_panel);
                    }
                }
            }
            return;
        }
        for (number, first) in (0..s.rows).step_by(s.panel).enumerate() {
            let rows = s.panel.min(s.rows - first);
            for i in (0..rows).step_by(V::LANES) {
                let lanes = V::LANES.min(rows - i);
                let (from, to) = (s.from.add((first + i) * s.from_row), s.to.add(number * s.to_panel + i));
                let mut done = 0;
                if s.from_step == 1 {
                    while done + V::TRANSPOSED <= s.k {
                        V::transpose(from.add(done), s.from_row, lanes, to.add(done * s.to_step), s.to_step);
                        done += V::TRANSPOSED;
                    }
                }
                for p in done..s.k {
                    for lane in 0..lanes {
                        *to.add(p * s.to_step + lane) = *from.add(lane * s.from_row + p * s.from_step);
                    }
                }
            }
        }
    }
}

/// A [`Kernels`] of a vector type: `rows` lists 1, 2, … up to the most rows of a tile, `flat` those of three and four vectors.
macro_rules! kernels {
    ($scalar:ty, $vector:ty, $(#[$feature:meta])? rows $($rows:literal)*, flat $($flat:literal)*) => {{
        $(#[$feature])?
        unsafe fn tile_kernel<const ROWS: usize, const VECTORS: usize>(t: &Tile<$scalar>) {
            // SAFETY: the caller's promise.
            unsafe { tile::<$vector, ROWS, VECTORS>(t) }
        }
        $(#[$feature])?
        unsafe fn copying_kernel<const ROWS: usize, const VECTORS: usize>(t: &Tile<$scalar>, copy: CopyOfB<$scalar>) {
            // SAFETY: the caller's promise.
            unsafe { tile_and_copy::<$vector, ROWS, VECTORS>(t, copy) }
        }
        $(#[$feature])?
        unsafe fn row_kernel(t: &Tile<$scalar>) {
            // SAFETY: the caller's promise.
            unsafe { row::<$vector>(t) }
        }
        $(#[$feature])?
        unsafe fn pack_kernel<const AHEAD: bool>(s: &Strip<$scalar, $scalar>) {
            // SAFETY: the caller's promise.
            unsafe { pack::<$vector, AHEAD>(s) }
        }
        unsafe fn nothing() {}
        Kernels {
            lanes: <$vector as Vector>::LANES,
            tiles: [
                &[$(tile_kernel::<$rows, 1>),*],
                &[$(tile_kernel::<$rows, 2>),*],
                &[$(tile_kernel::<$flat, 3>),*],
                &[$(tile_kernel::<$flat, 4>),*],
            ],
            copying: [
                &[$(copying_kernel::<$rows, 1>),*],
                &[$(copying_kernel::<$rows, 2>),*],
                &[$(copying_kernel::<$flat, 3>),*],
                &[$(copying_kernel::<$flat, 4>),*],
            ],
            row: row_kernel,
            pack: pack_kernel::<true>,
            pack_columns: pack_kernel::<false>,
            pack_far_columns: pack_kernel::<true>,
            form: Form::WHOLE,
            enter: nothing,
            leave: nothing,
        }
    }};
}

/// A float that products are added up in.
pub(crate) trait Accumulator: Copy + Default + Add<Output = Self> + Mul<Output = Self> + 'static {
    /// The instances for `isa`.
    fn kernels(isa: Isa) -> &'static Kernels<Self>;
}

macro_rules! accumulator {
    ($scalar:ty, $plain:ty, $neon:ident, $avx2:ident, $avx512:ident, $amx:expr) => {
        impl Accumulator for $scalar {
            fn kernels(isa: Isa) -> &'static Kernels<$scalar> {
                static PORTABLE: Kernels<$scalar> = kernels!($scalar, $plain, rows 1 2 3 4, flat 1 2);
                #[cfg(target_arch = "aarch64")]
                static NEON: Kernels<$scalar> = kernels!(
                    $scalar, std::arch::aarch64::$neon, #[target_feature(enable = "neon")]
                    rows 1 2 3 4 5 6 7 8 9 10 11 12, flat 1 2 3 4 5 6
                );
                #[cfg(target_arch = "x86_64")]
                static AVX2: Kernels<$scalar> = kernels!(
                    $scalar, std::arch::x86_64::$avx2, #[target_feature(enable = "avx2,fma")]
                    rows 1 2 3 4 5 6, flat 1 2
                );
                #[cfg(target_arch = "x86_64")]
                static AVX512: Kernels<$scalar> = kernels!(
                    $scalar, std::arch::x86_64::$avx512, #[target_feature(enable = "avx512f,avx512dq")]
                    rows 1 2 3 4 5 6 7 8 9 10 11 12 13 14, flat 1 2 3 4 5 6
                );
                #[cfg(target_arch = "x86_64")]
                if isa == Isa::Amx {
                    return $amx;
                }
                by_isa!(isa, &PORTABLE, &NEON, &AVX2, &AVX512)
            }
        }
    };
}
accumulator!(f32, Plain<f32, 4>, float32x4_t, __m256, __m512, &super::amx::KERNELS);
accumulator!(f64, Plain<f64, 2>, float64x2_t, __m256d, __m512d, &AVX512);
