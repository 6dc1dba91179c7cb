//! Lines of keys in the text of a TOML file, for problems that were found in its values.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::toml_reader::Problem;

/// Sets the line of each problem that has a key and no line yet. Without valid TOML all problems stay as they are.
pub fn add_lines(text: &str, problems: &mut [Problem]) {
    let Ok(document) = DeTable::parse(text) else {
        return;
    };
    let document = document.get_ref();
    let lines_before = LineStarts::of(text);
    for problem in problems.iter_mut().filter(|problem| problem.line.is_none()) {
        problem.line = offset(document, &problem.key).map(|offset| lines_before.line(offset));
    }
}

/// Offsets at which the lines of a text begin.
struct LineStarts(Vec<usize>);

impl LineStarts {
    fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(std::iter::once(0).chain(ends.map(|(index, _)| index + 1)).collect())
    }

    fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }
}

/// Returns the offset of a key path such as `listener[1].address`, or of its longest part that exists.
fn offset(document: &DeTable<'_>, path: &str) -> Option<usize> {
    let (mut table, mut found) = (document, None);
    for (key, indices) in steps(path) {
        let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref() == key.as_str()) else {
            return found;
        };
        found = Some(name.span().start);
        let mut value: &Spanned<DeValue<'_>> = value;
        for index in indices {
            let item = match value.get_ref() {
                DeValue::Array(items) => items.get(index),
                _ => None,
            };
            let Some(item) = item else {
                return found;
            };
            found = Some(item.span().start);
            value = item;
        }
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => return found,
        }
    }
    found
}

/// Splits a key path into keys, each with the indices that follow it. Keys may be quoted.
fn steps(path: &str) -> Vec<(String, Vec<usize>)> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        let (key, after) = if let Some(quoted) = rest.strip_prefix('"') {
            let Some((key, after)) = quoted.split_once('"') else {
                break;
            };
            (key, after)
        } else {
            rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()))
        };
        let (indices, next) = after.split_at(end_of_indices(after));
        let indices = indices.split(['[', ']']).filter_map(|digits| digits.parse().ok());
        steps.push((key.to_owned(), indices.collect()));
        rest = next.strip_prefix('.').unwrap_or_default();
    }
    steps
}

fn end_of_indices(text: &str) -> usize {
    let mut end = 0;
    while text[end..].starts_with('[') {
        match text[end..].find(']') {
            Some(length) => end += length + 1,
            None => break,
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_line_of_a_key_or_of_the_table_that_lacks_it() {
        let text = r#"administrator = "a@b.example"

[[listener]]
name = "smtp"
address = "127.0.0.1:25"

[[listener]]
name = "submission"

[delivery]
retry = ["15m",
  "never"]

[[policy]]
settings = { relay = { clients = ["0.0.0.0/0"] } }

[[policy]]

[policy.settings.accept.listeners."mx.1"]
from = "anyone"
"#;
        for (key, line) in [
            ("administrator", Some(1)),
            ("listener[0].name", Some(4)),
            ("listener[1]", Some(7)),
            ("listener[1].address", Some(7)),
            ("delivery.retry[1]", Some(12)),
            ("delivery.expire", Some(10)),
            ("policy[0].settings.relay.clients[0]", Some(15)),
            ("policy[1].settings.accept.listeners.\"mx.1\".from", Some(20)),
            ("limits.hops", None),
            ("", None),
        ] {
            let mut problems = vec![Problem::new(key, "x")];
            add_lines(text, &mut problems);
            assert_eq!(problems[0].line, line, "{key}");
        }
    }

    #[test]
    fn leaves_problems_of_a_file_that_is_not_toml() {
        let mut problems = vec![Problem::new("a", "x")];
        add_lines("a = = 1", &mut problems);
        assert_eq!(problems[0].line, None);
    }
}
