//! Reads JSON in tests: a field by its name, with a panic if it has another type. Absent and null
//! are the same, as in the record.

use miniserde::json::{self, Number, Value};

/// Parses one JSON value.
#[track_caller]
pub fn parse(text: &str) -> Value {
    match json::from_str(text) {
        Ok(value) => value,
        Err(_) => panic!("not JSON: {text:?}"),
    }
}

/// Parses one JSON value in each line; skips empty lines.
#[track_caller]
pub fn lines(text: &str) -> Vec<Value> {
    let mut values = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        values.push(parse(line));
    }
    values
}

/// The fields of an object. If the field is absent or of another type, every method but `has`
/// panics, with the object.
pub trait Fields {
    /// Returns the field, or `None` if it is absent or null.
    fn field(&self, name: &str) -> Option<&Value>;

    /// Tells if the field is present and not null.
    fn has(&self, name: &str) -> bool {
        self.field(name).is_some()
    }

    /// Returns a whole number.
    fn int(&self, name: &str) -> i64;

    /// Returns any number.
    fn number(&self, name: &str) -> f64;

    /// Returns a text.
    fn text(&self, name: &str) -> &str;

    /// Returns a boolean.
    fn flag(&self, name: &str) -> bool;

    /// Returns the items of an array.
    fn list(&self, name: &str) -> &[Value];
}

impl Fields for Value {
    fn field(&self, name: &str) -> Option<&Value> {
        let Value::Object(object) = self else {
            panic!("not an object: {}", json::to_string(self))
        };
        object.get(name).filter(|value| !matches!(value, Value::Null))
    }

    #[track_caller]
    fn int(&self, name: &str) -> i64 {
        match self.field(name) {
            Some(Value::Number(Number::U64(n))) => i64::try_from(*n).unwrap(),
            Some(Value::Number(Number::I64(n))) => *n,
            _ => wrong(self, name, "whole number"),
        }
    }

    #[track_caller]
    fn number(&self, name: &str) -> f64 {
        match self.field(name) {
            Some(Value::Number(Number::F64(n))) => *n,
            Some(Value::Number(_)) => self.int(name) as f64,
            _ => wrong(self, name, "number"),
        }
    }

    #[track_caller]
    fn text(&self, name: &str) -> &str {
        match self.field(name) {
            Some(Value::String(text)) => text,
            _ => wrong(self, name, "text"),
        }
    }

    #[track_caller]
    fn flag(&self, name: &str) -> bool {
        match self.field(name) {
            Some(Value::Bool(flag)) => *flag,
            _ => wrong(self, name, "truth value"),
        }
    }

    #[track_caller]
    fn list(&self, name: &str) -> &[Value] {
        match self.field(name) {
            Some(Value::Array(items)) => items,
            _ => wrong(self, name, "array"),
        }
    }
}

#[track_caller]
fn wrong(object: &Value, name: &str, wanted: &str) -> ! {
    panic!("no {wanted} `{name}` in {}", json::to_string(object))
}
