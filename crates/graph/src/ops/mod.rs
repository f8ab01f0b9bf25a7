//! The ops, a file per family: what users call, the op types, their rules (shape, gradient, reference), the tests.
//!
//! | family | what it holds |
//! | --- | --- |
//! | [`source`] | placeholders, constants, variables, sizes as numbers |
//! | [`elementwise`] | functions of one, two or three numbers, casts, broadcasting |
//! | [`operators`] | `&a + &b`, `2.0 * &x` |
//! | [`reduce`] | sums, products, extremes, means |
//! | [`einsum`] | products over named axes |
//! | [`matmul`] | matrix products |
//! | [`control`] | loops over the positions of tensors |
//! | [`convolution`] | convolutions, transposed ones, their gradients |
//! | [`windows`] | windows along an axis, and adding them up |
//! | [`pool`] | largest numbers and means of windows, other resolutions |
//! | [`shape`] | reshape, permute, expand |
//! | [`index`] | gather and scatter-add, positions, checks of indices, one-hot |
//! | [`attention`] | what queries find among keys |
//! | [`assemble`] | slice, pad, flip, concat, split |
//! | [`order`] | sort, the largest k, the position of the extreme |
//! | [`scan`] | running sums |
//! | [`statistics`] | any and all, variance, norms |
//! | [`random`] | uniform and normal numbers |
//! | [`state`] | stop-gradient, updates, what is evaluated as something else |
//! | [`normalization`] | batch, group and RMS norm |
//! | [`composite`] | softmax and other functions of primitives that keep their name |
//! | [`custom`] | ops of one's own |

pub mod assemble;
pub mod attention;
pub mod composite;
pub mod control;
pub mod convolution;
pub mod custom;
pub mod einsum;
pub mod elementwise;
pub mod index;
pub mod matmul;
pub mod normalization;
pub mod operators;
pub mod order;
pub mod pool;
pub mod random;
pub mod reduce;
pub mod scan;
pub mod shape;
pub mod source;
pub mod state;
pub mod statistics;
pub mod windows;
