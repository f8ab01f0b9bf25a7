//! Attention: what queries find among keys, and its gradients, as one op each, so that scores need not be stored.

use serde::{Deserialize, Serialize};
use thalweg_array::{Array, DType, Real, Shape, Size};

use crate::autodiff::reverse::pull_back;
use crate::error::{EvalError, ShapeError};
use crate::op::{Op, OpRules, Reference, Vjp};
use crate::ops::composite::{Dropout, no_reference};
use crate::ops::index::iota;
use crate::ops::random::random_uniform;
use crate::tensor::{Meta, Tensor};

/// How queries look at keys in [`attention`]: at all of them, with scores times 1/√width and no weight dropped, unless said
/// otherwise.
#[derive(Clone, Debug, Default)]
pub struct AttentionOptions {
    mask: Option<Tensor>,
    causal: bool,
    scale: Option<f64>,
    dropout: f64,
}

impl AttentionOptions {
    /// All keys, scores times 1/√width, no dropout.
    pub fn new() -> AttentionOptions {
        AttentionOptions::default()
    }

    /// Only the keys for which this holds: bool, repeated to `[batch, heads, queries, keys]`.
    pub fn mask(self, mask: &Tensor) -> AttentionOptions {
        AttentionOptions { mask: Some(mask.clone()), ..self }
    }

    /// Whether a query sees only the keys up to its own position.
    pub fn causal(self, causal: bool) -> AttentionOptions {
        AttentionOptions { causal, ..self }
    }

    /// What products of queries and keys are multiplied by.
    pub fn scale(self, scale: f64) -> AttentionOptions {
        AttentionOptions { scale: Some(scale), ..self }
    }

    /// Each weight is 0 with this probability, else multiplied by 1/(1 − rate) (Srivastava et al. 2014); drawn anew in
    /// each run, left out in [evaluation](crate::passes::for_evaluation()).
    pub fn dropout(self, rate: f64) -> AttentionOptions {
        AttentionOptions { dropout: rate, ..self }
    }
}

/// For each query the sum of the values, weighted by softmax(scale · q·k) over the keys that it may see; 0 where it may see
/// none (Vaswani et al. 2017). Queries `[batch, queries, heads, width]`, keys `[batch, keys, key heads, width]` and values
/// `[batch, keys, key heads, any]` give `[batch, queries, heads, any]`; neighboring heads share a head of the keys where there
/// are fewer of those.
///
/// ```
/// use thalweg_graph::{AttentionOptions, DType, attention, placeholder};
/// let x = placeholder("x", DType::F32, ("batch", "time", 4, 64));
/// let y = attention(&x, &x, &x, &AttentionOptions::new().causal(true).dropout(0.1));
/// assert_eq!(y.meta(), x.meta());
/// ```
///
/// # Panics
/// If the shapes do not fit, the rate of the dropout is outside [0, 1), or neither scale nor width is known.
#[track_caller]
pub fn attention(queries: &Tensor, keys: &Tensor, values: &Tensor, options: &AttentionOptions) -> Tensor {
    let scores: Option<Shape> = match (queries.rank(), keys.rank()) {
        (4, 4) => Some([queries.size(0), queries.size(2), queries.size(1), keys.size(1)].into_iter().collect()),
        // The rule says what is wrong.
        _ => None,
    };
    let mut inputs = vec![queries.clone(), keys.clone(), values.clone()];
    inputs.extend(options.mask.iter().map(|mask| scores.as_ref().map_or(mask.clone(), |scores| mask.expand(scores))));
    if options.dropout != 0.0 {
        inputs.extend(scores.map(|scores| random_uniform(scores, queries.dtype())));
    }
    let scale = options.scale.unwrap_or_else(|| match queries.shape().last().map(Size::number) {
        Some(Some(width)) => 1.0 / (width as f64).sqrt(),
        Some(None) => panic!("attention: the width of the queries, {}, is not known; give a scale", queries.meta()),
        None => 1.0,
    });
    Tensor::apply(Attention { causal: options.causal, scale: Real(scale), dropout: Real(options.dropout) }, inputs)
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

/// The op without dropout, and how many of its inputs it then takes; `None` if it is no attention that drops.
pub(crate) fn without_dropout(op: &Op, inputs: usize) -> Option<(Op, usize)> {
    let dropout = Real(0.0);
    let plain: Op = match *op {
        Op::Attention(op) if op.dropout != dropout => Attention { dropout, ..op }.into(),
        Op::AttentionGradient(op) if op.dropout != dropout => AttentionGradient { dropout, ..op }.into(),
        _ => return None,
    };
    Some((plain, inputs - 1))
}

/// What the two ops do alike.
#[derive(Clone, Copy)]
struct Look<'a> {
    causal: bool,
    scale: f64,
    dropout: f64,
    /// What may be seen, `[batch, heads, queries, keys]`.
    mask: Option<&'a Tensor>,
    /// Uniform numbers of the same shape; weights are dropped where they are below the rate.
    uniform: Option<&'a Tensor>,
}

impl<'a> Look<'a> {
    /// Of the inputs that come after the numbers: perhaps a mask, and uniform numbers if weights are dropped.
    fn of(causal: bool, scale: Real, dropout: Real, further: &'a [Tensor]) -> Look<'a> {
        let (mask, uniform) = match (dropout.0 != 0.0, further) {
            (true, [mask @ .., uniform]) => (mask.first(), Some(uniform)),
            (_, further) => (further.first(), None),
        };
        Look { causal, scale: scale.0, dropout: dropout.0, mask, uniform }
    }
}

/// Queries, keys and values come first in `floats`; behind those may come what is looked by.
fn check(op: &str, inputs: &[&Meta], floats: usize, dropout: Real) -> Result<Sizes, ShapeError> {
    let drops = dropout.0 != 0.0;
    let least = floats + usize::from(drops);
    let sizes = match inputs {
        [q, k, v, ..] => Some(Sizes::of(&q.shape, &k.shape, &v.shape)?),
        _ => None,
    };
    let (Some(sizes), true) = (sizes, (least..=least + 1).contains(&inputs.len())) else {
        let uniform = if drops { ", and uniform numbers at the end" } else { "" };
        let reason = format!("{op} takes {floats} inputs, perhaps a mask{uniform}; got {}", inputs.len());
        return Err(ShapeError::new(reason));
    };
    if !(0.0..1.0).contains(&dropout.0) {
        return Err(ShapeError::new(format!("the rate is {dropout:?}; it must be at least 0 and below 1")));
    }
    let (floats, further) = inputs.split_at(floats);
    if let Some(other) = floats.iter().find(|x| !x.dtype.is_float() || x.dtype != floats[0].dtype) {
        return Err(ShapeError::new(format!(
            "{} and {} where floats of one dtype should be",
            floats[0].dtype, other.dtype
        )));
    }
    let scores = [sizes.batch.clone(), sizes.heads.into(), sizes.queries.clone(), sizes.keys.clone()];
    let scores: Shape = scores.into_iter().collect();
    let (masks, uniform) = further.split_at(further.len() - usize::from(drops));
    for (what, given, dtype) in masks
        .iter()
        .map(|mask| ("the mask is", mask, DType::Bool))
        .chain(uniform.iter().map(|uniform| ("the uniform numbers are", uniform, floats[0].dtype)))
    {
        if given.dtype != dtype || given.shape != scores {
            return Err(ShapeError::new(format!("{what} {given}, not {dtype}{scores}")));
        }
    }
    Ok(sizes)
}

/// The weights `[batch, key heads, heads that share one, queries, keys]`, and what is left of them.
fn weights(sizes: &Sizes, q: &Tensor, k: &Tensor, look: Look<'_>) -> [Tensor; 2] {
    let scores = sizes.by_head(q).matmul(&sizes.by_head(k).t()) * look.scale;
    let positions = |axis| iota([sizes.queries.clone(), sizes.keys.clone()], axis, DType::I64);
    let causal = look.causal.then(|| positions(1).less_equal(positions(0)));
    let allowed = match (look.mask.map(|mask| mask.reshape(scores.shape())), causal) {
        (Some(mask), Some(causal)) => Some(mask.logical_and(&causal)),
        (mask, causal) => mask.or(causal),
    };
    let weights = match allowed {
        Some(allowed) => scores.softmax_where(&allowed, -1),
        None => scores.softmax(-1),
    };
    let left = dropped(&weights, look);
    [weights, left]
}

/// What is left of `x`, weights or cotangents of them.
fn dropped(x: &Tensor, look: Look<'_>) -> Tensor {
    match look.uniform {
        Some(uniform) => Tensor::apply(Dropout { rate: Real(look.dropout) }, [x.clone(), uniform.reshape(x.shape())]),
        None => x.clone(),
    }
}

/// Values weighted by how queries and keys agree. Inputs: queries, keys, values, perhaps a mask `[batch, heads, queries, keys]`,
/// and uniform numbers of that shape if weights are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Attention {
    /// A query sees no key behind its own position.
    pub causal: bool,
    /// What products of queries and keys are multiplied by.
    pub scale: Real,
    /// The probability with which a weight is 0; the others are multiplied by 1/(1 − it).
    #[serde(default)]
    pub dropout: Real,
}

impl OpRules for Attention {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let sizes = check("attention", inputs, 3, self.dropout)?;
        let shape = [sizes.batch, sizes.queries, sizes.heads.into(), sizes.value_width];
        Ok(Meta::new(inputs[0].dtype, shape.into_iter().collect()))
    }

    /// The three gradients come out of one op and are cut apart.
    fn vjp(&self, cx: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let Attention { causal, scale, dropout } = *self;
        let sizes = Sizes::of_tensors(cx.inputs);
        let joined = sizes.queries == sizes.keys;
        let (given, further) = cx.inputs.split_at(3);
        let inputs = given.iter().chain([cx.output, cx.cotangent]).chain(further).cloned();
        let all = Tensor::apply(AttentionGradient { causal, scale, dropout, joined }, inputs);
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
        let look = Look::of(self.causal, self.scale, self.dropout, &inputs[3..]);
        let [_, left] = weights(&sizes, q, k, look);
        Some(sizes.by_position(&left.matmul(&sizes.by_head(v))))
    }
}

/// The gradients of [`Attention`], put together: for each position those of queries, keys and values if `joined`, else for
/// each text all of queries, then all of keys, then all of values. Inputs: queries, keys, values, what was found, its
/// cotangent, perhaps a mask, and uniform numbers if weights are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AttentionGradient {
    /// As of [`Attention`].
    pub causal: bool,
    /// As of [`Attention`].
    pub scale: Real,
    /// As of [`Attention`].
    #[serde(default)]
    pub dropout: Real,
    /// Whether there are as many queries as keys, and the result is `[batch, positions, columns]`.
    pub joined: bool,
}

impl OpRules for AttentionGradient {
    fn infer(&self, inputs: &[&Meta]) -> Result<Meta, ShapeError> {
        let sizes = check("attention_gradient", inputs, 5, self.dropout)?;
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
        let (given, further) = cx.inputs.split_at(5);
        let expanded = self.expand(cx.inputs).expect("a composite has an expansion");
        let mut gradients = pull_back(&[(&expanded, cx.cotangent)], &given.iter().collect::<Vec<_>>());
        gradients.extend(further.iter().map(|_| None));
        gradients
    }

    fn reference(&self, _: &[&Array], cx: &Reference<'_>) -> Result<Array, EvalError> {
        no_reference(cx)
    }

    fn is_composite(&self) -> bool {
        true
    }

    /// With weights w, their cotangents w̄ = ō vᵀ and scores s̄ = w (w̄ − o·ō): q̄ = s̄ k, k̄ = s̄ᵀ q, v̄ = wᵀ ō. What is dropped
    /// counts for nothing in w̄ and in v̄.
    fn expand(&self, inputs: &[Tensor]) -> Option<Tensor> {
        let [q, k, v, found, cotangent] = &inputs[..5] else { return None };
        let sizes = Sizes::of_tensors(inputs);
        let look = Look::of(self.causal, self.scale, self.dropout, &inputs[5..]);
        let [weights, left] = weights(&sizes, q, k, look);
        let dots = sizes.by_head(&(found * cotangent)).sum_over(-1);
        let cotangent = sizes.by_head(cotangent);
        let of_weights = dropped(&cotangent.matmul(&sizes.by_head(v).t()), look);
        let of_scores = &weights * (of_weights - dots.unsqueeze(-1)) * self.scale.0;
        let together = |x: Tensor| x.sum_over(2).unsqueeze(2);
        let gradients = [
            of_scores.matmul(&sizes.by_head(k)),
            together(of_scores.t().matmul(&sizes.by_head(q))),
            together(left.t().matmul(&cotangent)),
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
    use crate::autodiff::grad;
    use crate::graph::Graph;
    use crate::ops::source::{constant, placeholder};
    use crate::passes::for_evaluation;
    use crate::reference::evaluate;

    #[test]
    fn one_query_of_one_head_by_hand() {
        let [q, k, v] = [[1.0, 2.0], [0.5, -1.0], [2.0, 0.0]].map(|x| constant([x]).reshape([1, 1, 1, 2]));
        let k = Tensor::concat(&[&k, &(&k * 0.0)], 1);
        let v = Tensor::concat(&[&v, &(&v * 3.0)], 1);
        let found = evaluate(&attention(&q, &k, &v, &AttentionOptions::new().scale(2.0))).unwrap().to_vec::<f64>();
        let weight = 1.0 / (1.0 + 3f64.exp());
        assert!((found[0] - (2.0 * weight + 6.0 * (1.0 - weight))).abs() < 1e-12 && found[1] == 0.0, "{found:?}");
    }

    #[test]
    fn dropped_weights_are_those_of_a_dropout_between_softmax_and_product() {
        let numbers = |first: f64| constant((0..24).map(|i| (first + f64::from(i)).sin()).collect::<Vec<_>>());
        let [q, k, v] = [0.0, 100.0, 200.0].map(|first| numbers(first).reshape([2, 3, 2, 2]));
        let found = evaluate(&attention(&q, &k, &v, &AttentionOptions::new().dropout(0.5))).unwrap();
        let by_head = |x: &Tensor| x.permute(&[0, 2, 1, 3]);
        let weights = (by_head(&q).matmul(&by_head(&k).t()) / 2f64.sqrt()).softmax(-1);
        let expected = evaluate(&by_head(&weights.dropout(0.5).matmul(&by_head(&v)))).unwrap();
        let whole = evaluate(&by_head(&weights.matmul(&by_head(&v)))).unwrap();
        let distance = |a: &Array, b: &Array| -> f64 {
            a.to_vec::<f64>().iter().zip(b.to_vec::<f64>()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
        };
        assert!(distance(&found, &expected) < 1e-12 && distance(&found, &whole) > 0.1, "{found:?}, {expected:?}");
    }

    #[test]
    fn in_evaluation_nothing_is_dropped() {
        let x = placeholder("x", DType::F32, [2, 3, 4, 8]);
        let mask = placeholder("mask", DType::Bool, [3, 3]);
        let options = AttentionOptions::new().mask(&mask).causal(true);
        let graph = |options: &AttentionOptions| {
            let found = attention(&x, &x, &x, options);
            let gradient = grad(&found.sum(), &[&x]).remove(0);
            Graph::capture([&found, &gradient], &[])
        };
        let evaluated = for_evaluation(graph(&options.clone().dropout(0.5))).unwrap();
        assert_eq!(evaluated.to_string(), graph(&options).to_string());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let x = |shape: [usize; 4]| placeholder("x", DType::F32, shape);
        let refused = |q, k, v| {
            let op = Attention { causal: false, scale: Real(1.0), dropout: Real(0.0) };
            Tensor::try_apply(op, [x(q), x(k), x(v)]).unwrap_err().to_string()
        };
        let fits = [2, 3, 4, 8];
        assert!(refused(fits, [1, 3, 4, 8], fits).contains("the batches differ: 2 and 1"));
        assert!(refused(fits, [2, 3, 4, 7], fits).contains("queries and keys differ in width: 8 and 7"));
        assert!(refused(fits, fits, [2, 5, 4, 8]).contains("there must be a value for each key: 3 and 5"));
        assert!(refused(fits, [2, 3, 3, 8], [2, 3, 3, 8]).contains("divide those of queries: 4 and 3"));
        let inputs = [x(fits), x(fits), x(fits), placeholder("mask", DType::Bool, [2, 4, 3, 1])];
        let message = Tensor::try_apply(Attention { causal: true, scale: Real(1.0), dropout: Real(0.0) }, inputs)
            .unwrap_err()
            .to_string();
        assert!(message.contains("the mask is bool[2,4,3,1], not bool[2,4,3,3]"), "{message}");
        let dropped = |rate, further: Option<[usize; 4]>| {
            let op = Attention { causal: false, scale: Real(1.0), dropout: Real(rate) };
            let inputs = [fits; 3].into_iter().chain(further).map(x);
            Tensor::try_apply(op, inputs).unwrap_err().to_string()
        };
        assert!(dropped(1.0, Some([2, 4, 3, 3])).contains("the rate is 1.0; it must be at least 0 and below 1"));
        let message = dropped(0.5, None);
        assert!(message.contains("takes 3 inputs, perhaps a mask, and uniform numbers at the end; got 3"), "{message}");
        let message = dropped(0.5, Some(fits));
        assert!(message.contains("the uniform numbers are f32[2,3,4,8], not f32[2,4,3,3]"), "{message}");
    }
}
