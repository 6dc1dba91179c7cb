//! Update of the expectations in a case file with the outcomes of its cases.

use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, TomlError, Value};

use crate::case::Case;
use crate::case_decision::{Answer, Decision, Outcome};
use crate::compare::{begins_with_words, text_and_remarks};

/// Returns the text of a case file in which expectations that were not met are replaced by the outcomes. Everything
/// else is preserved, comments included. An expectation keeps its form and gets no further details. A case without
/// expectations gets an expectation for each answer except `pass`; if all answers are `pass`, for the last answer.
///
/// `outcomes` belong to the first cases of the file, in order.
///
/// # Errors
/// The text is not TOML.
pub fn update(source: &str, cases: &[Case], outcomes: &[Outcome]) -> Result<String, TomlError> {
    let mut document: DocumentMut = source.parse()?;
    for (index, (case, outcome)) in cases.iter().zip(outcomes).enumerate() {
        if case.compare(outcome).is_empty() {
            continue;
        }
        if let Some(table) = document.get_mut("case").and_then(|item| case_table(item, index)) {
            rewrite(table, case, outcome);
        }
    }
    Ok(document.to_string())
}

fn case_table(item: &mut Item, index: usize) -> Option<&mut dyn TableLike> {
    match item {
        Item::ArrayOfTables(tables) => tables.get_mut(index).map(|table| table as &mut dyn TableLike),
        Item::Value(Value::Array(items)) => {
            let table = items.get_mut(index)?.as_inline_table_mut()?;
            Some(table as &mut dyn TableLike)
        }
        _ => None,
    }
}

fn rewrite(case_table: &mut dyn TableLike, case: &Case, outcome: &Outcome) {
    if case.expect.is_empty() {
        let mut expect = Table::new();
        expect.set_dotted(true);
        add_expectations(&mut expect, outcome);
        case_table.insert("expect", Item::Table(expect));
        return;
    }
    let Some(expect) = case_table.get_mut("expect").and_then(Item::as_table_like_mut) else {
        return;
    };
    for (key, expected, answer) in case.expectations_with_answers(outcome) {
        let (table, key): (&mut dyn TableLike, String) = match key.strip_prefix("expect.recipients.") {
            None => (&mut *expect, key.trim_start_matches("expect.").to_owned()),
            Some(_) => {
                let address = case
                    .expect
                    .recipients
                    .iter()
                    .find(|(_, candidate)| std::ptr::eq(*candidate, expected));
                let inner = expect.get_mut("recipients").and_then(Item::as_table_like_mut);
                match (inner, address) {
                    (Some(inner), Some((address, _))) => (inner, address.clone()),
                    _ => continue,
                }
            }
        };
        match answer {
            // The question was not asked: the expectation is removed.
            None => {
                table.remove(&key);
            }
            Some(answer) => {
                if let Some(item) = table.get_mut(&key) {
                    correct(item, answer);
                }
            }
        }
    }
    update_problems_and_log(expect, case, outcome);
}

/// Updates `problems` and `log`, which belong to no single answer.
fn update_problems_and_log(expect: &mut dyn TableLike, case: &Case, outcome: &Outcome) {
    let keys: Array = outcome.problems.iter().map(|problem| problem.key.as_str()).collect();
    if !keys.is_empty() {
        expect.insert("problems", toml_edit::value(keys));
    } else if case.expect.problems.is_some() {
        expect.remove("problems");
    }
    if !case.expect.log.is_empty() {
        let lines: Array = outcome.log.iter().map(|line| line.text.as_str()).collect();
        replace(expect, "log", lines.into());
    }
}

/// Writes expectations for a case that has none.
fn add_expectations(expect: &mut Table, outcome: &Outcome) {
    if !outcome.problems.is_empty() {
        let keys: Array = outcome.problems.iter().map(|problem| problem.key.as_str()).collect();
        expect.insert("problems", toml_edit::value(keys));
        return;
    }
    let mut answers: Vec<(&str, Option<&str>, &Answer)> = Vec::new();
    answers.extend(outcome.admit.iter().map(|answer| ("admit", None, answer)));
    answers.extend(outcome.sender.iter().map(|answer| ("sender", None, answer)));
    for (address, answer) in &outcome.recipients {
        let of_several = (outcome.recipients.len() > 1).then_some(address.as_str());
        let key = if of_several.is_some() {
            "recipients"
        } else {
            "recipient"
        };
        answers.push((key, of_several, answer));
    }
    answers.extend(outcome.message.iter().map(|answer| ("message", None, answer)));
    answers.extend(outcome.ndr.iter().map(|answer| ("ndr", None, answer)));
    let last = answers.len().saturating_sub(1);
    let all_pass = answers.iter().all(|(_, _, answer)| answer.decision == Decision::Pass);
    for (index, (key, address, answer)) in answers.into_iter().enumerate() {
        if answer.decision == Decision::Pass && !(all_pass && index == last) {
            continue;
        }
        match address {
            None => expect.insert(key, Item::Value(full_expectation(answer))),
            Some(address) => {
                let empty = || Item::Value(InlineTable::new().into());
                let inner = expect.entry(key).or_insert_with(empty);
                inner
                    .as_table_like_mut()
                    .and_then(|inner| inner.insert(address, Item::Value(full_expectation(answer))))
            }
        };
    }
}

/// Returns an answer with all details as an expectation.
fn full_expectation(answer: &Answer) -> Value {
    let words = answer.decision.to_string();
    if matches!(answer.decision, Decision::Pass | Decision::Fault { .. }) {
        return words.into();
    }
    let mut table = InlineTable::new();
    table.insert("decision", words.into());
    table.insert("rule", answer.because.rule.as_str().into());
    if let Some(entry) = &answer.because.entry {
        table.insert("entry", entry.as_str().into());
    }
    for key in ["authentication", "encryption", "exemptions", "edits"] {
        if let Some(value) = detail(answer, key) {
            table.insert(key, value);
        }
    }
    table.into()
}

/// Corrects the details that an expectation names and keeps the form of the expectation.
fn correct(item: &mut Item, answer: &Answer) {
    let words = answer.decision.to_string();
    if let Some(old) = item.as_str() {
        if !begins_with_words(&words, old) {
            set(item, words.into());
        }
        return;
    }
    let Some(table) = item.as_table_like_mut() else {
        return;
    };
    let keys: Vec<String> = table.iter().map(|(key, _)| key.to_owned()).collect();
    for key in keys {
        let keep = match key.as_str() {
            "decision" => table
                .get("decision")
                .and_then(Item::as_str)
                .is_some_and(|old| begins_with_words(&words, old)),
            "text" => {
                let old = table.get("text").and_then(Item::as_str);
                old.is_some_and(|old| text_and_remarks(&answer.decision).0.contains(old))
            }
            _ => false,
        };
        if keep {
            continue;
        }
        match detail(answer, &key) {
            Some(value) => replace(table, &key, value),
            None => {
                table.remove(&key);
            }
        }
    }
}

/// Returns the detail of an answer for a key of an expectation; `None` if the answer has no such detail.
fn detail(answer: &Answer, key: &str) -> Option<Value> {
    let (text, remarks) = text_and_remarks(&answer.decision);
    match (key, &answer.decision) {
        ("decision", decision) => Some(decision.to_string().into()),
        ("rule", _) => Some(answer.because.rule.as_str().into()),
        ("entry", _) => Some(answer.because.entry.as_deref().unwrap_or_default().into()),
        ("text", _) => (!text.is_empty()).then(|| text.into()),
        ("authentication", Decision::Admit(terms)) => terms.authentication.map(Value::from),
        ("encryption", Decision::Admit(terms)) => terms.encryption.map(Value::from),
        ("exemptions", Decision::Admit(terms)) => Some(terms.exemptions.iter().collect::<Array>().into()),
        ("edits", Decision::Accept(edits)) if !edits.is_empty() => {
            let edits = edits.iter().map(ToString::to_string);
            Some(edits.collect::<Array>().into())
        }
        ("remarks", Decision::Tell(_)) => Some(remarks.into_iter().collect::<Array>().into()),
        _ => None,
    }
}

fn replace(table: &mut dyn TableLike, key: &str, value: Value) {
    match table.get_mut(key) {
        Some(item) => set(item, value),
        None => {
            table.insert(key, Item::Value(value));
        }
    }
}

/// Replaces a value and keeps the spaces and comments around the old value.
fn set(item: &mut Item, mut value: Value) {
    if let Some(old) = item.as_value() {
        *value.decor_mut() = old.decor().clone();
    }
    *item = Item::Value(value);
}
