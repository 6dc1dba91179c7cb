//! Mailboxes and their parts.

use host_mail::{Mailbox, ReversePath, is_address_literal, is_domain_name};

/// Parses a mailbox, checks the limits of RFC 5321 section 4.5.3.1, and parses the display of the mailbox again.
pub fn address(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = is_domain_name(&text) && is_address_literal(&text);
    let Ok(mailbox) = text.parse::<Mailbox>() else {
        return;
    };
    let (local, domain) = (mailbox.local_part(), mailbox.domain());
    assert_eq!(format!("{local}@{domain}"), mailbox.as_str());
    assert!((1..=64).contains(&local.len()) && (1..=255).contains(&domain.len()));
    assert!(mailbox.as_str().len() <= 254);
    assert!(is_domain_name(domain) || is_address_literal(domain), "{domain:?}");
    assert!(!mailbox.as_str().contains(char::is_control), "{mailbox:?}");
    assert_eq!(mailbox.to_string().parse().as_ref(), Ok(&mailbox));
    assert_eq!(mailbox.key(), mailbox.key().to_lowercase());
    let json = serde_json::to_string(&ReversePath::Mailbox(mailbox.clone())).expect("JSON");
    let read: ReversePath = serde_json::from_str(&json).expect("a reverse-path");
    assert_eq!(read.mailbox(), Some(&mailbox));
}
