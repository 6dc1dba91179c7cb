//! Deferrals that concern the transaction or the sending host, and not the recipient.

use host_mail::{Reply, StatusCode};

/// True if the reply to RCPT puts a recipient off because the transaction has as many as the server takes: X.5.3, 452
/// and 552 without another status (RFC 5321 section 4.5.3.1.10), and the texts in use. The recipient may be sent in the
/// next transaction.
pub(super) fn is_recipient_limit(reply: &Reply) -> bool {
    match reply.status {
        Some(StatusCode(_, 5, 3)) => return true,
        None if matches!(reply.code, 452 | 552) => return true,
        _ => {}
    }
    let text = reply.text.to_ascii_lowercase();
    let refused = matches!(reply.code, 400..=599) && reply.code != 421;
    let phrases = ["too many recipients", "multiple destination domains", "too many rcpt"];
    refused && phrases.iter().any(|phrase| text.contains(phrase))
}

/// True if the reply puts the sending host off: 421, and the status codes 4.7.X (policy), 4.3.2 (no mail at the moment)
/// and 4.4.5 (congestion). Greylisting (RFC 6647) puts single recipients off and is not meant.
pub(super) fn is_throttle(reply: &Reply) -> bool {
    let text = reply.text.to_ascii_lowercase();
    if text.contains("greylist") || text.contains("graylist") || text.contains("grey-list") {
        return false;
    }
    let by_status = matches!(
        reply.status,
        Some(StatusCode(4, 7, _) | StatusCode(4, 3, 2) | StatusCode(4, 4, 5))
    );
    reply.code == 421 || (reply.code / 100 == 4 && by_status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_a_limit_of_recipients() {
        for reply in [
            Reply::new(452, (4, 5, 3), "Too many recipients"),
            Reply::new(552, (5, 5, 3), "enough"),
            Reply::new(550, (5, 5, 3), "enough"),
            Reply::bare(452, "try the rest later"),
            Reply::bare(451, "Error: too many recipients"),
            Reply::new(
                451,
                (4, 3, 0),
                "Multiple destination domains per transaction is unsupported",
            ),
        ] {
            assert!(is_recipient_limit(&reply), "{reply}");
        }
        for reply in [
            Reply::new(452, (4, 2, 2), "mailbox full"),
            Reply::new(452, (4, 3, 1), "no space"),
            Reply::new(450, (4, 2, 1), "busy"),
            Reply::bare(550, "who?"),
            Reply::new(421, (4, 7, 0), "too many recipients"),
        ] {
            assert!(!is_recipient_limit(&reply), "{reply}");
        }
    }

    #[test]
    fn recognises_throttling() {
        for reply in [
            Reply::bare(421, "later"),
            Reply::new(451, (4, 7, 500), "Server busy"),
            Reply::new(450, (4, 7, 1), "rate limited"),
            Reply::new(451, (4, 3, 2), "not now"),
        ] {
            assert!(is_throttle(&reply), "{reply}");
        }
        for reply in [
            Reply::new(450, (4, 7, 1), "Greylisted, try again"),
            Reply::new(451, (4, 3, 0), "error"),
            Reply::new(550, (5, 7, 1), "no"),
            Reply::bare(450, "busy"),
        ] {
            assert!(!is_throttle(&reply), "{reply}");
        }
    }
}
