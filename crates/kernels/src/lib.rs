//! Fast loops over slices: matrix multiply, tile programs, reductions, data movement, the thread pool.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`attention`] | [`Attention`](attention::Attention): softmax(q kᵀ) v, its gradients |
//! | [`convolution`] | [`Convolution`](convolution::Convolution): a convolution, its gradients |
//! | [`cpu`] | [`Isa`](cpu::Isa): the instruction sets that kernels are written for; flushing of denormals |
//! | [`limits`] | [`Limits`](limits::Limits): what this machine can do at most, measured |
//! | [`matmul`] | [`Matmul`](matmul::Matmul): C = A·B |
//! | [`movement`] | strided copies, gather and scatter, what runs along an axis |
//! | [`pool`] | [`Pool`](pool::Pool): fork and join over a fixed set of threads |
//! | [`tile`] | the interpreter of fused elementwise programs, row reductions included |
//! | [`vector`] | the scalar functions as loops over slices |
//!
//! A kernel takes slices or pointers, sizes, strides and scratch memory. It allocates nothing and checks nothing but
//! what memory safety needs: its caller has checked the rest. A portable version stands beside each fast one.
#![allow(unsafe_code)]

pub mod attention;
pub mod convolution;
pub mod cpu;
pub mod limits;
pub mod matmul;
pub mod movement;
pub mod pool;
pub mod tile;
pub mod vector;
