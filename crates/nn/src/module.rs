//! [`Module`]: what holds variables. Its parameters have the names of its fields.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

pub use thalweg_derive::Module;
use thalweg_graph::{DType, Variable};

use crate::error::NnError;

/// What a walk calls with each variable and its path.
pub type Visitor<'a> = dyn FnMut(&str, &Variable) + 'a;

/// Something that holds variables: a layer, a network, a list of them. Derived for structs.
///
/// ```
/// use thalweg_nn::{Init, Linear, Module};
///
/// #[derive(Module)]
/// struct Digits {
///     hidden: Linear,
///     logits: Linear,
/// }
///
/// let digits = Init::build(42, |init| Digits {
///     hidden: Linear::new(init, 784, 128),
///     logits: Linear::new(init, 128, 10),
/// });
/// let names: Vec<String> = digits.parameters().iter().map(|variable| variable.name().to_string()).collect();
/// assert_eq!(names, ["hidden.weight", "hidden.bias", "logits.weight", "logits.bias"]);
/// assert_eq!(digits.parameter_count(), 784 * 128 + 128 + 128 * 10 + 10);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a module",
    label = "holds no variables that are known",
    note = "derive `Module` for it, or mark the field with #[module(skip)] if it holds no variables"
)]
pub trait Module {
    /// Shows every variable with its path, in the order of the fields; a variable in two places is shown twice.
    fn visit(&self, path: &mut Path, visitor: &mut Visitor<'_>);

    /// Every variable once, with the first path that leads to it.
    fn variables(&self) -> Vec<(String, Variable)> {
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        self.visit(&mut Path::root(), &mut |path, variable| {
            if seen.insert(variable.id()) {
                found.push((path.to_string(), variable.clone()));
            }
        });
        found
    }

    /// The variables that optimizers change, each once, in the order of the fields.
    fn parameters(&self) -> Vec<Variable> {
        self.variables().into_iter().map(|(_, variable)| variable).filter(Variable::is_trainable).collect()
    }

    /// The number of trainable numbers.
    fn parameter_count(&self) -> usize {
        self.parameters().iter().map(|variable| variable.core().count()).sum()
    }

    /// The paths of the layer groups, from the input to the output: what is frozen together, and has one learning rate.
    /// Those of the fields, below the one field that a wrapper has.
    ///
    /// ```
    /// use thalweg_nn::{Init, Mlp, Module};
    /// let net = Init::build(7, |init| Mlp::new(init, &[784, 128, 10]));
    /// assert_eq!(net.groups(), ["layers.0", "layers.1"]);
    /// ```
    fn groups(&self) -> Vec<String> {
        groups_of(self.variables().iter().map(|(path, _)| &**path))
    }

    /// Names every variable that has no name yet by its path. [`crate::Init::build`] does it; what optimizers and files
    /// see must have names.
    fn name_variables(&self) {
        self.visit(&mut Path::root(), &mut |path, variable| {
            variable.name_once(path);
        });
    }

    /// Makes optimizers built from now on leave the variables at or below `prefix` alone (`""` is everything). Gives
    /// the number of variables.
    ///
    /// # Errors
    /// If there is no such path.
    fn freeze(&self, prefix: &str) -> Result<usize, NnError> {
        set_trainable(self.variables(), prefix, false)
    }

    /// Undoes [`Module::freeze`].
    ///
    /// # Errors
    /// If there is no such path.
    fn unfreeze(&self, prefix: &str) -> Result<usize, NnError> {
        set_trainable(self.variables(), prefix, true)
    }

    /// Makes training graphs built from now on use running statistics as they are and leave them alone, such as those of
    /// batch norms: freezes every variable that no optimizer changes. [`Module::unfreeze`] undoes it.
    fn keep_statistics(&self) {
        for (_, variable) in self.variables() {
            if variable.core().is_state() {
                variable.set_trainable(false);
            }
        }
    }

    /// A table of paths, shapes and counts, with aliases and what is frozen.
    fn summary(&self) -> String {
        let mut rows: Vec<[String; 3]> = Vec::new();
        let mut first: BTreeMap<u64, String> = BTreeMap::new();
        self.visit(&mut Path::root(), &mut |path, variable| {
            let (core, meta) = (variable.core(), variable.meta().to_string());
            match first.get(&variable.id().number()) {
                Some(original) => rows.push([path.into(), meta, format!("= {original}")]),
                None => {
                    first.insert(variable.id().number(), path.into());
                    let frozen = if core.is_trainable() { "" } else { "  not trained" };
                    rows.push([path.into(), meta, format!("{}{frozen}", grouped(core.count()))]);
                }
            }
        });
        rows.push(["total trained".into(), String::new(), grouped(self.parameter_count())]);
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let (paths, metas) = (width(0), width(1));
        rows.iter().map(|[path, meta, count]| format!("{path:paths$}  {meta:metas$}  {count}\n")).collect()
    }
}

/// The layer groups of variables at these paths: where the paths part.
///
/// ```
/// use thalweg_nn::module::groups_of;
/// assert_eq!(groups_of(["net.body.0.weight", "net.body.1.weight", "net.head.weight"]), ["net.body", "net.head"]);
/// ```
pub fn groups_of<'a>(paths: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let paths: Vec<Vec<&str>> = paths.into_iter().map(|path| path.split('.').collect()).collect();
    let Some(first) = paths.first() else { return Vec::new() };
    let common = |depth: &usize| paths.iter().all(|path| path.len() > depth + 2 && path[*depth] == first[*depth]);
    let depth = (0..first.len()).take_while(common).count();
    let mut groups: Vec<String> = Vec::new();
    for path in &paths {
        let group = path[..=depth].join(".");
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups
}

/// 1234567 as `1,234,567`.
fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let lead = digits.len() % 3;
    let mut text = digits[..lead].to_string();
    for group in digits.as_bytes()[lead..].chunks(3) {
        if !text.is_empty() {
            text.push(',');
        }
        text.extend(group.iter().map(|&digit| digit as char));
    }
    text
}

fn set_trainable(variables: Vec<(String, Variable)>, prefix: &str, trainable: bool) -> Result<usize, NnError> {
    let known = variables.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>().join(" ");
    let chosen: Vec<_> = variables.into_iter().filter(|(path, _)| is_below(path, prefix)).collect();
    if chosen.is_empty() {
        return Err(NnError::NoSuchPath { prefix: prefix.into(), known });
    }
    for (_, variable) in &chosen {
        variable.set_trainable(trainable);
    }
    Ok(chosen.len())
}

/// Whether `path` is `prefix` or below it: `hidden1.weight` is below `hidden1`, not below `hidden`.
pub fn is_below(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('.');
    prefix.is_empty() || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '/']))
}

/// Whether a parameter is a weight: biases and scales have fewer than two axes. What keeps weights small spares them.
pub(crate) fn is_weight(variable: &Variable) -> bool {
    variable.rank() >= 2
}

/// Where a walk is: `encoder.0.weight`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// The place where a walk begins; a variable there has an empty name.
    pub fn root() -> Path {
        Path::default()
    }

    /// A path that is already some way down.
    pub fn at(prefix: &str) -> Path {
        Path(prefix.into())
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Runs `body` one level down.
    pub fn enter(&mut self, name: &str, body: impl FnOnce(&mut Path)) {
        let length = self.0.len();
        if length > 0 {
            self.0.push('.');
        }
        self.0.push_str(name);
        body(self);
        self.0.truncate(length);
    }

    /// Visits modules under their positions: `0`, `1`, …
    fn enter_each<'a, M: Module + 'a>(&mut self, modules: impl IntoIterator<Item = &'a M>, visitor: &mut Visitor<'_>) {
        for (position, module) in modules.into_iter().enumerate() {
            self.enter(&position.to_string(), |path| module.visit(path, visitor));
        }
    }
}

impl Module for Variable {
    fn visit(&self, path: &mut Path, visitor: &mut Visitor<'_>) {
        visitor(path.as_str(), self);
    }
}

impl<M: Module> Module for Option<M> {
    fn visit(&self, path: &mut Path, visitor: &mut Visitor<'_>) {
        if let Some(module) = self {
            module.visit(path, visitor);
        }
    }
}

impl<M: Module> Module for Vec<M> {
    fn visit(&self, path: &mut Path, visitor: &mut Visitor<'_>) {
        path.enter_each(self, visitor);
    }
}

impl<M: Module, const N: usize> Module for [M; N] {
    fn visit(&self, path: &mut Path, visitor: &mut Visitor<'_>) {
        path.enter_each(self, visitor);
    }
}

impl<M: Module> Module for BTreeMap<String, M> {
    fn visit(&self, path: &mut Path, visitor: &mut Visitor<'_>) {
        for (name, module) in self {
            path.enter(name, |path| module.visit(path, visitor));
        }
    }
}

macro_rules! pointers {
    ($($type:ty),*) => {
        $(impl<M: Module + ?Sized> Module for $type {
            fn visit(&self, path: &mut Path, visitor: &mut Visitor<'_>) {
                (**self).visit(path, visitor);
            }
        })*
    };
}
pointers!(&M, Box<M>, Arc<M>);

macro_rules! tuples {
    ($(($($name:ident $position:tt),+)),*) => {
        $(impl<$($name: Module),+> Module for ($($name,)+) {
            fn visit(&self, path: &mut Path, visitor: &mut Visitor<'_>) {
                $(path.enter(stringify!($position), |path| self.$position.visit(path, visitor));)+
            }
        })*
    };
}
tuples!(
    (A 0),
    (A 0, B 1),
    (A 0, B 1, C 2),
    (A 0, B 1, C 2, D 3),
    (A 0, B 1, C 2, D 3, E 4),
    (A 0, B 1, C 2, D 3, E 4, F 5)
);

/// Modules without variables: settings that stand beside layers.
macro_rules! without_variables {
    ($($type:ty),* $(,)?) => {
        $(impl $crate::Module for $type {
            fn visit(&self, _: &mut $crate::Path, _: &mut $crate::Visitor<'_>) {}
        })*
    };
}
pub(crate) use without_variables;
without_variables!(bool, u32, u64, usize, i32, i64, isize, f32, f64, String, &'static str, DType);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Init, Linear};

    #[derive(Module)]
    struct Block {
        inner: Linear,
        scale: Option<Variable>,
    }

    #[derive(Module)]
    struct Net<M> {
        blocks: Vec<Block>,
        pair: [M; 2],
        tied: Variable,
        #[module(skip)]
        _activation: fn(f64) -> f64,
        _depth: usize,
        #[module(name = "head")]
        last: (Variable, Box<Linear>),
    }

    fn net() -> Net<Variable> {
        Init::build(1, |init| {
            let shared = Variable::unnamed(1.0);
            let block = |init: &mut Init, scale| Block { inner: Linear::new(init, 2, 3), scale };
            Net {
                blocks: vec![block(init, None), block(init, Some(Variable::unnamed(2.0)))],
                pair: [shared.clone(), Variable::unnamed(0.0).not_trainable()],
                tied: shared,
                _activation: f64::tanh,
                _depth: 2,
                last: (Variable::new("kept", 0.0), Box::new(Linear::new(init, 3, 1))),
            }
        })
    }

    #[test]
    fn variables_are_named_by_the_first_path_that_leads_to_them() {
        let net = net();
        let paths: Vec<String> = net.variables().into_iter().map(|(path, _)| path).collect();
        assert_eq!(
            paths,
            [
                "blocks.0.inner.weight",
                "blocks.0.inner.bias",
                "blocks.1.inner.weight",
                "blocks.1.inner.bias",
                "blocks.1.scale",
                "pair.0",
                "pair.1",
                "head.0",
                "head.1.weight",
                "head.1.bias"
            ]
        );
        assert_eq!(&*net.tied.name(), "pair.0");
        assert_eq!(&*net.blocks[1].inner.weight.name(), "blocks.1.inner.weight");
        assert_eq!(&*net.last.0.name(), "kept", "a name that was given stays");
    }

    #[test]
    fn freezing_goes_by_whole_names() {
        let net = net();
        let count = net.parameter_count();
        assert_eq!(count, 2 * (2 * 3 + 3) + 1 + 1 + 1 + 3 + 1);
        assert_eq!(net.freeze("blocks.1"), Ok(3));
        assert_eq!(net.parameter_count(), count - (2 * 3 + 3) - 1);
        assert!(net.summary().contains("blocks.1.scale         f32[]     1  not trained"), "{}", net.summary());
        assert_eq!(net.unfreeze("blocks"), Ok(5));
        assert_eq!(net.parameter_count(), count);
        let message = net.freeze("block").unwrap_err().to_string();
        assert!(message.contains("`block`") && message.contains("blocks.0.inner.weight"), "{message}");
    }

    #[test]
    fn the_summary_names_aliases_and_counts() {
        let summary = net().summary();
        assert!(summary.contains("tied                   f32[]     = pair.0"), "{summary}");
        assert!(summary.contains("blocks.0.inner.weight  f32[2,3]  6\n"), "{summary}");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(123), "123");
    }
}
