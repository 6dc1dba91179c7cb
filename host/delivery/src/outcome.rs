//! Outcome of an attempt for a recipient, and the failure class of a refusal.

use std::sync::Arc;

use host_mail::{Reply, StatusCode};
use host_spool::Failed;

use crate::client_tls::TlsFacts;

/// Failure classes, documented as `failure.class` in `wit/policy.wit`.
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

/// Outcome of an attempt for a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RecipientOutcome {
    /// Another host has accepted the message, or the message is in a mailbox.
    Delivered {
        reply: Reply,
        /// The host that replied; `None` for a mailbox on this host.
        remote: Option<String>,
        /// TLS session with the host; `None` in the clear.
        tls: Option<Arc<TlsFacts>>,
        /// True if the host has DSN (RFC 3461), and with the message the duty to report.
        reports: bool,
        /// True if the host keeps time limits (RFC 2852).
        keeps_time: bool,
    },
    /// Delivery may succeed later.
    Deferred(Reply),
    /// Delivery was not attempted because the destination is known to be down. Holds the reply of the last attempt.
    Untried(Reply),
    /// Delivery was not attempted because enough deliveries wait for a connection to the destination.
    Crowded(Reply),
    /// Delivery has failed permanently.
    Failed(Failed),
}

/// Step of a dialogue that a reply belongs to. The meaning of a reply code depends on the step.
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
    /// A permanent failure that this host has found without a remote.
    pub(super) fn failed_here(class: &str, reply: Reply) -> Self {
        Self::Failed(failed_here(class, reply))
    }

    /// Classifies a remote's reply into an outcome for the recipients that the reply is about.
    pub(super) fn from_reply(reply: Reply, step: DialogueStep, remote: &str) -> Self {
        match reply.code {
            200..=299 => Self::Delivered {
                reply,
                remote: Some(remote.to_owned()),
                tls: None,
                reports: false,
                keeps_time: false,
            },
            500..=599 if !is_transient(&reply, step) => Self::Failed(Failed {
                class: class_of(&reply, step).to_owned(),
                reply,
                remote: Some(remote.to_owned()),
            }),
            _ => Self::Deferred(reply.from_remote(remote)),
        }
    }

    /// Adds the duties that a host with DSN, and one with DELIVERBY, takes over with a message.
    pub(super) fn with_duties(mut self, has_dsn: bool, has_deliver_by: bool) -> Self {
        if let Self::Delivered {
            reports, keeps_time, ..
        } = &mut self
        {
            (*reports, *keeps_time) = (has_dsn, has_deliver_by);
        }
        self
    }

    /// Adds the TLS session over which mail was accepted.
    pub(super) fn over(mut self, session: Option<&Arc<TlsFacts>>) -> Self {
        if let Self::Delivered { tls, .. } = &mut self {
            *tls = session.cloned();
        }
        self
    }

    /// Combines the outcomes of two addresses of a destination: a deferral `before` takes precedence over a permanent
    /// failure.
    pub(super) fn prefer_deferral(self, before: Option<Self>) -> Self {
        match (before, self) {
            (Some(deferral @ Self::Deferred(_)), Self::Failed(_)) => deferral,
            (_, last) => last,
        }
    }

    /// Combines the outcomes at two remotes of which none was reached: a deferral takes precedence over a remote that
    /// was not tried, and both over a failure.
    pub(super) fn prefer_attempt(self, before: Self) -> Self {
        match (before, self) {
            (before @ Self::Deferred(_), Self::Untried(_) | Self::Crowded(_) | Self::Failed(_)) => before,
            (before @ (Self::Untried(_) | Self::Crowded(_)), Self::Failed(_)) => before,
            (_, last) => last,
        }
    }
}

/// A permanent failure that this host has found without a remote.
pub(super) fn failed_here(class: &str, reply: Reply) -> Failed {
    Failed {
        class: class.to_owned(),
        reply,
        remote: None,
    }
}

/// True for 5xx replies that are not permanent failures.
fn is_transient(reply: &Reply, step: DialogueStep) -> bool {
    match step {
        // RFC 7504 section 2: 521 means that the host never accepts mail. Any other refusal to greet
        // concerns the connection, often a temporary reputation, and not the message.
        DialogueStep::Greeting => reply.code != 521,
        // RFC 5321 section 4.5.3.1.10: 552 to RCPT is an old way to say 452, too many recipients.
        DialogueStep::Recipient => reply.code == 552 && reply.status.is_none_or(|s| (s.1, s.2) == (5, 3)),
        DialogueStep::Hello | DialogueStep::Sender | DialogueStep::Data => false,
    }
}

/// The failure class of a permanent refusal, by the enhanced status code (RFC 3463), else by the reply code.
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

/// The failure of a recipient whose delivery time is over: the last reply is the reply that ended the delivery, with the
/// remote that gave it.
pub(super) fn expired(mut last: Reply) -> Failed {
    Failed {
        class: class::EXPIRED.to_owned(),
        remote: last.remote.take().map(|remote| remote.0),
        reply: last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class_at(step: DialogueStep, reply: Reply) -> Option<String> {
        match RecipientOutcome::from_reply(reply, step, "mx.example") {
            RecipientOutcome::Failed(failed) => Some(failed.class),
            _ => None,
        }
    }

    #[test]
    fn classifies_refusals_by_status_then_by_code() {
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
    fn some_5xx_replies_are_transient() {
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
    fn keeps_the_reply_and_name_of_the_remote() {
        let reply = Reply::new(550, (5, 1, 1), "who?");
        let RecipientOutcome::Failed(failed) =
            RecipientOutcome::from_reply(reply.clone(), DialogueStep::Recipient, "mx.example")
        else {
            panic!("a refusal");
        };
        assert_eq!((failed.reply, failed.remote.as_deref()), (reply, Some("mx.example")));
    }

    #[test]
    fn expired_recipient_has_the_last_reply_and_its_remote() {
        let later = Reply::new(451, (4, 3, 0), "later");
        let outcome = RecipientOutcome::from_reply(later.clone(), DialogueStep::Recipient, "mx.example");
        let RecipientOutcome::Deferred(last) = outcome else {
            panic!("a deferral");
        };
        let failed = expired(last);
        assert_eq!(failed.class, class::EXPIRED);
        assert_eq!(
            (failed.reply, failed.remote.as_deref()),
            (later.clone(), Some("mx.example"))
        );
        assert_eq!(expired(later).remote, None);
    }
}
