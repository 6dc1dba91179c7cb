//! What became of a recipient in one attempt, and which failure class a refusal belongs to.

use host_mail::{Reply, StatusCode};
use host_spool::Failed;

/// Failure classes, as `failure.class` in `wit/policy.wit` documents them.
pub(super) mod class {
    pub const ADDRESS_NOT_FOUND: &str = "address-not-found";
    pub const AMBIGUOUS_ADDRESS: &str = "ambiguous-address";
    pub const CONVERSION_FAILED: &str = "conversion-failed";
    pub const EXPIRED: &str = "expired";
    pub const HOST_NOT_FOUND: &str = "host-not-found";
    pub const LOOP: &str = "loop";
    pub const NOT_HOMED: &str = "not-homed";
    pub const PROTOCOL_ERROR: &str = "protocol-error";
}

/// What became of one recipient in one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RecipientOutcome {
    /// Somebody else is responsible now, or it is in a mailbox.
    Delivered {
        reply: Reply,
        /// Who said so, if it was another host.
        remote: Option<String>,
    },
    /// It may work later.
    Deferred(Reply),
    /// Nobody tried: its destination is known to be down, and this is what it said.
    Untried(Reply),
    /// It will not work.
    Failed(Failed),
}

/// Which part of a dialogue a reply belongs to; the same code means different things in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DialogueStep {
    /// The reply in place of a banner.
    Greeting,
    /// EHLO, HELO, LHLO.
    Hello,
    /// MAIL.
    Sender,
    /// RCPT.
    Recipient,
    /// DATA and the final dot.
    Data,
}

impl RecipientOutcome {
    /// This host gives up, by its own judgement.
    pub(super) fn failed_here(class: &str, reply: Reply) -> Self {
        Self::Failed(failed_here(class, reply))
    }

    /// What a remote's reply means for the recipients it is about.
    pub(super) fn of_remote(reply: Reply, step: DialogueStep, remote: &str) -> Self {
        match reply.code {
            200..=299 => Self::Delivered {
                reply,
                remote: Some(remote.to_owned()),
            },
            500..=599 if !is_passing(&reply, step) => Self::Failed(Failed {
                class: class_of(&reply, step).to_owned(),
                reply,
                remote: Some(remote.to_owned()),
            }),
            _ => Self::Deferred(reply),
        }
    }

    /// Of two ways to one destination neither of which will do: while there is hope with the one before it has not failed.
    pub(super) fn unless_hopeful(self, before: Option<Self>) -> Self {
        match (before, self) {
            (Some(hopeful @ Self::Deferred(_)), Self::Failed(_)) => hopeful,
            (_, last) => last,
        }
    }
}

/// A failure that this host found itself.
pub(super) fn failed_here(class: &str, reply: Reply) -> Failed {
    Failed {
        class: class.to_owned(),
        reply,
        remote: None,
    }
}

/// The 5xx replies that do not mean "never".
fn is_passing(reply: &Reply, step: DialogueStep) -> bool {
    match step {
        // RFC 7504 section 2: 521 means that this host never takes mail. Any other refusal to greet
        // is about the connection, and often about a passing reputation, not about the message.
        DialogueStep::Greeting => reply.code != 521,
        // RFC 5321 section 4.5.3.1.10: 552 to RCPT is an old way to say 452, too many recipients.
        DialogueStep::Recipient => reply.code == 552 && reply.status.is_none_or(|s| (s.1, s.2) == (5, 3)),
        DialogueStep::Hello | DialogueStep::Sender | DialogueStep::Data => false,
    }
}

/// The class of a permanent refusal: by its enhanced status code (RFC 3463), else by its code.
fn class_of(reply: &Reply, step: DialogueStep) -> &'static str {
    match reply.status {
        Some(StatusCode(_, 1, 1 | 3 | 6)) => class::ADDRESS_NOT_FOUND,
        Some(StatusCode(_, 1, 2 | 10) | StatusCode(_, 4, 4)) => class::HOST_NOT_FOUND,
        Some(StatusCode(_, 1, 4)) => class::AMBIGUOUS_ADDRESS,
        Some(StatusCode(_, 4, 6)) => class::LOOP,
        Some(StatusCode(_, 6, 1 | 3 | 5 | 7)) => class::CONVERSION_FAILED,
        None if step == DialogueStep::Recipient && matches!(reply.code, 550 | 551 | 553) => class::ADDRESS_NOT_FOUND,
        _ => class::PROTOCOL_ERROR,
    }
}

/// The reply this host gives for a message that the policy failed as a whole.
pub(super) fn reply_for_class(class: &str) -> Reply {
    let (status, text) = match class {
        class::NOT_HOMED => ((5, 7, 1), "Mailbox is not local"),
        class::ADDRESS_NOT_FOUND => ((5, 1, 1), "No such address"),
        class::AMBIGUOUS_ADDRESS => ((5, 1, 4), "Address is ambiguous"),
        class::HOST_NOT_FOUND => ((5, 4, 4), "No route to the destination"),
        class::CONVERSION_FAILED => ((5, 6, 1), "Message cannot be converted"),
        class::PROTOCOL_ERROR => ((5, 5, 0), "Protocol error"),
        class::EXPIRED => ((5, 4, 7), "Delivery time expired"),
        class::LOOP => ((5, 4, 6), "Mail loop"),
        other => return Reply::new(554, (5, 7, 1), format!("Refused by local policy: {other}")),
    };
    Reply::new(554, status, text)
}

/// What a recipient is failed with when its time is over; quotes the last reply.
pub(super) fn expired(last: &Reply) -> Failed {
    failed_here(
        class::EXPIRED,
        Reply::new(554, (5, 4, 7), format!("Delivery time expired; last reply: {last}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class_at(step: DialogueStep, reply: Reply) -> Option<String> {
        match RecipientOutcome::of_remote(reply, step, "mx.example") {
            RecipientOutcome::Failed(failed) => Some(failed.class),
            _ => None,
        }
    }

    #[test]
    fn a_refusal_is_classed_by_status_then_by_code() {
        let enhanced = |s| class_at(DialogueStep::Recipient, Reply::new(550, s, "x"));
        assert_eq!(enhanced((5, 1, 1)).as_deref(), Some(class::ADDRESS_NOT_FOUND));
        assert_eq!(enhanced((5, 1, 2)).as_deref(), Some(class::HOST_NOT_FOUND));
        assert_eq!(enhanced((5, 1, 4)).as_deref(), Some(class::AMBIGUOUS_ADDRESS));
        assert_eq!(enhanced((5, 4, 6)).as_deref(), Some(class::LOOP));
        assert_eq!(enhanced((5, 6, 7)).as_deref(), Some(class::CONVERSION_FAILED));
        assert_eq!(enhanced((5, 7, 1)).as_deref(), Some(class::PROTOCOL_ERROR));
        let bare = |step, code| class_at(step, Reply::bare(code, "x"));
        assert_eq!(
            bare(DialogueStep::Recipient, 550).as_deref(),
            Some(class::ADDRESS_NOT_FOUND)
        );
        assert_eq!(
            bare(DialogueStep::Recipient, 554).as_deref(),
            Some(class::PROTOCOL_ERROR)
        );
        assert_eq!(bare(DialogueStep::Data, 550).as_deref(), Some(class::PROTOCOL_ERROR));
    }

    #[test]
    fn some_5xx_replies_are_only_for_now() {
        assert_eq!(
            class_at(DialogueStep::Recipient, Reply::bare(552, "too many recipients")),
            None
        );
        assert_eq!(
            class_at(DialogueStep::Greeting, Reply::bare(554, "blocked today")),
            None
        );
        assert!(class_at(DialogueStep::Greeting, Reply::bare(521, "no mail here")).is_some());
        assert!(class_at(DialogueStep::Recipient, Reply::new(552, (5, 2, 2), "mailbox full")).is_some());
    }

    #[test]
    fn the_remotes_reply_and_name_are_kept() {
        let reply = Reply::new(550, (5, 1, 1), "who?");
        let RecipientOutcome::Failed(failed) =
            RecipientOutcome::of_remote(reply.clone(), DialogueStep::Recipient, "mx.example")
        else {
            panic!("a refusal");
        };
        assert_eq!((failed.reply, failed.remote.as_deref()), (reply, Some("mx.example")));
    }

    #[test]
    fn an_expired_recipient_quotes_the_last_reply() {
        let failed = expired(&Reply::new(451, (4, 3, 0), "later"));
        assert_eq!(failed.class, class::EXPIRED);
        assert_eq!(failed.reply.status, Some(StatusCode(5, 4, 7)));
        assert!(failed.reply.text.contains("451 4.3.0 later"));
    }
}
