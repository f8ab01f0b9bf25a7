//! [`Hinge`], [`Perceptron`] and their relatives for several classes: losses that are 0 once the answer is right by a
//! margin.

use thalweg_graph::Tensor;

use crate::error::or_panic;
use crate::loss::{Loss, at_label, expect_alike, expect_labels, is_label};
use crate::optim::rule::Range;

/// The mean of [`Hinge`] with margin 1.
#[track_caller]
pub fn hinge(scores: &Tensor, targets: &Tensor) -> Tensor {
    Hinge::default().mean(scores, targets)
}

/// max(0, m − y·s) for targets y = ±1 of the scores' dtype and shape (the support vector machine's; Cortes and Vapnik
/// 1995). m is 1 if not said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hinge {
    margin: f64,
}

impl Default for Hinge {
    fn default() -> Self {
        Hinge { margin: 1.0 }
    }
}

impl Hinge {
    /// With another margin.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn new(margin: f64) -> Hinge {
        Hinge { margin: or_panic(Range::NotNegative.check("hinge", "margin", margin)) }
    }
}

impl Loss for Hinge {
    #[track_caller]
    fn each(&self, scores: &Tensor, targets: &Tensor) -> Tensor {
        expect_alike("hinge", scores, targets);
        (self.margin - targets * scores).relu()
    }
}

/// Rosenblatt's criterion max(0, −y·s) for targets y = ±1 of the scores' dtype and shape (1958): wrong answers cost
/// what they are wrong by. Its gradient at s = 0 is 0, where Rosenblatt's rule would already move: begin with weights
/// that are not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Perceptron;

impl Loss for Perceptron {
    #[track_caller]
    fn each(&self, scores: &Tensor, targets: &Tensor) -> Tensor {
        expect_alike("perceptron", scores, targets);
        (-(targets * scores)).relu()
    }
}

/// Σⱼ max(0, m − s\[y\] + sⱼ)/k over the k classes j ≠ y (Weston and Watkins 1999; PyTorch's `MultiMarginLoss`). Classes
/// on the last axis if not said, labels as for [`crate::CrossEntropy`]. m is 1 if not said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MultiClassHinge {
    margin: f64,
    axis: isize,
}

impl Default for MultiClassHinge {
    fn default() -> Self {
        MultiClassHinge { margin: 1.0, axis: -1 }
    }
}

impl MultiClassHinge {
    /// With another margin.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn new(margin: f64) -> MultiClassHinge {
        let margin = or_panic(Range::NotNegative.check("multi_class_hinge", "margin", margin));
        MultiClassHinge { margin, axis: -1 }
    }

    /// Classes on this axis; negative ones count from the end.
    pub fn axis(self, axis: isize) -> MultiClassHinge {
        MultiClassHinge { axis, ..self }
    }
}

impl Loss for MultiClassHinge {
    #[track_caller]
    fn each(&self, scores: &Tensor, labels: &Tensor) -> Tensor {
        let axis = expect_labels("multi_class_hinge", scores, labels, self.axis);
        let (is_label, classes) = (is_label(scores, labels, axis), axis as isize);
        let right = at_label(scores, &is_label, axis).unsqueeze(classes);
        let violation = (scores - right + self.margin).relu();
        is_label.select(&scores.zeros_like(), violation).mean_over(classes)
    }
}

/// maxⱼ sⱼ − s\[y\]: 0 where the answer is right. Classes on the last axis if not said, labels as for [`crate::CrossEntropy`]. Where
/// several scores are largest they share the gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MultiClassPerceptron {
    axis: isize,
}

impl Default for MultiClassPerceptron {
    fn default() -> Self {
        MultiClassPerceptron { axis: -1 }
    }
}

impl MultiClassPerceptron {
    /// Classes on this axis; negative ones count from the end.
    pub fn axis(self, axis: isize) -> MultiClassPerceptron {
        MultiClassPerceptron { axis }
    }
}

impl Loss for MultiClassPerceptron {
    #[track_caller]
    fn each(&self, scores: &Tensor, labels: &Tensor) -> Tensor {
        let axis = expect_labels("multi_class_perceptron", scores, labels, self.axis);
        scores.max_over(axis as isize) - at_label(scores, &is_label(scores, labels, axis), axis)
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::{Array, constant};

    use super::*;
    use crate::testing::{assert_close, assert_gradients, numbers};

    #[test]
    fn two_classes_by_hand() {
        let (s, y) = (constant([0.5, -2.0, 3.0, 0.25]), constant([1.0, 1.0, -1.0, -1.0]));
        assert_close(&numbers(&Hinge::default().each(&s, &y)), &[0.5, 3.0, 4.0, 1.25], 1e-12);
        assert_close(&numbers(&Hinge::new(0.25).each(&s, &y)), &[0.0, 2.25, 3.25, 0.5], 1e-12);
        assert_close(&numbers(&hinge(&s, &y)), &[8.75 / 4.0], 1e-12);
        assert_close(&numbers(&Perceptron.each(&s, &y)), &[0.0, 2.0, 3.0, 0.25], 1e-12);
    }

    #[test]
    fn several_classes_by_hand() {
        let (s, y) = (constant([[1.0, 1.5, -1.0], [2.0, 0.0, 0.5]]), constant([0i64, 0]));
        assert_close(&numbers(&MultiClassHinge::default().each(&s, &y)), &[0.5, 0.0], 1e-12);
        assert_close(&numbers(&MultiClassHinge::new(3.0).each(&s, &y)), &[(3.5 + 1.0) / 3.0, (1.0 + 1.5) / 3.0], 1e-12);
        assert_close(&numbers(&MultiClassPerceptron::default().each(&s, &y)), &[0.5, 0.0], 1e-12);
        let s = s.swap_axes(0, 1);
        assert_close(&numbers(&MultiClassHinge::default().axis(0).each(&s, &y)), &[0.5, 0.0], 1e-12);
        assert_close(&numbers(&MultiClassPerceptron::default().axis(0).each(&s, &y)), &[0.5, 0.0], 1e-12);
    }

    #[test]
    fn gradients() {
        let targets = constant([1.0, 1.0, -1.0]);
        let scores = [Array::from([0.5, -2.0, 3.0])];
        assert_gradients(|x| hinge(&x[0], &targets), &scores);
        assert_gradients(|x| Perceptron.mean(&x[0], &targets), &scores);
        let labels = constant([0i64, 1]);
        let scores = [Array::from([[1.0, 1.7, -1.0], [2.0, 0.1, 0.5]])];
        assert_gradients(|x| MultiClassHinge::default().mean(&x[0], &labels), &scores);
        assert_gradients(|x| MultiClassPerceptron::default().mean(&x[0], &labels), &scores);
    }
}
