//! Putting f32 together: sums, products and extremes of rows and of columns, in a fixed order.

use thalweg_array::scalar::{Binary, Fold};

use super::float32::LANES;
use super::isa::per_isa;
use super::math::{max, min};

/// Numbers that are put together in f32 before they go on in f64.
const BLOCK: usize = 1024;
/// Accumulators within a block.
const WIDE: usize = 64;

per_isa! {
    /// All of `x` put together, in an order that depends on its length alone: lanes within blocks of 1,024 numbers,
    /// halves of lanes, then blocks in f64.
    pub(super) fn fold(f: Fold, x: &[f32]) -> f64 = fold_body
}

#[inline(always)]
fn fold_body<const F: bool>(f: Fold, x: &[f32]) -> f64 {
    // What two numbers make; what two that are none of them NaN make, and whether that forgets a NaN.
    macro_rules! blocks {
        ($zero:expr, |$a:ident, $b:ident| $both:expr, $of_numbers:expr, $forgets_nan:expr, |$total:ident, $part:ident| $join:expr) => {{
            let mut $total = $zero as f64;
            for block in x.chunks(BLOCK) {
                // Short rows would spend their time on empty lanes.
                let $part = if block.len() <= 4 * LANES {
                    lanes!(LANES, block, $zero, |$a, $b| $both, $of_numbers, $forgets_nan)
                } else {
                    lanes!(WIDE, block, $zero, |$a, $b| $both, $of_numbers, $forgets_nan)
                } as f64;
                $total = $join;
            }
            $total
        }};
    }
    macro_rules! lanes {
        ($lanes:expr, $block:expr, $zero:expr, |$a:ident, $b:ident| $both:expr, $of_numbers:expr, $forgets_nan:expr) => {{
            let mut lanes = [$zero; $lanes];
            let mut chunks = $block.chunks_exact($lanes);
            for chunk in &mut chunks {
                for (lane, &$b) in lanes.iter_mut().zip(chunk) {
                    let $a = *lane;
                    *lane = $both;
                }
            }
            let rest = chunks.remainder().len();
            if rest > 0 {
                // The last numbers, without those that are in already: no copy.
                let mut padded = [$zero; $lanes];
                match $block.last_chunk::<$lanes>() {
                    Some(last) => {
                        for (lane, (padded, &x)) in padded.iter_mut().zip(last).enumerate() {
                            *padded = if lane + rest >= $lanes { x } else { $zero };
                        }
                    }
                    None => padded[..rest].copy_from_slice($block),
                }
                for (lane, &$b) in lanes.iter_mut().zip(&padded) {
                    let $a = *lane;
                    *lane = $both;
                }
            }
            // Checked once, so that each comparison of halves is one instruction.
            let forgets = $forgets_nan && lanes.iter().any(|lane| lane.is_nan());
            let mut half = $lanes / 2;
            while half > 0 {
                for i in 0..half {
                    let ($a, $b) = (lanes[i], lanes[i + half]);
                    lanes[i] = $of_numbers;
                }
                half /= 2;
            }
            if forgets { f32::NAN } else { lanes[0] }
        }};
    }
    match f {
        Fold::Sum => blocks!(0.0f32, |a, b| a + b, a + b, false, |total, part| total + part),
        Fold::Prod => x.iter().fold(1.0, |total, &x| total * x as f64),
        Fold::Max => {
            blocks!(f32::NEG_INFINITY, |a, b| max(a, b), if a > b { a } else { b }, true, |total, part| Binary::Max
                .apply(total, part))
        }
        Fold::Min => {
            blocks!(f32::INFINITY, |a, b| min(a, b), if a < b { a } else { b }, true, |total, part| Binary::Min
                .apply(total, part))
        }
    }
}

per_isa! {
    /// Each row of `width` numbers put together, in an order that depends on the width alone.
    pub(super) fn fold_rows(f: Fold, x: &[f32], width: usize, totals: &mut [f64]) = fold_rows_body
}

#[inline(always)]
fn fold_rows_body<const F: bool>(f: Fold, x: &[f32], width: usize, totals: &mut [f64]) {
    macro_rules! across {
        ($zero:expr, |$a:ident, $b:ident| $both:expr) => {{
            let mut rows = x.chunks_exact(LANES * width);
            let mut groups = totals.chunks_exact_mut(LANES);
            for (rows, totals) in (&mut rows).zip(&mut groups) {
                let mut lanes = [$zero; LANES];
                for column in 0..width {
                    let numbers = &rows[column..];
                    for (lane, $a) in lanes.iter_mut().enumerate() {
                        let ($b, accumulated) = (numbers[lane * width], *$a);
                        *$a = {
                            let $a = accumulated;
                            $both
                        };
                    }
                }
                for (total, lane) in totals.iter_mut().zip(lanes) {
                    *total = lane as f64;
                }
            }
            let first = x.len() / (LANES * width) * LANES;
            for (row, total) in totals.iter_mut().enumerate().skip(first) {
                let row = &x[row * width..][..width];
                *total = row.iter().fold($zero, |$a, &$b| $both) as f64;
            }
        }};
    }
    // Short rows side by side, a lane for each: along a row most lanes would be empty.
    let short = (1..2 * LANES).contains(&width);
    let x = if short { &x[..totals.len() * width] } else { x };
    match f {
        Fold::Sum if short => across!(0.0f32, |a, b| a + b),
        Fold::Max if short => across!(f32::NEG_INFINITY, |a, b| max(a, b)),
        Fold::Min if short => across!(f32::INFINITY, |a, b| min(a, b)),
        Fold::Sum | Fold::Prod | Fold::Max | Fold::Min => {
            for (row, total) in totals.iter_mut().enumerate() {
                *total = fold_body::<F>(f, &x[row * width..][..width]);
            }
        }
    }
}

per_isa! {
    /// Rows as long as `totals` put together column by column: within 1,024 numbers in f32, then in f64.
    pub(super) fn fold_columns(f: Fold, x: &[f32], totals: &mut [f64]) = fold_columns_body
}

#[inline(always)]
fn fold_columns_body<const F: bool>(f: Fold, x: &[f32], totals: &mut [f64]) {
    let width = totals.len();
    if width == 0 {
        return;
    }
    macro_rules! columns {
        ($zero:expr, |$a:ident, $b:ident| $both:expr, |$total:ident, $part:ident| $join:expr) => {
            for rows in x.chunks((BLOCK / width).max(1) * width) {
                if width < LANES {
                    side_by_side!(rows, $zero, |$a, $b| $both, |$total, $part| $join);
                    continue;
                }
                let mut done = 0;
                while width - done >= WIDE {
                    strip!(WIDE, rows, done, done, $zero, |$a, $b| $both, |$total, $part| $join);
                    done += WIDE;
                }
                while done < width {
                    // The last one may begin with columns that are done.
                    let first = done.min(width - LANES);
                    strip!(LANES, rows, first, done, $zero, |$a, $b| $both, |$total, $part| $join);
                    done = first + LANES;
                }
            }
        };
    }
    // Columns from `$first` on, down the rows in registers; those from `$done` on are joined.
    macro_rules! strip {
        ($lanes:expr, $rows:expr, $first:expr, $done:expr, $zero:expr, |$a:ident, $b:ident| $both:expr, |$total:ident, $part:ident| $join:expr) => {{
            let mut lanes = [$zero; $lanes];
            for row in $rows.chunks_exact(width) {
                let row: &[f32; $lanes] = row[$first..].first_chunk().expect("strips lie within rows");
                for (lane, &$b) in lanes.iter_mut().zip(row) {
                    let $a = *lane;
                    *lane = $both;
                }
            }
            let totals: &mut [f64; $lanes] = totals[$first..].first_chunk_mut().expect("strips lie within rows");
            for (lane, (total, &part)) in totals.iter_mut().zip(&lanes).enumerate() {
                let ($total, $part) = (*total, part as f64);
                *total = if $first + lane >= $done { $join } else { $total };
            }
        }};
    }
    // Several rows make one long one, the halves of which are put together in the end.
    macro_rules! side_by_side {
        ($rows:expr, $zero:expr, |$a:ident, $b:ident| $both:expr, |$total:ident, $part:ident| $join:expr) => {{
            let mut lanes = [$zero; LANES * LANES];
            for rows in $rows.chunks(LANES * width) {
                for (lane, &$b) in lanes.iter_mut().zip(rows) {
                    let $a = *lane;
                    *lane = $both;
                }
            }
            let mut half = LANES / 2;
            while half > 0 {
                let (first, second) = lanes[..2 * half * width].split_at_mut(half * width);
                for (lane, &$b) in first.iter_mut().zip(&*second) {
                    let $a = *lane;
                    *lane = $both;
                }
                half /= 2;
            }
            for (total, &part) in totals.iter_mut().zip(&lanes) {
                let ($total, $part) = (*total, part as f64);
                *total = $join;
            }
        }};
    }
    match f {
        Fold::Sum => columns!(0.0f32, |a, b| a + b, |total, part| total + part),
        Fold::Prod => {
            for row in x.chunks_exact(width) {
                totals.iter_mut().zip(row).for_each(|(total, &x)| *total *= x as f64);
            }
        }
        Fold::Max => columns!(f32::NEG_INFINITY, |a, b| max(a, b), |total, part| max64(total, part)),
        Fold::Min => columns!(f32::INFINITY, |a, b| min(a, b), |total, part| -max64(-total, -part)),
    }
}

#[inline(always)]
fn max64(x: f64, y: f64) -> f64 {
    let larger = if x > y { x } else { y };
    if x.is_nan() { x } else { larger }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Isa;
    use thalweg_array::DType;

    #[test]
    fn folds_are_exact_where_they_can_be_and_keep_nan() {
        for isa in Isa::available() {
            for n in [0, 1, 5, 16, 63, 64, 65, 1000, 1024, 5000] {
                let x: Vec<f32> = (0..n).map(|i| (i as f32 * 7.0) % 31.0 - 15.0).collect();
                for f in [Fold::Sum, Fold::Max, Fold::Min] {
                    let exact = x.iter().fold(f.identity(DType::F32).to_f64(), |t, &x| f.binary().apply(t, x as f64));
                    assert_eq!(fold(isa, f, &x), exact, "{isa} {f:?} {n}");
                    for width in [1, 3, 8, 31, 32, 45, 64, 100, 700] {
                        let mut totals = vec![0.0; n / width];
                        fold_rows(isa, f, &x, width, &mut totals);
                        for (row, &total) in totals.iter().enumerate() {
                            assert_eq!(total, fold(isa, f, &x[row * width..][..width]), "{isa} {f:?} {n} {width}");
                        }
                        let mut totals = vec![f.identity(DType::F32).to_f64(); width];
                        let whole = &x[..n / width * width];
                        fold_columns(isa, f, whole, &mut totals);
                        for (column, &total) in totals.iter().enumerate() {
                            let exact = whole
                                .iter()
                                .skip(column)
                                .step_by(width)
                                .fold(f.identity(DType::F32).to_f64(), |t, &x| f.binary().apply(t, x as f64));
                            assert_eq!(total, exact, "{isa} {f:?} {n} {width}");
                        }
                    }
                }
                for at in [0, n / 2, n.saturating_sub(1)] {
                    let mut x = x.clone();
                    if let Some(x) = x.get_mut(at) {
                        *x = f32::NAN;
                        let mut totals = [f64::NEG_INFINITY];
                        fold_columns(isa, Fold::Max, &[x.abs(), 1.0], &mut totals);
                        assert!(totals[0].is_nan());
                        fold_rows(isa, Fold::Max, &[*x; 20], 1, &mut totals);
                        assert!(totals[0].is_nan());
                        fold_columns(isa, Fold::Min, &[1.0, *x], &mut totals);
                        assert!(totals[0].is_nan());
                    }
                    assert!(n == 0 || fold(isa, Fold::Max, &x).is_nan() && fold(isa, Fold::Min, &x).is_nan());
                }
            }
        }
    }
}
