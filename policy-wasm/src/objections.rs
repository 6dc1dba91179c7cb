//! SMTP replies, and the objections of rules that carry a reply.

use crate::rule_names::Rule;
use posthouse_policy::Disposition;
use posthouse_policy::{Because, Reply, Verdict};

/// The objection of a rule: a reply and its reason.
#[derive(Debug, PartialEq)]
pub struct Objection {
    /// A 4xx reply for a temporary objection, a 5xx reply for a permanent objection.
    pub reply: Reply,
    /// The rule that objects.
    pub because: Because,
}

impl Objection {
    /// Converts the objection to an answer to MAIL or RCPT.
    pub fn verdict(self) -> (Verdict, Because) {
        (self.reply.into(), self.because)
    }
}

/// Converts the objection to an answer to the end of DATA.
impl From<Objection> for (Disposition, Because) {
    fn from(objection: Objection) -> Self {
        (objection.reply.into(), objection.because)
    }
}

/// Makes a reply. Characters that are not printable are replaced, and the text is cut to 400 bytes.
pub fn reply(code: u16, status: (u8, u16, u16), text: &str) -> Reply {
    Reply::new(code, status, text)
}

/// The temporary objection of every rule while the directory is unavailable; `subject` is the entry that is cited.
pub fn directory_unavailable(subject: &str) -> Objection {
    Objection {
        reply: reply(451, (4, 3, 0), "The directory cannot be asked now, try again later"),
        because: Rule::Directory.because(subject),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_text_is_printable_and_bounded() {
        assert_eq!(reply(554, (5, 7, 1), "a\r\nb\u{2028}c\u{7}").text(), "a??b?c?");
        assert_eq!(
            reply(554, (5, 7, 1), "jörg@bücher.example").text(),
            "jörg@bücher.example"
        );
        let long = reply(554, (5, 7, 1), &"ö".repeat(300));
        assert_eq!(long.text().len(), 400);
    }

    #[test]
    fn temporary_reply_becomes_a_deferral() {
        let (verdict, _) = directory_unavailable("x").verdict();
        assert!(matches!(verdict, Verdict::Defer(reply) if reply.code() == 451));
    }
}
