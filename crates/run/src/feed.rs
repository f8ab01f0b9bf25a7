//! [`Feeds`]: the numbers of a run, by placeholder. They are lent, not copied, where they lie in row-major order.

use smallvec::SmallVec;
use thalweg_plan::graph::array::{Element, bf16, f16};
use thalweg_plan::graph::op::Op;
use thalweg_plan::graph::{Array, DType, Scalar, Tensor};

/// The numbers of a run: `feeds! { x => &xs, y => 3.0 }`.
///
/// Left of the arrow stands a placeholder or its name; right of it an [`Array`], a slice, array or `Vec` of numbers, an
/// `ndarray`, a number, [`RawBytes`]; lent or given. A flat slice takes the shape of the placeholder if at most one of
/// its sizes is unknown; a single number takes its dtype.
///
/// ```
/// use thalweg_run::feeds;
/// use thalweg_run::graph::{DType, placeholder};
/// let image = placeholder("image", DType::F32, ["batch", "784"]);
/// let pixels = vec![0.0f32; 2 * 784];
/// let feeds = feeds! { image => &pixels, "rate" => 0.1 };
/// assert_eq!(feeds.len(), 2);
/// ```
#[macro_export]
macro_rules! feeds {
    () => { $crate::Feeds::new() };
    ($($key:expr => $value:expr),+ $(,)?) => { $crate::Feeds::new()$(.with(&$key, $value))+ };
}

/// The numbers of a run, by placeholder; see [`feeds!`]. Few are kept on the stack.
#[derive(Clone, Debug, Default)]
pub struct Feeds<'a>(pub(crate) SmallVec<[Feed<'a>; 4]>);

impl<'a> Feeds<'a> {
    /// Nothing.
    pub fn new() -> Feeds<'a> {
        Feeds::default()
    }

    /// These numbers and `value` for the placeholder `key`.
    pub fn with<K: FeedKey + ?Sized>(mut self, key: &'a K, value: impl IntoFeed<'a>) -> Feeds<'a> {
        self.0.push(Feed { name: key.feed_name(), value: value.into_feed() });
        self
    }

    /// How many placeholders are fed.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is fed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The numbers of one placeholder.
#[derive(Clone, Debug)]
pub struct Feed<'a> {
    pub(crate) name: FeedName<'a>,
    pub(crate) value: FeedValue<'a>,
}

/// What is fed.
#[derive(Clone, Copy, Debug)]
pub enum FeedName<'a> {
    /// A placeholder.
    Placeholder(&'a str),
    /// A tensor that is none; the run refuses it.
    Other(&'a Tensor),
}

impl<'a> FeedName<'a> {
    /// The name of the placeholder, or of the other tensor.
    pub(crate) fn name(self) -> &'a str {
        match self {
            FeedName::Placeholder(name) => name,
            FeedName::Other(tensor) => tensor.name().unwrap_or_default(),
        }
    }
}

/// What names a placeholder: the tensor, or its name as text.
pub trait FeedKey {
    /// What is fed.
    fn feed_name(&self) -> FeedName<'_>;
}

impl FeedKey for Tensor {
    fn feed_name(&self) -> FeedName<'_> {
        match self.op() {
            Op::Placeholder(placeholder) => FeedName::Placeholder(&placeholder.name),
            _ => FeedName::Other(self),
        }
    }
}

impl FeedKey for str {
    fn feed_name(&self) -> FeedName<'_> {
        FeedName::Placeholder(self)
    }
}

impl FeedKey for String {
    fn feed_name(&self) -> FeedName<'_> {
        FeedName::Placeholder(self)
    }
}

impl<K: FeedKey + ?Sized> FeedKey for &K {
    fn feed_name(&self) -> FeedName<'_> {
        (**self).feed_name()
    }
}

/// The numbers for one placeholder, lent or given.
#[derive(Clone, Debug)]
pub struct FeedValue<'a>(pub(crate) Value<'a>);

#[derive(Clone, Debug)]
pub(crate) enum Value<'a> {
    /// Elements in row-major order, at any address.
    Lent { dtype: DType, shape: SmallVec<[usize; 4]>, flat: bool, bytes: &'a [u8] },
    /// An array that came with the feed.
    Given { array: Array, flat: bool },
    /// A number that takes the dtype of the placeholder.
    Number(Scalar),
}

impl Value<'_> {
    /// The dtype and the sizes, and whether the shape may become the placeholder's. Numbers have none.
    pub(crate) fn sizes(&self) -> Option<(DType, &[usize], bool)> {
        match self {
            Value::Lent { dtype, shape, flat, .. } => Some((*dtype, shape, *flat)),
            Value::Given { array, flat } => Some((array.dtype(), array.shape(), *flat)),
            Value::Number(_) => None,
        }
    }
}

/// What can be fed.
pub trait IntoFeed<'a> {
    /// The numbers.
    fn into_feed(self) -> FeedValue<'a>;
}

impl<'a> IntoFeed<'a> for FeedValue<'a> {
    fn into_feed(self) -> FeedValue<'a> {
        self
    }
}

impl<'a> IntoFeed<'a> for &'a Array {
    fn into_feed(self) -> FeedValue<'a> {
        FeedValue(Value::Lent {
            dtype: self.dtype(),
            shape: self.shape().into(),
            flat: false,
            bytes: self.storage().bytes(),
        })
    }
}

impl IntoFeed<'_> for Array {
    fn into_feed(self) -> FeedValue<'static> {
        FeedValue(Value::Given { array: self, flat: false })
    }
}

impl<'a, T: Number> IntoFeed<'a> for &'a [T] {
    fn into_feed(self) -> FeedValue<'a> {
        FeedValue(Value::Lent {
            dtype: T::DTYPE,
            shape: SmallVec::from_slice(&[self.len()]),
            flat: true,
            bytes: bytemuck::cast_slice(self),
        })
    }
}

impl<'a, T: Number> IntoFeed<'a> for &'a Vec<T> {
    fn into_feed(self) -> FeedValue<'a> {
        self.as_slice().into_feed()
    }
}

impl<'a, T: Number, const N: usize> IntoFeed<'a> for &'a [T; N] {
    fn into_feed(self) -> FeedValue<'a> {
        self.as_slice().into_feed()
    }
}

impl<T: Number> IntoFeed<'_> for Vec<T> {
    fn into_feed(self) -> FeedValue<'static> {
        FeedValue(Value::Given { array: self.into(), flat: true })
    }
}

impl<T: Number, const N: usize> IntoFeed<'_> for [T; N] {
    fn into_feed(self) -> FeedValue<'static> {
        FeedValue(Value::Given { array: self.into(), flat: true })
    }
}

impl<'a, T: Number, const M: usize, const N: usize> IntoFeed<'a> for &'a [[T; N]; M] {
    fn into_feed(self) -> FeedValue<'a> {
        FeedValue(Value::Lent {
            dtype: T::DTYPE,
            shape: SmallVec::from_slice(&[M, N]),
            flat: false,
            bytes: bytemuck::cast_slice(self.as_flattened()),
        })
    }
}

impl<T: Number, const M: usize, const N: usize> IntoFeed<'_> for [[T; N]; M] {
    fn into_feed(self) -> FeedValue<'static> {
        Array::from(self).into_feed()
    }
}

/// Read in place where the view is in row-major order without gaps, copied otherwise.
///
/// # Panics
/// If the view has more axes than a tensor may have.
impl<'a, T: Number, S: ndarray::Data<Elem = T>, D: ndarray::Dimension> IntoFeed<'a> for &'a ndarray::ArrayBase<S, D> {
    #[track_caller]
    fn into_feed(self) -> FeedValue<'a> {
        match self.as_slice() {
            Some(elements) => FeedValue(Value::Lent {
                dtype: T::DTYPE,
                shape: self.shape().into(),
                flat: false,
                bytes: bytemuck::cast_slice(elements),
            }),
            None => match Array::try_from(self) {
                Ok(array) => array.into_feed(),
                Err(error) => panic!("{error}"),
            },
        }
    }
}

/// An [`Element`]. A trait of this crate, so that the compiler knows that arrays of numbers are no numbers.
pub trait Number: Element {}

macro_rules! number_feed {
    ($($type:ty)*) => {
        $(impl Number for $type {}

        impl IntoFeed<'_> for $type {
            fn into_feed(self) -> FeedValue<'static> {
                FeedValue(Value::Number(self.into()))
            }
        })*
    };
}
number_feed!(f32 f64 f16 bf16 i32 i64 u8 bool);

/// Elements as bytes in the machine's order, at any address: what came from a file or a socket.
#[derive(Clone, Copy, Debug)]
pub struct RawBytes<'a> {
    /// What the bytes are.
    pub dtype: DType,
    /// The sizes.
    pub shape: &'a [usize],
    /// The elements, row-major. If they do not fill the shape, the run refuses them.
    pub bytes: &'a [u8],
}

impl<'a> IntoFeed<'a> for RawBytes<'a> {
    fn into_feed(self) -> FeedValue<'a> {
        let RawBytes { dtype, shape, bytes } = self;
        // Truth values must be 0 or 1 in memory; nobody has checked these.
        if dtype == DType::Bool
            && let Ok(array) = Array::from_bytes(shape, dtype, bytes)
        {
            return array.into_feed();
        }
        FeedValue(Value::Lent { dtype, shape: shape.into(), flat: false, bytes })
    }
}
