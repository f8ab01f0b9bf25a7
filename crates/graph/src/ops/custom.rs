//! Ops of one's own: a shape rule, a forward function on arrays, a gradient in terms of tensors.
//!
//! ```
//! use thalweg_graph::op::Vjp;
//! use thalweg_graph::ops::custom::{Custom, CustomOp};
//! use thalweg_graph::{Array, Meta, ShapeError, Tensor, constant, reference};
//!
//! #[derive(Debug)]
//! struct Cube;
//!
//! impl CustomOp for Cube {
//!     fn name(&self) -> &str {
//!         "cube"
//!     }
//!     fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
//!         Ok(inputs[0].clone())
//!     }
//!     fn forward(&self, inputs: &[&Array]) -> Result<Array, String> {
//!         let x = inputs[0].as_slice::<f32>().map_err(|error| error.to_string())?;
//!         Array::new(inputs[0].shape(), x.iter().map(|x| x * x * x).collect()).map_err(|error| error.to_string())
//!     }
//!     fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
//!         vec![Some(cx.cotangent * cx.inputs[0].square() * 3.0)]
//!     }
//! }
//!
//! let cube = Custom::new(Cube);
//! let y = cube.apply(&[&constant([2.0f32, 3.0])]);
//! assert_eq!(reference::evaluate(&y)?, Array::from([8.0f32, 27.0]));
//! # Ok::<(), thalweg_graph::EvalError>(())
//! ```

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thalweg_array::{Array, DType};

use crate::error::{EvalError, ShapeError};
use crate::op::{OpRules, Reference, Vjp};
use crate::tensor::{Meta, Tensor};

/// What an op of one's own must say. It runs on any thread, and more than once at a time.
pub trait CustomOp: fmt::Debug + Send + Sync {
    /// What messages call it.
    fn name(&self) -> &str;

    /// dtype and shape of the result.
    ///
    /// # Errors
    /// If the op is not defined on these inputs, which includes their number.
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError>;

    /// The result, of the dtype and shape that [`CustomOp::infer`] gave.
    ///
    /// # Errors
    /// If the numbers are not what the op needs; the run fails with the text.
    fn forward(&self, inputs: &[&Array]) -> Result<Array, String>;

    /// The cotangent of each input, given that of the output; `None` where no gradient flows.
    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>>;

    /// Whether the result depends on the inputs alone, so that it can be computed ahead, shared or dropped.
    fn is_pure(&self) -> bool {
        true
    }
}

/// A [`CustomOp`] as an op. Equal to its clones only.
#[derive(Clone, Debug)]
pub struct Custom {
    id: u64,
    op: Arc<dyn CustomOp>,
}

impl Custom {
    /// `op`, to be applied.
    pub fn new(op: impl CustomOp + 'static) -> Custom {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Custom { id: NEXT.fetch_add(1, Ordering::Relaxed), op: Arc::new(op) }
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        self.op.name()
    }

    /// Applies the op.
    ///
    /// # Panics
    /// If the op refuses the inputs.
    #[track_caller]
    pub fn apply(&self, inputs: &[&Tensor]) -> Tensor {
        Tensor::apply(self.clone(), inputs.iter().copied().cloned())
    }

    /// Runs the op on numbers and holds the result against the dtype and shape that were inferred.
    ///
    /// # Errors
    /// What the op says, or how its result differs.
    pub fn run(&self, inputs: &[&Array], dtype: DType, shape: &[usize]) -> Result<Array, String> {
        let result = self.op.forward(inputs)?;
        if result.dtype() != dtype || result.shape() != shape {
            return Err(format!("gave {}{:?}; its shape rule says {dtype}{shape:?}", result.dtype(), result.shape()));
        }
        Ok(result)
    }
}

impl PartialEq for Custom {
    fn eq(&self, other: &Custom) -> bool {
        self.id == other.id
    }
}

impl Eq for Custom {}

impl Hash for Custom {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl OpRules for Custom {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        self.op.infer(inputs)
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        self.op.vjp(cx)
    }

    fn reference(&self, inputs: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        self.run(inputs, cx.dtype, cx.shape).map_err(|reason| EvalError::Custom { op: cx.label.into(), reason })
    }

    fn is_pure(&self) -> bool {
        self.op.is_pure()
    }
}

/// The text form shows the name; it cannot be read back, for the functions are not in it.
impl Serialize for Custom {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut text = to.serialize_struct("Custom", 1)?;
        text.serialize_field("name", self.name())?;
        text.end()
    }
}

impl<'de> Deserialize<'de> for Custom {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Custom, D::Error> {
        #[derive(Deserialize)]
        struct Text {
            name: String,
        }
        let name = Text::deserialize(from)?.name;
        Err(serde::de::Error::custom(format!(
            "the custom op `{name}` cannot be read back: its functions are not part of the text form"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::check::{CheckOptions, check_gradients};
    use crate::op::Op;
    use crate::ops::source::{constant, placeholder};
    use crate::reference::evaluate;

    /// x·y, elementwise, in f64.
    #[derive(Debug)]
    struct Product {
        slope: f64,
    }

    impl CustomOp for Product {
        fn name(&self) -> &str {
            "product"
        }

        fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
            match inputs {
                [x, y] if x == y => Ok((*x).clone()),
                _ => Err(ShapeError::new("takes two inputs of one shape")),
            }
        }

        fn forward(&self, inputs: &[&Array]) -> Result<Array, String> {
            let (x, y) = (inputs[0].to_vec::<f64>(), inputs[1].to_vec::<f64>());
            if x.contains(&666.0) {
                return Err("666 is out of the question".into());
            }
            Ok(Array::from(x.iter().zip(y).map(|(x, y)| x * y).collect::<Vec<f64>>()))
        }

        fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
            let c = cx.cotangent * self.slope;
            vec![Some(&c * &cx.inputs[1]), Some(c * &cx.inputs[0])]
        }
    }

    #[test]
    fn the_gradient_of_a_custom_op_is_checked_like_any_other() {
        let inputs = [Array::from([1.0, -2.0, 3.0]), Array::from([0.5, 4.0, -1.0])];
        let with_slope = |slope| {
            let product = Custom::new(Product { slope });
            let f = move |x: &[Tensor]| product.apply(&[&x[0], &x[1]]);
            check_gradients(f, &inputs, &CheckOptions::default())
        };
        assert!(with_slope(1.0).is_ok());
        let message = with_slope(1.1).unwrap_err().to_string();
        assert!(message.contains("input 0"), "{message}");
    }

    #[test]
    fn what_a_custom_op_says_reaches_the_user() {
        let product = Custom::new(Product { slope: 1.0 });
        let x = placeholder("x", DType::F64, [2]);
        let y = placeholder("y", DType::F64, [3]);
        let message = Tensor::try_apply(product.clone(), [x, y]).unwrap_err().to_string();
        assert!(message.contains("product: takes two inputs of one shape"), "{message}");
        let x = constant([666.0]);
        let message = evaluate(&product.apply(&[&x, &x])).unwrap_err().to_string();
        assert!(message.contains("product") && message.contains("666 is out of the question"), "{message}");
        let x = constant([[1.0]]);
        let message = evaluate(&product.apply(&[&x, &x])).unwrap_err().to_string();
        assert!(message.contains("gave f64[1]; its shape rule says f64[1, 1]"), "{message}");
    }

    #[test]
    fn identity_and_text() {
        let (first, second) = (Custom::new(Product { slope: 1.0 }), Custom::new(Product { slope: 1.0 }));
        assert_eq!(first, first.clone());
        assert_ne!(first, second);
        let text = serde_json::to_string(&Op::from(first)).unwrap();
        let message = serde_json::from_str::<Op>(&text).unwrap_err().to_string();
        assert!(message.contains("the custom op `product` cannot be read back"), "{message}");
    }
}
