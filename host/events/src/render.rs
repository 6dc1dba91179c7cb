//! Rendering of events as lines of text or JSON. Control characters in the fields, which may come from peers and
//! policies, are escaped: an event stays on a single line and cannot control the terminal.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

use super::{Event, EventRecord, Severity, catalogue};
use host_mail::Timestamp;

/// Hexadecimal digits of a digest in text output.
const SHORT_DIGEST: usize = 12;

/// The fields of a policy fault, in the order of text output.
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

/// Format of events on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A line of text for humans.
    Text,
    /// A JSON object on each line.
    Json,
}

impl Format {
    /// Formats the record as a single line, without the line end.
    pub fn line(self, record: &EventRecord) -> String {
        match self {
            Self::Text => text(record),
            Self::Json => json(record),
        }
    }
}

/// Escapes hostile text: control characters, line breaks, invisible characters and bidirectional overrides become
/// visible escapes. A backslash is doubled, so that the output is never ambiguous.
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

/// True for characters that change the display of the rest of a line or are invisible.
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

/// Formats an event as the JSON line of its [`EventRecord`], without creating the record.
pub(super) fn json_of(at: Timestamp, event: &Event) -> String {
    /// Mirrors the fields of [`EventRecord`].
    #[derive(Serialize)]
    struct JsonLine<'a> {
        time: String,
        id: u32,
        name: &'a str,
        severity: Severity,
        fields: &'a Event,
    }
    let entry = event.entry();
    json(&JsonLine {
        time: at.to_string(),
        id: entry.id,
        name: entry.name,
        severity: entry.severity,
        fields: event,
    })
}

/// Formats a JSON object on a single line. In addition to the escapes that JSON requires, [`is_hostile`] characters are
/// escaped; outside of strings JSON is ASCII, so that the escape is always inside a string.
fn json(record: &impl Serialize) -> String {
    // Records consist of strings, numbers and lists: serialization cannot fail.
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

/// Formats a record as `TIME SEVERITY ID name key=value …`, the fields in the order of the catalogue.
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

/// Appends the fields in `order`, then the fields that `order` does not list (written by another release).
fn push_fields(out: &mut String, fields: &Value, order: &[String]) {
    let Value::Object(fields) = fields else {
        return;
    };
    let known = order.iter().filter_map(|key| fields.get_key_value(key));
    let unknown = fields.iter().filter(|(key, _)| !order.contains(key));
    for (key, value) in known.chain(unknown) {
        match (key.as_str(), value) {
            (_, Value::Null) => {}
            ("digest", Value::String(digest)) => push_field(out, "digest", &quote(&short_digest(digest))),
            ("stderr", Value::String(output)) if output.trim().is_empty() => {}
            ("stderr", Value::String(output)) => push_field(out, "text", &quote(output.trim())),
            (key, value) => push_field(out, key, &format_value(value)),
        }
    }
}

fn push_field(out: &mut String, key: &str, value: &str) {
    let _ = write!(out, " {}={value}", escape(key));
}

/// Shortens a digest to the first digits, enough to distinguish generations.
fn short_digest(digest: &str) -> String {
    digest.chars().take(SHORT_DIGEST).collect()
}

fn format_value(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        Value::Array(items) => format!("[{}]", items.iter().map(format_value).collect::<Vec<_>>().join(", ")),
        Value::Object(_) => quote(&value.to_string()),
        other => other.to_string(),
    }
}

/// Quotes and escapes the text, unless the text is a single plain word.
fn quote(text: &str) -> String {
    let is_plain = |c: char| !c.is_whitespace() && !is_hostile(c) && !matches!(c, '"' | '\\' | '=' | ',' | '[');
    if !text.is_empty() && text.chars().all(is_plain) {
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
    fn text_has_time_severity_id_name_and_fields_in_order() {
        assert_eq!(
            text(&record(filtered("<a@b.example>"))),
            "1970-01-01T00:00:00.000Z WARNING 4192 message-filtered session=s1 sender=<a@b.example> action=discard \
             because=\"default/filter (a@b)\""
        );
    }

    #[test]
    fn percent_signs_are_plain_text() {
        let line = text(&record(filtered("%s%n%x%%")));
        assert!(line.contains("sender=%s%n%x%%"), "{line}");
    }

    #[test]
    fn escapes_hostile_characters_in_text_and_json() {
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
    fn json_round_trips_hostile_text() {
        for attack in ["a\r\nb", "\x1b[31m", "\u{202e}x", "\u{e0041}", "\u{7f}\"\\"] {
            let line = json(&record(filtered(attack)));
            let back: EventRecord = serde_json::from_str(&line).expect("valid JSON");
            assert_eq!(back.fields["sender"], attack);
        }
    }

    #[test]
    fn json_of_an_event_equals_its_record() {
        let event = filtered("\u{202e}x");
        let line = json_of(Timestamp(1), &event);
        assert!(!line.chars().any(is_hostile), "{line:?}");
        let back: EventRecord = serde_json::from_str(&line).expect("valid JSON");
        assert_eq!(back, EventRecord::new(Timestamp(1), &event));
    }

    #[test]
    fn quotes_in_a_value_cannot_forge_a_field() {
        let line = text(&record(filtered("x\" action=accept y=\"")));
        assert!(
            line.contains(r#"sender="x\" action=accept y=\"" action=discard"#),
            "{line}"
        );
    }

    #[test]
    fn lone_surrogates_become_replacement_characters() {
        let bytes = [b'a', 0xed, 0xa0, 0x80, b'b'];
        let line = text(&record(filtered(&String::from_utf8_lossy(&bytes))));
        assert!(line.contains("sender=a\u{fffd}\u{fffd}\u{fffd}b"), "{line}");
    }

    #[test]
    fn escapes_are_unambiguous() {
        assert_eq!(escape("\n"), "\\n");
        assert_eq!(escape("\\n"), "\\\\n");
        assert_eq!(escape("\u{202e}\x1b"), "\\u{202e}\\u{1b}");
        assert_eq!(escape("grüß %s"), "grüß %s");
    }

    #[test]
    fn text_of_a_policy_fault_has_all_facts_for_its_author() {
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
            former_class: None,
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
