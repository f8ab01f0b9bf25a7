//! What a node can compute: one closed enum of ops, one trait of rules, one open door ([`crate::ops::custom`]).

use std::fmt;

use serde::{Deserialize, Serialize};
use thalweg_array::{Array, Bindings, DType};

use crate::error::{EvalError, ShapeError};
use crate::ops::assemble::{Concat, Flip, Pad, Slice};
use crate::ops::attention::{Attention, AttentionGradient};
use crate::ops::composite::{Dropout, LayerNorm, LogSoftmax, LogSumExp, Softmax};
use crate::ops::control::{Loop, Output};
use crate::ops::convolution::Convolution;
use crate::ops::custom::Custom;
use crate::ops::elementwise::{Cast, ElementwiseBinary, ElementwiseUnary, Select};
use crate::ops::index::{CheckIndices, Gather, Iota, ScatterAdd, ScatterAddAlong, TakeAlong};
use crate::ops::matmul::MatMul;
use crate::ops::normalization::BatchNorm;
use crate::ops::order::{ArgReduce, ArgSort};
use crate::ops::random::Random;
use crate::ops::reduce::Reduce;
use crate::ops::scan::CumSum;
use crate::ops::shape::{Expand, Permute, Reshape};
use crate::ops::source::{Constant, Placeholder, SizeNumber, VariableRead};
use crate::ops::state::{After, EvaluatedAs, StopGradient, WithUpdate};
use crate::ops::windows::{OverlapAdd, Windows};
use crate::tensor::{Meta, Tensor};

/// The rules of an op: everything there is to know of it but how to run it fast.
pub trait OpRules: fmt::Debug {
    /// dtype and shape of the result.
    ///
    /// # Errors
    /// If the op is not defined on these inputs.
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError>;

    /// The cotangent of each input, given that of the output; `None` where no gradient flows. Shapes are those of the
    /// inputs. Built from ordinary tensors, so that gradients can be differentiated again.
    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>>;

    /// The result by plain loops, floats in f64 and rounded once: short enough to believe. A composite has none: its
    /// expansion is evaluated.
    ///
    /// # Errors
    /// If the numbers are not what the op needs (an index out of bounds).
    fn reference(&self, inputs: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError>;

    /// Whether the op is defined by its expansion.
    fn is_composite(&self) -> bool {
        false
    }

    /// The same in terms of primitives, for composites: what they are, whichever kernel runs them.
    fn expand(&self, inputs: &[Tensor]) -> Option<Tensor> {
        let _ = inputs;
        None
    }

    /// Whether the result depends on the inputs alone and can be computed ahead, shared or dropped.
    fn is_pure(&self) -> bool {
        true
    }
}

/// The inputs, as many as the op takes.
///
/// # Errors
/// If there are more or fewer.
pub fn exactly<'a, const N: usize>(inputs: &[&'a Meta]) -> Result<[&'a Meta; N], ShapeError> {
    inputs.try_into().map_err(|_| {
        let plural = if N == 1 { "" } else { "s" };
        ShapeError::new(format!("takes {N} input{plural}, got {}", inputs.len()))
    })
}

/// What a gradient rule sees.
#[derive(Debug)]
pub struct Vjp<'a> {
    /// The inputs of the op.
    pub inputs: &'a [Tensor],
    /// Its output; cheaper than computing the same again.
    pub output: &'a Tensor,
    /// The cotangent of the output ȳ = ∂loss/∂y, of the output's shape.
    pub cotangent: &'a Tensor,
    /// Which inputs lead to something that is differentiated; the others need no answer.
    pub wanted: &'a [bool],
}

/// What a reference evaluation sees beside the numbers.
#[derive(Debug)]
pub struct Reference<'a> {
    /// What the op is called, for messages.
    pub label: &'a str,
    /// The numbers of the names.
    pub bindings: &'a Bindings,
    /// dtype of the result.
    pub dtype: DType,
    /// Shape of the result.
    pub shape: &'a [usize],
    /// The session's seed.
    pub seed: u64,
    /// The session's counter of committed runs.
    pub step: u64,
}

/// Declares the enum and its dispatch from one list.
macro_rules! ops {
    ($($(#[$doc:meta])* $variant:ident($type:ty)),* $(,)?) => {
        /// What a node computes.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Op {
            $($(#[$doc])* $variant($type),)*
        }

        impl Op {
            fn rules(&self) -> &dyn OpRules {
                match self {
                    $(Op::$variant(op) => op,)*
                }
            }
        }

        $(impl From<$type> for Op {
            fn from(op: $type) -> Op {
                Op::$variant(op)
            }
        })*
    };
}

ops! {
    /// Numbers that are fed.
    Placeholder(Placeholder),
    /// Numbers that are known.
    Constant(Constant),
    /// The value of a variable before the run.
    Variable(VariableRead),
    /// A size as a number.
    Size(SizeNumber),
    /// A function of one number.
    Unary(ElementwiseUnary),
    /// A function of two numbers.
    Binary(ElementwiseBinary),
    /// One of two numbers.
    Select(Select),
    /// Conversion to another dtype.
    Cast(Cast),
    /// Many numbers put together along axes.
    Reduce(Reduce),
    /// Matrix products.
    #[serde(rename = "matmul")]
    MatMul(MatMul),
    /// One side of a convolution from the two others.
    Convolution(Convolution),
    /// Windows along an axis.
    Windows(Windows),
    /// Windows added up.
    OverlapAdd(OverlapAdd),
    /// Another shape of the same elements in the same order.
    Reshape(Reshape),
    /// Axes in another order.
    Permute(Permute),
    /// Repetition along axes of size 1 and new leading axes.
    Expand(Expand),
    /// Positions along an axis.
    Iota(Iota),
    /// Slices by index.
    Gather(Gather),
    /// Addition to slices by index.
    ScatterAdd(ScatterAdd),
    /// Numbers by index, line by line.
    TakeAlong(TakeAlong),
    /// Addition to numbers by index, line by line.
    ScatterAddAlong(ScatterAddAlong),
    /// Identity that fails where an integer is no index.
    CheckIndices(CheckIndices),
    /// Tensors one after the other.
    Concat(Concat),
    /// Some positions of each axis.
    Slice(Slice),
    /// A larger ground.
    Pad(Pad),
    /// Axes in reverse order.
    Flip(Flip),
    /// The positions that sort.
    ArgSort(ArgSort),
    /// The position of the extreme.
    ArgReduce(ArgReduce),
    /// Running sums.
    CumSum(CumSum),
    /// Random numbers.
    Random(Random),
    /// Identity without gradient.
    StopGradient(StopGradient),
    /// Identity that waits.
    After(After),
    /// Identity that carries an update.
    WithUpdate(WithUpdate),
    /// Identity in a run, another tensor in an evaluation.
    EvaluatedAs(EvaluatedAs),
    /// e^x / Σ e^x along an axis.
    Softmax(Softmax),
    /// ln of it.
    LogSoftmax(LogSoftmax),
    /// ln Σ e^x over axes.
    LogSumExp(LogSumExp),
    /// Random zeros.
    Dropout(Dropout),
    /// Lines of mean 0 and variance 1, scaled and shifted.
    LayerNorm(LayerNorm),
    /// Values weighted by how queries and keys agree.
    Attention(Attention),
    /// Its gradients.
    AttentionGradient(AttentionGradient),
    /// Channels with given mean and variance brought to mean 0 and variance 1, scaled and shifted.
    BatchNorm(BatchNorm),
    /// A step for each position.
    Loop(Loop),
    /// One result of a loop.
    Output(Output),
    /// An op of the user's own.
    Custom(Custom),
}

impl Op {
    /// What the op is called in messages and text forms: `add`, `matmul`, `softmax`.
    pub fn label(&self) -> String {
        if let Op::Custom(custom) = self { custom.name().to_string() } else { crate::text::split_op(self).0 }
    }

    /// The name that the op itself carries: of a placeholder or a variable.
    pub fn own_name(&self) -> Option<&str> {
        match self {
            Op::Placeholder(placeholder) => Some(&placeholder.name),
            Op::Variable(read) => read.variable().known_name(),
            _ => None,
        }
    }
}

impl OpRules for Op {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let meta = self.rules().infer(inputs)?;
        if meta.shape.rank() > thalweg_array::MAX_RANK {
            return Err(ShapeError::new(format!("the result {meta} has {} axes", meta.shape.rank()))
                .detail(format!("a tensor has at most {} axes", thalweg_array::MAX_RANK)));
        }
        if let Some(numbers) = meta.shape.numbers() {
            thalweg_array::array::byte_count(&numbers, meta.dtype)
                .map_err(|error| ShapeError::new(error.to_string()))?;
        }
        Ok(meta)
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        self.rules().vjp(cx)
    }

    fn reference(&self, inputs: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        self.rules().reference(inputs, cx)
    }

    fn is_composite(&self) -> bool {
        self.rules().is_composite()
    }

    fn expand(&self, inputs: &[Tensor]) -> Option<Tensor> {
        self.rules().expand(inputs)
    }

    fn is_pure(&self) -> bool {
        self.rules().is_pure()
    }
}
