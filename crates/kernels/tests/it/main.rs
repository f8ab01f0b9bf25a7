//! Tests of the kernels through their public interface.

#![allow(unsafe_code)]

mod instructions;
mod tile;
