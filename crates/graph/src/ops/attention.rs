//! Attention: what queries find among keys, and its gradients, as one op each, so that scores need not be stored.

use serde::{Deserialize, Serialize};
use thalweg_array::{Array, DType, Real, Shape, Size};

use crate::autodiff::reverse::pull_back;
use crate::error::{EvalError, ShapeError};
use crate::op::{OpRules, Reference, Vjp};
use crate::ops::composite::no_reference;
use crate::ops::index::iota;
use crate::tensor::{Meta, Tensor};

/// For each query the sum of the values, weighted by softmax(scale · q·k) over the keys that it may see; 0 where it may see
/// none (Vaswani et al. 2017). Queries `[batch, queries, heads, width]`, keys `[batch, keys, key heads, width]` and values
/// `[batch, keys, key heads, any]` give `[batch, queries, heads, any]`; neighboring heads share a head of the keys where there
/// are fewer of those. `mask` is bool and repeats to `[batch, heads, queries, keys]`; a causal query sees the keys up to its own
/// position.
///
/// ```
/// use thalweg_graph::{DType, attention, placeholder};
/// let x = placeholder("x", DType::F32, ("batch", "time", 4, 64));
/// assert_eq!(attention(&x, &x, &x, None, true, 0.125).meta(), x.meta());
/// ```
///
/// # Panics
/// If the shapes do not fit.
#[track_caller]
pub fn attention(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    mask: Option<&Tensor>,
    causal: bool,
    scale: f64,
) -> Tensor {
    let mut inputs = vec![queries.clone(), keys.clone(), values.clone()];
    if let Some(mask) = mask {
        let scores = match (queries.rank(), keys.rank()) {
            (4, 4) => [queries.size(0), queries.size(2), queries.size(1), keys.size(1)].into_iter().collect(),
            // The rule says what is wrong.
            _ => mask.shape().clone(),
        };
        inputs.push(mask.expand(&scores));
    }
    Tensor::apply(Attention { causal, scale: Real(scale) }, inputs)
}

impl Tensor {
    /// Softmax along `axis` over the numbers that are allowed, 0 for the others; all 0 where none is.
    #[track_caller]
    pub fn softmax_where(&self, allowed: &Tensor, axis: isize) -> Tensor {
        // Not −∞: a line of those has no softmax.
        let never = if self.dtype() == DType::F16 { -6e4 } else { -1e30 };
        let weights = allowed.select(self, never).softmax(axis);
        allowed.select(&weights, 0.0)
    }
}

/// Sizes of attention.
struct Sizes {
    batch: Size,
    queries: Size,
    keys: Size,
    heads: usize,
    key_heads: usize,
    width: Size,
    value_width: Size,
}

impl Sizes {
    fn of(q: &Shape, k: &Shape, v: &Shape) -> Result<Sizes, ShapeError> {
        if [q, k, v].iter().any(|x| x.rank() != 4) {
            return Err(ShapeError::new("queries, keys and values must be [batch, positions, heads, width]")
                .detail(format!("they are {q}, {k} and {v}")));
        }
        let differ = |what: &str, a: &Size, b: &Size| {
            ShapeError::new(format!("{what}: {a} and {b}")).detail(format!("queries {q}, keys {k}, values {v}"))
        };
        if q[0] != k[0] || k[0] != v[0] {
            return Err(differ("the batches differ", &q[0], if q[0] != k[0] { &k[0] } else { &v[0] }));
        }
        if q[3] != k[3] {
            return Err(differ("queries and keys differ in width", &q[3], &k[3]));
        }
        if k[1] != v[1] {
            return Err(differ("there must be a value for each key", &k[1], &v[1]));
        }
        match (q[2].number(), k[2].number(), v[2].number()) {
            (Some(heads), Some(key_heads), Some(value_heads))
                if key_heads == value_heads && key_heads > 0 && heads.is_multiple_of(key_heads) =>
            {
                let (batch, queries, keys) = (q[0].clone(), q[1].clone(), k[1].clone());
                let (width, value_width) = (q[3].clone(), v[3].clone());
                Ok(Sizes { batch, queries, keys, heads, key_heads, width, value_width })
            }
            _ => Err(differ("heads of keys and values must be as many, and divide those of queries", &q[2], &k[2])),
        }
    }

    fn of_tensors(inputs: &[Tensor]) -> Sizes {
        Sizes::of(inputs[0].shape(), inputs[1].shape(), inputs[2].shape()).expect("the op was applied to them")
    }

    /// `[batch, positions, heads, width]` as `[batch, key heads, heads that share one, positions, width]`.
    fn by_head(&self, x: &Tensor) -> Tensor {
        let each = x.size(2).number().expect("heads are known") / self.key_heads;
        let x = x.permute(&[0, 2, 1, 3]);
        x.reshape([x.size(0), Size::from(self.key_heads), Size::from(each), x.size(2), x.size(3)])
    }

    /// And back.
    fn by_position(&self, x: &Tensor) -> Tensor {
        let heads = Size::from(self.key_heads) * x.size(2);
        x.reshape([x.size(0), heads, x.size(3), x.size(4)]).permute(&[0, 2, 1, 3])
    }

    /// Numbers of the gradient of queries, of keys and of values for one position.
    fn columns(&self) -> [Size; 3] {
        [&self.width * self.heads, &self.width * self.key_heads, &self.value_width * self.key_heads]
    }
}

/// What the two ops have in common: queries, keys, values, and a mask if there are more inputs than `fixed`.
fn check(inputs: &[&Meta], fixed: usize) -> Result<Sizes, ShapeError> {
    if inputs.len() != fixed && inputs.len() != fixed + 1 {
        return Err(ShapeError::new(format!("takes {fixed} inputs and perhaps a mask, got {}", inputs.len())));
    }
    let floats = &inputs[..fixed];
    if let Some(other) = floats.iter().find(|x| !x.dtype.is_float() || x.dtype != floats[0].dtype) {
        return Err(ShapeError::new(format!(
            "{} and {} where floats of one dtype should be",
            floats[0].dtype, other.dtype
        )));
    }
    let sizes = Sizes::of(&inputs[0].shape, &inputs[1].shape, &inputs[2].shape)?;
    if let Some(mask) = inputs.get(fixed) {
        let scores: Shape =
            [sizes.batch.clone(), sizes.heads.into(), sizes.queries.clone(), sizes.keys.clone()].into_iter().collect();
        if mask.dtype != DType::Bool || mask.shape != scores {
            return Err(ShapeError::new(format!("the mask is {mask}; it must be bool{scores}")));
        }
    }
    Ok(sizes)
}

/// The weights `[batch, key heads, heads that share one, queries, keys]`.
fn weights(sizes: &Sizes, q: &Tensor, k: &Tensor, mask: Option<&Tensor>, causal: bool, scale: f64) -> Tensor {
    let scores = sizes.by_head(q).matmul(&sizes.by_head(k).t()) * scale;
    let positions = |axis| iota([sizes.queries.clone(), sizes.keys.clone()], axis, DType::I64);
    let causal = causal.then(|| positions(1).less_equal(positions(0)));
    let allowed = match (mask.map(|mask| mask.reshape(scores.shape())), causal) {
        (Some(mask), Some(causal)) => Some(mask.logical_and(&causal)),
        (mask, causal) => mask.or(causal),
    };
    match allowed {
        Some(allowed) => scores.softmax_where(&allowed, -1),
        None => scores.softmax(-1),
    }
}

/// Values weighted by how queries and keys agree. Inputs: queries, keys, values, perhaps a mask `[batch, heads, queries, keys]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Attention {
    /// A query sees no key behind its own position.
    pub causal: bool,
    /// What products of queries and keys are multiplied by.
    pub scale: Real,
}

impl OpRules for Attention {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let sizes = check(inputs, 3)?;
        let shape = [sizes.batch, sizes.queries, sizes.heads.into(), sizes.value_width];
        Ok(Meta::new(inputs[0].dtype, shape.into_iter().collect()))
    }

    /// The three gradients come out of one op and are cut apart.
    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let Attention { causal, scale } = *self;
        let sizes = Sizes::of_tensors(cx.inputs);
        let joined = sizes.queries == sizes.keys;
        let (given, mask) = cx.inputs.split_at(3);
        let inputs = given.iter().chain([cx.output, cx.cotangent]).chain(mask).cloned();
        let all = Tensor::apply(AttentionGradient { causal, scale, joined }, inputs);
        let mut start = Size::from(0);
        let mut gradients = Vec::with_capacity(cx.inputs.len());
        for (x, columns) in given.iter().zip(sizes.columns()) {
            let length = if joined { columns } else { &x.size(1) * &columns };
            gradients.push(Some(all.narrow(-1, &start, &length).reshape(x.shape())));
            start = start + length;
        }
        gradients.resize(cx.inputs.len(), None);
        gradients
    }

    fn reference(&self, _: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        no_reference(cx)
    }

    fn is_composite(&self) -> bool {
        true
    }

    fn expand(&self, inputs: &[Tensor]) -> Option<Tensor> {
        let [q, k, v] = &inputs[..3] else { return None };
        let sizes = Sizes::of_tensors(inputs);
        let weights = weights(&sizes, q, k, inputs.get(3), self.causal, self.scale.0);
        Some(sizes.by_position(&weights.matmul(&sizes.by_head(v))))
    }
}

/// The gradients of [`Attention`], put together: for each position those of queries, keys and values if `joined`, else for
/// each text all of queries, then all of keys, then all of values. Inputs: queries, keys, values, what was found, its
/// cotangent, perhaps a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AttentionGradient {
    /// As of [`Attention`].
    pub causal: bool,
    /// As of [`Attention`].
    pub scale: Real,
    /// Whether there are as many queries as keys, and the result is `[batch, positions, columns]`.
    pub joined: bool,
}

impl OpRules for AttentionGradient {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let sizes = check(inputs, 5)?;
        let found: Shape = [sizes.batch.clone(), sizes.queries.clone(), sizes.heads.into(), sizes.value_width.clone()]
            .into_iter()
            .collect();
        if inputs[3].shape != found || inputs[4].shape != found {
            return Err(ShapeError::new(format!("what was found and its cotangent must be {found}")));
        }
        let [q, k, v] = sizes.columns();
        let shape: Shape = if !self.joined {
            [sizes.batch, sizes.queries * q + &sizes.keys * &(k + v)].into_iter().collect()
        } else if sizes.queries == sizes.keys {
            [sizes.batch, sizes.queries, q + k + v].into_iter().collect()
        } else {
            return Err(ShapeError::new("gradients are joined only where there are as many queries as keys"));
        };
        Ok(Meta::new(inputs[0].dtype, shape))
    }

    /// Through the formulas of the expansion.
    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let (given, mask) = cx.inputs.split_at(5);
        let expanded = self.expand(cx.inputs).expect("a composite has an expansion");
        let mut gradients = pull_back(&[(&expanded, cx.cotangent)], &given.iter().collect::<Vec<_>>());
        gradients.extend(mask.iter().map(|_| None));
        gradients
    }

    fn reference(&self, _: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        no_reference(cx)
    }

    fn is_composite(&self) -> bool {
        true
    }

    /// With weights w, their cotangents w̄ = ō vᵀ and scores s̄ = w (w̄ − o·ō): q̄ = s̄ k, k̄ = s̄ᵀ q, v̄ = wᵀ ō.
    fn expand(&self, inputs: &[Tensor]) -> Option<Tensor> {
        let [q, k, v, found, cotangent] = &inputs[..5] else { return None };
        let sizes = Sizes::of_tensors(inputs);
        let weights = weights(&sizes, q, k, inputs.get(5), self.causal, self.scale.0);
        let dots = sizes.by_head(&(found * cotangent)).sum_over(-1);
        let cotangent = sizes.by_head(cotangent);
        let of_weights = cotangent.matmul(&sizes.by_head(v).t());
        let of_scores = &weights * (of_weights - dots.unsqueeze(-1)) * self.scale.0;
        let together = |x: Tensor| x.sum_over(2).unsqueeze(2);
        let gradients = [
            of_scores.matmul(&sizes.by_head(k)),
            together(of_scores.t().matmul(&sizes.by_head(q))),
            together(weights.t().matmul(&cotangent)),
        ];
        let parts = gradients.map(|gradient| {
            let x = sizes.by_position(&gradient);
            let columns = x.size(2) * x.size(3);
            let shape: Shape = match self.joined {
                true => [x.size(0), x.size(1), columns].into_iter().collect(),
                false => [x.size(0), x.size(1) * columns].into_iter().collect(),
            };
            x.reshape(shape)
        });
        Some(Tensor::concat(&parts.each_ref(), -1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::source::{constant, placeholder};
    use crate::reference::evaluate;

    #[test]
    fn one_query_of_one_head_by_hand() {
        let [q, k, v] = [[1.0, 2.0], [0.5, -1.0], [2.0, 0.0]].map(|x| constant([x]).reshape([1, 1, 1, 2]));
        let k = Tensor::concat(&[&k, &(&k * 0.0)], 1);
        let v = Tensor::concat(&[&v, &(&v * 3.0)], 1);
        let found = evaluate(&attention(&q, &k, &v, None, false, 2.0)).unwrap().to_vec::<f64>();
        let weight = 1.0 / (1.0 + 3f64.exp());
        assert!((found[0] - (2.0 * weight + 6.0 * (1.0 - weight))).abs() < 1e-12 && found[1] == 0.0, "{found:?}");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let x = |shape: [usize; 4]| placeholder("x", DType::F32, shape);
        let refused = |q, k, v| {
            let op = Attention { causal: false, scale: Real(1.0) };
            Tensor::try_apply(op, [x(q), x(k), x(v)]).unwrap_err().to_string()
        };
        let fits = [2, 3, 4, 8];
        assert!(refused(fits, [1, 3, 4, 8], fits).contains("the batches differ: 2 and 1"));
        assert!(refused(fits, [2, 3, 4, 7], fits).contains("queries and keys differ in width: 8 and 7"));
        assert!(refused(fits, fits, [2, 5, 4, 8]).contains("there must be a value for each key: 3 and 5"));
        assert!(refused(fits, [2, 3, 3, 8], [2, 3, 3, 8]).contains("divide those of queries: 4 and 3"));
        let inputs = [x(fits), x(fits), x(fits), placeholder("mask", DType::Bool, [2, 4, 3, 1])];
        let message = Tensor::try_apply(Attention { causal: true, scale: Real(1.0) }, inputs).unwrap_err().to_string();
        assert!(message.contains("the mask is bool[2,4,3,1]; it must be bool[2,4,3,3]"), "{message}");
    }
}
