//! Every op, and how its gradient is tested. The matches have no `_`: an op that is not here does not compile, and one
//! without cases fails.

use thalweg_graph::Op;
use thalweg_graph::array::Real;
use thalweg_graph::array::scalar::{Binary, Fold, Unary};

/// What the tests know of an op's gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Gradient {
    /// Held against differences.
    Checked,
    /// It has no inputs, or none of its inputs or outputs are floats, or it stops gradients on purpose.
    Absent,
}

macro_rules! kinds {
    ($($kind:ident => $gradient:ident),* $(,)?) => {
        /// Every kind of op with what is known of its gradient.
        pub(crate) const KINDS: &[(&str, Gradient)] = &[$((stringify!($kind), Gradient::$gradient)),*];

        /// The kind of `op`.
        pub(crate) fn kind(op: &Op) -> &'static str {
            match op {
                $(Op::$kind(_) => stringify!($kind),)*
            }
        }
    };
}
kinds! {
    Placeholder => Absent,
    Constant => Absent,
    Variable => Absent,
    Size => Absent,
    Unary => Checked,
    Binary => Checked,
    Select => Checked,
    Cast => Checked,
    Reduce => Checked,
    MatMul => Checked,
    Convolution => Checked,
    Windows => Checked,
    OverlapAdd => Checked,
    Reshape => Checked,
    Permute => Checked,
    Expand => Checked,
    Iota => Absent,
    Gather => Checked,
    ScatterAdd => Checked,
    TakeAlong => Checked,
    ScatterAddAlong => Checked,
    CheckIndices => Absent,
    Concat => Checked,
    Slice => Checked,
    Pad => Checked,
    Flip => Checked,
    ArgSort => Absent,
    ArgReduce => Absent,
    CumSum => Checked,
    Random => Absent,
    StopGradient => Absent,
    After => Absent,
    WithUpdate => Checked,
    EvaluatedAs => Checked,
    Softmax => Checked,
    LogSoftmax => Checked,
    LogSumExp => Checked,
    Dropout => Checked,
    LayerNorm => Checked,
    BatchNorm => Checked,
    Attention => Checked,
    AttentionGradient => Checked,
    Loop => Checked,
    Output => Checked,
    Custom => Checked,
}

macro_rules! functions {
    ($operands:literal, $list:ident, $type:ident: $($variant:ident $({ $field:ident: $value:expr })? => $domain:expr),* $(,)?) => {
        /// Every function, with the ranges of its operands on which it is differentiable almost everywhere; `None`
        /// where it is defined on bool alone or gives bool.
        pub(crate) fn $list() -> Vec<($type, Option<[(f64, f64); $operands]>)> {
            // Only here to fail where a variant is missing.
            fn _complete(f: $type) {
                match f {
                    $($type::$variant { .. } => (),)*
                }
            }
            vec![$(($type::$variant $({ $field: Real($value) })?, $domain)),*]
        }
    };
}
const ANY: (f64, f64) = (-2.0, 2.0);
const POSITIVE: (f64, f64) = (0.2, 3.0);

functions! { 1, unaries, Unary:
    Neg => Some([ANY]),
    Abs => Some([ANY]),
    Sign => Some([ANY]),
    Floor => Some([ANY]),
    Ceil => Some([ANY]),
    Round => Some([ANY]),
    Square => Some([ANY]),
    Reciprocal => Some([POSITIVE]),
    Sqrt => Some([POSITIVE]),
    Rsqrt => Some([POSITIVE]),
    Exp => Some([ANY]),
    Expm1 => Some([ANY]),
    Log => Some([POSITIVE]),
    Log1p => Some([(-0.8, 3.0)]),
    Sin => Some([ANY]),
    Cos => Some([ANY]),
    Tan => Some([(-1.2, 1.2)]),
    Asin => Some([(-0.9, 0.9)]),
    Acos => Some([(-0.9, 0.9)]),
    Atan => Some([ANY]),
    Sinh => Some([ANY]),
    Cosh => Some([ANY]),
    Tanh => Some([ANY]),
    Erf => Some([ANY]),
    Not => None,
    Sigmoid => Some([(-9.0, 9.0)]),
    Softplus => Some([(-9.0, 9.0)]),
    Relu => Some([ANY]),
    LeakyRelu { slope: 0.1 } => Some([ANY]),
    Elu { alpha: 0.7 } => Some([ANY]),
    Selu => Some([ANY]),
    Gelu => Some([(-6.0, 6.0)]),
    GeluTanh => Some([(-6.0, 6.0)]),
    Silu => Some([(-9.0, 9.0)]),
    HardTanh => Some([ANY]),
    IsNan => None,
    IsFinite => None,
}

functions! { 2, binaries, Binary:
    Add => Some([ANY, ANY]),
    Sub => Some([ANY, ANY]),
    Mul => Some([ANY, ANY]),
    Div => Some([ANY, POSITIVE]),
    Rem => Some([(-5.0, 5.0), (1.0, 2.0)]),
    Pow => Some([POSITIVE, ANY]),
    Max => Some([ANY, ANY]),
    Min => Some([ANY, ANY]),
    Eq => None,
    Ne => None,
    Lt => None,
    Le => None,
    Gt => None,
    Ge => None,
    And => None,
    Or => None,
    Xor => None,
}

/// Every fold.
pub(crate) fn folds() -> [Fold; 4] {
    let folds = [Fold::Sum, Fold::Prod, Fold::Max, Fold::Min];
    match folds[0] {
        Fold::Sum | Fold::Prod | Fold::Max | Fold::Min => folds,
    }
}
