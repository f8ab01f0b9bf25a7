//! [`Decoding`]: one token after the other, with the keys and values of those before, which may have been read at once.

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
    taken: Taken,
    capacity: usize,
}

/// Which tokens a decoder takes in one run.
#[derive(Clone, Debug)]
enum Taken {
    /// One a row, at this position, i64 `[batch]`.
    Next(Tensor),
    /// As many a row as there is room for, from the first on.
    Prompt,
}

impl Decoding {
    /// A step of `batch` texts of at most `capacity` tokens each; a run beyond is refused. The first state of a
    /// [`Forward`] that a decoder uses is the position of the token, i64 `[batch]`, which goes up by one in each step.
    #[track_caller]
    pub fn begin(batch: impl IntoSize, capacity: usize, cx: &mut Forward) -> Decoding {
        let before = cx.carried(DType::I64, [batch.into_size()]);
        let position = before.check_indices(capacity).named("position in the cache");
        cx.carry_on(&before, &(&position + 1));
        Decoding { taken: Taken::Next(position), capacity }
    }

    /// The beginnings of texts, read at once: `capacity` tokens a row, of which the first `lengths`, i64 `[batch]`, are said
    /// and the others pad. From the states behind it [steps](Decoding::begin) go on as from those behind as many steps; what
    /// states are before it is not read.
    #[track_caller]
    pub fn prompt(lengths: &Tensor, capacity: usize, cx: &mut Forward) -> Decoding {
        let before = cx.carried(DType::I64, [lengths.size(0)]);
        cx.carry_on(&before, &lengths.check_indices(capacity + 1).named("length of the prompt"));
        Decoding { taken: Taken::Prompt, capacity }
    }

    /// The positions of this run, i64 `[batch, 1]`, or `[capacity]` of a prompt.
    pub fn positions(&self) -> Tensor {
        match &self.taken {
            Taken::Next(position) => position.unsqueeze(1),
            Taken::Prompt => self.slots(),
        }
    }

    /// The tokens that a text may have.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The tokens of a row in this run.
    pub(super) fn tokens(&self) -> usize {
        match self.taken {
            Taken::Next(_) => 1,
            Taken::Prompt => self.capacity,
        }
    }

    /// i64 `[capacity]`: 0, 1, 2, …
    fn slots(&self) -> Tensor {
        iota([self.capacity], 0, DType::I64)
    }

    /// The keys that were said up to each token.
    pub(super) fn mask(&self) -> Mask {
        match &self.taken {
            Taken::Next(_) => Mask::keys(&self.slots().less_equal(self.positions())),
            // What pads stands behind all that is said; a step replaces it before it is looked at.
            Taken::Prompt => Mask::causal(),
        }
    }

    /// The keys and values of all that was said, those of this run, `[batch, tokens, heads, width]`, written at their
    /// positions.
    #[track_caller]
    pub(super) fn remember(&self, now: &KeysValues, cx: &mut Forward) -> KeysValues {
        let mut kept = |now: &Tensor| {
            let mut shape = now.shape().clone();
            shape.sizes_mut()[1] = Size::from(self.capacity);
            let before = cx.carried(now.dtype(), shape);
            let after = match &self.taken {
                Taken::Next(_) => {
                    let here = self.slots().equal(self.positions()).unsqueeze(-1).unsqueeze(-1);
                    here.select(now, &before)
                }
                Taken::Prompt => now.clone(),
            };
            cx.carry_on(&before, &after);
            after
        };
        KeysValues { keys: kept(&now.keys), values: kept(&now.values) }
    }
}
