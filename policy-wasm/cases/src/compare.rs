//! Comparison of a case's expectations with an outcome.

use std::fmt;

use crate::case::Case;
use crate::case_decision::{Answer, Decision, Outcome};
use crate::expect::Expected;

/// A difference between an expectation and the outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Key of the expectation, such as `expect.recipient.rule`.
    pub key: String,
    /// The expected value.
    pub expected: String,
    /// The value that was found.
    pub found: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.key, self.expected, self.found)
    }
}

impl Case {
    /// Returns every difference from the expectations. A case without expectations is a mismatch.
    pub fn compare(&self, outcome: &Outcome) -> Vec<Mismatch> {
        let expect = &self.expect;
        if expect.is_empty() {
            return vec![mismatch("expect", "something", "a case that expects nothing")];
        }
        let mut found = self.problems(outcome);
        for (key, expected, answer) in self.expectations_with_answers(outcome) {
            match answer {
                Some(answer) => found.extend(expected.compare(&key, answer)),
                None => found.push(mismatch(
                    &key,
                    &expected.decision_words(),
                    "nothing: this was not asked",
                )),
            }
        }
        for part in &expect.log {
            if !outcome.log.iter().any(|line| line.text.contains(part)) {
                let lines: Vec<&str> = outcome.log.iter().map(|line| line.text.as_str()).collect();
                found.push(mismatch("expect.log", &format!("{part:?}"), &format!("{lines:?}")));
            }
        }
        found
    }

    fn problems(&self, outcome: &Outcome) -> Vec<Mismatch> {
        let mut expected: Vec<&str> = self.expect.problems.iter().flatten().map(String::as_str).collect();
        let mut found: Vec<&str> = outcome.problems.iter().map(|problem| problem.key.as_str()).collect();
        expected.sort_unstable();
        found.sort_unstable();
        if expected == found {
            return Vec::new();
        }
        let problems: Vec<String> = outcome
            .problems
            .iter()
            .map(|problem| format!("{}: {}", problem.key, problem.text))
            .collect();
        vec![mismatch(
            "expect.problems",
            &format!("{expected:?}"),
            &format!("{problems:?}"),
        )]
    }

    /// Returns each expectation with its key and the answer to compare; `None` for a question that was not asked.
    pub(crate) fn expectations_with_answers<'a>(
        &'a self,
        outcome: &'a Outcome,
    ) -> Vec<(String, &'a Expected, Option<&'a Answer>)> {
        let expect = &self.expect;
        let answer_for = |recipient: &str| {
            let answers = outcome.recipients.iter();
            answers
                .filter(|(address, _)| address == recipient)
                .map(|(_, answer)| answer)
                .next_back()
        };
        let mut pairs = Vec::new();
        let mut add = |key: String, expected: Option<&'a Expected>, answer| {
            pairs.extend(expected.map(|expected| (key, expected, answer)));
        };
        add("expect.admit".to_owned(), expect.admit.as_ref(), outcome.admit.as_ref());
        add(
            "expect.sender".to_owned(),
            expect.sender.as_ref(),
            outcome.sender.as_ref(),
        );
        let only = outcome.recipients.first().map(|(_, answer)| answer);
        add("expect.recipient".to_owned(), expect.recipient.as_ref(), only);
        for (address, expected) in &expect.recipients {
            add(
                format!("expect.recipients.{address:?}"),
                Some(expected),
                answer_for(address),
            );
        }
        add(
            "expect.message".to_owned(),
            expect.message.as_ref(),
            outcome.message.as_ref(),
        );
        add("expect.ndr".to_owned(), expect.ndr.as_ref(), outcome.ndr.as_ref());
        pairs
    }
}

impl Expected {
    fn decision_words(&self) -> String {
        self.decision.clone().unwrap_or_else(|| "an answer".to_owned())
    }

    /// Returns the differences between this expectation and the answer; `key` is the key of the expectation.
    fn compare(&self, key: &str, answer: &Answer) -> Vec<Mismatch> {
        let mut found = Vec::new();
        if let Some(words) = &self.decision
            && !begins_with_words(&answer.decision.to_string(), words)
        {
            let entry = answer
                .because
                .entry
                .as_ref()
                .map_or(String::new(), |entry| format!(" ({entry})"));
            let reason = match &answer.decision {
                Decision::Fault { text, .. } => format!(": {text}"),
                _ => format!(", because {}{entry}", answer.because.rule),
            };
            found.push(mismatch(key, words, &format!("{}{reason}", answer.decision)));
        }
        let mut compare = |part: &str, expected: String, actual: String| {
            if expected != actual {
                found.push(mismatch(&format!("{key}.{part}"), &expected, &actual));
            }
        };
        if let Some(rule) = &self.rule {
            compare("rule", rule.clone(), answer.because.rule.clone());
        }
        if let Some(entry) = &self.entry {
            compare("entry", entry.clone(), answer.because.entry.clone().unwrap_or_default());
        }
        if let Decision::Admit(terms) = &answer.decision {
            if self.authentication.is_some() {
                compare(
                    "authentication",
                    format!("{:?}", self.authentication),
                    format!("{:?}", terms.authentication),
                );
            }
            if self.encryption.is_some() {
                compare(
                    "encryption",
                    format!("{:?}", self.encryption),
                    format!("{:?}", terms.encryption),
                );
            }
            if let Some(exemptions) = &self.exemptions {
                compare("exemptions", sorted(exemptions), sorted(&terms.exemptions));
            }
        }
        if let (Some(edits), Decision::Accept(made)) = (&self.edits, &answer.decision) {
            let made: Vec<String> = made.iter().map(ToString::to_string).collect();
            compare("edits", format!("{edits:?}"), format!("{made:?}"));
        }
        let (text, remarks) = text_and_remarks(&answer.decision);
        if let Some(part) = &self.text
            && !text.contains(part.as_str())
        {
            found.push(mismatch(&format!("{key}.text"), part, text));
        }
        if let Some(expected) = &self.remarks {
            let fit = expected.len() == remarks.len()
                && expected
                    .iter()
                    .zip(&remarks)
                    .all(|(part, remark)| remark.contains(part.as_str()));
            if !fit {
                found.push(mismatch(
                    &format!("{key}.remarks"),
                    &format!("{expected:?}"),
                    &format!("{remarks:?}"),
                ));
            }
        }
        found
    }
}

/// Returns the text of a reply or of a fault, and the remarks of notices.
pub(crate) fn text_and_remarks(decision: &Decision) -> (&str, Vec<&str>) {
    match decision {
        Decision::Refuse(reply) | Decision::Reject(reply) | Decision::Defer(reply) => (&reply.text, Vec::new()),
        Decision::Fault { text, .. } => (text, Vec::new()),
        Decision::Tell(notices) => {
            let remarks = notices
                .iter()
                .map(|notice| notice.remark.as_deref().unwrap_or_default());
            ("", remarks.collect())
        }
        _ => ("", Vec::new()),
    }
}

/// True if the answer begins with the words and the last word is complete. The fault class `lie` of earlier releases is read
/// as `invalid-answer`, for one release.
pub(crate) fn begins_with_words(answer: &str, words: &str) -> bool {
    let words = match words {
        "fault lie" => "fault invalid-answer",
        words => words,
    };
    answer
        .strip_prefix(words)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', ',']))
}

fn sorted(names: &[String]) -> String {
    let mut names = names.to_vec();
    names.sort_unstable();
    format!("{names:?}")
}

fn mismatch(key: &str, expected: &str, found: &str) -> Mismatch {
    Mismatch {
        key: key.to_owned(),
        expected: expected.to_owned(),
        found: found.to_owned(),
    }
}
