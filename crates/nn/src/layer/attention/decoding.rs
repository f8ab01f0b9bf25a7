//! [`Decoding`]: one token after the other, with the keys and values of those before.

use thalweg_graph::{DType, IntoSize, Size, Tensor, iota};

use crate::layer::Forward;
use crate::layer::attention::{KeysValues, Mask};

/// One step of a text that is said token by token. What was said before is kept as keys and values of fixed capacity,
/// states of the [`Forward`] ([`Forward::states`]): all zeros before the first token, a row for each text, so that beam search
/// can gather them, and of the same sizes at every step, so that one plan makes them all.
///
/// ```
/// use thalweg_graph::{DType, placeholder};
/// use thalweg_nn::layer::attention::{AttentionConfig, Decoding};
/// use thalweg_nn::{Forward, Init};
///
/// let attention = Init::build(1, |init| AttentionConfig::new(32, 4).build(init));
/// let mut cx = Forward::infer();
/// let x = placeholder("x", DType::F32, ("batch", 1, 32));
/// let decoding = Decoding::begin("batch", 100, &mut cx);
/// let y = attention.step(&x, &decoding, &mut cx);
/// assert_eq!(y.meta(), x.meta());
/// // The position, the keys and the values.
/// let states: Vec<String> = cx.states().iter().map(|state| state.after.meta().to_string()).collect();
/// assert_eq!(states, ["i64[batch]", "f32[batch,100,4,8]", "f32[batch,100,4,8]"]);
/// ```
#[derive(Clone, Debug)]
pub struct Decoding {
    position: Tensor,
    capacity: usize,
}

impl Decoding {
    /// A step of `batch` texts of at most `capacity` tokens each; a run beyond is refused. The first state of a
    /// [`Forward`] that a decoder uses is the position of the token, i64 `[batch]`, which goes up by one in each step.
    #[track_caller]
    pub fn begin(batch: impl IntoSize, capacity: usize, cx: &mut Forward) -> Decoding {
        let before = cx.carried(DType::I64, [batch.into_size()]);
        let position = before.check_indices(capacity).named("position in the cache");
        cx.carry_on(&before, &(&position + 1));
        Decoding { position, capacity }
    }

    /// The positions of this step, i64 `[batch, 1]`.
    pub fn positions(&self) -> Tensor {
        self.position.unsqueeze(1)
    }

    /// The tokens that a text may have.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// i64 `[capacity]`: 0, 1, 2, …
    fn slots(&self) -> Tensor {
        iota([self.capacity], 0, DType::I64)
    }

    /// The keys that were said up to this step.
    pub(super) fn mask(&self) -> Mask {
        Mask::keys(&self.slots().less_equal(self.positions()))
    }

    /// The keys and values of all steps, those of this one, `[batch, 1, heads, width]`, written at its position.
    #[track_caller]
    pub(super) fn remember(&self, now: &KeysValues, cx: &mut Forward) -> KeysValues {
        let here = self.slots().equal(self.positions()).unsqueeze(-1).unsqueeze(-1);
        let mut kept = |now: &Tensor| {
            let mut shape = now.shape().clone();
            shape.sizes_mut()[1] = Size::from(self.capacity);
            let before = cx.carried(now.dtype(), shape);
            let after = here.select(now, &before);
            cx.carry_on(&before, &after);
            after
        };
        KeysValues { keys: kept(&now.keys), values: kept(&now.values) }
    }
}
