//! Shapes: the sizes of a tensor, axis by axis.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::size::{Bindings, IntoSize, Size, SizeError};

/// The largest number of axes a tensor may have.
pub const MAX_RANK: usize = 8;

/// The sizes of a tensor, axis by axis. Derefs to a slice of [`Size`].
///
/// ```
/// use thalweg_array::{IntoShape, Shape};
/// let shape: Shape = ("batch", 784).into_shape();
/// assert_eq!(shape.rank(), 2);
/// assert_eq!(shape.to_string(), "[batch,784]");
/// assert_eq!(shape.numbers(), None);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shape(SmallVec<[Size; 4]>);

impl Shape {
    /// The shape of a single number: no axes.
    pub fn scalar() -> Self {
        Self::default()
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The product of the sizes.
    pub fn count(&self) -> Size {
        self.0.iter().fold(Size::from(1), |product, size| &product * size)
    }

    /// The sizes as numbers, if all are.
    pub fn numbers(&self) -> Option<Vec<usize>> {
        self.0.iter().map(Size::number).collect()
    }

    /// The sizes as numbers under `bindings`.
    ///
    /// # Errors
    /// If a name is not bound or a size is below zero.
    pub fn evaluate(&self, bindings: &Bindings) -> Result<Vec<usize>, SizeError> {
        self.0.iter().map(|size| size.evaluate(bindings)).collect()
    }

    /// The sizes for changing.
    pub fn sizes_mut(&mut self) -> &mut SmallVec<[Size; 4]> {
        &mut self.0
    }
}

impl Deref for Shape {
    type Target = [Size];

    fn deref(&self) -> &[Size] {
        &self.0
    }
}

impl FromIterator<Size> for Shape {
    fn from_iter<I: IntoIterator<Item = Size>>(sizes: I) -> Self {
        Shape(sizes.into_iter().collect())
    }
}

impl FromIterator<usize> for Shape {
    fn from_iter<I: IntoIterator<Item = usize>>(sizes: I) -> Self {
        Shape(sizes.into_iter().map(Size::from).collect())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[")?;
        for (axis, size) in self.0.iter().enumerate() {
            if axis > 0 {
                write!(f, ",")?;
            }
            write!(f, "{size}")?;
        }
        write!(f, "]")
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What can be written where a shape is wanted: arrays, slices and vectors of sizes, tuples that mix numbers and
/// names (`("batch", 784)`), `()` for a single number.
pub trait IntoShape {
    /// The shape.
    fn into_shape(self) -> Shape;
}

impl IntoShape for Shape {
    fn into_shape(self) -> Shape {
        self
    }
}

impl IntoShape for &Shape {
    fn into_shape(self) -> Shape {
        self.clone()
    }
}

impl IntoShape for () {
    fn into_shape(self) -> Shape {
        Shape::scalar()
    }
}

impl<S: IntoSize, const N: usize> IntoShape for [S; N] {
    #[track_caller]
    fn into_shape(self) -> Shape {
        self.into_iter().map(IntoSize::into_size).collect()
    }
}

impl<S: IntoSize> IntoShape for Vec<S> {
    #[track_caller]
    fn into_shape(self) -> Shape {
        self.into_iter().map(IntoSize::into_size).collect()
    }
}

impl<S: IntoSize + Clone> IntoShape for &[S] {
    #[track_caller]
    fn into_shape(self) -> Shape {
        self.iter().cloned().map(IntoSize::into_size).collect()
    }
}

macro_rules! tuple_shape {
    ($($name:ident)+) => {
        impl<$($name: IntoSize),+> IntoShape for ($($name,)+) {
            #[allow(non_snake_case)]
            #[track_caller]
            fn into_shape(self) -> Shape {
                let ($($name,)+) = self;
                Shape::from_iter([$($name.into_size()),+])
            }
        }
    };
}
tuple_shape!(A);
tuple_shape!(A B);
tuple_shape!(A B C);
tuple_shape!(A B C D);
tuple_shape!(A B C D E);
tuple_shape!(A B C D E F);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_written_in_many_ways() {
        let expected = Shape::from_iter([Size::name("batch"), Size::from(3)]);
        assert_eq!(("batch", 3).into_shape(), expected);
        assert_eq!(["batch", "3"].into_shape(), expected);
        assert_eq!((Size::name("batch"), 3).into_shape(), expected);
        assert_eq!([2, 3].into_shape().numbers(), Some(vec![2, 3]));
        assert_eq!(().into_shape().to_string(), "[]");
    }
}
