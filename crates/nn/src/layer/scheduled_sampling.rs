//! [`ScheduledSampling`]: what a decoder is fed while it is trained.

use thalweg_graph::ops::control::scan;
use thalweg_graph::{Array, DType, Tensor, Variable, full, random_uniform};

use crate::Module;
use crate::error::refuse;
use crate::layer::Forward;
use crate::schedule::Schedule;

/// Walks a decoder along time. At each step it is fed the token that is given, or the one that it took for the likeliest
/// itself at the step before (Bengio et al. 2015): a coin decides, for each row and step anew, with a probability of the
/// given one that a schedule moves from training step to training step. Probability 1 is teacher forcing.
///
/// In evaluation and in an inference graph the given tokens are fed, so that the loss is that of the text.
/// What a decoder says on its own is found by `thalweg_train::decoding`.
///
/// ```
/// use thalweg_graph::{DType, placeholder, zeros};
/// use thalweg_nn::layer::ScheduledSampling;
/// use thalweg_nn::{Embedding, Forward, Init, Schedule};
///
/// let words = Init::build(1, |init| Embedding::new(init, 50, 8));
/// // All given at first; after 1000 steps of training half of them.
/// let feeding = ScheduledSampling::new(Schedule::linear(1.0, 0.5, 1000));
/// let (given, before) = (placeholder("input", DType::I64, ("batch", "time")), zeros(("batch", 8), DType::F32));
/// let (_, logits) = feeding.decode(&[&before], &given, &mut Forward::train(), |states, tokens| {
///     let next = (&states[0] + words.weight.gather(tokens, 0)).tanh();
///     (vec![next.clone()], words.scores(&next))
/// });
/// assert_eq!(logits.meta().to_string(), "f32[batch,time,50]");
/// ```
#[derive(Clone, Debug, Module)]
pub struct ScheduledSampling {
    /// How many training steps were made, i64; a step of the training counts it up.
    pub steps: Variable,
    #[module(skip)]
    given: Schedule,
}

impl ScheduledSampling {
    /// With this probability that the given token is fed.
    ///
    /// # Panics
    /// If the schedule leaves [0, 1].
    #[track_caller]
    pub fn new(given: impl Into<Schedule>) -> ScheduledSampling {
        let given = given.into();
        let (low, high) = given.bounds();
        assert!(
            low >= 0.0 && high <= 1.0,
            "scheduled_sampling: the probability goes from {low} to {high}; it must be at least 0 and at most 1"
        );
        ScheduledSampling { steps: Variable::new("steps", Array::from(0i64)).not_trainable(), given }
    }

    /// Always what is given.
    pub fn teacher_forcing() -> ScheduledSampling {
        ScheduledSampling::new(1.0)
    }

    /// Walks along `given`, i64 `[batch, time]`, of which the first token of a row is fed as it is. `step` gets states, the first
    /// axis of each the batch, and tokens `[batch]`; it gives the states after the step and logits `[batch, classes]`. Comes
    /// back with the states after the last step and the logits `[batch, time, classes]`.
    ///
    /// # Panics
    /// If `given` is something else, or a step gives other states or logits.
    #[track_caller]
    pub fn decode(
        &self,
        states: &[&Tensor],
        given: &Tensor,
        cx: &mut Forward,
        step: impl FnOnce(&[Tensor], &Tensor) -> (Vec<Tensor>, Tensor),
    ) -> (Vec<Tensor>, Tensor) {
        if given.dtype() != DType::I64 || given.rank() != 2 {
            refuse("scheduled_sampling", &[("given", given)], "the given tokens are i64[batch,time]");
        }
        let by_time = given.swap_axes(0, 1);
        if !cx.training() || self.given == Schedule::Constant(1.0) {
            let (states, logits) = scan(states, &[&by_time], |states, now| {
                let (states, logits) = step(states, &now[0]);
                (states, vec![logits])
            });
            return (states, logits[0].swap_axes(0, 1));
        }
        let probability = self.given.tensor(&self.steps.cast(DType::F32));
        let is_given = random_uniform(by_time.shape(), DType::F32).less(probability);
        let is_given = is_given.evaluated_as(&full(by_time.shape(), DType::Bool, true));
        // Before the first step the first token is taken, whatever the coin says.
        let first = given.index(1, 0);
        let carried: Vec<&Tensor> = [&first].into_iter().chain(states.iter().copied()).collect();
        let (mut last, logits) = scan(&carried, &[&by_time, &is_given], |carried, now| {
            let fed = now[1].select(&now[0], &carried[0]);
            let (states, logits) = step(&carried[1..], &fed);
            (std::iter::once(logits.argmax(-1)).chain(states).collect(), vec![logits])
        });
        let logits = logits[0].swap_axes(0, 1).with_update(&self.steps, &(self.steps.tensor() + 1));
        (last.split_off(1), logits)
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::passes::for_evaluation;
    use thalweg_graph::reference::{Feeds, interpret};
    use thalweg_graph::{Graph, constant, grad, iota, updates_of, zeros};

    use super::*;
    use crate::testing::{State, numbers};

    const CLASSES: i64 = 50;

    /// A decoder that says of each token the next one, and is fed a text that always stays at 7.
    fn counting(feeding: &ScheduledSampling, time: usize, rows: usize, cx: &mut Forward) -> Tensor {
        let given = full([rows, time], DType::I64, 7);
        let (_, logits) = feeding.decode(&[], &given, cx, |_, tokens| {
            let next = (tokens + 1).unsqueeze(1);
            let all = iota([rows, CLASSES as usize], 1, DType::I64);
            (vec![], next.equal(all).cast(DType::F32))
        });
        logits.argmax(-1)
    }

    #[test]
    fn the_token_that_is_fed_is_the_given_or_the_own_one() {
        let said = |p: f64, cx: &mut Forward| numbers(&counting(&ScheduledSampling::new(p), 5, 1, cx));
        let (forced, free) = ([8.0; 5], [8.0, 9.0, 10.0, 11.0, 12.0]);
        assert_eq!(said(0.0, &mut Forward::train()), free);
        assert_eq!(said(1.0, &mut Forward::train()), forced);
        assert_eq!(said(0.0, &mut Forward::infer()), forced);
        assert_eq!(numbers(&counting(&ScheduledSampling::teacher_forcing(), 5, 1, &mut Forward::train())), forced);
    }

    #[test]
    fn coins_fall_for_each_row_and_step_as_often_as_is_said() {
        let said = numbers(&counting(&ScheduledSampling::new(0.75), 40, 100, &mut Forward::train()));
        let rows: Vec<&[f64]> = said.chunks(40).collect();
        let given = rows.iter().flat_map(|row| &row[1..]).filter(|&&said| said == 8.0).count() as f64 / 3900.0;
        assert!((given - 0.75).abs() < 0.03, "{given}");
        assert!(rows.iter().any(|row| row != &rows[0]), "rows have coins of their own");
    }

    #[test]
    fn the_schedule_moves_with_the_steps_of_the_training() {
        let feeding = ScheduledSampling::new(Schedule::step(1.0, 2, 1e-9));
        let said = counting(&feeding, 3, 1, &mut Forward::train());
        let updates = updates_of([&said]);
        let mut state = State::default();
        let said: Vec<Vec<f64>> = (0..4).map(|_| state.fetch(&[&said], &updates, &[]).remove(0)).collect();
        let (forced, free) = (vec![8.0; 3], vec![8.0, 9.0, 10.0]);
        assert_eq!(said, [forced.clone(), forced, free.clone(), free]);
        assert_eq!(state.read(&feeding.steps), [4.0]);
    }

    #[test]
    fn a_training_graph_is_evaluated_on_what_is_given() {
        let said = counting(&ScheduledSampling::new(0.0), 3, 1, &mut Forward::train());
        let graph = for_evaluation(Graph::capture([&said], &[])).unwrap();
        assert!(!graph.to_string().contains("random"), "{graph}");
        assert_eq!(interpret(&graph, &Feeds::default()).unwrap().fetches[0].to_vec::<f64>(), [8.0; 3]);
    }

    #[test]
    fn gradients_flow_through_the_states() {
        let (w, given) = (Variable::new("w", Array::from([[0.3, -0.2, 0.9]])), constant([[0i64, 2, 1, 1]]));
        let begin = zeros([1, 3], DType::F64);
        let (last, logits) =
            ScheduledSampling::new(0.5).decode(&[&begin], &given, &mut Forward::train(), |states, tokens| {
                let next = (&states[0] * w.tensor() + tokens.one_hot(3, DType::F64)).tanh();
                (vec![next.clone()], next)
            });
        let gradient = numbers(&grad(&(logits.sum() + last[0].sum()), &[w.tensor()])[0]);
        assert!(gradient.iter().all(|g| g.is_finite()) && gradient.iter().any(|g| *g != 0.0), "{gradient:?}");
    }

    #[test]
    #[should_panic(expected = "the probability goes from 0.5 to 2; it must be at least 0 and at most 1")]
    fn what_is_no_probability_is_refused() {
        ScheduledSampling::new(Schedule::linear(2.0, 0.5, 10));
    }

    #[test]
    #[should_panic(expected = "scheduled_sampling: the given tokens are i64[batch,time]")]
    fn other_tokens_are_refused() {
        let given = zeros([2, 3], DType::F32);
        ScheduledSampling::teacher_forcing().decode(&[], &given, &mut Forward::train(), |_, _| unreachable!());
    }
}
