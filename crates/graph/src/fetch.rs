//! [`Fetch`]: what can be asked of a run: tensors for their numbers, updates for their effect, and lists and tuples of
//! both.

use thalweg_array::Array;

use crate::tensor::Tensor;
use crate::variable::{Update, Variable};

/// One thing that a fetch needs.
#[derive(Clone, Copy, Debug)]
pub enum Root<'a> {
    /// The numbers of this tensor.
    Tensor(&'a Tensor),
    /// The effect of this update.
    Update(&'a Update),
}

/// What can be asked of a run.
///
/// | fetched | comes back as |
/// | --- | --- |
/// | [`Tensor`], [`Variable`] | [`Array`] |
/// | [`Update`], a step of an optimizer | `()` |
/// | a slice or `Vec` of fetches | a `Vec` of what they give |
/// | an array, tuple or `Option` of fetches | the same of what they give |
///
/// References to all of these count as well.
///
/// ```
/// use thalweg_graph::{Array, Fetch, Root, Variable};
/// let w = Variable::new("w", 1.0);
/// let fetch = (&*w * 2.0, [w.assign(&(&*w + 1.0))]);
/// let (mut tensors, mut updates) = (0, 0);
/// fetch.roots(&mut |root| match root {
///     Root::Tensor(_) => tensors += 1,
///     Root::Update(_) => updates += 1,
/// });
/// assert_eq!((tensors, updates), (1, 1));
/// let (doubled, [()]) = fetch.output(&mut [Array::from(2.0f32)].into_iter());
/// assert_eq!(doubled.item()?, 2.0);
/// # Ok::<(), thalweg_graph::array::ArrayError>(())
/// ```
pub trait Fetch {
    /// What comes back.
    type Output;

    /// Shows everything that is needed to `visit`, always in the same order.
    fn roots(&self, visit: &mut dyn FnMut(Root<'_>));

    /// Puts together what comes back. `arrays` gives the numbers of each [`Root::Tensor`], in the order of
    /// [`roots`](Fetch::roots).
    ///
    /// # Panics
    /// If there are fewer arrays than tensors.
    fn output(&self, arrays: &mut dyn Iterator<Item = Array>) -> Self::Output;
}

impl Fetch for Tensor {
    type Output = Array;

    fn roots(&self, visit: &mut dyn FnMut(Root<'_>)) {
        visit(Root::Tensor(self));
    }

    fn output(&self, arrays: &mut dyn Iterator<Item = Array>) -> Array {
        arrays.next().expect("an array for each tensor that was asked for: a bug in Thalweg")
    }
}

impl Fetch for Variable {
    type Output = Array;

    fn roots(&self, visit: &mut dyn FnMut(Root<'_>)) {
        self.tensor().roots(visit);
    }

    fn output(&self, arrays: &mut dyn Iterator<Item = Array>) -> Array {
        self.tensor().output(arrays)
    }
}

impl Fetch for Update {
    type Output = ();

    fn roots(&self, visit: &mut dyn FnMut(Root<'_>)) {
        visit(Root::Update(self));
    }

    fn output(&self, _: &mut dyn Iterator<Item = Array>) {}
}

impl<F: Fetch + ?Sized> Fetch for &F {
    type Output = F::Output;

    fn roots(&self, visit: &mut dyn FnMut(Root<'_>)) {
        (**self).roots(visit);
    }

    fn output(&self, arrays: &mut dyn Iterator<Item = Array>) -> F::Output {
        (**self).output(arrays)
    }
}

impl<F: Fetch> Fetch for [F] {
    type Output = Vec<F::Output>;

    fn roots(&self, visit: &mut dyn FnMut(Root<'_>)) {
        for fetch in self {
            fetch.roots(visit);
        }
    }

    fn output(&self, arrays: &mut dyn Iterator<Item = Array>) -> Vec<F::Output> {
        self.iter().map(|fetch| fetch.output(arrays)).collect()
    }
}

impl<F: Fetch> Fetch for Vec<F> {
    type Output = Vec<F::Output>;

    fn roots(&self, visit: &mut dyn FnMut(Root<'_>)) {
        self.as_slice().roots(visit);
    }

    fn output(&self, arrays: &mut dyn Iterator<Item = Array>) -> Vec<F::Output> {
        self.as_slice().output(arrays)
    }
}

impl<F: Fetch, const N: usize> Fetch for [F; N] {
    type Output = [F::Output; N];

    fn roots(&self, visit: &mut dyn FnMut(Root<'_>)) {
        self.as_slice().roots(visit);
    }

    fn output(&self, arrays: &mut dyn Iterator<Item = Array>) -> [F::Output; N] {
        self.each_ref().map(|fetch| fetch.output(arrays))
    }
}

impl<F: Fetch> Fetch for Option<F> {
    type Output = Option<F::Output>;

    fn roots(&self, visit: &mut dyn FnMut(Root<'_>)) {
        if let Some(fetch) = self {
            fetch.roots(visit);
        }
    }

    fn output(&self, arrays: &mut dyn Iterator<Item = Array>) -> Option<F::Output> {
        self.as_ref().map(|fetch| fetch.output(arrays))
    }
}

macro_rules! tuple_fetch {
    ($($name:ident)*) => {
        impl<$($name: Fetch),*> Fetch for ($($name,)*) {
            type Output = ($($name::Output,)*);

            #[allow(non_snake_case, unused_variables)]
            fn roots(&self, visit: &mut dyn FnMut(Root<'_>)) {
                let ($($name,)*) = self;
                $($name.roots(visit);)*
            }

            #[allow(non_snake_case, unused_variables, clippy::unused_unit)]
            fn output(&self, arrays: &mut dyn Iterator<Item = Array>) -> Self::Output {
                let ($($name,)*) = self;
                ($($name.output(arrays),)*)
            }
        }
    };
}
tuple_fetch!();
tuple_fetch!(A);
tuple_fetch!(A B);
tuple_fetch!(A B C);
tuple_fetch!(A B C D);
tuple_fetch!(A B C D E);
tuple_fetch!(A B C D E F);
tuple_fetch!(A B C D E F G);
tuple_fetch!(A B C D E F G H);
