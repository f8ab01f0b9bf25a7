//! Python pickles, read as data: the values that a pickle describes, with nothing imported, called or built.
//!
//! A pickle is a program for a small stack machine (Python's `pickletools` documents it). Where Python would look a name
//! up and call it, [`Value::Object`] notes what would have been called, with what; whoever reads it decides what that
//! means. So a file can say whatever it likes: nothing happens.

use std::fmt;

/// A value, by its number in [`Pickle::values`].
pub(super) type Id = u32;

/// What a pickle describes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// A whole number that needs more than 64 bits.
    LargeInt,
    Float(f64),
    /// Text, as a part of the pickle.
    Text(Span),
    /// Bytes, as a part of the pickle.
    Bytes(Span),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    /// Keys and values in turn.
    Dict(Vec<Id>),
    /// The name of something in a Python module: `collections OrderedDict`.
    Global {
        module: Span,
        name: Span,
    },
    /// What Python would have made by calling something.
    Object(Box<Object>),
    /// What stands outside the pickle, by what it is called by.
    Persistent(Id),
}

/// What Python would have made by calling something.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Object {
    pub(super) callable: Id,
    pub(super) arguments: Id,
    /// What it would have been told afterwards.
    pub(super) state: Option<Id>,
    /// Keys and values that would have been put into it, in turn.
    pub(super) items: Vec<Id>,
}

/// A part of the pickle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    begin: u32,
    end: u32,
}

/// What was read.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    bytes: &'a [u8],
    values: Vec<Value>,
    root: Id,
    /// The bytes that it takes.
    pub(super) length: usize,
}

/// The most values of a pickle, and the most entries of its stack and its containers together: tens of thousands of
/// tensors take a tenth of it.
const MOST: usize = 1 << 19;

/// What is wrong with a pickle: a reason with the place.
#[derive(Debug)]
pub(super) struct PickleError {
    at: usize,
    reason: String,
}

impl fmt::Display for PickleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {} of the pickle: {}", self.at, self.reason)
    }
}

impl<'a> Pickle<'a> {
    /// Reads the pickle that `bytes` begin with.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Pickle<'a>, PickleError> {
        let mut machine = Machine {
            bytes,
            at: 0,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Vec::new(),
            held: 0,
        };
        let root = machine.run()?;
        Ok(Pickle { bytes, values: machine.values, root, length: machine.at })
    }

    /// The value that the pickle is.
    pub(super) fn root(&self) -> Id {
        self.root
    }

    pub(super) fn value(&self, id: Id) -> &Value {
        &self.values[id as usize]
    }

    pub(super) fn text(&self, span: Span) -> &'a str {
        // Checked when it was read.
        std::str::from_utf8(&self.bytes[span.begin as usize..span.end as usize]).unwrap_or_default()
    }

    /// The text that `id` is.
    pub(super) fn as_text(&self, id: Id) -> Option<&'a str> {
        match *self.value(id) {
            Value::Text(span) => Some(self.text(span)),
            _ => None,
        }
    }

    /// The number that `id` is.
    pub(super) fn as_int(&self, id: Id) -> Option<i64> {
        match *self.value(id) {
            Value::Int(number) => Some(number),
            _ => None,
        }
    }

    /// The name that `id` is, as `module.name`.
    pub(super) fn as_global(&self, id: Id) -> Option<String> {
        match *self.value(id) {
            Value::Global { module, name } => Some(format!("{}.{}", self.text(module), self.text(name))),
            _ => None,
        }
    }

    /// The entries of a tuple or a list.
    pub(super) fn as_sequence(&self, id: Id) -> Option<&[Id]> {
        match self.value(id) {
            Value::Tuple(entries) | Value::List(entries) => Some(entries),
            _ => None,
        }
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// How long the stack was at each mark.
    marks: Vec<usize>,
    memo: Vec<Option<Id>>,
    /// Entries that went into containers.
    held: usize,
}

type Done<T = ()> = Result<T, PickleError>;

impl Machine<'_> {
    fn run(&mut self) -> Done<Id> {
        loop {
            let opcode = self.byte()?;
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)?;
        }
    }

    fn step(&mut self, opcode: u8) -> Done {
        match opcode {
            // PROTO, FRAME: nothing to do but to pass by.
            0x80 => match self.byte()? {
                2..=5 => Ok(()),
                other => self.refuse(format!("protocol {other}; 2 to 5 are read")),
            },
            0x95 => self.take(8).map(drop),
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'K' => {
                let number = self.byte()?;
                self.push(Value::Int(number.into()))
            }
            b'M' => {
                let number = self.number::<2>()?;
                self.push(Value::Int(number as i64))
            }
            b'J' => {
                let number = self.number::<4>()? as u32 as i32;
                self.push(Value::Int(number.into()))
            }
            0x8a => {
                let length = self.byte()? as usize;
                self.long(length)
            }
            0x8b => {
                let length = self.number::<4>()? as usize;
                self.long(length)
            }
            b'G' => {
                let bits = self.number::<8>()?.swap_bytes();
                self.push(Value::Float(f64::from_bits(bits)))
            }
            // Text, with lengths of 1, 4 and 8 bytes.
            0x8c => {
                let length = self.byte()? as usize;
                self.text(length)
            }
            b'X' => {
                let length = self.number::<4>()? as usize;
                self.text(length)
            }
            0x8d => {
                let length = self.number::<8>()? as usize;
                self.text(length)
            }
            // Bytes and strings of Python 2.
            b'C' | b'U' => {
                let length = self.byte()? as usize;
                self.data(length)
            }
            b'B' | b'T' => {
                let length = self.number::<4>()? as usize;
                self.data(length)
            }
            0x8e | 0x96 => {
                let length = self.number::<8>()? as usize;
                self.data(length)
            }
            b']' | 0x8f => self.push(Value::List(Vec::new())),
            b')' => self.push(Value::Tuple(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            b'l' | 0x91 => {
                let entries = self.pop_to_mark()?;
                self.push(Value::List(entries))
            }
            b't' => {
                let entries = self.pop_to_mark()?;
                self.push(Value::Tuple(entries))
            }
            b'd' => {
                let entries = self.pop_to_mark()?;
                self.push(Value::Dict(entries))
            }
            0x85..=0x87 => {
                let count = (opcode - 0x84) as usize;
                let entries = self.pop_last(count)?;
                self.push(Value::Tuple(entries))
            }
            // APPEND, APPENDS, ADDITEMS.
            b'a' => {
                let entries = self.pop_last(1)?;
                self.extend(entries)
            }
            b'e' | 0x90 => {
                let entries = self.pop_to_mark()?;
                self.extend(entries)
            }
            // SETITEM, SETITEMS.
            b's' => {
                let entries = self.pop_last(2)?;
                self.set_items(entries)
            }
            b'u' => {
                let entries = self.pop_to_mark()?;
                self.set_items(entries)
            }
            b'c' => {
                let module = self.line()?;
                let name = self.line()?;
                self.push(Value::Global { module, name })
            }
            0x93 => {
                let names = self.pop_last(2)?;
                match (&self.values[names[0] as usize], &self.values[names[1] as usize]) {
                    (&Value::Text(module), &Value::Text(name)) => self.push(Value::Global { module, name }),
                    _ => self.refuse("a name that is no text"),
                }
            }
            // REDUCE, NEWOBJ, NEWOBJ_EX.
            b'R' | 0x81 => {
                let call = self.pop_last(2)?;
                self.call(call[0], call[1])
            }
            0x92 => {
                let call = self.pop_last(3)?;
                self.call(call[0], call[1])
            }
            // BUILD.
            b'b' => {
                let state = self.pop()?;
                let object = self.top()?;
                if let Value::Object(object) = &mut self.values[object as usize] {
                    object.state = Some(state);
                }
                Ok(())
            }
            b'Q' => {
                let name = self.pop()?;
                self.push(Value::Persistent(name))
            }
            b'(' => {
                self.marks.push(self.stack.len());
                self.check_size(self.marks.len())
            }
            b'0' => self.pop().map(drop),
            b'1' => self.pop_to_mark().map(drop),
            b'2' => {
                let top = self.top()?;
                self.put(top)
            }
            // PUT and GET.
            b'q' => {
                let slot = self.byte()? as usize;
                self.remember(slot)
            }
            b'r' => {
                let slot = self.number::<4>()? as usize;
                self.remember(slot)
            }
            0x94 => self.remember(self.memo.len()),
            b'h' => {
                let slot = self.byte()? as usize;
                self.recall(slot)
            }
            b'j' => {
                let slot = self.number::<4>()? as usize;
                self.recall(slot)
            }
            other => self.refuse(format!("the opcode {other:#04x}, which model files do not need")),
        }
    }

    fn refuse<T>(&self, reason: impl Into<String>) -> Done<T> {
        Err(PickleError { at: self.at, reason: reason.into() })
    }

    fn check_size(&self, entries: usize) -> Done {
        if entries > MOST { self.refuse(format!("more than {MOST} values")) } else { Ok(()) }
    }

    fn take(&mut self, length: usize) -> Done<Span> {
        let left = self.bytes.len() - self.at;
        if length > left {
            return self.refuse(format!("{length} bytes are announced, {left} follow: cut short"));
        }
        let begin = self.at;
        self.at += length;
        match (u32::try_from(begin), u32::try_from(self.at)) {
            (Ok(begin), Ok(end)) => Ok(Span { begin, end }),
            _ => self.refuse("longer than 4 GiB"),
        }
    }

    fn byte(&mut self) -> Done<u8> {
        let span = self.take(1)?;
        Ok(self.bytes[span.begin as usize])
    }

    /// A little-endian number of `N` bytes.
    fn number<const N: usize>(&mut self) -> Done<u64> {
        let span = self.take(N)?;
        let bytes = &self.bytes[span.begin as usize..span.end as usize];
        Ok(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// A whole number in two's complement.
    fn long(&mut self, length: usize) -> Done {
        let span = self.take(length)?;
        let bytes = &self.bytes[span.begin as usize..span.end as usize];
        let sign = bytes.last().map_or(0, |&last| (last as i8 >> 7) as u8);
        let value = match bytes.len() {
            0..=8 => {
                let mut wide = [sign; 8];
                wide[..bytes.len()].copy_from_slice(bytes);
                Value::Int(i64::from_le_bytes(wide))
            }
            _ => Value::LargeInt,
        };
        self.push(value)
    }

    fn text(&mut self, length: usize) -> Done {
        let span = self.take(length)?;
        if std::str::from_utf8(&self.bytes[span.begin as usize..span.end as usize]).is_err() {
            return self.refuse("text that is not UTF-8");
        }
        self.push(Value::Text(span))
    }

    fn data(&mut self, length: usize) -> Done {
        let span = self.take(length)?;
        self.push(Value::Bytes(span))
    }

    /// Text up to the end of the line.
    fn line(&mut self) -> Done<Span> {
        let Some(length) = self.bytes[self.at..].iter().position(|&byte| byte == b'\n') else {
            return self.refuse("a name without an end");
        };
        let span = self.take(length)?;
        self.at += 1;
        match std::str::from_utf8(&self.bytes[span.begin as usize..span.end as usize]) {
            Ok(_) => Ok(span),
            Err(_) => self.refuse("a name that is not UTF-8"),
        }
    }

    fn push(&mut self, value: Value) -> Done {
        self.check_size(self.values.len() + 1)?;
        self.values.push(value);
        self.put(self.values.len() as Id - 1)
    }

    fn put(&mut self, id: Id) -> Done {
        self.check_size(self.stack.len() + 1)?;
        self.stack.push(id);
        Ok(())
    }

    /// How much of the stack stands behind the last mark.
    fn bottom(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Done<Id> {
        match self.stack.last() {
            Some(&top) if self.stack.len() > self.bottom() => Ok(top),
            _ => self.refuse("an operation without its operands"),
        }
    }

    fn pop(&mut self) -> Done<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_last(&mut self, count: usize) -> Done<Vec<Id>> {
        if self.stack.len() - self.bottom() < count {
            return self.refuse("an operation without its operands");
        }
        self.hold(self.stack.len() - count)
    }

    fn pop_to_mark(&mut self) -> Done<Vec<Id>> {
        match self.marks.pop() {
            Some(mark) => self.hold(mark),
            None => self.refuse("the end of a group that has no beginning"),
        }
    }

    /// What stands on the stack from `begin` on.
    fn hold(&mut self, begin: usize) -> Done<Vec<Id>> {
        self.held += self.stack.len() - begin;
        self.check_size(self.held / 8)?;
        Ok(self.stack.split_off(begin))
    }

    fn extend(&mut self, entries: Vec<Id>) -> Done {
        let container = self.top()?;
        match &mut self.values[container as usize] {
            Value::List(list) => list.extend(entries),
            Value::Object(object) => object.items.extend(entries),
            _ => return self.refuse("something is appended to what is no list"),
        }
        Ok(())
    }

    fn set_items(&mut self, entries: Vec<Id>) -> Done {
        let container = self.top()?;
        match &mut self.values[container as usize] {
            Value::Dict(items) => items.extend(entries),
            Value::Object(object) => object.items.extend(entries),
            _ => return self.refuse("an item is set of what is no dictionary"),
        }
        Ok(())
    }

    fn call(&mut self, callable: Id, arguments: Id) -> Done {
        self.push(Value::Object(Box::new(Object { callable, arguments, state: None, items: Vec::new() })))
    }

    fn remember(&mut self, slot: usize) -> Done {
        self.check_size(slot + 1)?;
        let top = self.top()?;
        if slot >= self.memo.len() {
            self.memo.resize(slot + 1, None);
        }
        self.memo[slot] = Some(top);
        Ok(())
    }

    fn recall(&mut self, slot: usize) -> Done {
        match self.memo.get(slot) {
            Some(&Some(id)) => self.put(id),
            _ => self.refuse(format!("the value number {slot} is used, but none was kept under it")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `pickle.dumps({"a": [1, -2, 2.5, None, True], "b": (300, "é")}, protocol)`, by hand.
    const PLAIN: &[u8] = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG@\x04\x00\x00\x00\x00\x00\x00N\x88eX\x01\x00\x00\x00bq\x03M\x2c\x01X\x02\x00\x00\x00\xc3\xa9\x86q\x04u.";

    #[test]
    fn plain_values_are_read() {
        let pickle = Pickle::read(PLAIN).unwrap();
        assert_eq!(pickle.length, PLAIN.len());
        let Value::Dict(items) = pickle.value(pickle.root()) else { panic!("no dictionary") };
        let [a, list, b, tuple] = items[..] else { panic!("{items:?}") };
        assert_eq!((pickle.as_text(a), pickle.as_text(b)), (Some("a"), Some("b")));
        let list: Vec<&Value> = pickle.as_sequence(list).unwrap().iter().map(|&id| pickle.value(id)).collect();
        let expected = [Value::Int(1), Value::Int(-2), Value::Float(2.5), Value::None, Value::Bool(true)];
        assert_eq!(list, expected.iter().collect::<Vec<_>>());
        let tuple = pickle.as_sequence(tuple).unwrap();
        assert_eq!((pickle.as_int(tuple[0]), pickle.as_text(tuple[1])), (Some(300), Some("é")));
    }

    #[test]
    fn what_python_would_call_is_only_noted() {
        let pickle = Pickle::read(b"\x80\x02cos\nsystem\nX\x08\x00\x00\x00rm -rf /\x85R.").unwrap();
        let Value::Object(object) = pickle.value(pickle.root()) else { panic!("no object") };
        assert_eq!(pickle.as_global(object.callable).unwrap(), "os.system");
        let arguments = pickle.as_sequence(object.arguments).unwrap();
        assert_eq!(pickle.as_text(arguments[0]), Some("rm -rf /"));
    }

    #[test]
    fn every_cut_and_every_odd_program_is_refused_with_its_place() {
        for end in 0..PLAIN.len() {
            let error = Pickle::read(&PLAIN[..end]).unwrap_err().to_string();
            assert!(error.contains("of the pickle:"), "{error}");
        }
        let refused: [(&[u8], &str); 8] = [
            (b".", "without its operands"),
            (b"N0.", "without its operands"),
            (b"u.", "no beginning"),
            (b"NNa.", "no list"),
            (b"NNNs.", "no dictionary"),
            (b"h\x05.", "number 5"),
            (b"X\xff\xff\xff\xffabc", "4294967295 bytes are announced, 3 follow"),
            (b"(I1\n.", "opcode 0x49"),
        ];
        for (program, part) in refused {
            let error = Pickle::read(program).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_program_that_only_grows_is_stopped() {
        for program in [[b"N".as_slice(), &[b'2'; 3 * MOST]].concat(), vec![b'('; 3 * MOST], vec![b']'; 3 * MOST]] {
            let error = Pickle::read(&program).unwrap_err().to_string();
            assert!(error.contains("more than 524288 values"), "{error}");
        }
        let error = Pickle::read(b"]r\xff\xff\xff\xff.").unwrap_err().to_string();
        assert!(error.contains("more than"), "{error}");
    }
}
