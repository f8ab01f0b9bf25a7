//! The micro-kernel and the packing for the matrix units of x86-64 (AMX): products of f32 from products of bf16.
//!
//! **Method.** A number of f32 has 24 bits, one of bf16 has 8: the first is the sum of three of the second, x = x₁ + x₂ + x₃,
//! each what rounding to 8 bits leaves of the one before (Dekker, *A floating-point technique for extending the available
//! precision*, 1971; with bf16: Henry, Tang and Heinecke, *Leveraging the bfloat16 Artificial Intelligence Datatype for
//! Higher-Precision Computations*, 2019). Of the nine products of pieces of x·y six are added up: x₃y₁, x₁y₁, x₂y₁, x₂y₂, x₁y₂,
//! x₁y₃. The three that are left out are together at most 2⁻²⁴ |x·y|, as much as rounding a single product to f32 may cost, and
//! mostly far less. A product of pieces has 16 bits and is exact in f32.
//!
//! **Order of accumulation.** The steps of a panel of k are taken in blocks of 32. In a block, for each of the six pairs of
//! pieces in the order above, the products of steps 0 to 15 are added up from zero with fused multiply-adds, those of steps
//! 16 to 31 for themselves, the two sums are added, and that is added to the sum of the panel (`TDPBF16PS` in Intel's
//! *Instruction Set Extensions Programming Reference*). So a sum of 512 products is rounded 96 times in a row, not 512
//! times: of numbers in [-1, 1) the root of the mean square error is 0.83 (16 products), 0.55 (64) and 0.47 (512) of that of fused
//! multiply-adds of f32. Where a few large products decide it is up to twice as large, as each is rounded for each pair of pieces.
//!
//! **Numbers that are not finite** have no such pieces. A tile with a sum that is not finite is computed again from the pieces with
//! fused multiply-adds, in the order of the other instruction sets.
//!
//! **Denormal numbers** count as zero, as everywhere while a plan runs. So do denormal pieces and their products: of numbers and
//! products below 2⁻¹⁰⁰ the last bits are lost, less than 2⁻¹²⁶ for each pair of pieces.

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::tile::{Ahead, Fetching, Form, Kernels, Strip, Tile};
use super::x86::TransposePieces;
use crate::cpu::prefetch_to_write;

/// Numbers of a row of a tile register, as f32 and as pairs of bf16; rows of a register.
const SIDE: usize = 16;
/// Rows and columns of a tile of C: two by two registers.
const PANEL: usize = 2 * SIDE;
/// Steps of k in a block: those of a tile register.
const STEPS: usize = 2 * SIDE;
/// Bytes of a tile register.
const REGISTER: usize = SIDE * SIDE * size_of::<f32>();
/// Bytes of a block of a panel: for each of three pieces a register of the first 16 rows (of A, columns of B) and one of the
/// others.
const BLOCK: usize = 6 * REGISTER;

/// The form of packed copies.
const FORM: Form = Form { block: STEPS, halves: 3 };

/// What a tile register is configured as: all of its 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    first_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static ALL_ROWS: Configuration = {
    let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
    let mut i = 0;
    while i < 8 {
        row_bytes[i] = 64;
        rows[i] = SIDE as u8;
        i += 1;
    }
    Configuration { palette: 1, first_row: 0, reserved: [0; 14], row_bytes, rows }
};

/// The sums of a tile.
#[repr(C, align(64))]
struct Sums([f32; PANEL * PANEL]);

/// Fetches lines of the next block into the first-level cache.
macro_rules! fetch {
    ($from:literal, $($line:literal)+) => {
        concat!($("prefetcht0 [", $from, " + 64*", $line, "]\n",)+)
    };
}

/// Loads a register and multiplies by it twice. Each of these instructions stands in front of eight others, those that fetch the
/// register of the next block that is named last, and some that do nothing.
///
/// Where another program runs on the core's other thread, tile instructions fewer than eight apart take up to three times as long,
/// and loads from the second-level cache wait for the products: fetched ahead and apart, tiles reach 1.6 to 1.9 of the rate then. On
/// a core alone it costs next to nothing: a product takes sixteen cycles.
macro_rules! load_for_two {
    ($load:expr, $first:literal, $second:literal, $next:literal) => {
        concat!(
            $load,
            "\n",
            fetch!($next, 0 1 2 3 4 5),
            "nop\nnop\n",
            $first,
            "\n",
            fetch!($next, 6 7 8 9 10),
            "nop\nnop\nnop\n",
            $second,
            "\n",
            fetch!($next, 11 12 13 14 15),
            "nop\nnop\nnop\n",
        )
    };
}

/// The next piece of A, whose two registers are at these places, by the piece of B that is there.
macro_rules! next_of_a {
    ($upper:literal, $lower:literal; $next_upper:literal, $next_lower:literal) => {
        concat!(
            load_for_two!(
                concat!("tileloadd tmm4, [", $upper, " + {row}]"),
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                $next_upper
            ),
            load_for_two!(
                concat!("tileloadd tmm5, [", $lower, " + {row}]"),
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                $next_lower
            ),
        )
    };
}

/// The piece of A that is there by the next piece of B.
macro_rules! next_of_b {
    ($left:literal, $right:literal; $next_left:literal, $next_right:literal) => {
        concat!(
            load_for_two!(
                concat!("tileloadd tmm6, [", $left, " + {row}]"),
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm2, tmm5, tmm6",
                $next_left
            ),
            load_for_two!(
                concat!("tileloadd tmm7, [", $right, " + {row}]"),
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm3, tmm5, tmm7",
                $next_right
            ),
        )
    };
}

/// One block of k for a tile of two by two registers, the sums of which are in `tmm0` to `tmm3`. One factor changes from pair
/// of pieces to pair of pieces, so 14 registers are loaded for 24 products.
macro_rules! add_block {
    ($a:expr, $b:expr) => {
        asm!(
            "tileloadd tmm6, [{b} + {row}]",
            "nop\nnop\nnop\nnop\nnop\nnop\nnop\nnop",
            "tileloadd tmm7, [{b} + {row} + 1024]",
            "nop\nnop\nnop\nnop\nnop\nnop\nnop\nnop",
            next_of_a!("{a} + 4096", "{a} + 5120"; "{next_a} + 4096", "{next_a} + 5120"), // x₃y₁
            next_of_a!("{a}", "{a} + 1024"; "{next_a}", "{next_a} + 1024"),               // x₁y₁
            next_of_a!("{a} + 2048", "{a} + 3072"; "{next_a} + 2048", "{next_a} + 3072"), // x₂y₁
            next_of_b!("{b} + 2048", "{b} + 3072"; "{next_b}", "{next_b} + 1024"),        // x₂y₂
            next_of_a!("{a}", "{a} + 1024"; "{next_b} + 2048", "{next_b} + 3072"),        // x₁y₂
            next_of_b!("{b} + 4096", "{b} + 5120"; "{next_b} + 4096", "{next_b} + 5120"), // x₁y₃
            a = in(reg) $a[0],
            b = in(reg) $b[0],
            next_a = in(reg) $a[1],
            next_b = in(reg) $b[1],
            row = in(reg) 64usize,
            options(nostack, preserves_flags, readonly),
        )
    };
}

/// The sums of a tile, in memory. Those of rows and columns beyond it are anything: a chain of products of one register takes
/// nearly as long as four at a time, so there is no kernel for less.
///
/// # Safety
/// The caller's promise on the tile.
#[inline(always)]
unsafe fn sums(t: &Tile<f32>) -> Sums {
    let mut sums = MaybeUninit::<Sums>::uninit();
    let (a, b) = (t.a.cast::<u8>(), t.b.cast::<u8>());
    let blocks = t.k.div_ceil(STEPS);
    let mut ahead = t.ahead.map(|ahead| ahead.during(blocks * Ahead::STEPS));
    // SAFETY: the packed copies hold whole blocks; the tile registers are configured, and no code but this uses any.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            options(nostack, preserves_flags, nomem),
        );
        for block in 0..blocks {
            ahead.iter_mut().for_each(Fetching::fetch);
            // Behind the last block comes the tile beside this one mostly: the same rows of A from the start, the panel of B behind.
            let next_of_a = if block + 1 < blocks { block + 1 } else { 0 };
            let a = [block, next_of_a].map(|block| a.wrapping_add(block * BLOCK));
            let b = [block, block + 1].map(|block| b.wrapping_add(block * BLOCK));
            add_block!(a, b);
        }
        asm!(
            "tilestored [{to} + {row}], tmm0",
            "tilestored [{to} + {row} + 64], tmm1",
            "tilestored [{to} + {row} + 2048], tmm2",
            "tilestored [{to} + {row} + 2112], tmm3",
            to = in(reg) sums.as_mut_ptr(),
            row = in(reg) PANEL * size_of::<f32>(),
            options(nostack, preserves_flags),
        );
        sums.assume_init()
    }
}

/// Configures the tile registers of this thread.
#[target_feature(enable = "avx512f")]
unsafe fn enter() {
    // SAFETY: the processor has the registers, and the system has granted them.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const ALL_ROWS, options(nostack, preserves_flags, readonly)) }
}

/// Gives them back, so that the system need not keep them for this thread.
#[target_feature(enable = "avx512f")]
unsafe fn leave() {
    // SAFETY: as above.
    unsafe { asm!("tilerelease", options(nostack, preserves_flags, nomem)) }
}

/// The micro-kernel.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn tile<const ROWS: usize>(t: &Tile<f32>) {
    // SAFETY: the caller's promise on the tile, of which only rows and columns that are there are written.
    unsafe {
        for i in 0..ROWS {
            for half in 0..t.columns.div_ceil(SIDE) {
                prefetch_to_write(t.c.wrapping_add(i * t.c_row + half * SIDE).cast());
            }
        }
        let mut sums = sums(t);
        let masks = [first(t.columns), first(t.columns.saturating_sub(SIDE))];
        // What was added to cannot be added to again.
        if !t.add {
            write(t, ROWS, &sums, masks);
        }
        let zero = _mm512_setzero_ps();
        let mut not_finite = [zero; 2];
        for row in sums.0.chunks_exact(PANEL).take(ROWS) {
            for ((half, mask), found) in masks.into_iter().enumerate().zip(&mut not_finite) {
                let sum = _mm512_maskz_loadu_ps(mask, row.as_ptr().add(half * SIDE));
                *found = _mm512_fmadd_ps(sum, zero, *found);
            }
        }
        let all_are_finite = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(not_finite[0], not_finite[1]) == 0;
        if !all_are_finite {
            again(t, ROWS, &mut sums);
        }
        if t.add || !all_are_finite {
            write(t, ROWS, &sums, masks);
        }
    }
}

/// Writes the sums of a tile to C, or adds them.
///
/// # Safety
/// The caller's promise on the tile.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn write(t: &Tile<f32>, rows: usize, sums: &Sums, masks: [__mmask16; 2]) {
    for (i, row) in sums.0.chunks_exact(PANEL).take(rows).enumerate() {
        for (half, mask) in masks.into_iter().enumerate() {
            let c = t.c.wrapping_add(i * t.c_row + half * SIDE);
            // SAFETY: the caller's promise; only rows and columns that are there are touched.
            unsafe {
                let sum = _mm512_load_ps(row.as_ptr().add(half * SIDE));
                let sum = if t.add { _mm512_add_ps(_mm512_maskz_loadu_ps(mask, c), sum) } else { sum };
                _mm512_mask_storeu_ps(c, mask, sum);
            }
        }
    }
}

/// The mask of the first `count` lanes.
fn first(count: usize) -> __mmask16 {
    if count >= SIDE { !0 } else { (1 << count) - 1 }
}

/// The sums once more, by fused multiply-adds of what the pieces stand for.
///
/// # Safety
/// The caller's promise on the tile.
#[cold]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn again(t: &Tile<f32>, rows: usize, sums: &mut Sums) {
    sums.0.fill(0.0);
    // Step and row of a panel; pairs lie in the rows of A one behind the other, in those of B one below the other.
    let at = |step: usize, row: usize, of_a: bool| {
        let (pair, half) = (step % SIDE, step % STEPS / SIDE);
        let (i, j) = if of_a { (row % SIDE, pair) } else { (pair, row % SIDE) };
        step / STEPS * BLOCK + row / SIDE * REGISTER + i * 64 + j * 4 + half * 2
    };
    // SAFETY: the positions are those that packing has filled.
    unsafe {
        for step in 0..t.k {
            let mut row_of_b = [0.0; PANEL];
            for (j, b) in row_of_b.iter_mut().enumerate().take(t.columns) {
                *b = whole(t.b.cast::<u8>().add(at(step, j, false)));
            }
            for (i, sums) in sums.0.chunks_exact_mut(PANEL).enumerate().take(rows) {
                let a = whole(t.a.cast::<u8>().add(at(step, i, true)));
                for (sum, &b) in sums.iter_mut().zip(&row_of_b) {
                    *sum = a.mul_add(b, *sum);
                }
            }
        }
    }
}

/// The number whose first piece is at `at`.
///
/// # Safety
/// There are three pieces.
#[inline(always)]
unsafe fn whole(at: *const u8) -> f32 {
    // SAFETY: the caller's promise; pieces are at even addresses.
    let [x1, x2, x3] =
        [0, 1, 2].map(|piece| f32::from_bits(u32::from(unsafe { *at.add(2 * REGISTER * piece).cast::<u16>() }) << 16));
    // What is infinite leaves an infinite second piece, and a third that means nothing.
    if x2.is_infinite() { x2 } else { x1 + (x2 + x3) }
}

/// The pieces of sixteen numbers, in the upper halves of the lanes; the lower halves of the last are anything.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn pieces(x: __m512) -> [__m512i; 3] {
    let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
    let half = _mm512_set1_epi32(0x8000);
    // The nearest, of two that are as near the larger.
    let rounded = |x: __m512| _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(x), half), upper);
    // Numbers beyond the largest of bf16 leave the larger second pieces. Not by `vrangeps`, which waits for what its target
    // was before.
    let most = _mm512_castsi512_ps(_mm512_set1_epi32(0x7f7f_0000));
    let least = _mm512_castsi512_ps(_mm512_set1_epi32(0xff7f_0000_u32 as i32));
    let x1 = rounded(_mm512_min_ps(_mm512_max_ps(x, least), most));
    let rest = _mm512_sub_ps(x, _mm512_castsi512_ps(x1));
    let x2 = rounded(rest);
    let rest = _mm512_sub_ps(rest, _mm512_castsi512_ps(x2));
    [x1, x2, _mm512_castps_si512(rest)]
}

/// Writes row `row` of the registers of a block that begins at `to`: pairs of each lane of `low` and `high`.
///
/// # Safety
/// There is room for the block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn write_pairs(low: __m512, high: __m512, row: usize, to: *mut u8) {
    let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
    let (low, high) = (pieces(low), pieces(high));
    for piece in 0..3 {
        // (low >> 16) | (high & upper)
        let pairs = _mm512_ternarylogic_epi32::<0xf8>(_mm512_srli_epi32::<16>(low[piece]), high[piece], upper);
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_si512(to.add(2 * REGISTER * piece + 64 * row).cast(), pairs) };
    }
}

/// What is packed at a time: up to 32 steps of up to 16 rows.
struct Part {
    from: *const f32,
    from_row: usize,
    from_step: usize,
    rows: usize,
    steps: usize,
}

impl Part {
    /// Into a register of each piece, the first at `to`: a row of A in each row, or two steps of 16 columns of B. What is written
    /// next is at `next`.
    ///
    /// # Safety
    /// The elements are there, and room for the block.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn pack<const OF_A: bool>(&self, to: *mut u8, next: *const u8) {
        let is_whole = self.rows == SIDE && self.steps == STEPS;
        let mut stage = MaybeUninit::uninit();
        // SAFETY: the caller's promise; a prefetch may name any address.
        unsafe {
            // Where the lines of the registers begin: the first, the next one, the one of the upper halves.
            let (from, from_line, from_upper) = match (OF_A, self.from_row, self.from_step) {
                (true, from_row, 1) if is_whole => (self.from, from_row, SIDE),
                (false, 1, from_step) if is_whole => (self.from, from_step, SIDE * from_step),
                _ => (self.laid_out::<OF_A>(&mut stage), SIDE, SIDE * SIDE),
            };
            for row in 0..SIDE {
                for piece in 0..3 {
                    _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(2 * REGISTER * piece + 64 * row).cast());
                }
                let low = from.add(row * from_line);
                write_pairs(_mm512_loadu_ps(low), _mm512_loadu_ps(low.add(from_upper)), row, to);
            }
        }
    }

    /// In the order of the registers, the first 16 steps before the others, with zeros where nothing is: a line is a row of A or
    /// a step of B.
    ///
    /// # Safety
    /// The elements are there.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn laid_out<const OF_A: bool>(&self, stage: &mut MaybeUninit<[Square; 2]>) -> *const f32 {
        let Part { from_row, from_step, rows, .. } = *self;
        let in_rows = from_step == 1 || from_row != 1;
        for half in 0..2 {
            let steps = self.steps.saturating_sub(half * SIDE).min(SIDE);
            let from = self.from.wrapping_add(half * SIDE * from_step);
            // SAFETY: the caller's promise; the stage has two squares.
            unsafe {
                let mut square = match in_rows {
                    true => lines(from, [from_row, from_step], [rows, steps]),
                    false => lines(from, [from_step, from_row], [steps, rows]),
                };
                if in_rows != OF_A {
                    square = transposed(square);
                }
                stage.as_mut_ptr().cast::<Square>().add(half).write(square);
            }
        }
        stage.as_ptr().cast()
    }
}

/// Sixteen vectors.
type Square = [__m512; SIDE];

/// The first `length` elements of each of `count` lines, which are so far from line to line and from one to the next; zeros
/// elsewhere.
///
/// # Safety
/// The elements are there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn lines(from: *const f32, [from_line, from_next]: [usize; 2], [count, length]: [usize; 2]) -> Square {
    let mut square = [_mm512_setzero_ps(); SIDE];
    let is_whole = count == SIDE && length == SIDE;
    for (i, line) in square.iter_mut().enumerate() {
        let from = from.wrapping_add(i * from_line);
        // SAFETY: the caller's promise; of a line only what the mask names is read.
        unsafe {
            if from_next == 1 && is_whole {
                *line = _mm512_loadu_ps(from);
            } else if from_next == 1 {
                *line = _mm512_maskz_loadu_ps(if i < count { first(length) } else { 0 }, from);
            } else if i < count {
                let mut elements = [0.0; SIDE];
                for (j, element) in elements.iter_mut().enumerate().take(length) {
                    *element = *from.add(j * from_next);
                }
                *line = _mm512_loadu_ps(elements.as_ptr());
            }
        }
    }
    square
}

/// Lane `j` of vector `i` is lane `i` of vector `j`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn transposed(mut x: Square) -> Square {
    let even = |a, b| _mm512_shuffle_f32x4::<0x88>(a, b);
    let odd = |a, b| _mm512_shuffle_f32x4::<0xdd>(a, b);
    // Within quarters of vectors, four by four;
    for rows in x.as_chunks_mut::<4>().0 {
        // SAFETY: the processor has the instructions.
        *rows = unsafe { __m512::transposed(*rows) };
    }
    // then the quarters.
    for i in 0..4 {
        let (a, b) = (even(x[i], x[4 + i]), even(x[8 + i], x[12 + i]));
        let (c, d) = (odd(x[i], x[4 + i]), odd(x[8 + i], x[12 + i]));
        (x[i], x[4 + i], x[8 + i], x[12 + i]) = (even(a, b), even(c, d), odd(a, b), odd(c, d));
    }
    x
}

/// Packs a strip in blocks.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn pack<const OF_A: bool>(s: &Strip<f32, f32>) {
    let panels = s.rows.div_ceil(PANEL);
    let blocks = s.k.div_ceil(STEPS);
    // Where a step's rows are neighbors, blocks of steps come first: their lines are read to the end.
    let place = |number: usize| match s.from_row {
        1 => (number % panels, number / panels),
        _ => (number / blocks, number % blocks),
    };
    let to =
        |(panel, block): (usize, usize)| s.to.wrapping_add(panel * s.to_panel).cast::<u8>().wrapping_add(block * BLOCK);
    for number in 0..panels * blocks {
        let (panel, block) = place(number);
        let (to, next) = (to((panel, block)), to(place(number + 1)));
        let rows = PANEL.min(s.rows - panel * PANEL);
        let steps = STEPS.min(s.k - block * STEPS);
        for strip in 0..rows.div_ceil(SIDE) {
            let first = panel * PANEL + strip * SIDE;
            // SAFETY: the caller's promise on the strip, whose panels hold whole blocks.
            unsafe {
                let part = Part {
                    from: s.from.add(first * s.from_row + block * STEPS * s.from_step),
                    from_row: s.from_row,
                    from_step: s.from_step,
                    rows: SIDE.min(rows - strip * SIDE),
                    steps,
                };
                part.pack::<OF_A>(to.add(strip * REGISTER), next.wrapping_add(strip * REGISTER));
            }
        }
    }
}

macro_rules! for_rows {
    ($($rows:literal)*) => { &[$(tile::<$rows>),*] };
}

/// The instances: a tile of C has up to 32 rows and columns, and both A and B are packed.
pub(super) static KERNELS: Kernels<f32> = {
    const TILES: &[super::tile::TileKernel<f32>] = for_rows!(
        1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32
    );
    Kernels {
        lanes: SIDE,
        tiles: [TILES, TILES, &[], &[]],
        copying: [&[]; 4],
        row: tile::<1>,
        pack: pack::<true>,
        pack_columns: pack::<false>,
        pack_far_columns: pack::<false>,
        form: FORM,
        enter,
        leave,
    }
};
