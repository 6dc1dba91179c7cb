//! One place that turns events into lines. Whatever a peer or a policy put into a field, a line
//! stays one line and a terminal shows it instead of obeying it.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

use super::{Event, EventRecord, Severity, catalogue};
use host_mail::Timestamp;

/// Hexadecimal digits of a digest that a human is shown.
const SHORT_DIGEST: usize = 12;

/// The order in which the fields of a policy fault are told.
const FAULT_FIELDS: [&str; 12] = [
    "class",
    "policy",
    "digest",
    "generation",
    "stage",
    "function",
    "location",
    "code",
    "stderr",
    "session",
    "message",
    "instead",
];

/// How events are written on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A line a human reads.
    Text,
    /// A JSON object a line.
    Json,
}

impl Format {
    /// The record as one line, without the line end.
    pub fn line(self, record: &EventRecord) -> String {
        match self {
            Self::Text => text(record),
            Self::Json => json(record),
        }
    }
}

/// Hostile bytes made harmless: control characters, line breaks and bidirectional overrides become
/// visible escapes. A backslash is doubled, so that what is shown is never ambiguous.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_hostile(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// Characters that change how the rest of a line is shown, or that are not shown at all.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Line and paragraph separators end a line in some viewers.
            '\u{2028}' | '\u{2029}'
            // Bidirectional marks, embeddings, overrides and isolates (Unicode annex 9).
            | '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Invisible: zero width, soft hyphen, byte order mark, tags.
            | '\u{00ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// The event as the line that its record would be, without making the record.
pub(super) fn json_of(at: Timestamp, event: &Event) -> String {
    /// As [`EventRecord`].
    #[derive(Serialize)]
    struct Line<'a> {
        time: String,
        id: u32,
        name: &'a str,
        severity: Severity,
        fields: &'a Event,
    }
    let entry = event.entry();
    json(&Line {
        time: at.to_string(),
        id: entry.id,
        name: entry.name,
        severity: entry.severity,
        fields: event,
    })
}

/// A JSON object on one line. Beyond what JSON asks for, [`is_hostile`] characters are escaped,
/// too; outside of strings JSON is ASCII, so the escape is always inside one.
fn json(record: &impl Serialize) -> String {
    // A record is strings, numbers and lists: serializing it cannot fail.
    let plain = serde_json::to_string(record).unwrap_or_default();
    if plain.is_ascii() && !plain.contains('\u{7f}') {
        return plain;
    }
    let mut out = String::with_capacity(plain.len() + 16);
    for c in plain.chars() {
        if is_hostile(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// `TIME SEVERITY ID name key=value …`, the fields in the catalogue's order.
fn text(record: &EventRecord) -> String {
    let severity = match record.severity {
        Severity::Info => "info",
        Severity::Warning => "WARNING",
        Severity::Error => "ERROR",
    };
    let mut out = format!(
        "{} {severity} {} {}",
        escape(&record.time),
        record.id,
        escape(&record.name)
    );
    if let Some(fault) = record.fields.get("fault") {
        push_fields(&mut out, fault, &FAULT_FIELDS.map(str::to_owned));
        return out;
    }
    let order: Vec<String> = catalogue()
        .iter()
        .find(|entry| entry.id == record.id)
        .map(|entry| entry.fields.iter().map(|field| field.replace('_', "-")).collect())
        .unwrap_or_default();
    push_fields(&mut out, &record.fields, &order);
    out
}

/// The fields in `order`, then those it does not know (written by another release).
fn push_fields(out: &mut String, fields: &Value, order: &[String]) {
    let Value::Object(fields) = fields else {
        return;
    };
    let known = order.iter().filter_map(|key| fields.get_key_value(key));
    let unknown = fields.iter().filter(|(key, _)| !order.contains(key));
    for (key, value) in known.chain(unknown) {
        match (key.as_str(), value) {
            (_, Value::Null) => {}
            ("digest", Value::String(digest)) => push(out, "digest", &shown(&short_digest(digest))),
            ("stderr", Value::String(said)) if said.trim().is_empty() => {}
            ("stderr", Value::String(said)) => push(out, "text", &shown(said.trim())),
            (key, value) => push(out, key, &shown_value(value)),
        }
    }
}

fn push(out: &mut String, key: &str, value: &str) {
    let _ = write!(out, " {}={value}", escape(key));
}

/// The first digits of a digest, enough to tell generations apart.
fn short_digest(digest: &str) -> String {
    digest.chars().take(SHORT_DIGEST).collect()
}

fn shown_value(value: &Value) -> String {
    match value {
        Value::String(text) => shown(text),
        Value::Array(items) => format!("[{}]", items.iter().map(shown_value).collect::<Vec<_>>().join(", ")),
        Value::Object(_) => shown(&value.to_string()),
        other => other.to_string(),
    }
}

/// As it is when it is one plain word, else escaped and in quotes.
fn shown(text: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !is_hostile(c) && !matches!(c, '"' | '\\' | '=' | ',' | '[');
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("\"{}\"", escape(text).replace('"', "\\\""))
    }
}

#[cfg(test)]
mod tests {
    use super::super::PolicyFault;
    use super::*;

    fn record(event: Event) -> EventRecord {
        EventRecord::new(Timestamp(0), &event)
    }

    fn filtered(sender: &str) -> Event {
        Event::MessageFiltered {
            session: "s1".into(),
            message: None,
            sender: sender.into(),
            action: "discard".into(),
            because: "default/filter (a@b)".into(),
        }
    }

    #[test]
    fn a_line_has_time_severity_id_name_and_fields_in_order() {
        assert_eq!(
            text(&record(filtered("<a@b.example>"))),
            "1970-01-01T00:00:00.000Z WARNING 4192 message-filtered session=s1 sender=<a@b.example> action=discard \
             because=\"default/filter (a@b)\""
        );
    }

    #[test]
    fn format_strings_of_1999_are_only_text() {
        let line = text(&record(filtered("%s%n%x%%")));
        assert!(line.contains("sender=%s%n%x%%"), "{line}");
    }

    #[test]
    fn hostile_text_stays_on_its_line_and_is_not_obeyed() {
        let attacks = [
            "a\r\n2026-01-01T00:00:00.000Z info 5000 started",
            "\x1b]0;owned\x07\x1b[2J",
            "\u{202e}gnp.exe",
            "\u{2066}\u{2069}\u{200f}",
            "\u{9b}31m",
            "a\u{2028}b",
            "nul\0",
            "\u{7f}",
            "\u{e0041}",
        ];
        for attack in attacks {
            for line in [text(&record(filtered(attack))), json(&record(filtered(attack)))] {
                assert!(!line.chars().any(is_hostile), "{line:?}");
            }
        }
    }

    #[test]
    fn json_lines_give_back_exactly_what_went_in() {
        for attack in ["a\r\nb", "\x1b[31m", "\u{202e}x", "\u{e0041}", "\u{7f}\"\\"] {
            let line = json(&record(filtered(attack)));
            let back: EventRecord = serde_json::from_str(&line).expect("valid JSON");
            assert_eq!(back.fields["sender"], attack);
        }
    }

    #[test]
    fn a_line_is_its_record() {
        let event = filtered("\u{202e}x");
        let line = json_of(Timestamp(1), &event);
        assert!(!line.chars().any(is_hostile), "{line:?}");
        let back: EventRecord = serde_json::from_str(&line).expect("valid JSON");
        assert_eq!(back, EventRecord::new(Timestamp(1), &event));
    }

    #[test]
    fn a_quote_cannot_forge_a_field() {
        let line = text(&record(filtered("x\" action=accept y=\"")));
        assert!(
            line.contains(r#"sender="x\" action=accept y=\"" action=discard"#),
            "{line}"
        );
    }

    #[test]
    fn lone_surrogates_arrive_as_replacement_characters() {
        let bytes = [b'a', 0xed, 0xa0, 0x80, b'b'];
        let line = text(&record(filtered(&String::from_utf8_lossy(&bytes))));
        assert!(line.contains("sender=a\u{fffd}\u{fffd}\u{fffd}b"), "{line}");
    }

    #[test]
    fn an_escape_is_never_ambiguous() {
        assert_eq!(escape("\n"), "\\n");
        assert_eq!(escape("\\n"), "\\\\n");
        assert_eq!(escape("\u{202e}\x1b"), "\\u{202e}\\u{1b}");
        assert_eq!(escape("grüß %s"), "grüß %s");
    }

    #[test]
    fn a_fault_tells_what_its_author_needs() {
        let fault = PolicyFault {
            class: "panic".into(),
            policy: "default".into(),
            digest: "3fa9c1d20b7e55555555555555555555".into(),
            generation: 4,
            stage: "ndr".into(),
            code: "wasm `unreachable` executed".into(),
            function: Some("policy_1999::plan".into()),
            location: Some("examples/1999/src/lib.rs:22".into()),
            stderr: "panicked at src/lib.rs:22:\ncalled `Option::unwrap()` on a `None` value\n".into(),
            session: None,
            message: Some("m1".into()),
            instead: "standard report".into(),
            core_dump: None,
        };
        assert_eq!(
            text(&record(Event::PolicyFault { fault })),
            "1970-01-01T00:00:00.000Z ERROR 4037 policy-fault class=panic policy=default digest=3fa9c1d20b7e \
             generation=4 stage=ndr function=policy_1999::plan location=examples/1999/src/lib.rs:22 \
             code=\"wasm `unreachable` executed\" text=\"panicked at src/lib.rs:22:\\ncalled `Option::unwrap()` on a \
             `None` value\" message=m1 instead=\"standard report\""
        );
    }
}
