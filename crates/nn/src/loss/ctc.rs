//! [`Ctc`]: connectionist temporal classification, for labels of which it is not known where in the input they stand.

use thalweg_graph::ops::control::scan;
use thalweg_graph::{DType, Size, Tensor, full, iota, zeros};

use crate::error::refuse;

/// −ln p(label | input), where p adds up all ways in which the label can be read off the frames (Graves et al. 2006): each
/// frame says a class or the blank, class 0; equal neighbours are one, then blanks are left out. So `1 1 0 1 2` reads
/// `1 1 2`, and a label with r equal neighbours needs length + r frames.
///
/// The probabilities are added up from frame to frame, in logarithms, by a loop whose gradient is exact. Logits are
/// `[batch, time, classes]`, labels `[batch, longest]`, padded with whatever is a class; both have their lengths, i64
/// `[batch]`, beside them.
///
/// A label that its frames cannot say costs ∞: one that is longer than they are, holds the blank, or has probability 0. Its
/// gradient is 0, so that no other row suffers. Whoever prepares data finds such rows before
/// (`Sequences::check_alignable`).
///
/// ```
/// use thalweg_graph::{DType, placeholder};
/// use thalweg_nn::loss::Ctc;
/// let logits = placeholder("logits", DType::F32, ("batch", "time", 11));
/// let digits = placeholder("digits", DType::I64, ("batch", "longest"));
/// let [frames, lengths] = ["sound.length", "digits.length"].map(|name| placeholder(name, DType::I64, ["batch"]));
/// let loss = Ctc::new().mean((&logits, &frames), (&digits, &lengths));
/// assert_eq!(loss.meta().to_string(), "f32[]");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ctc {
    impossible_is_free: bool,
}

/// The logarithm of a probability of 0. It is finite, so that differences of two of them are no NaN, and so far down that no
/// sum of logarithms gets there.
const NEVER: f64 = -1e30;

impl Ctc {
    /// Impossible labels cost ∞.
    pub fn new() -> Ctc {
        Ctc::default()
    }

    /// Impossible labels cost 0, so that the mean stays finite.
    pub fn ignore_impossible(self) -> Ctc {
        Ctc { impossible_is_free: true }
    }

    /// The loss of each row, in nats: `[batch]`. Logits and labels come with their lengths.
    ///
    /// # Panics
    /// If shapes or dtypes are others than above.
    #[track_caller]
    pub fn each(&self, logits: (&Tensor, &Tensor), labels: (&Tensor, &Tensor)) -> Tensor {
        check(logits, labels);
        let ((logits, frames), (labels, lengths)) = (logits, labels);
        let logits = if logits.dtype().size() < 4 { &logits.cast(DType::F32) } else { logits };
        let [labels, frames, lengths] = [labels, frames, lengths].map(|tensor| tensor.cast(DType::I64));
        let States { symbols, skips, said } = States::of(&labels, &lengths);
        let (batch, states) = (symbols.size(0), symbols.size(1));

        // ln p of what a state says, frame by frame: [time, batch, states].
        let time = logits.size(1);
        let each_frame = symbols.unsqueeze(1).expand([batch.clone(), time.clone(), states.clone()]);
        let says = logits.log_softmax(-1).take_along(&each_frame, 2).swap_axes(0, 1);
        let says = said.select(&says, NEVER).maximum(NEVER);
        let counts = iota([time, batch.clone()], 0, DType::I64).less(&frames);

        // Before the first frame one is at the first blank, from where it and the first symbol are reached.
        let position = iota([batch, states.clone()], 1, DType::I64);
        let begin = zeros(position.shape(), says.dtype());
        let begin = position.equal(0).select(&begin, NEVER);
        let (reached, _) = scan(&[&begin], &[&says, &counts], |reached, frame| {
            let before = reached[0].pad(1, 2, 0, NEVER);
            let from = |back: usize| before.narrow(1, 2 - back, states.clone());
            let (stay, next, skip) = (from(0), from(1), skips.select(&from(2), NEVER));
            let largest = stay.maximum(&next).maximum(&skip).stop_gradient();
            let total = (stay - &largest).exp() + (next - &largest).exp() + (skip - &largest).exp();
            let after = total.log() + largest + &frame[0];
            (vec![frame[1].unsqueeze(1).select(&after, &reached[0])], vec![])
        });
        let last = (lengths * 2).unsqueeze(1);
        let ends = position.equal(&last).logical_or(position.equal(last - 1));
        let total = ends.select(&reached[0], NEVER).log_sum_exp(1);
        // Not the other way round: NaN is no impossible label.
        let impossible = total.less(NEVER / 10.0);
        let cost = if self.impossible_is_free { 0.0 } else { f64::INFINITY };
        impossible.select(&full(total.shape(), total.dtype(), cost), -total)
    }

    /// The mean over all rows.
    ///
    /// # Panics
    /// As [`each`](Ctc::each).
    #[track_caller]
    pub fn mean(&self, logits: (&Tensor, &Tensor), labels: (&Tensor, &Tensor)) -> Tensor {
        self.each(logits, labels).mean()
    }
}

/// What is said one after the other: blank, first symbol, blank, second symbol, …, blank; all `[batch, 2·longest + 1]`.
struct States {
    symbols: Tensor,
    /// Whether the blank before a state may be left out: before a symbol that differs from the one before.
    skips: Tensor,
    /// Whether a state can be said at all; symbols that are the blank cannot.
    said: Tensor,
}

impl States {
    fn of(labels: &Tensor, lengths: &Tensor) -> States {
        let is_label = iota(labels.shape(), 1, DType::I64).less(lengths.unsqueeze(1));
        let labels = is_label.select(labels, 0);
        let states: Size = labels.size(1) * 2;
        let with_blanks = Tensor::stack(&[&labels.zeros_like(), &labels], -1);
        let symbols = with_blanks.reshape([labels.size(0), states.clone()]).pad(1, 0, 1, 0);
        let one_before = symbols.pad(1, 2, 0, 0).narrow(1, 0, states + 1);
        let skips = symbols.not_equal(0).logical_and(symbols.not_equal(one_before));
        let is_blank = (iota(symbols.shape(), 1, DType::I64) % 2).equal(0);
        let said = symbols.not_equal(0).logical_or(is_blank);
        States { symbols, skips, said }
    }
}

/// Refuses what is not `[batch, time, classes]` with `[batch, longest]`, and lengths `[batch]` of both.
#[track_caller]
fn check((logits, frames): (&Tensor, &Tensor), (labels, lengths): (&Tensor, &Tensor)) {
    let inputs = [("logits", logits), ("their lengths", frames), ("labels", labels), ("their lengths", lengths)];
    let reason = if !logits.dtype().is_float() || logits.rank() != 3 {
        "logits are floats [batch, time, classes]"
    } else if !labels.dtype().is_int() || labels.rank() != 2 || labels.size(0) != logits.size(0) {
        "labels are integers [batch, longest]"
    } else if [frames, lengths].iter().any(|of| !of.dtype().is_int() || of.rank() != 1 || of.size(0) != logits.size(0))
    {
        "lengths are integers [batch]"
    } else {
        return;
    };
    refuse("ctc", &inputs, reason)
}

#[cfg(test)]
mod tests {
    use thalweg_graph::{Array, constant, grad, placeholder};

    use super::*;
    use crate::testing::{assert_close, assert_gradients, gradient_f32, numbers};

    /// Logits by a formula that other programs can repeat.
    fn logits(batch: usize, time: usize, classes: usize) -> Array {
        let number = |index: usize| {
            let (b, t, c) = (index / (time * classes), index / classes % time, index % classes);
            (1.7 * b as f64 + 0.9 * t as f64 + 2.3 * c as f64 + 0.3 * (t * c) as f64).sin()
        };
        Array::new(&[batch, time, classes], (0..batch * time * classes).map(number).collect()).unwrap()
    }

    /// −ln Σ p over all sequences of classes that read `label`.
    fn exhaustively(logits: &[f64], classes: usize, label: &[i64]) -> f64 {
        let time = logits.len() / classes;
        let log_p = |t: usize, c: usize| {
            let frame = &logits[t * classes..][..classes];
            frame[c] - frame.iter().map(|x| x.exp()).sum::<f64>().ln()
        };
        let mut total = 0.0;
        for number in 0..classes.pow(time as u32) {
            let said: Vec<usize> = (0..time).map(|t| number / classes.pow(t as u32) % classes).collect();
            let mut read = said.clone();
            read.dedup();
            if read.iter().filter(|&&c| c != 0).map(|&c| c as i64).eq(label.iter().copied()) {
                total += said.iter().enumerate().map(|(t, &c)| log_p(t, c)).sum::<f64>().exp();
            }
        }
        -total.ln()
    }

    fn each(ctc: Ctc, logits: &Tensor, frames: &[i64], labels: Array, lengths: &[i64]) -> Tensor {
        let [frames, lengths] = [frames, lengths].map(|lengths| constant(Array::from(lengths)));
        ctc.each((logits, &frames), (&constant(labels), &lengths))
    }

    #[test]
    fn all_alignments_are_added_up() {
        let classes = 3;
        let x = logits(1, 5, classes);
        for time in 1..=5 {
            for label in [&[][..], &[1], &[2], &[1, 2], &[2, 2], &[1, 1, 2], &[1, 2, 1], &[2, 2, 2], &[1, 2, 1, 2, 1]] {
                let mut padded = label.to_vec();
                padded.resize(6, 1);
                let padded = Array::new(&[1, 6], padded).unwrap();
                let found = numbers(&each(Ctc::new(), &constant(x.clone()), &[time], padded, &[label.len() as i64]));
                let expected = exhaustively(&x.to_vec()[..time as usize * classes], classes, label);
                assert!(found[0] == expected || (found[0] - expected).abs() < 1e-12, "{label:?} of {time}: {found:?}");
            }
        }
    }

    fn three() -> (Array, Array, [i64; 3], [i64; 3]) {
        (logits(3, 6, 4), [[1i64, 2, 2], [3, 0, 0], [1, 1, 0]].into(), [6, 4, 5], [3, 1, 2])
    }

    /// By `torch.nn.functional.ctc_loss` of PyTorch 2 in f64.
    #[test]
    fn figures_of_pytorch() {
        let (x, labels, frames, lengths) = three();
        let x = constant(x);
        let loss = each(Ctc::new(), &x, &frames, labels, &lengths);
        assert_close(&numbers(&loss), &[5.770410730483535, 3.404767372245731, 5.559089931234224], 1e-13);
        let gradient = numbers(&grad(&loss.sum(), &[&x])[0]);
        let frame = |b: usize, t: usize| &gradient[(b * 6 + t) * 4..][..4];
        let first = [0.10901516439134, -0.518310434976444, 0.07036311483156979, 0.3389321557535342];
        assert_close(frame(0, 0), &first, 1e-13);
        let middle = [-0.22247716995175612, 0.3070657891370927, 0.309502831326477, -0.39409145051181355];
        assert_close(frame(1, 2), &middle, 1e-13);
        let last = [-0.20567734083857708, -0.36136969817347064, 0.4974170440925963, 0.06962999491945146];
        assert_close(frame(2, 4), &last, 1e-13);
        assert_eq!(frame(1, 4), [0.0; 4], "behind the end of the row");
    }

    #[test]
    fn gradients() {
        let (x, labels, frames, lengths) = three();
        assert_gradients(|x| each(Ctc::new(), &x[0], &frames, labels.clone(), &lengths).mean(), &[x]);
    }

    #[test]
    fn impossible_labels_cost_infinity_and_move_nothing() {
        let (x, labels, _, lengths) = three();
        let frames = [3, 4, 5];
        let loss = |ctc: Ctc| numbers(&each(ctc, &constant(x.clone()), &frames, labels.clone(), &lengths));
        let (infinite, free) = (loss(Ctc::new()), loss(Ctc::new().ignore_impossible()));
        assert_eq!((infinite[0], free[0]), (f64::INFINITY, 0.0), "1 2 2 needs four frames");
        assert_eq!(infinite[1..], free[1..]);
        assert!(infinite[1].is_finite());
        let gradient = |frames: [i64; 3]| {
            gradient_f32(|x| each(Ctc::new(), x, &frames, labels.clone(), &lengths), x.cast(DType::F32))
        };
        let (some, all) = (gradient(frames), gradient([6, 4, 5]));
        assert_eq!(some[..24], [0.0; 24]);
        assert_eq!(some[24..], all[24..]);
        let blank = each(Ctc::new(), &constant(x.clone()), &[6, 6, 6], [[1i64, 0], [0, 1], [1, 2]].into(), &[2, 2, 2]);
        let blank = numbers(&blank);
        assert_eq!((blank[0], blank[1]), (f64::INFINITY, f64::INFINITY), "blanks are no symbols");
        assert!(blank[2].is_finite());
    }

    #[test]
    fn extreme_logits() {
        let row = |frames: [[f32; 3]; 3]| Array::new(&[1, 3, 3], frames.concat()).unwrap();
        let one = |x: f32| row([[-x, x, x], [x, x, -x], [x, -x, -x]]);
        let loss = |x: &Tensor| each(Ctc::new(), x, &[3], [[1i64, 2]].into(), &[2]);
        // Three ways, 1 2 0, 1 1 2 and 1 0 2, cost what lies between the logits once.
        assert_close(&numbers(&loss(&constant(one(1e4)))), &[2e4 + (4f64 / 3.0).ln()], 1e-6);
        let never = f32::NEG_INFINITY;
        let open = row([[0.0, 0.0, never], [0.0, 0.0, never], [0.0, never, 0.0]]);
        let closed = row([[0.0, 0.0, never]; 3]);
        assert_close(&numbers(&loss(&constant(open.clone()))), &[(8f64 / 3.0).ln()], 1e-6);
        assert_eq!(numbers(&loss(&constant(closed.clone()))), [f64::INFINITY]);
        for x in [one(1e4), open, closed] {
            let gradient = gradient_f32(loss, x);
            assert!(gradient.iter().all(|x| x.is_finite()), "{gradient:?}");
        }
        let nan = row([[f32::NAN, 0.0, 0.0], [0.0; 3], [0.0; 3]]);
        assert!(numbers(&loss(&constant(nan)))[0].is_nan());
    }

    #[test]
    #[should_panic(expected = "ctc: labels are integers [batch, longest]")]
    fn labels_of_another_batch_are_refused() {
        let lengths = placeholder("lengths", DType::I64, ["batch"]);
        let x = placeholder("x", DType::F32, ("batch", "time", 5));
        Ctc::new().mean((&x, &lengths), (&placeholder("y", DType::I64, ("rows", "longest")), &lengths));
    }
}
