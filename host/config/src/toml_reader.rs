//! A TOML reader for operators' files: typed values, every problem in a single run under its key path, and unknown
//! keys reported as problems.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::values::expected;
pub use crate::values::{boolean, choice, count, duration, duration_or_never, network, parsed, size, text};

/// A problem and its key path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Key path such as `listener[1].address`; empty for the whole file.
    pub key: String,
    /// Description of the problem, with the expected value.
    pub text: String,
    /// Line of the key in the file, counted from 1; of the nearest table above for a missing key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

impl Problem {
    /// Creates a problem at a key path.
    pub fn new(key: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            text: text.into(),
            line: None,
        }
    }

    /// True if the other problem has the same key and description; lines are not compared.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.key, &self.text) == (&other.key, &other.text)
    }
}

/// Formats the line, if known, the key path and the description.
impl Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if self.key.is_empty() {
            f.write_str(&self.text)
        } else {
            write!(f, "{}: {}", self.key, self.text)
        }
    }
}

/// A collector of problems.
#[derive(Debug, Default)]
pub struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    /// Adds a problem.
    pub fn add(&self, key: impl Into<String>, text: impl Into<String>) {
        self.0.borrow_mut().push(Problem::new(key, text));
    }

    /// Returns all problems in the order of discovery.
    pub fn into_inner(self) -> Vec<Problem> {
        self.0.into_inner()
    }
}

/// Parses a document. A syntax error is returned with its line and column, counted from 1.
pub fn parse(text: &str) -> Result<Table, Problem> {
    text.parse::<Table>().map_err(|error| {
        let place = error.span().map_or(String::new(), |span| {
            let before = &text.as_bytes()[..span.start.min(text.len())];
            let line = before.iter().filter(|b| **b == b'\n').count() + 1;
            let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
            format!("line {line}, column {column}: ")
        });
        Problem::new("", format!("{place}{}", error.message()))
    })
}

/// A reader of a table. Dropping the reader reports every key that was never read as an unknown key.
pub struct TableReader<'a> {
    table: Option<&'a Table>,
    path: String,
    known_keys: BTreeSet<&'static str>,
    problems: &'a Problems,
}

impl<'a> TableReader<'a> {
    /// Creates a reader of a document's root table.
    pub fn new(table: &'a Table, problems: &'a Problems) -> Self {
        Self::at(Some(table), String::new(), problems)
    }

    fn at(table: Option<&'a Table>, path: String, problems: &'a Problems) -> Self {
        Self {
            table,
            path,
            known_keys: BTreeSet::new(),
            problems,
        }
    }

    /// Returns the key path of a key in this table.
    pub fn path(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Reports a problem with a key's value.
    pub fn problem(&self, key: &str, text: impl Into<String>) {
        self.problems.add(self.path(key), text);
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Value> {
        self.known_keys.insert(key);
        self.table.and_then(|table| table.get(key))
    }

    /// True if the key is present, with any value.
    pub fn has(&mut self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// Returns the value of a key, or `None` if the key is missing. A wrong value is reported as a problem and read
    /// as `None`.
    pub fn optional<T>(&mut self, key: &'static str, read: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        match read(self.value(key)?) {
            Ok(value) => Some(value),
            Err(text) => {
                self.problem(key, text);
                None
            }
        }
    }

    /// Refuses a key of an earlier release, with the reason why it is no longer needed.
    pub fn removed(&mut self, key: &'static str, why: &str) {
        if self.has(key) {
            self.problem(key, format!("is no longer needed: {why}; remove the line"));
        }
    }

    /// Returns the value of a key. A missing key and a wrong value are reported as problems and read as `None`.
    pub fn required<T>(&mut self, key: &'static str, read: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        if !self.has(key) {
            self.problem(key, "is missing");
            return None;
        }
        self.optional(key, read)
    }

    /// Returns the value of a key, or `default` if the key is missing. A wrong value is reported as a problem and
    /// read as the default.
    pub fn or<T>(&mut self, key: &'static str, default: T, read: impl FnOnce(&Value) -> Result<T, String>) -> T {
        self.optional(key, read).unwrap_or(default)
    }

    /// Returns the valid elements of a list and reports the others as problems. A missing key is an empty list.
    pub fn list<T>(&mut self, key: &'static str, read: impl Fn(&Value) -> Result<T, String>) -> Vec<T> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let Value::Array(items) = value else {
            self.problem(key, expected("a list", value));
            return Vec::new();
        };
        let mut out = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match read(item) {
                Ok(item) => out.push(item),
                Err(text) => self.problems.add(format!("{}[{index}]", self.path(key)), text),
            }
        }
        out
    }

    /// Returns a reader of the table under `key`. A missing table reads as empty.
    pub fn table(&mut self, key: &'static str) -> TableReader<'a> {
        let path = self.path(key);
        match self.value(key) {
            None => Self::at(None, path, self.problems),
            Some(Value::Table(table)) => Self::at(Some(table), path, self.problems),
            Some(other) => {
                self.problem(key, expected("a table", other));
                Self::at(None, path, self.problems)
            }
        }
    }

    /// Returns a reader for each table of `[[key]]`, in order.
    pub fn tables(&mut self, key: &'static str) -> Vec<TableReader<'a>> {
        let path = self.path(key);
        let items = match self.value(key) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.problem(key, expected(&format!("tables, each under [[{path}]]"), other));
                return Vec::new();
            }
        };
        let mut out = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            match item {
                Value::Table(table) => out.push(Self::at(Some(table), path, self.problems)),
                other => self.problems.add(path, expected("a table", other)),
            }
        }
        out
    }
}

impl Drop for TableReader<'_> {
    fn drop(&mut self) {
        let Some(table) = self.table else {
            return;
        };
        for key in table.keys().filter(|key| !self.known_keys.contains(key.as_str())) {
            let known: Vec<_> = self.known_keys.iter().copied().collect();
            self.problem(key, format!("unknown key; known here: {}", known.join(", ")));
        }
    }
}

fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn problems(text: &str, read: impl FnOnce(&mut TableReader<'_>)) -> Vec<String> {
        let table = parse(text).expect("TOML");
        let problems = Problems::default();
        read(&mut TableReader::new(&table, &problems));
        problems.into_inner().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn accepts_a_single_address_as_a_network() {
        for (text, expected) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("::1", "::1/128"),
        ] {
            assert_eq!(network(text).expect("a network").to_string(), expected);
        }
        for text in ["here", "10.0.0.0/33", "::ffff:192.0.2.1", "::ffff:192.0.2.0/120"] {
            assert!(network(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reports_each_problem_under_its_key_path() {
        let text = "a = 1\n\"odd key\" = 2\n[[b]]\nc = 'x'\n[[b]]\nc = 5\nd = 1\n[e.f]\ng = '3 weeks'\n";
        let found = problems(text, |reader| {
            reader.required("a", super::text);
            reader.required("z", super::text);
            for mut item in reader.tables("b") {
                item.required("c", super::text);
            }
            reader.table("e").table("f").required("g", duration);
        });
        assert_eq!(
            found,
            [
                "a: expected a string, found 1",
                "z: is missing",
                "b[1].c: expected a string, found 5",
                "b[1].d: unknown key; known here: c",
                "e.f.g: expected a duration such as \"15s\", \"4h\" or \"2d\", found \"3 weeks\"",
                "\"odd key\": unknown key; known here: a, b, e, z",
            ]
        );
    }

    #[test]
    fn requires_units_of_durations_and_sizes() {
        let value = |text: &str| Value::String(text.to_owned());
        assert_eq!(duration(&value("250ms")), Ok(Duration::from_millis(250)));
        assert_eq!(duration(&value("2d")), Ok(Duration::from_secs(172_800)));
        for bad in ["", "s", "5", "-1s", "1.5h", "0s", "5 weeks", "99999999999999d", "1h30m"] {
            assert!(duration(&value(bad)).is_err(), "{bad}");
        }
        assert_eq!(size(&value("50MiB")), Ok(50 << 20));
        assert_eq!(size(&Value::Integer(1000)), Ok(1000));
        for bad in ["", "MiB", "5", "5MB", "-1KiB", "99999999999GiB"] {
            assert!(size(&value(bad)).is_err(), "{bad}");
        }
        assert!(size(&Value::Integer(-1)).is_err());
    }

    #[test]
    fn locates_a_syntax_error_by_line_and_column() {
        let problem = parse("a = 1\nb = = 2\n").expect_err("syntax");
        assert!(problem.text.starts_with("line 2, column 5: "), "{}", problem.text);
    }
}
