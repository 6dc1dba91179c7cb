//! Replies, and the objections that carry them.

use crate::rule::Rule;
use posthouse_policy::Disposition;
use posthouse_policy::{Because, Reply, Verdict};

/// A rule has something against it: this reply, for this reason.
#[derive(Debug, PartialEq)]
pub struct Objection {
    /// 4xx: for now, 5xx: for good.
    pub reply: Reply,
    /// Who says so.
    pub because: Because,
}

impl Objection {
    /// As an answer to MAIL or RCPT.
    pub fn verdict(self) -> (Verdict, Because) {
        (self.reply.into(), self.because)
    }
}

/// As an answer to the final dot.
impl From<Objection> for (Disposition, Because) {
    fn from(objection: Objection) -> Self {
        (objection.reply.into(), objection.because)
    }
}

/// A reply; what a peer chose to be part of the text is made printable and short enough first.
pub fn reply(code: u16, status: (u8, u16, u16), text: &str) -> Reply {
    Reply::new(code, status, text)
}

/// The directory cannot be asked: for now, whatever the question was.
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
    fn text_from_outside_cannot_break_the_line_or_the_limit() {
        assert_eq!(reply(554, (5, 7, 1), "a\r\nb\u{2028}c\u{7}").text(), "a??b?c?");
        assert_eq!(
            reply(554, (5, 7, 1), "jörg@bücher.example").text(),
            "jörg@bücher.example"
        );
        let long = reply(554, (5, 7, 1), &"ö".repeat(300));
        assert_eq!(long.text().len(), 400);
    }

    #[test]
    fn the_code_decides_between_now_and_for_good() {
        let (verdict, _) = directory_unavailable("x").verdict();
        assert!(matches!(verdict, Verdict::Defer(reply) if reply.code() == 451));
    }
}
