//! Reading graphs from text. The text may come from anywhere: every line is checked by the rules of its op.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value};
use smallvec::SmallVec;
use thalweg_array::{Array, DType, Element, MAX_RANK, Shape, Size, with_dtype};
use thiserror::Error;

use super::print::is_word;
use super::{implied, join_op};
use crate::graph::{Graph, Node, NodeId};
use crate::op::{Op, OpRules};
use crate::ops::source::{Constant, VariableRead};
use crate::tensor::{Meta, Tensor};
use crate::variable::Variable;

/// Where text is no graph, and why.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct ParseError {
    /// The line, counted from 1.
    pub line: usize,
    /// The character in the line, counted from 1.
    pub column: usize,
    /// What was expected and what was found.
    pub reason: String,
}

/// Reads the text form of a graph. A variable is new and starts as zeros; lines that name the same variable mean the
/// same.
///
/// ```
/// let text = "%x: f32[n,2] = placeholder\n%y: f32[n,2] = exp %x\nreturn %y\n";
/// assert_eq!(thalweg_graph::text::parse(text)?.to_string(), text);
/// let error = thalweg_graph::text::parse("%x: f32[n,2] = placeholder\n%y: f32[n,2] = expo %x").unwrap_err();
/// assert_eq!(error.to_string(), "line 2, column 16: there is no op `expo`; did you mean `exp`?");
/// # Ok::<(), thalweg_graph::text::ParseError>(())
/// ```
///
/// # Errors
/// At the first line that is none, or whose op does not give the dtype and shape that the line says.
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    parse_beside(text, &Graph::default())
}

/// As [`parse`], of a graph that belongs to `other`: the variables of one name are one variable in both.
///
/// ```
/// use thalweg_graph::text::{parse, parse_beside};
/// let model = parse("%w: f32[] = variable\n%y: f32[] = exp %w\nreturn %y\n")?;
/// let step = parse_beside("%w: f32[] = variable\n%0: f32[] = neg %w\nupdate %w <- %0\n", &model)?;
/// let read = |tensor: &thalweg_graph::Tensor| thalweg_graph::Variable::try_from(&tensor.inputs()[0]).unwrap();
/// assert_eq!(step.updates()[0].0, read(&model.to_tensors()[0]));
/// # Ok::<(), thalweg_graph::text::ParseError>(())
/// ```
///
/// # Errors
/// As [`parse`], and if a variable has another dtype or shape in `other`.
pub fn parse_beside(text: &str, other: &Graph) -> Result<Graph, ParseError> {
    let mut reader = Reader::default();
    for node in other.nodes() {
        if let Op::Variable(read) = &node.op {
            reader.variables.insert(read.variable().name(), read.clone());
        }
    }
    for (number, line) in text.lines().enumerate() {
        let mut cursor = Cursor { line, rest: line };
        let fail = |at: &str, reason| ParseError {
            line: number + 1,
            column: line[..line.len() - at.len()].chars().count() + 1,
            reason,
        };
        reader.line(&mut cursor).map_err(|Fault { at, reason }| fail(at, reason))?;
    }
    let Reader { mut graph, fetches, updates, .. } = reader;
    graph.set_roots(fetches, updates);
    Ok(graph)
}

/// What is wrong with the rest of a line that begins at `at`.
struct Fault<'a> {
    at: &'a str,
    reason: String,
}

/// What has been read of a line and what has not.
struct Cursor<'a> {
    line: &'a str,
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip_space();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn take_while(&mut self, accepts: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !accepts(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn word(&mut self) -> &'a str {
        self.skip_space();
        self.take_while(is_word)
    }

    fn json(&mut self) -> Result<Value, Fault<'a>> {
        let mut values = serde_json::Deserializer::from_str(self.rest).into_iter::<Value>();
        match values.next() {
            Some(Ok(value)) => {
                self.rest = &self.rest[values.byte_offset()..];
                Ok(value)
            }
            Some(Err(error)) => Err(self.fault(format!("expected a JSON value: {error}"))),
            None => Err(self.fault("expected a JSON value, found the end of the line".into())),
        }
    }

    fn fault(&self, reason: String) -> Fault<'a> {
        Fault { at: self.rest, reason }
    }

    /// "expected …, found …" with the word that stands there.
    fn expected(&mut self, what: &str) -> Fault<'a> {
        self.skip_space();
        let found = match self.rest.split_whitespace().next() {
            Some(word) => format!("`{}`", word.chars().take(40).collect::<String>()),
            None => "the end of the line".into(),
        };
        self.fault(format!("expected {what}, found {found}"))
    }

    fn expect(&mut self, token: &str) -> Result<(), Fault<'a>> {
        if self.eat(token) { Ok(()) } else { Err(self.expected(&format!("`{token}`"))) }
    }

    /// `f32[batch,4]`
    fn meta(&mut self) -> Result<Meta, Fault<'a>> {
        self.skip_space();
        let start = self.rest;
        let dtype: DType = self.take_while(is_word).parse().map_err(|reason| Fault { at: start, reason })?;
        self.expect("[")?;
        let Some((inside, rest)) = self.rest.split_once(']') else { return Err(self.fault("`[` without `]`".into())) };
        let mut shape = Shape::scalar();
        // The product of the numbers of terms bounds the work of multiplying the sizes.
        let mut terms = 1;
        for part in inside.split(',').filter(|_| !inside.trim().is_empty()) {
            let size: Size = part.parse().map_err(|error: thalweg_array::SizeError| self.fault(error.to_string()))?;
            terms *= 1 + size.to_string().matches(['+', '-']).count();
            if shape.rank() == MAX_RANK || terms > 1000 {
                return Err(self.fault(format!("a shape of more than {MAX_RANK} axes or 1000 terms")));
            }
            shape.sizes_mut().push(size);
        }
        self.rest = rest;
        Ok(Meta::new(dtype, shape))
    }
}

#[derive(Default)]
struct Reader {
    graph: Graph,
    ids: HashMap<String, NodeId>,
    variables: BTreeMap<Arc<str>, VariableRead>,
    fetches: Vec<NodeId>,
    updates: Vec<(Variable, NodeId)>,
}

impl Reader {
    fn line<'a>(&mut self, cursor: &mut Cursor<'a>) -> Result<(), Fault<'a>> {
        cursor.skip_space();
        if cursor.rest.is_empty() || cursor.rest.starts_with('#') {
            return Ok(());
        }
        if cursor.rest.starts_with('%') {
            self.node(cursor)?;
        } else {
            match cursor.word() {
                "return" => loop {
                    let id = self.reference(cursor)?;
                    self.fetches.push(id);
                    if !cursor.eat(",") {
                        break;
                    }
                },
                "update" => self.update(cursor)?,
                _ => {
                    cursor.rest = cursor.line;
                    return Err(cursor.expected("`%name: …`, `update` or `return`"));
                }
            }
        }
        cursor.skip_space();
        if cursor.rest.is_empty() { Ok(()) } else { Err(cursor.expected("the end of the line")) }
    }

    /// `%name: meta = op …`
    fn node<'a>(&mut self, cursor: &mut Cursor<'a>) -> Result<(), Fault<'a>> {
        let start = cursor.rest;
        cursor.expect("%")?;
        let name = cursor.word();
        if name.is_empty() {
            return Err(cursor.expected("a name"));
        }
        if self.ids.contains_key(name) {
            return Err(Fault { at: start, reason: format!("%{name} stands twice") });
        }
        cursor.expect(":")?;
        let meta = cursor.meta()?;
        cursor.expect("=")?;
        cursor.skip_space();
        let op_start = cursor.rest;
        let label = cursor.word();
        let fail = |reason| Fault { at: op_start, reason };
        if label.is_empty() {
            return Err(cursor.expected("an op"));
        }
        let mut op = None;
        if label == "constant" {
            let array = number_list(cursor).map(|text| elements(text, meta.dtype, &numbers(&meta)?));
            op = array.transpose().map_err(fail)?.map(|array| Op::from(Constant::new(array)));
        }
        let mut inputs: SmallVec<[NodeId; 3]> = SmallVec::new();
        let mut attributes = Map::new();
        let mut called: Option<Arc<str>> = None;
        let mut scope: Arc<str> = "".into();
        loop {
            cursor.skip_space();
            if cursor.rest.is_empty() {
                break;
            } else if cursor.rest.starts_with('%') {
                inputs.push(self.reference(cursor)?);
            } else if cursor.eat("@") {
                scope = if cursor.rest.starts_with('"') { text(cursor)?.into() } else { cursor.word().into() };
            } else {
                let key = cursor.word();
                if key.is_empty() {
                    return Err(cursor.expected("an input, an attribute `key=value` or a scope `@path`"));
                }
                cursor.expect("=")?;
                if key == "called" {
                    called = Some(text(cursor)?.into());
                } else if implied(label).contains(&key) {
                    return Err(cursor.fault(format!("`{key}` of {label} is what the line says before the `=`")));
                } else {
                    attributes.insert(key.into(), cursor.json()?);
                }
            }
        }
        let op = match op {
            Some(op) if attributes.is_empty() => op,
            Some(_) => return Err(fail("a constant with numbers has no attributes".into())),
            None => {
                complete(&mut attributes, label, name, &meta);
                let op = join_op(label, attributes).map_err(fail)?;
                self.with_known_variable(op).map_err(fail)?
            }
        };
        let inferred = {
            let metas: SmallVec<[&Meta; 4]> = inputs.iter().map(|input| &self.graph[*input].meta).collect();
            op.infer(&metas).map_err(|error| fail(format!("{label}: {error}")))?
        };
        if inferred != meta {
            return Err(fail(format!("{label} gives {inferred}, the line says {meta}")));
        }
        let is_number = name.chars().all(|c| c.is_ascii_digit());
        let node_name = called
            .or_else(|| super::print::source_name(&op).map(Into::into))
            .or_else(|| (!is_number).then(|| name.into()));
        let id = self.graph.push(Node {
            op,
            inputs,
            meta,
            name: node_name,
            scope,
            location: None,
            part: None,
            origin: None,
        });
        self.ids.insert(name.into(), id);
        Ok(())
    }

    /// `update %w <- %7`, or `update "w": f32[3] <- %7` for a variable that no node reads.
    fn update<'a>(&mut self, cursor: &mut Cursor<'a>) -> Result<(), Fault<'a>> {
        cursor.skip_space();
        let start = cursor.rest;
        let fail = |reason| Fault { at: start, reason };
        let op = if start.starts_with('%') {
            let id = self.reference(cursor)?;
            self.graph[id].op.clone()
        } else {
            let name = text(cursor)?;
            cursor.expect(":")?;
            let meta = cursor.meta()?;
            let mut attributes = Map::new();
            complete(&mut attributes, "variable", &name, &meta);
            self.with_known_variable(join_op("variable", attributes).map_err(fail)?).map_err(fail)?
        };
        let Op::Variable(read) = op else { return Err(fail("only a variable can be updated".into())) };
        cursor.expect("<-")?;
        let value = self.reference(cursor)?;
        let variable = variable_of(&read);
        if &self.graph[value].meta != variable.tensor().meta() {
            let found = &self.graph[value].meta;
            let expected = variable.tensor().meta();
            return Err(fail(format!("`{}` is {expected}, its next value {found}", variable.name())));
        }
        self.updates.push((variable, value));
        Ok(())
    }

    /// `%x`
    fn reference<'a>(&self, cursor: &mut Cursor<'a>) -> Result<NodeId, Fault<'a>> {
        cursor.skip_space();
        let start = cursor.rest;
        cursor.expect("%")?;
        let name = cursor.take_while(is_word);
        let id = self.ids.get(name).copied();
        id.ok_or_else(|| Fault { at: start, reason: format!("no line above defines %{name}") })
    }

    /// The op with the variable that lines above know by the name of its own.
    fn with_known_variable(&mut self, op: Op) -> Result<Op, String> {
        let mut known = |read: VariableRead| {
            let core = read.variable();
            let first = self.variables.entry(core.name()).or_insert_with(|| read.clone());
            if (first.variable().dtype(), first.variable().shape()) == (core.dtype(), core.shape()) {
                Ok(first.clone())
            } else {
                Err(format!("the variable `{}` has another dtype or shape where it was met first", core.name()))
            }
        };
        Ok(match op {
            Op::Variable(read) => Op::Variable(known(read)?),
            Op::WithUpdate(mut with) => {
                with.variable = known(with.variable)?;
                Op::WithUpdate(with)
            }
            other => other,
        })
    }
}

fn variable_of(read: &VariableRead) -> Variable {
    let tensor = Tensor::apply(read.clone(), []);
    Variable::try_from(&tensor).expect("the tensor reads a variable")
}

/// Adds what the line said before the op.
fn complete(attributes: &mut Map<String, Value>, op: &str, name: &str, meta: &Meta) {
    let json = |value: Result<Value, _>| value.expect("dtypes and shapes are JSON");
    for &key in implied(op) {
        let value = match key {
            "shape" => json(serde_json::to_value(&meta.shape)),
            _ => json(serde_json::to_value(meta.dtype)),
        };
        attributes.insert(key.into(), value);
    }
    match op {
        "placeholder" | "variable" => {
            attributes.entry("name").or_insert(name.into());
        }
        "constant" => {
            attributes.insert("dtype".into(), json(serde_json::to_value(meta.dtype)));
            attributes.insert("shape".into(), json(serde_json::to_value(&meta.shape)));
        }
        _ => {}
    }
}

/// A JSON string.
fn text<'a>(cursor: &mut Cursor<'a>) -> Result<String, Fault<'a>> {
    cursor.skip_space();
    let start = cursor.rest;
    match cursor.json()? {
        Value::String(text) => Ok(text),
        _ => Err(Fault { at: start, reason: "expected a text in quotes".into() }),
    }
}

fn numbers(meta: &Meta) -> Result<Vec<usize>, String> {
    meta.shape.numbers().ok_or_else(|| format!("a constant of shape {}: its sizes must be numbers", meta.shape))
}

/// `2.0` or `[[1.0, 2.0], [3.0, 4.0]]`, if that is what follows.
fn number_list<'a>(cursor: &mut Cursor<'a>) -> Option<&'a str> {
    cursor.skip_space();
    if !cursor.rest.starts_with('[') {
        let number = cursor.rest.split_whitespace().next()?;
        if number.starts_with(['%', '@']) || number.contains('=') {
            return None;
        }
        cursor.rest = &cursor.rest[number.len()..];
        return Some(number);
    }
    let mut depth = 0usize;
    let last = cursor.rest.find(|c| {
        depth = match c {
            '[' => depth + 1,
            ']' => depth - 1,
            _ => depth,
        };
        depth == 0
    });
    let (list, rest) = cursor.rest.split_at(last.map_or(cursor.rest.len(), |last| last + 1));
    cursor.rest = rest;
    Some(list)
}

/// The array that a number or a nested list of numbers denotes.
pub(super) fn elements(text: &str, dtype: DType, shape: &[usize]) -> Result<Array, String> {
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, '[' | ']' | ',')).filter(|word| !word.is_empty());
    let array = with_dtype!(dtype, T => {
        let parsed: Result<Vec<T>, String> = words.map(element::<T>).collect();
        Array::new(shape, parsed?).map_err(|error| error.to_string())?
    });
    let brackets = |text: &str| text.chars().filter(|c| matches!(c, '[' | ']' | ',')).collect::<String>();
    if brackets(text) != brackets(&array.to_string()) {
        return Err(format!("the brackets do not fit the shape {shape:?}"));
    }
    Ok(array)
}

fn element<T: Element>(word: &str) -> Result<T, String> {
    let found = match T::DTYPE {
        DType::F64 => word.parse::<f64>().ok().map(T::from_f64),
        // Through f32: through f64 a number would be rounded twice.
        DType::F32 | DType::F16 | DType::BF16 => word.parse::<f32>().ok().map(|x| T::from_f64(x.into())),
        DType::I32 | DType::I64 | DType::U8 => {
            word.parse::<i64>().ok().filter(|&x| T::from_i64(x).to_i64() == x).map(T::from_i64)
        }
        DType::Bool => word.parse::<bool>().ok().map(|x| T::from_i64(x.into())),
    };
    found.ok_or_else(|| format!("`{}` is no {}", word.chars().take(40).collect::<String>(), T::DTYPE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refuse(text: &str, expected: &str) {
        let message = parse(text).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn every_kind_of_line_is_read_back() {
        let text = "\
%x: f32[batch,4] = placeholder
%the_image: u8[batch,28] = placeholder name=\"the image\"
%w: f32[4,2] = variable
%dense1/bias: f64[] = variable
%0: f32[] = constant 2.0
%1: f16[2,2] = constant [[1.5, -0.0], [inf, -2.0]]
%2: bool[2] = constant [true, false]
%3: f32[1] = constant hex=\"0100c07f\"
%4: f32[0,3] = constant []
%5: f32[batch,2] = matmul %x %w @dense1
%hidden: f32[batch,2] = leaky_relu %5 slope=0.01 @dense1
%hidden_1: f32[batch,2] = exp %hidden called=\"hidden\" @\"a b\"
%6: f32[2*batch] = reshape %hidden_1
%7: f32[] = sum %6 axes=[0]
%8: f32[] = max %7 %0
%9: f64[] = cast %8
%10: i64[] = size size=\"2*batch+1\"
%11: f32[4,2] = expand %0
%12: f32[batch] = random distribution=\"normal\" stream=18446744073709551615
%13: f64[] = with_update %9 %dense1/bias variable={\"name\":\"dense1/bias\",\"dtype\":\"f64\",\"shape\":[]}
update %w <- %11
update \"steps\": f64[] <- %9
return %9, %hidden, %13
";
        let graph = parse(text).unwrap();
        assert_eq!(graph.to_string(), text);
        let with_update = graph.nodes().find_map(|node| match &node.op {
            Op::WithUpdate(with) => Some(with.variable.clone()),
            _ => None,
        });
        let bias = graph.nodes().find_map(|node| match &node.op {
            Op::Variable(read) if &*read.variable().name() == "dense1/bias" => Some(read.clone()),
            _ => None,
        });
        assert_eq!(with_update, bias);
    }

    #[test]
    fn wrong_text_is_refused_at_its_place() {
        let x = "%x: f32[n] = placeholder\n";
        refuse("hello", "line 1, column 1: expected `%name: …`, `update` or `return`, found `hello`");
        refuse("%x: f31[n] = placeholder", "line 1, column 5: unknown dtype `f31`");
        refuse("%x: f32[n+] = placeholder", "`n+` is no size");
        refuse("%x: f32[n", "`[` without `]`");
        refuse(&format!("{x}%y: f32[n] = exp %z"), "line 2, column 18: no line above defines %z");
        refuse(&format!("{x}{x}"), "%x stands twice");
        refuse(&format!("{x}%y: f32[m] = exp %x"), "exp gives f32[n], the line says f32[m]");
        refuse(&format!("{x}%y: f32[n] = exp %x %x"), "exp: takes 1 input, got 2");
        refuse(&format!("{x}%y: f32[] = sum %x axis=[0]"), "missing field `axes`");
        refuse(&format!("{x}%y: f32[] = sum %x axes=[0"), "expected a JSON value");
        refuse(&format!("{x}%y: f32[2,n] = expand %x shape=[2,\"n\"]"), "`shape` of expand is what the line says");
        refuse(&format!("{x}return %x now"), "expected the end of the line, found `now`");
        refuse(&format!("{x}update %x <- %x"), "only a variable can be updated");
        refuse("%0: f32[2] = constant [1.0, 2.0, 3.0]", "has 2 elements, but 3 were given");
        refuse("%0: f32[2,1] = constant [1.0, 2.0]", "the brackets do not fit the shape [2, 1]");
        refuse("%0: u8[] = constant 256", "`256` is no u8");
        refuse("%0: f32[n] = constant 1.0", "its sizes must be numbers");
        refuse(
            "%w: f32[2] = variable\n%v: f32[3] = variable name=\"w\"",
            "the variable `w` has another dtype or shape",
        );
        refuse("%w: f32[n] = variable", "line 1, column 14: variable:");
        refuse("%w: f32[2] = variable\n%v: f32[] = constant 1\nupdate %w <- %v", "`w` is f32[2], its next value f32[]");
        refuse(&format!("%x: f32[{}] = placeholder", ["(a+b+c+d+e+f+g+h)"; 8].join(",")), "1000 terms");
    }
}
