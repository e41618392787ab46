//! JSON for records, the log and reports, over miniserde. Objects are written field by field, without empty
//! fields. They are read leniently, into values of any type. Values nested deeper than a reader asks for are
//! skipped, at any depth and without recursion: a message of brackets alone must not overflow the stack.

use std::fmt::Display;

use miniserde::de::{Deserialize, Map, Seq, Visitor};

use crate::character::is_unsafe;

/// Text of an object to which fields are still added.
#[derive(Default)]
pub struct Object(String);

impl Object {
    /// Creates an object without fields.
    pub fn new() -> Object {
        Object::default()
    }

    /// Adds a text field. An empty text is left out.
    pub fn text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.value(name, quoted(text));
        }
    }

    /// Adds a field whose value is JSON already, such as a number or a truth value.
    pub fn value(&mut self, name: &str, value: impl Display) {
        let before = if self.0.is_empty() { '{' } else { ',' };
        self.0 += &format!("{before}\"{name}\":{value}");
    }

    /// Adds a field as [`Object::value`] does. An absent value is left out.
    pub fn some(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.value(name, value);
        }
    }

    /// Returns the text of the object.
    pub fn end(self) -> String {
        if self.0.is_empty() { "{}".to_owned() } else { self.0 + "}" }
    }
}

/// Returns `text` as a JSON string. Characters that a terminal may obey are escaped.
pub fn quoted(text: &str) -> String {
    escaped(miniserde::json::to_string(text))
}

/// Returns `json` with an escape for each character that [`is_unsafe`]; readers of JSON get the same text. JSON
/// itself asks for an escape below U+0020 alone.
fn escaped(json: String) -> String {
    if !json.contains(is_unsafe) {
        return json;
    }
    let mut text = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text += &format!("\\u{unit:04x}");
            }
        } else {
            text.push(c);
        }
    }
    text
}

/// Value of any JSON type.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Value {
    /// No value, null or an empty text.
    #[default]
    Absent,
    /// `true` or `false`.
    Truth(bool),
    /// Whole number; 1.0 and 1e3 are whole too.
    Whole(i64),
    /// Number with a fraction, or beyond 64 bits.
    Number,
    /// Text.
    Text(String),
    /// Array; empty if it lies deeper than was asked for.
    Array(Vec<Value>),
    /// Object; empty if it lies deeper than was asked for.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// Names the type, for error texts.
    pub fn describe(&self) -> &'static str {
        match self {
            Value::Absent => "missing",
            Value::Truth(_) => "true or false",
            Value::Whole(_) => "a whole number",
            Value::Number => "a number with a fraction, or too large",
            Value::Text(_) => "text",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        }
    }
}

/// Fields to read from an object.
pub trait ObjectShape {
    /// Names of the fields, in the order in which they usually come.
    const NAMES: &'static [&'static str];
    /// Levels of arrays and objects to read in a field; 0: their contents are skipped.
    fn depth(field: usize) -> u8;
}

/// Values of an object's fields, by their index in [`ObjectShape::NAMES`]. Of a field that is given twice the last
/// value counts.
pub struct Fields<S> {
    slots: Vec<FieldSlot>,
    /// Index of the field that is expected next: fields mostly come in their usual order.
    cursor: usize,
    shape: std::marker::PhantomData<S>,
}

impl<S: ObjectShape> Fields<S> {
    /// Reads an object. Returns none if the text is no JSON object.
    pub fn read(text: &str) -> Option<Fields<S>> {
        miniserde::json::from_str(text).ok()
    }

    /// Removes and returns the value of a field.
    pub fn take(&mut self, field: usize) -> Value {
        std::mem::take(&mut self.slots[field].value)
    }
}

/// Place that miniserde fills with one value.
#[derive(Default)]
struct FieldSlot {
    value: Value,
    depth: u8,
}

impl FieldSlot {
    fn new(depth: u8) -> FieldSlot {
        FieldSlot { value: Value::Absent, depth }
    }

    fn set(&mut self, value: Value) -> miniserde::Result<()> {
        self.value = value;
        Ok(())
    }
}

impl Visitor for FieldSlot {
    fn null(&mut self) -> miniserde::Result<()> {
        self.set(Value::Absent)
    }

    fn boolean(&mut self, truth: bool) -> miniserde::Result<()> {
        self.set(Value::Truth(truth))
    }

    fn string(&mut self, text: &str) -> miniserde::Result<()> {
        self.set(if text.is_empty() { Value::Absent } else { Value::Text(text.to_owned()) })
    }

    fn negative(&mut self, number: i64) -> miniserde::Result<()> {
        self.set(Value::Whole(number))
    }

    fn nonnegative(&mut self, number: u64) -> miniserde::Result<()> {
        self.set(i64::try_from(number).map_or(Value::Number, Value::Whole))
    }

    fn float(&mut self, number: f64) -> miniserde::Result<()> {
        // Whole numbers are exact up to here.
        let exact = number.fract() == 0.0 && number.abs() <= (1_u64 << 53) as f64;
        self.set(if exact { Value::Whole(number as i64) } else { Value::Number })
    }

    fn seq(&mut self) -> miniserde::Result<Box<dyn Seq + '_>> {
        self.value = Value::Array(Vec::new());
        let depth = self.depth;
        Ok(Box::new(Contents { into: &mut self.value, depth, name: None, slot: None }))
    }

    fn map(&mut self) -> miniserde::Result<Box<dyn Map + '_>> {
        self.value = Value::Object(Vec::new());
        let depth = self.depth;
        Ok(Box::new(Contents { into: &mut self.value, depth, name: None, slot: None }))
    }
}

/// Contents of an array or an object, one value after the other.
struct Contents<'a> {
    into: &'a mut Value,
    depth: u8,
    name: Option<String>,
    slot: Option<FieldSlot>,
}

impl Contents<'_> {
    /// Adds the value that was read last, and returns the place of the next.
    fn next(&mut self) -> miniserde::Result<&mut dyn Visitor> {
        self.keep();
        match self.depth.checked_sub(1) {
            None => Ok(<dyn Visitor>::ignore()),
            Some(depth) => Ok(self.slot.insert(FieldSlot::new(depth))),
        }
    }

    fn keep(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        match self.into {
            Value::Array(values) => values.push(slot.value),
            Value::Object(values) => {
                values.push((self.name.take().unwrap_or_default(), slot.value));
            }
            _ => {}
        }
    }
}

impl Seq for Contents<'_> {
    fn element(&mut self) -> miniserde::Result<&mut dyn Visitor> {
        self.next()
    }

    fn finish(&mut self) -> miniserde::Result<()> {
        self.keep();
        Ok(())
    }
}

impl Map for Contents<'_> {
    fn key(&mut self, name: &str) -> miniserde::Result<&mut dyn Visitor> {
        self.keep();
        self.name = (self.depth > 0).then(|| name.to_owned());
        self.next()
    }

    fn finish(&mut self) -> miniserde::Result<()> {
        self.keep();
        Ok(())
    }
}

miniserde::make_place!(Place);

impl<S: ObjectShape> Deserialize for Fields<S> {
    fn begin(out: &mut Option<Self>) -> &mut dyn Visitor {
        Place::new(out)
    }
}

impl<S: ObjectShape> Visitor for Place<Fields<S>> {
    fn map(&mut self) -> miniserde::Result<Box<dyn Map + '_>> {
        let slots = (0..S::NAMES.len()).map(|field| FieldSlot::new(S::depth(field))).collect();
        let shape = std::marker::PhantomData;
        Ok(Box::new(self.out.insert(Fields { slots, cursor: 0, shape })))
    }
}

impl<S: ObjectShape> Map for &mut Fields<S> {
    fn key(&mut self, name: &str) -> miniserde::Result<&mut dyn Visitor> {
        let count = S::NAMES.len();
        for step in 0..count {
            let field = (self.cursor + step) % count;
            if S::NAMES[field] == name {
                self.cursor = field + 1;
                return Ok(&mut self.slots[field]);
            }
        }
        Ok(<dyn Visitor>::ignore())
    }

    fn finish(&mut self) -> miniserde::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Letters;

    impl ObjectShape for Letters {
        const NAMES: &'static [&'static str] = &["a", "b", "deep"];

        fn depth(field: usize) -> u8 {
            if field == 2 { 2 } else { 0 }
        }
    }

    fn read(text: &str) -> Option<[Value; 3]> {
        let mut fields = Fields::<Letters>::read(text)?;
        Some([fields.take(0), fields.take(1), fields.take(2)])
    }

    #[test]
    fn json_says_the_same_with_escapes() {
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            let plain = c.to_string();
            let json = escaped(miniserde::json::to_string(&plain));
            assert!(!json.contains(is_unsafe), "{json:?}");
            assert_eq!(miniserde::json::from_str::<String>(&json).ok(), Some(plain), "{json:?}");
        }
        assert_eq!(escaped("\"\u{e0041}\u{9b}é\"".to_owned()), "\"\\udb40\\udc41\\u009bé\"");
    }

    #[test]
    fn text_holds_no_control_character_as_it_is() {
        let mut object = Object::new();
        object.text("a", "\x1b[\u{9b}1m\x7f\n\u{e4}");
        object.text("b", "");
        object.some("c", Some(0));
        object.some("d", None::<i64>);
        assert_eq!(
            object.end(),
            r#"{"a":"\u001b[\u009b1m\u007f\n\u00e4","c":0}"#.replace(r"\u00e4", "ä")
        );
    }

    #[test]
    fn values_say_what_they_are() {
        use Value::*;
        let cases = [
            (r#"{"b":null,"a":""}"#, Absent, Absent),
            (r#"{"a":true,"b":-5}"#, Truth(true), Whole(-5)),
            (r#"{"a":1e3,"b":2.0}"#, Whole(1000), Whole(2)),
            (r#"{"a":1.5,"b":18446744073709551615}"#, Number, Number),
            (r#"{"a":"x","a":"\u0000y","b":[1,[2,{}]]}"#, Text("\0y".into()), Array(vec![])),
            (r#"{"other":[[["deep"]]],"b":{"x":{"y":1}}}"#, Absent, Object(vec![])),
        ];
        for (text, a, b) in cases {
            assert_eq!(read(text), Some([a, b, Absent]), "{text}");
        }
    }

    #[test]
    fn what_was_asked_for_is_read_to_its_depth() {
        let text = r#"{"deep":[{"x":"1","y":[1]},2,[3,[4]]],"a":1}"#;
        let [a, _, deep] = read(text).unwrap();
        let inner = vec![
            ("x".to_owned(), Value::Text("1".to_owned())),
            ("y".to_owned(), Value::Array(vec![])),
        ];
        let nested = Value::Array(vec![Value::Whole(3), Value::Array(vec![])]);
        assert_eq!(deep, Value::Array(vec![Value::Object(inner), Value::Whole(2), nested]));
        assert_eq!(a, Value::Whole(1));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let deep = "[".repeat(60_000);
        let inside = format!("{{\"deep\":{deep}");
        let closed = format!("{{\"a\":{deep}{}}}", "]".repeat(60_000));
        for text in ["", "[]", "1", "{", r#"{"a":1"#, r#"{"a":1} x"#, "{'a':1}", &deep, &inside] {
            assert!(read(text).is_none(), "{text:.40}");
        }
        assert_eq!(read(&closed), Some([Value::Array(vec![]), Value::Absent, Value::Absent]));
    }
}
