//! What is done to the rows of a block of scores.

use crate::vector::isa::per_isa;

per_isa! {
    /// Each row of `width` numbers less its own number; −∞ as that number counts as 0.
    pub(super) fn subtract(x: &mut [f32], width: usize, less: &[f32]) = subtract_body
}

#[inline(always)]
fn subtract_body<const F: bool>(x: &mut [f32], width: usize, less: &[f32]) {
    for (row, &less) in x.chunks_exact_mut(width).zip(less) {
        let less = if less == f32::NEG_INFINITY { 0.0 } else { less };
        row.iter_mut().for_each(|x| *x -= less);
    }
}

per_isa! {
    /// Each row of `width` numbers times its own number.
    pub(super) fn multiply(x: &mut [f32], width: usize, by: &[f32]) = multiply_body
}

#[inline(always)]
fn multiply_body<const F: bool>(x: &mut [f32], width: usize, by: &[f32]) {
    for (row, &by) in x.chunks_exact_mut(width).zip(by) {
        row.iter_mut().for_each(|x| *x *= by);
    }
}

per_isa! {
    /// All numbers times one.
    pub(super) fn scale(x: &mut [f32], by: f32) = scale_body
}

#[inline(always)]
fn scale_body<const F: bool>(x: &mut [f32], by: f32) {
    x.iter_mut().for_each(|x| *x *= by);
}

per_isa! {
    /// p (d − less) for each number, d becoming it.
    pub(super) fn softmax_gradient(p: &[f32], d: &mut [f32], width: usize, less: &[f32]) = softmax_gradient_body
}

#[inline(always)]
fn softmax_gradient_body<const F: bool>(p: &[f32], d: &mut [f32], width: usize, less: &[f32]) {
    for ((p, d), &less) in p.chunks_exact(width).zip(d.chunks_exact_mut(width)).zip(less) {
        p.iter().zip(d).for_each(|(p, d)| *d = p * (*d - less));
    }
}

per_isa! {
    /// What is left of numbers: nothing where the uniform number is below the rate, else the number times `by`.
    pub(super) fn drop(uniform: &[f32], rate: f32, by: f32, x: &mut [f32]) = drop_body
}

#[inline(always)]
fn drop_body<const F: bool>(uniform: &[f32], rate: f32, by: f32, x: &mut [f32]) {
    uniform.iter().zip(x).for_each(|(u, x)| *x = if *u >= rate { *x * by } else { 0.0 });
}

per_isa! {
    /// What is left of weights, in place of their uniform numbers, and of their cotangents.
    pub(super) fn drop_both(weights: &[f32], rate: f32, by: f32, uniform: &mut [f32], d: &mut [f32]) = drop_both_body
}

#[inline(always)]
fn drop_both_body<const F: bool>(weights: &[f32], rate: f32, by: f32, uniform: &mut [f32], d: &mut [f32]) {
    for ((p, u), d) in weights.iter().zip(uniform).zip(d) {
        (*u, *d) = if *u >= rate { (p * by, *d * by) } else { (0.0, 0.0) };
    }
}
