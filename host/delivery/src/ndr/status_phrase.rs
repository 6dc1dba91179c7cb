//! Phrases for enhanced status codes (RFC 3463 section 3), which disclose nothing about the host that gave one.

use host_mail::{Reply, StatusCode};

/// The enhanced status of a reply, or the generic status of the reply code's class (RFC 3463 section 2). A transient
/// reply keeps class 4, even though the recipient has failed after the last attempt.
pub(super) fn status_of(reply: &Reply) -> StatusCode {
    reply.status.unwrap_or(match reply.code {
        200..=299 => StatusCode(2, 0, 0),
        400..=499 => StatusCode(4, 0, 0),
        _ => StatusCode(5, 0, 0),
    })
}

/// Returns the phrase for a status: of the detail if known, else of the subject.
pub(super) fn phrase(status: StatusCode) -> &'static str {
    match (status.1, status.2) {
        _ if status.0 == 2 => "accepted",
        (1, 1) => "no such mailbox",
        (1, 2 | 10) => "the domain takes no mail",
        (1, 3) => "the address is malformed",
        (1, 4) => "the address is ambiguous",
        (1, 6) => "the mailbox has moved",
        (1, 7 | 8) => "the sender's address was refused",
        (1, _) => "the address was refused",
        (2, 1) => "the mailbox is disabled",
        (2, 2) => "the mailbox is full",
        (2, 3) => "the message is too large for the mailbox",
        (2, _) => "the mailbox does not take the message",
        (3, 1) => "the mail system is full",
        (3, 4) => "the message is too large",
        (3, _) => "the mail system does not take the message",
        (4, 1) => "the next host does not answer",
        (4, 2) => "the connection to the next host broke",
        (4, 3) => "the next host could not be looked up",
        (4, 4) => "there is no way to the domain",
        (4, 6) => "the message goes round in circles",
        (4, 7) => "the time for delivery is over",
        (4, _) => "the next host could not be reached",
        (5, 3) => "too many recipients",
        (5, _) => "the next host did not understand",
        (6, 3 | 7) => "the next host does not take a message of this form",
        (6, _) => "the content was refused",
        (7, 1) => "delivery is not authorized",
        (7, 5) => "no secure connection to the next host",
        (7, _) => "refused for reasons of security or policy",
        _ if status.0 == 4 => "not accepted for now",
        _ => "not accepted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_without_status_gets_the_status_of_its_class() {
        assert_eq!(status_of(&Reply::bare(550, "x")), StatusCode(5, 0, 0));
        assert_eq!(status_of(&Reply::bare(451, "x")), StatusCode(4, 0, 0));
        assert_eq!(status_of(&Reply::new(550, (5, 1, 1), "x")), StatusCode(5, 1, 1));
    }

    #[test]
    fn unknown_detail_has_the_phrase_of_its_subject() {
        assert_eq!(phrase(StatusCode(5, 2, 99)), "the mailbox does not take the message");
        assert_eq!(phrase(StatusCode(4, 0, 0)), "not accepted for now");
    }
}
