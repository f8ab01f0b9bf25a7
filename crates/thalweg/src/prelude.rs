//! What most programs use: `use thalweg::prelude::*`.

pub use crate::array::{Array, DType, Shape, Size};
pub use crate::data::{Augment, Dataset, ImageFolder, Loader, Normalize, Per, Picture, Split};
pub use crate::feeds;
pub use crate::graph::{
    Axes, ConvOptions, Pool, Tensor, Variable, constant, full, grad, iota, ones, placeholder, random_normal,
    random_uniform, scope, zeros,
};
pub use crate::nn::{
    Activation, Adam, AdamW, BatchNorm, Conv1d, Conv2d, Conv3d, ConvConfig, ConvTranspose2d, CrossEntropy, Dropout,
    Embedding, Flatten, Forward, GaussianNoise, GlobalPool, Init, Initializer, Layer, LayerNorm, Linear, Loss, MaxPool,
    Mlp, MlpConfig, Module, Optimizer, Penalty, Recurrence, Recurrent, Residual, Schedule, Sgd, Stacked, Stateful,
    cross_entropy, squared_error,
};
pub use crate::run::{Eval, Feeds, Session};
pub use crate::train::{
    EarlyStopping, FitOptions, Inference, Learner, Length, Rates, RunFolder, Target, Task, Trained, Training,
    TrainingData, Watch, evaluate, fit,
};

/// The dtypes by the names of their Rust types: `placeholder("x", f32, ["n"])`.
#[allow(non_upper_case_globals, reason = "they are written as the types they stand for")]
mod dtypes {
    use crate::array::DType;

    /// 32-bit floats.
    pub const f32: DType = DType::F32;
    /// 64-bit floats.
    pub const f64: DType = DType::F64;
    /// 16-bit floats of IEEE 754.
    pub const f16: DType = DType::F16;
    /// 16-bit floats with the exponents of f32.
    pub const bf16: DType = DType::BF16;
    /// 32-bit integers.
    pub const i32: DType = DType::I32;
    /// 64-bit integers.
    pub const i64: DType = DType::I64;
    /// Bytes.
    pub const u8: DType = DType::U8;
    /// Truth values.
    pub const bool: DType = DType::Bool;
}
pub use dtypes::*;
