//! Reader of JSON objects that collects every problem with its path.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use posthouse_policy::Problem;

/// An object of the settings. Each read removes a key from the object; keys that remain at the end are unknown keys.
pub struct Section<'p> {
    path: String,
    members: Map<String, Value>,
    known: Vec<&'static str>,
    problems: &'p mut Vec<Problem>,
}

impl<'p> Section<'p> {
    /// Reads an object with `read`. Keys that `read` does not read are problems, and so is a value that is no object.
    pub fn read<T>(
        path: &str,
        value: Value,
        problems: &'p mut Vec<Problem>,
        read: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        let Value::Object(members) = value else {
            problems.push(problem(path, "expected an object"));
            return None;
        };
        let mut section = Self {
            path: path.to_owned(),
            members,
            known: Vec::new(),
            problems,
        };
        let result = read(&mut section);
        section.finish();
        Some(result)
    }

    /// Reads an optional value. Returns `None` if the key is absent or the value is wrong; a wrong value is a problem.
    pub fn value<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        let value = self.take(key)?;
        let path = self.path_of(key);
        self.parse(&path, value)
    }

    /// Reads a mandatory value. An absent key is a problem, and so is a wrong value.
    pub fn required<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        if !self.members.contains_key(key) {
            self.problem(key, "is missing");
        }
        self.value(key)
    }

    /// True if the value of a key is this word in place of a list. Any other text is a problem.
    pub fn word_instead_of_list(&mut self, key: &'static str, word: &str) -> bool {
        let Some(Value::String(text)) = self.members.get(key) else {
            return false;
        };
        let is_word = text == word;
        self.take(key);
        if !is_word {
            self.problem(key, format!("expected {word:?} or a list"));
        }
        is_word
    }

    /// Reads a list of values. Wrong values are problems and are left out.
    pub fn list<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<Vec<T>> {
        let items = self.items(key)?;
        Some(
            items
                .into_iter()
                .filter_map(|(path, value)| self.parse(&path, value))
                .collect(),
        )
    }

    /// Reads a nested object.
    pub fn section<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'_>) -> T) -> Option<T> {
        let value = self.take(key)?;
        Section::read(&self.path_of(key), value, self.problems, read)
    }

    /// Reads a list of objects.
    pub fn sections<T>(&mut self, key: &'static str, mut read: impl FnMut(&mut Section<'_>) -> T) -> Vec<T> {
        let items = self.items(key).unwrap_or_default();
        items
            .into_iter()
            .filter_map(|(path, value)| Section::read(&path, value, self.problems, &mut read))
            .collect()
    }

    /// Reads an object whose keys the operator chooses and whose values are objects.
    pub fn table<T>(&mut self, key: &'static str, mut read: impl FnMut(&mut Section<'_>) -> T) -> BTreeMap<String, T> {
        let path = self.path_of(key);
        let members = match self.take(key) {
            None => return BTreeMap::new(),
            Some(Value::Object(members)) => members,
            Some(_) => {
                self.problems.push(problem(&path, "expected an object"));
                return BTreeMap::new();
            }
        };
        members
            .into_iter()
            .filter_map(|(name, value)| {
                let read = Section::read(&format!("{path}.{name}"), value, self.problems, &mut read)?;
                Some((name, read))
            })
            .collect()
    }

    /// Adds a problem at a key of this object.
    pub fn problem(&mut self, key: &str, text: impl Into<String>) {
        let path = self.path_of(key);
        self.problems.push(problem(&path, text));
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.members.remove(key)
    }

    fn items(&mut self, key: &'static str) -> Option<Vec<(String, Value)>> {
        let path = self.path_of(key);
        match self.take(key)? {
            Value::Array(items) => {
                let numbered = items.into_iter().enumerate();
                Some(
                    numbered
                        .map(|(index, item)| (format!("{path}[{index}]"), item))
                        .collect(),
                )
            }
            _ => {
                self.problems.push(problem(&path, "expected a list"));
                None
            }
        }
    }

    fn parse<T: DeserializeOwned>(&mut self, path: &str, value: Value) -> Option<T> {
        serde_json::from_value(value)
            .map_err(|error| self.problems.push(problem(path, error.to_string())))
            .ok()
    }

    fn path_of(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    fn finish(self) {
        for key in self.members.keys() {
            let text = format!("unknown key, expected one of {}", self.known.join(", "));
            self.problems.push(problem(&self.path_of(key), text));
        }
    }
}

fn problem(path: &str, text: impl Into<String>) -> Problem {
    Problem {
        key: path.to_owned(),
        text: text.into(),
    }
}
