//! A policy's edits, computed in full before the message changes.

use host_contract::Edit;
use host_mail::{Envelope, HeaderBlock, Mailbox, REDIRECTED};

/// The result of a policy's edits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// Recipients in the order of the envelope, followed by added recipients.
    pub recipients: Vec<Mailbox>,
    /// Added fields. They go above the trace field: everything down to it is what this host added to the message.
    pub added: Vec<u8>,
    /// Octets to put between the trace field and the rest of the message.
    pub prefix: Vec<u8>,
    /// True if the recipients differ from the envelope.
    pub redirected: bool,
    /// Number of octets at the front of the message that `prefix` replaces.
    pub skip: u64,
}

impl Edited {
    /// Puts a completed header in the place of the first `skip` octets of the received message. The edits were computed
    /// on the completed header.
    pub fn replace_header(&mut self, header: &[u8], skip: u64) {
        if self.skip == 0 {
            self.prefix.extend_from_slice(header);
        }
        self.skip = skip;
    }
}

/// Applies all edits to copies; the message stays unchanged.
pub fn apply(edits: &[Edit], envelope: &Envelope, header: &HeaderBlock) -> Edited {
    let mut recipients = envelope.recipients.clone();
    let mut added = Vec::new();
    let mut prefix = Vec::new();
    let mut removed: Vec<&str> = Vec::new();
    for edit in edits {
        match edit {
            Edit::AddHeader(name, value) => added.extend_from_slice(format_field(name, value).as_bytes()),
            // The host keeps its own marks: without them no loop made by policies is found.
            Edit::RemoveHeader(name) if name.eq_ignore_ascii_case(REDIRECTED) => {}
            Edit::RemoveHeader(name) => removed.push(name),
            Edit::RemoveRecipient(mailbox) => recipients.retain(|other| other.key() != mailbox.key()),
            Edit::AddRecipient(mailbox) if recipients.iter().any(|other| other.key() == mailbox.key()) => {}
            Edit::AddRecipient(mailbox) => recipients.push(mailbox.clone()),
        }
    }
    let mut skip = 0;
    if !removed.is_empty() {
        prefix.extend(remove_fields(header.as_bytes(), &removed));
        skip = header.as_bytes().len() as u64;
    }
    if is_body_only(header) {
        prefix.extend_from_slice(b"\r\n");
    }
    Edited {
        redirected: recipients.len() != envelope.recipients.len()
            || recipients
                .iter()
                .zip(&envelope.recipients)
                .any(|(now, was)| now.key() != was.key()),
        recipients,
        added,
        prefix,
        skip,
    }
}

/// True if the text before the first empty line holds no header field. The text is then part of the body, and must not
/// become part of the header that the host adds.
fn is_body_only(header: &HeaderBlock) -> bool {
    !header.as_bytes().is_empty() && header.fields().next().is_none()
}

/// Formats a header field on one line, or folded after the name if the line would be longer than RFC 5322 section 2.1.1
/// allows.
fn format_field(name: &str, value: &str) -> String {
    let fold = if name.len() + value.len() + 2 > 998 { "\r\n" } else { "" };
    format!("{name}:{fold} {value}\r\n")
}

/// Returns the header without the named fields. Folded lines are removed with the field; lines that are not part of a
/// field stay.
pub(super) fn remove_fields(header: &[u8], names: &[&str]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(header.len());
    let mut dropping = false;
    for line in header.split_inclusive(|byte| *byte == b'\n') {
        if !matches!(line.first(), Some(b' ' | b'\t')) {
            let name = line.split(|byte| *byte == b':').next().unwrap_or(line).trim_ascii_end();
            dropping = line.contains(&b':')
                && names
                    .iter()
                    .any(|removed| name.eq_ignore_ascii_case(removed.as_bytes()));
        }
        if !dropping {
            kept.extend_from_slice(line);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use host_mail::{InMemory, ReversePath};

    const MESSAGE: &str = "X-A: 1\r\nSubject: s\r\n\tfolded\r\nno field\r\nx-a : 2\r\n 3\r\nTo: b\r\n\r\nX-A: body\r\n";

    fn mailbox(text: &str) -> Mailbox {
        text.parse().expect("valid")
    }

    /// Returns the edited message and the recipients.
    fn edit(edits: &[Edit]) -> (String, Vec<String>) {
        let header = HeaderBlock::read(&InMemory(MESSAGE.into())).expect("in memory");
        let mut envelope = Envelope::from_sender(ReversePath::Null);
        envelope.recipients = vec![mailbox("a@x.example"), mailbox("b@x.example")];
        let edited = apply(edits, &envelope, &header);
        let mut text = String::from_utf8([edited.added, edited.prefix].concat()).expect("text");
        text.push_str(&MESSAGE[usize::try_from(edited.skip).expect("small")..]);
        (text, edited.recipients.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn no_edit_changes_nothing() {
        let (text, recipients) = edit(&[]);
        assert_eq!(text, MESSAGE);
        assert_eq!(recipients, ["a@x.example", "b@x.example"]);
    }

    #[test]
    fn adds_fields_on_top_in_order() {
        let add = |name: &str, value: &str| Edit::AddHeader(name.into(), value.into());
        let (text, _) = edit(&[add("X-One", "1"), add("X-Two", "2")]);
        assert_eq!(text, format!("X-One: 1\r\nX-Two: 2\r\n{MESSAGE}"));
        let (text, _) = edit(&[add("X-Long", &"v".repeat(992))]);
        assert!(text.starts_with("X-Long:\r\n vvv"));
    }

    #[test]
    fn separates_a_body_without_a_header() {
        for (message, prefix) in [
            ("Hello.\r\n", "\r\n"),
            ("Hello.\r\n\r\nTo: you\r\n", "\r\n"),
            ("\r\nHello.\r\n", ""),
            ("no field\r\nTo: b\r\n\r\nHello.\r\n", ""),
            ("", ""),
        ] {
            let header = HeaderBlock::read(&InMemory(message.into())).expect("in memory");
            let edited = apply(&[], &Envelope::from_sender(ReversePath::Null), &header);
            assert_eq!(
                (edited.prefix.as_slice(), edited.skip),
                (prefix.as_bytes(), 0),
                "{message:?}"
            );
        }
    }

    #[test]
    fn removes_every_field_of_a_name_with_folded_lines() {
        let (text, _) = edit(&[Edit::RemoveHeader("X-a".into()), Edit::RemoveHeader("subject".into())]);
        assert_eq!(text, "no field\r\nTo: b\r\n\r\nX-A: body\r\n");
        let (text, _) = edit(&[Edit::RemoveHeader("no field".into())]);
        assert_eq!(text, MESSAGE);
    }

    #[test]
    fn removal_keeps_added_fields_of_the_same_name() {
        let edits = [
            Edit::AddHeader("X-A".into(), "new".into()),
            Edit::RemoveHeader("X-A".into()),
        ];
        assert!(edit(&edits).0.starts_with("X-A: new\r\nSubject: s\r\n"));
    }

    #[test]
    fn keeps_redirection_marks_and_detects_changed_recipients() {
        let message = format!("{REDIRECTED}: by mx.example policy copies\r\n\r\nHello.\r\n");
        let header = HeaderBlock::read(&InMemory(message.into())).expect("in memory");
        let mut envelope = Envelope::from_sender(ReversePath::Null);
        envelope.recipients = vec![mailbox("a@x.example")];
        let edit = |edits: &[Edit]| apply(edits, &envelope, &header);
        let removal = edit(&[Edit::RemoveHeader(REDIRECTED.to_lowercase())]);
        assert_eq!((removal.prefix.as_slice(), removal.skip), (&b""[..], 0));
        let (add, remove) = (
            |to| Edit::AddRecipient(mailbox(to)),
            Edit::RemoveRecipient(mailbox("a@x.example")),
        );
        assert!(!edit(&[add("A@x.example")]).redirected);
        assert!(edit(&[add("b@x.example")]).redirected);
        assert!(edit(std::slice::from_ref(&remove)).redirected);
        assert!(edit(&[remove, add("b@x.example")]).redirected);
    }

    #[test]
    fn adds_and_removes_recipients() {
        let edits = [
            Edit::RemoveRecipient(mailbox("A@x.example")),
            Edit::AddRecipient(mailbox("c@x.example")),
            Edit::AddRecipient(mailbox("B@x.example")),
        ];
        assert_eq!(edit(&edits).1, ["b@x.example", "c@x.example"]);
        assert!(
            edit(&[
                Edit::RemoveRecipient(mailbox("a@x.example")),
                Edit::RemoveRecipient(mailbox("b@x.example")),
            ])
            .1
            .is_empty()
        );
    }
}
