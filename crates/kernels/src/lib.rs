//! Fast loops over slices: matrix multiply, tile programs, reductions, data movement, the thread pool.
