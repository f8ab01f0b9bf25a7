//! Products of tensors over named axes: `einsum("bij,bjk->bik", &[&a, &b])`. A function of primitives: the letters say
//! which axes are batch, rows, columns and sum of a matrix product, and where the axes go.

use std::collections::BTreeMap;
use std::panic::Location;

use thalweg_array::{DType, Shape, Size};

use crate::error::{BuildError, ShapeError};
use crate::ops::index::iota;
use crate::tensor::Tensor;

/// Σ over the letters that the result does not name, of the product of `operands` whose axes the letters name.
///
/// Without `->` the result has the letters that stand once, in alphabetical order. A letter twice in one operand is
/// its diagonal. More than two operands are put together from left to right, each letter summed as soon as nothing
/// after needs it.
///
/// ```
/// use thalweg_graph::{DType, einsum, placeholder};
/// let queries = placeholder("queries", DType::F32, ("batch", "time", 8, 64));
/// let keys = placeholder("keys", DType::F32, ("batch", "past", 8, 64));
/// let scores = einsum("bthd,bshd->bhts", &[&queries, &keys]);
/// assert_eq!(scores.meta().to_string(), "f32[batch,8,time,past]");
/// ```
///
/// # Panics
/// With the message of [`try_einsum`].
#[track_caller]
pub fn einsum(equation: &str, operands: &[&Tensor]) -> Tensor {
    match try_einsum(equation, operands) {
        Ok(tensor) => tensor,
        Err(error) => panic!("{error}"),
    }
}

/// As [`einsum`].
///
/// # Errors
/// If the equation does not describe the operands, or a letter stands for two different sizes; the message names the
/// letter and both.
#[track_caller]
pub fn try_einsum(equation: &str, operands: &[&Tensor]) -> Result<Tensor, BuildError> {
    let location = Location::caller();
    let refuse = |error| {
        let operands: Vec<Tensor> = operands.iter().copied().cloned().collect();
        BuildError::new("einsum".into(), location, &operands, error)
    };
    let Equation { inputs, output } = Equation::parse(equation).map_err(refuse)?;
    sizes_of_letters(&inputs, operands).map_err(refuse)?;

    let mut terms = inputs.into_iter().zip(operands.iter().copied().cloned()).map(|(letters, x)| Term { letters, x });
    let mut left = terms.next().expect("an equation has an operand").diagonal();
    let rest: Vec<Term> = terms.map(Term::diagonal).collect();
    for (position, right) in rest.iter().enumerate() {
        let later = &rest[position + 1..];
        let needed = |letter: &char| output.contains(letter) || later.iter().any(|term| term.letters.contains(letter));
        left = left.contract(right, needed);
    }
    Ok(left.sum_out(|letter| output.contains(letter)).arranged(&output))
}

/// The letters of the axes of each operand and of the result.
struct Equation {
    inputs: Vec<Vec<char>>,
    output: Vec<char>,
}

impl Equation {
    fn parse(equation: &str) -> Result<Equation, ShapeError> {
        let (left, right) = match equation.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (equation, None),
        };
        let letters = |text: &str| -> Result<Vec<char>, ShapeError> {
            let letters: Vec<char> = text.chars().filter(|letter| !letter.is_whitespace()).collect();
            match letters.iter().find(|letter| !letter.is_ascii_alphabetic()) {
                Some(odd) => Err(ShapeError::new(format!("`{odd}` in `{equation}` names no axis"))
                    .hint("axes are single letters: \"bij,bjk->bik\"")),
                None => Ok(letters),
            }
        };
        let inputs = left.split(',').map(letters).collect::<Result<Vec<_>, _>>()?;
        let count = |letter: char| inputs.iter().flatten().filter(|&&other| other == letter).count();
        let output = match right {
            Some(right) => letters(right)?,
            None => ('A'..='Z').chain('a'..='z').filter(|&letter| count(letter) == 1).collect(),
        };
        for (position, &letter) in output.iter().enumerate() {
            if count(letter) == 0 {
                return Err(ShapeError::new(format!("`{letter}` stands in the result of `{equation}` only")));
            }
            if output[..position].contains(&letter) {
                return Err(ShapeError::new(format!("`{letter}` stands twice in the result of `{equation}`")));
            }
        }
        Ok(Equation { inputs, output })
    }
}

/// Checks that each letter stands for one size and the operands for one dtype.
fn sizes_of_letters(inputs: &[Vec<char>], operands: &[&Tensor]) -> Result<(), ShapeError> {
    if inputs.len() != operands.len() {
        return Err(ShapeError::new(format!(
            "the equation describes {} operands, there are {}",
            inputs.len(),
            operands.len()
        )));
    }
    let mut sizes: BTreeMap<char, (usize, &Size)> = BTreeMap::new();
    for (operand, (letters, x)) in inputs.iter().zip(operands).enumerate() {
        if letters.len() != x.rank() {
            let letters: String = letters.iter().collect();
            return Err(ShapeError::new(format!("`{letters}` names {} axes, {x:?} has {}", letters.len(), x.rank())));
        }
        if x.dtype() != operands[0].dtype() {
            return Err(ShapeError::new(format!("dtypes differ: {} and {}", operands[0].dtype(), x.dtype()))
                .hint("nothing is converted silently; `cast` one of them"));
        }
        for (&letter, size) in letters.iter().zip(x.shape().iter()) {
            let (first, known) = *sizes.entry(letter).or_insert((operand, size));
            if known != size {
                return Err(ShapeError::new(format!("`{letter}` is {known} and {size}"))
                    .detail(format!("{known} in operand {first}, {size} in operand {operand}")));
            }
        }
    }
    Ok(())
}

/// A tensor whose axes have letters.
struct Term {
    letters: Vec<char>,
    x: Tensor,
}

impl Term {
    /// Each letter once: where one stands twice, the numbers at which its two positions are equal.
    fn diagonal(self) -> Term {
        let Term { mut letters, mut x } = self;
        while let Some((first, second)) = repeated(&letters) {
            let size = x.shape()[first].clone();
            // The second axis last, then on each line the number whose position is that of the first axis.
            let mut order: Vec<isize> = (0..letters.len() as isize).collect();
            order.push(order[second]);
            order.remove(second);
            letters.remove(second);
            x = x.permute(&order);
            let mut line: Shape = x.shape().clone();
            line.sizes_mut()[letters.len()] = Size::from(1);
            let along = iota(&line, first, DType::I64);
            // An empty diagonal has no line to take from.
            x = if size.is(0) { x.sum_over(-1) } else { x.take_along(&along, -1).squeeze(-1) };
        }
        Term { letters, x }
    }

    /// The sum over the letters that are not `needed`.
    fn sum_out(self, needed: impl Fn(&char) -> bool) -> Term {
        let axes: Vec<isize> =
            (0..self.letters.len()).filter(|&axis| !needed(&self.letters[axis])).map(|axis| axis as isize).collect();
        let x = self.x.sum_over(axes.as_slice());
        Term { letters: self.letters.into_iter().filter(needed).collect(), x }
    }

    /// The axes in the order of `letters`, which are all of them.
    fn arranged(&self, letters: &[char]) -> Tensor {
        let at = |letter: &char| self.letters.iter().position(|own| own == letter).expect("the letters are the same");
        self.x.permute(&letters.iter().map(|letter| at(letter) as isize).collect::<Vec<_>>())
    }

    /// The axes gathered into one for each group of letters.
    fn grouped(&self, groups: [&[char]; 3]) -> Tensor {
        let x = self.arranged(&groups.concat());
        let mut sizes = x.shape().iter();
        let merged = groups.map(|group| sizes.by_ref().take(group.len()).fold(Size::from(1), |a, b| &a * b));
        x.reshape(merged)
    }

    fn size(&self, letter: &char) -> Option<&Size> {
        self.letters.iter().position(|own| own == letter).map(|axis| &self.x.shape()[axis])
    }

    /// The product with `other`, summed over the letters that are not `needed`.
    ///
    /// Letters in both are the batch of a matrix product where they are needed and its sum where not; those in one are
    /// rows or columns: `[batch, rows, sum] · [batch, sum, columns]`.
    fn contract(self, other: &Term, needed: impl Fn(&char) -> bool) -> Term {
        let left = self.sum_out(|letter| needed(letter) || other.letters.contains(letter));
        let other = Term { letters: other.letters.clone(), x: other.x.clone() };
        let right = other.sum_out(|letter| needed(letter) || left.letters.contains(letter));
        let shared = |letter: &&char| right.letters.contains(letter);
        let (both, rows): (Vec<char>, Vec<char>) = left.letters.iter().partition(shared);
        let (batch, sum): (Vec<char>, Vec<char>) = both.into_iter().partition(&needed);
        let columns: Vec<char> =
            right.letters.iter().filter(|letter| !left.letters.contains(letter)).copied().collect();
        let product = left.grouped([&batch, &rows, &sum]).matmul(&right.grouped([&batch, &sum, &columns]));
        let letters = [batch, rows, columns].concat();
        let size = |letter: &char| left.size(letter).or(right.size(letter)).expect("a letter has an axis").clone();
        let shape: Shape = letters.iter().map(size).collect();
        Term { x: product.reshape(shape), letters }
    }
}

/// The axes of the first letter that stands twice.
fn repeated(letters: &[char]) -> Option<(usize, usize)> {
    (0..letters.len()).find_map(|second| {
        letters[..second].iter().position(|letter| *letter == letters[second]).map(|first| (first, second))
    })
}

#[cfg(test)]
mod tests {
    use thalweg_array::Array;

    use super::*;
    use crate::ops::source::{constant, placeholder};
    use crate::reference::{evaluate, multi_indices, ravel};

    /// The definition: the product at every combination of positions, added where the result says.
    fn by_definition(equation: &str, operands: &[&Array]) -> Array {
        let Equation { inputs, output } = Equation::parse(equation).ok().unwrap();
        let mut sizes: BTreeMap<char, usize> = BTreeMap::new();
        for (letters, x) in inputs.iter().zip(operands) {
            sizes.extend(letters.iter().copied().zip(x.shape().iter().copied()));
        }
        let letters: Vec<char> = sizes.keys().copied().collect();
        let space: Vec<usize> = sizes.values().copied().collect();
        let at = |index: &[usize], names: &[char]| -> Vec<usize> {
            names.iter().map(|name| index[letters.iter().position(|letter| letter == name).unwrap()]).collect()
        };
        let shape: Vec<usize> = output.iter().map(|letter| sizes[letter]).collect();
        let mut sums = vec![0.0; shape.iter().product()];
        for index in multi_indices(&space) {
            let factors = inputs.iter().zip(operands);
            let product: f64 =
                factors.map(|(names, x)| x.to_vec::<f64>()[ravel(&at(&index, names), x.shape())]).product();
            sums[ravel(&at(&index, &output), &shape)] += product;
        }
        Array::new(&shape, sums).unwrap()
    }

    #[test]
    fn the_definition_holds() {
        let numbers = |shape: &[usize], seed: usize| {
            let count = shape.iter().product();
            Array::new(shape, (0..count).map(|i| ((i * 7 + seed) % 11) as f64 - 5.0).collect()).unwrap()
        };
        let size = |letter: char| letter as usize - 'a' as usize + 2;
        for equation in [
            "ab,bc->ac",
            "ab,bc",
            "ab,bc->ca",
            "dab,dbc->dac",
            "ab,ab->",
            "ab->ba",
            "ab->b",
            "ab->",
            "a,b->ab",
            "aa->a",
            "aa->",
            "aba->ab",
            "aba,bc->ca",
            "ab,bc,cd->ad",
            "ab,bc,ca->",
            "ab,ab,ab->ab",
            "abc,cb->a",
            "ab,cd->bd",
            ",a->a",
            "abcd,acbd->ba",
        ] {
            let inputs = Equation::parse(equation).ok().unwrap().inputs;
            let arrays: Vec<Array> = inputs
                .iter()
                .enumerate()
                .map(|(seed, letters)| numbers(&letters.iter().map(|&letter| size(letter)).collect::<Vec<_>>(), seed))
                .collect();
            let tensors: Vec<Tensor> = arrays.iter().map(|array| constant(array.clone())).collect();
            let result = evaluate(&einsum(equation, &tensors.iter().collect::<Vec<_>>())).unwrap();
            assert_eq!(result, by_definition(equation, &arrays.iter().collect::<Vec<_>>()), "{equation}");
        }
    }

    #[test]
    fn errors_name_the_letter_and_both_sizes() {
        let x = placeholder("x", DType::F32, ("n", 3));
        let y = placeholder("y", DType::F32, (4, "m"));
        let refuse = |equation: &str| try_einsum(equation, &[&x, &y]).unwrap_err().to_string();
        for (equation, expected) in [
            ("ij,jk->ik", "`j` is 3 and 4\n"),
            ("ij,kl->iq", "`q` stands in the result"),
            ("ij,kl->ii", "`i` stands twice in the result"),
            ("i,jk->k", "`i` names 1 axes, x: f32[n,3] has 2"),
            ("ij->i", "describes 1 operands, there are 2"),
            ("i.,jk->k", "`.` in `i.,jk->k` names no axis"),
        ] {
            let message = refuse(equation);
            assert!(message.replace("   -->", "\n").contains(expected), "{message}");
            assert!(message.contains("einsum") && message.contains("f32[n,3]"), "{message}");
        }
        assert!(refuse("ij,jk").contains("3 in operand 0, 4 in operand 1"));
    }
}
