//! Sizes: a number, or an expression over names (`batch`, `2*time+1`), kept in normal form so that equal sizes
//! compare equal.
//!
//! An expression is a polynomial with integer coefficients over atoms; an atom is a name or a floor division
//! `(expression)/number`, which strided slices and convolutions need.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, Mul, Sub};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// What can be wrong with a size.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SizeError {
    /// A name of the expression has no number in this run.
    #[error("the size `{size}` needs a number for `{name}`, which no feed gives")]
    Unbound {
        /// The name without a number.
        name: String,
        /// The expression it stands in.
        size: String,
    },
    /// A name got two different numbers in one run.
    #[error("`{name}` is {first} and {second} in one run; a name means one number per run")]
    Conflict {
        /// The name.
        name: String,
        /// The number it had.
        first: usize,
        /// The number it was to get.
        second: usize,
    },
    /// An array has a size that differs from what the shape says.
    #[error("expected size {expected}, found {found}")]
    Differs {
        /// The size the shape names.
        expected: String,
        /// The size that came.
        found: usize,
    },
    /// The expression is below zero or too large.
    #[error("the size `{size}` is {value}, which is no size")]
    Negative {
        /// The expression.
        size: String,
        /// Its value.
        value: i128,
    },
    /// Text that is no size.
    #[error("`{text}` is no size: {reason}; a size is a number or an expression such as 2*time+1")]
    Syntax {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The length of one axis: a number, or an expression over names that gets its number in each run.
///
/// ```
/// use thalweg_array::{Bindings, Size};
/// let time = Size::name("time");
/// let size = &time * 2 + 1;
/// assert_eq!(size.to_string(), "2*time+1");
/// assert_eq!(size, "1+time+time".parse()?);
/// assert_eq!(size.evaluate(&Bindings::from_iter([("time", 3)]))?, 7);
/// # Ok::<(), thalweg_array::SizeError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Size(Repr);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    Number(usize),
    Expression(Arc<Polynomial>),
}

/// Σ coefficient · Π atom^power; no zero coefficients, so equal polynomials are equal maps.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
struct Polynomial(BTreeMap<Monomial, i64>);

/// Atoms with their powers, in order. Empty for the constant term.
type Monomial = Vec<(Atom, u32)>;

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Atom {
    Name(Arc<str>),
    FloorDiv(Arc<Polynomial>, i64),
}

impl Size {
    /// The size that is called `name`.
    ///
    /// # Panics
    /// If `name` is no identifier (a letter or `_`, then letters, digits, `_`).
    #[track_caller]
    pub fn name(name: impl AsRef<str>) -> Size {
        let name = name.as_ref();
        assert!(is_identifier(name), "`{name}` cannot name a size: a name is a letter or _, then letters, digits or _");
        Polynomial::atom(Atom::Name(name.into())).into_size()
    }

    /// The number, if the size is one.
    pub fn number(&self) -> Option<usize> {
        match self.0 {
            Repr::Number(number) => Some(number),
            Repr::Expression(_) => None,
        }
    }

    /// The bare name, if the size is one.
    pub fn as_name(&self) -> Option<&str> {
        match &self.0 {
            Repr::Number(_) => None,
            Repr::Expression(polynomial) => polynomial.as_name(),
        }
    }

    /// Whether the size is the number `n`.
    pub fn is(&self, n: usize) -> bool {
        self.number() == Some(n)
    }

    /// ⌊self / divisor⌋.
    ///
    /// # Panics
    /// If `divisor` is 0.
    #[track_caller]
    pub fn floor_div(&self, divisor: usize) -> Size {
        assert!(divisor > 0, "a size cannot be divided by 0");
        match &self.0 {
            Repr::Number(number) => Size::from(number / divisor),
            Repr::Expression(polynomial) => polynomial.floor_div(divisor as i64).into_size(),
        }
    }

    /// ⌈self / divisor⌉.
    ///
    /// # Panics
    /// If `divisor` is 0.
    #[track_caller]
    pub fn ceil_div(&self, divisor: usize) -> Size {
        (self + (divisor - 1)).floor_div(divisor)
    }

    /// `self / other` if it is exact for every binding: `6*batch / batch` is 6, `batch / 2` is `None`.
    pub fn exact_div(&self, other: &Size) -> Option<Size> {
        if let (Repr::Number(a), Repr::Number(b)) = (&self.0, &other.0) {
            return (*b != 0 && a % b == 0).then(|| Size::from(a / b));
        }
        if self == other {
            return Some(Size::from(1));
        }
        self.polynomial().exact_div(&other.polynomial()).map(Polynomial::into_size)
    }

    /// The number that the size has under `bindings`.
    ///
    /// # Errors
    /// If a name is not bound, or the value is below zero or beyond `isize::MAX`.
    pub fn evaluate(&self, bindings: &Bindings) -> Result<usize, SizeError> {
        match &self.0 {
            Repr::Number(number) => Ok(*number),
            Repr::Expression(polynomial) => {
                let value = polynomial
                    .evaluate(bindings)
                    .map_err(|name| SizeError::Unbound { name, size: self.to_string() })?;
                usize::try_from(value)
                    .ok()
                    .filter(|&value| value <= isize::MAX as usize)
                    .ok_or_else(|| SizeError::Negative { size: self.to_string(), value })
            }
        }
    }

    /// The names that the size mentions, in order, each once.
    pub fn names(&self) -> Vec<Arc<str>> {
        let mut names = Vec::new();
        if let Repr::Expression(polynomial) = &self.0 {
            polynomial.collect_names(&mut names);
        }
        names.sort();
        names.dedup();
        names
    }

    fn polynomial(&self) -> Polynomial {
        match &self.0 {
            Repr::Number(number) => Polynomial::number(*number as i64),
            Repr::Expression(polynomial) => (**polynomial).clone(),
        }
    }

    /// One unknown name that occurs linearly, `a·name + b` with numbers a and b: the two numbers.
    fn as_linear(&self) -> Option<(Arc<str>, i64, i64)> {
        let polynomial = self.polynomial();
        let mut name = None;
        let mut offset = 0;
        for (monomial, &coefficient) in &polynomial.0 {
            match monomial.as_slice() {
                [] => offset = coefficient,
                [(Atom::Name(found), 1)] if name.is_none() => name = Some((found.clone(), coefficient)),
                _ => return None,
            }
        }
        name.map(|(name, factor)| (name, factor, offset))
    }
}

impl Polynomial {
    fn number(number: i64) -> Self {
        let mut terms = BTreeMap::new();
        if number != 0 {
            terms.insert(Vec::new(), number);
        }
        Polynomial(terms)
    }

    fn atom(atom: Atom) -> Self {
        Polynomial(BTreeMap::from([(vec![(atom, 1)], 1)]))
    }

    fn into_size(self) -> Size {
        match self.as_number() {
            Some(number) => match usize::try_from(number) {
                Ok(number) => Size(Repr::Number(number)),
                Err(_) => Size(Repr::Expression(Arc::new(self))),
            },
            None => Size(Repr::Expression(Arc::new(self))),
        }
    }

    fn as_number(&self) -> Option<i64> {
        match self.0.len() {
            0 => Some(0),
            1 => self.0.get(&Vec::new()).copied(),
            _ => None,
        }
    }

    fn as_name(&self) -> Option<&str> {
        let mut terms = self.0.iter();
        match (terms.next(), terms.next()) {
            (Some((monomial, 1)), None) => match monomial.as_slice() {
                [(Atom::Name(name), 1)] => Some(name),
                _ => None,
            },
            _ => None,
        }
    }

    fn add_term(&mut self, monomial: Monomial, coefficient: i64) {
        let entry = self.0.entry(monomial).or_insert(0);
        *entry = entry.saturating_add(coefficient);
        if *entry == 0 {
            self.0.retain(|_, coefficient| *coefficient != 0);
        }
    }

    fn plus(&self, other: &Polynomial, factor: i64) -> Polynomial {
        let mut sum = self.clone();
        for (monomial, coefficient) in &other.0 {
            sum.add_term(monomial.clone(), coefficient.saturating_mul(factor));
        }
        sum
    }

    fn times(&self, other: &Polynomial) -> Polynomial {
        let mut product = Polynomial::default();
        for (left, a) in &self.0 {
            for (right, b) in &other.0 {
                let mut atoms: BTreeMap<Atom, u32> = left.iter().cloned().collect();
                for (atom, power) in right {
                    *atoms.entry(atom.clone()).or_insert(0) += power;
                }
                product.add_term(atoms.into_iter().collect(), a.saturating_mul(*b));
            }
        }
        product
    }

    /// Pulls out what divides exactly: (4n + 5)/2 = 2n + 2 + (1)/2 = 2n + 2.
    fn floor_div(&self, divisor: i64) -> Polynomial {
        let mut whole = Polynomial::default();
        let mut rest = Polynomial::default();
        for (monomial, &coefficient) in &self.0 {
            whole.add_term(monomial.clone(), coefficient.div_euclid(divisor));
            rest.add_term(monomial.clone(), coefficient.rem_euclid(divisor));
        }
        // What is left has coefficients in 0..divisor; a lone number among them divides to 0.
        if rest.as_number().is_none() {
            whole = whole.plus(&Polynomial::atom(Atom::FloorDiv(Arc::new(rest), divisor)), 1);
        }
        whole
    }

    /// Division by a polynomial of one term.
    fn exact_div(&self, other: &Polynomial) -> Option<Polynomial> {
        let [(divisor, b)] = other.0.iter().collect::<Vec<_>>()[..] else { return None };
        let mut quotient = Polynomial::default();
        for (monomial, a) in &self.0 {
            let mut atoms: BTreeMap<Atom, u32> = monomial.iter().cloned().collect();
            for (atom, power) in divisor {
                let have = atoms.get_mut(atom)?;
                *have = have.checked_sub(*power)?;
            }
            if a % b != 0 {
                return None;
            }
            quotient.add_term(atoms.into_iter().filter(|(_, power)| *power > 0).collect(), a / b);
        }
        Some(quotient)
    }

    fn evaluate(&self, bindings: &Bindings) -> Result<i128, String> {
        let mut sum = 0i128;
        for (monomial, &coefficient) in &self.0 {
            let mut product = coefficient as i128;
            for (atom, power) in monomial {
                let value = match atom {
                    Atom::Name(name) => bindings.get(name).ok_or_else(|| name.to_string())? as i128,
                    Atom::FloorDiv(inner, divisor) => inner.evaluate(bindings)?.div_euclid(*divisor as i128),
                };
                product = product.saturating_mul(value.saturating_pow(*power));
            }
            sum = sum.saturating_add(product);
        }
        Ok(sum)
    }

    fn collect_names(&self, names: &mut Vec<Arc<str>>) {
        for (atom, _) in self.0.keys().flatten() {
            match atom {
                Atom::Name(name) => names.push(name.clone()),
                Atom::FloorDiv(inner, _) => inner.collect_names(names),
            }
        }
    }
}

impl From<usize> for Size {
    fn from(number: usize) -> Size {
        Size(Repr::Number(number))
    }
}

macro_rules! size_operator {
    ($trait:ident, $method:ident, $numbers:expr, $polynomials:expr) => {
        impl $trait<&Size> for &Size {
            type Output = Size;
            fn $method(self, other: &Size) -> Size {
                if let (Repr::Number(a), Repr::Number(b)) = (&self.0, &other.0) {
                    if let Some(number) = $numbers(*a, *b) {
                        return Size(Repr::Number(number));
                    }
                }
                $polynomials(&self.polynomial(), &other.polynomial()).into_size()
            }
        }
        impl $trait<Size> for Size {
            type Output = Size;
            fn $method(self, other: Size) -> Size {
                (&self).$method(&other)
            }
        }
        impl $trait<usize> for &Size {
            type Output = Size;
            fn $method(self, other: usize) -> Size {
                self.$method(&Size::from(other))
            }
        }
        impl $trait<usize> for Size {
            type Output = Size;
            fn $method(self, other: usize) -> Size {
                (&self).$method(&Size::from(other))
            }
        }
    };
}
size_operator!(Add, add, usize::checked_add, |a: &Polynomial, b: &Polynomial| a.plus(b, 1));
size_operator!(Sub, sub, usize::checked_sub, |a: &Polynomial, b: &Polynomial| a.plus(b, -1));
size_operator!(Mul, mul, usize::checked_mul, |a: &Polynomial, b: &Polynomial| a.times(b));

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Number(number) => write!(f, "{number}"),
            Repr::Expression(polynomial) => write!(f, "{polynomial}"),
        }
    }
}

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Polynomial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Highest terms first, the number last: 2*time+1.
        for (position, (monomial, &coefficient)) in self.0.iter().rev().enumerate() {
            if coefficient < 0 {
                write!(f, "-")?;
            } else if position > 0 {
                write!(f, "+")?;
            }
            let magnitude = coefficient.unsigned_abs();
            if monomial.is_empty() {
                write!(f, "{magnitude}")?;
                continue;
            }
            if magnitude != 1 {
                write!(f, "{magnitude}*")?;
            }
            let factors = monomial.iter().flat_map(|(atom, power)| std::iter::repeat_n(atom, *power as usize));
            for (position, atom) in factors.enumerate() {
                if position > 0 {
                    write!(f, "*")?;
                }
                match atom {
                    Atom::Name(name) => write!(f, "{name}")?,
                    // Behind a factor `/` would divide the product of both.
                    Atom::FloorDiv(inner, divisor) if position > 0 || magnitude != 1 => {
                        write!(f, "(({inner})/{divisor})")?
                    }
                    Atom::FloorDiv(inner, divisor) => write!(f, "({inner})/{divisor}")?,
                }
            }
        }
        if self.0.is_empty() {
            write!(f, "0")?;
        }
        Ok(())
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Size, SizeError> {
        let error = |reason: String| SizeError::Syntax { text: text.to_string(), reason };
        if text.len() > 1000 {
            return Err(error("longer than 1,000 characters".into()));
        }
        let mut parser = Parser { rest: text.trim(), depth: 0 };
        let polynomial = parser.sum().map_err(error)?;
        match parser.rest {
            "" => Ok(polynomial.into_size()),
            rest => Err(error(format!("unexpected `{rest}`"))),
        }
    }
}

/// Text may come from anywhere: the terms of `(a+b+…)*(a+b+…)*…` multiply with each factor.
const MAX_TERMS: usize = 1000;

/// sum = [-] product {(+|-) product}; product = factor {* factor | / number}; factor = number | name | (sum)
struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl Parser<'_> {
    fn eat(&mut self, symbol: char) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(symbol) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    fn word(&mut self) -> &str {
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        word
    }

    fn sum(&mut self) -> Result<Polynomial, String> {
        self.depth += 1;
        if self.depth > 20 {
            return Err("nested deeper than 20".into());
        }
        let mut sign = if self.eat('-') { -1 } else { 1 };
        let mut sum = Polynomial::default();
        loop {
            sum = sum.plus(&self.product()?, sign);
            sign = match (self.eat('+'), self.eat('-')) {
                (true, false) => 1,
                (false, true) => -1,
                (false, false) => break,
                (true, true) => return Err("two signs in a row".into()),
            };
        }
        self.depth -= 1;
        Ok(sum)
    }

    fn product(&mut self) -> Result<Polynomial, String> {
        let mut product = self.factor()?;
        loop {
            if self.eat('*') {
                let factor = self.factor()?;
                if product.0.len() * factor.0.len() > MAX_TERMS {
                    return Err(format!("a product of more than {MAX_TERMS} terms"));
                }
                product = product.times(&factor);
            } else if self.eat('/') {
                match self.word().parse::<i64>() {
                    Ok(divisor) if divisor > 0 => product = product.floor_div(divisor),
                    _ => return Err("a divisor must be a positive number".into()),
                }
            } else {
                return Ok(product);
            }
        }
    }

    fn factor(&mut self) -> Result<Polynomial, String> {
        if self.eat('(') {
            let inner = self.sum()?;
            return if self.eat(')') { Ok(inner) } else { Err("`(` without `)`".into()) };
        }
        let word = self.word();
        if is_identifier(word) {
            Ok(Polynomial::atom(Atom::Name(word.into())))
        } else {
            word.parse().map(Polynomial::number).map_err(|_| format!("expected a number or a name, found `{word}`"))
        }
    }
}

fn is_identifier(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_') && word.chars().all(|c| c.is_alphanumeric() || c == '_')
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.number() {
            Some(number) => to.serialize_u64(number as u64),
            None => to.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Size, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum NumberOrText {
            Number(usize),
            Text(String),
        }
        match NumberOrText::deserialize(from)? {
            NumberOrText::Number(number) => Ok(number.into()),
            NumberOrText::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// What can be written where a size is wanted: a number, a name or an expression as text, or a [`Size`].
pub trait IntoSize {
    /// The size.
    fn into_size(self) -> Size;
}

impl IntoSize for Size {
    fn into_size(self) -> Size {
        self
    }
}

impl IntoSize for &Size {
    fn into_size(self) -> Size {
        self.clone()
    }
}

impl IntoSize for usize {
    fn into_size(self) -> Size {
        self.into()
    }
}

impl IntoSize for &str {
    #[track_caller]
    fn into_size(self) -> Size {
        match self.parse() {
            Ok(size) => size,
            Err(error) => panic!("{error}"),
        }
    }
}

/// The numbers that names have in one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bindings(BTreeMap<Arc<str>, usize>);

impl Bindings {
    /// No names.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of `name`, if it has one.
    pub fn get(&self, name: &str) -> Option<usize> {
        self.0.get(name).copied()
    }

    /// The names with their numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, usize)> {
        self.0.iter().map(|(name, &number)| (&**name, number))
    }

    /// Gives `name` the number `number`.
    ///
    /// # Errors
    /// If it has another one already.
    pub fn bind(&mut self, name: &Arc<str>, number: usize) -> Result<(), SizeError> {
        match self.0.insert(name.clone(), number) {
            Some(first) if first != number => {
                self.0.insert(name.clone(), first);
                Err(SizeError::Conflict { name: name.to_string(), first, second: number })
            }
            _ => Ok(()),
        }
    }

    /// Makes `size` equal to `found`: binds its name where one is still free and `size` is linear in it, compares
    /// otherwise.
    ///
    /// # Errors
    /// If they cannot be equal.
    pub fn unify(&mut self, size: &Size, found: usize) -> Result<(), SizeError> {
        let differs = || SizeError::Differs { expected: size.to_string(), found };
        if let Some((name, factor, offset)) = size.as_linear() {
            let rest = found as i64 - offset;
            if factor == 0 || rest % factor != 0 || rest / factor < 0 {
                return Err(differs());
            }
            return self.bind(&name, (rest / factor) as usize);
        }
        if size.evaluate(self)? == found { Ok(()) } else { Err(differs()) }
    }
}

impl<N: Into<Arc<str>>> FromIterator<(N, usize)> for Bindings {
    fn from_iter<I: IntoIterator<Item = (N, usize)>>(pairs: I) -> Self {
        Bindings(pairs.into_iter().map(|(name, number)| (name.into(), number)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(text: &str) -> Size {
        text.parse().unwrap()
    }

    #[test]
    fn equal_sizes_have_one_form() {
        for (left, right, shown) in [
            ("time+1+time", "2*time+1", "2*time+1"),
            ("a*b", "b*a", "a*b"),
            ("(n+1)*(n-1)", "n*n-1", "n*n-1"),
            ("(4*n+5)/2", "2*n+2", "2*n+2"),
            ("(n+1)/2", "(1+n)/2", "(n+1)/2"),
            ("n-n", "0", "0"),
        ] {
            assert_eq!(size(left), size(right));
            assert_eq!(size(left).to_string(), shown);
            assert_eq!(size(shown), size(left));
        }
        assert_ne!(size("n"), size("m"));
    }

    #[test]
    fn bad_text_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "expected a number or a name"),
            ("2*", "expected a number or a name"),
            ("n/0", "positive number"),
            ("(n", "without `)`"),
            ("n+-1", "two signs"),
            ("n 3", "unexpected"),
            (&["(a+b+c+d+e+f+g+h)"; 50].join("*"), "more than 1000 terms"),
        ] {
            let message = text.parse::<Size>().unwrap_err().to_string();
            assert!(message.contains(reason), "{text}: {message}");
        }
        assert!("(".repeat(500).parse::<Size>().unwrap_err().to_string().contains("nested"));
    }

    #[test]
    fn unify_solves_for_the_name() {
        let mut bindings = Bindings::new();
        bindings.unify(&size("2*time+1"), 7).unwrap();
        assert_eq!(bindings.get("time"), Some(3));
        assert!(bindings.unify(&size("time"), 4).unwrap_err().to_string().contains("`time` is 3 and 4"));
        assert!(bindings.unify(&size("2*other"), 5).is_err());
        bindings.unify(&size("time*time"), 9).unwrap();
    }

    #[test]
    fn exact_division() {
        assert_eq!(size("6*batch").exact_div(&size("batch")), Some(size("6")));
        assert_eq!(size("6*batch*time").exact_div(&size("2*time")), Some(size("3*batch")));
        assert_eq!(size("batch").exact_div(&size("2")), None);
    }

    #[test]
    fn negative_values_are_no_sizes() {
        let error = size("n-5").evaluate(&Bindings::from_iter([("n", 3)])).unwrap_err();
        assert!(error.to_string().contains("n-5"));
    }

    #[test]
    fn text_is_read_back_as_it_was() {
        let halves = size("time").ceil_div(2);
        for (found, text) in [
            (&halves * &size("batch"), "batch*((time+1)/2)"),
            (&halves * 3, "3*((time+1)/2)"),
            (&halves * &halves, "(time+1)/2*((time+1)/2)"),
            (&(&halves + 1).floor_div(2) * &size("batch"), "batch*(((time+1)/2+1)/2)"),
        ] {
            assert_eq!(found.to_string(), text);
            assert_eq!(size(text), found);
        }
    }
}
