//! Names that a sender has used, and the test whether a text names others.

use std::net::{IpAddr, Ipv6Addr};

use host_mail::Mailbox;

/// Beginnings of system error messages, in lower case. Such a text tells about the inside of a host.
const SYSTEM_ERRORS: [&str; 9] = [
    "os error",
    "errno",
    "no such file",
    "permission denied",
    "connection refused",
    "broken pipe",
    "input/output error",
    "read-only file system",
    "too many open files",
];

/// Words of letters and final digits that are terms of mail, not names of hosts.
const TERMS: [&str; 9] = ["ipv", "utf", "smtputf", "rfc", "tlsv", "ssl", "sslv", "sha", "md"];

/// Addresses and hosts that a sender has used, so that a text may name them.
#[derive(Debug, Default)]
pub(super) struct UsedNames {
    /// Addresses in lower case, longest first.
    addresses: Vec<String>,
    /// Domains, hosts and local-parts, in lower case.
    words: Vec<String>,
}

impl UsedNames {
    /// Adds an address, and with it the local-part and the domain.
    pub(super) fn add_address(&mut self, address: &Mailbox) {
        self.addresses.push(address.key());
        self.addresses.sort_by_key(|address| std::cmp::Reverse(address.len()));
        self.words.push(address.local_part().to_lowercase());
        self.words.push(address.domain().to_lowercase());
    }

    /// Adds a host by name or address.
    pub(super) fn add_host(&mut self, host: &str) {
        self.words.push(host.to_lowercase());
    }

    /// True if `text` names neither an address nor a host nor a file beyond the used names. Errs on the side of false:
    /// a word that looks like a host name counts as one.
    pub(super) fn cover(&self, text: &str) -> bool {
        let mut text = text.to_lowercase();
        if SYSTEM_ERRORS.iter().any(|error| text.contains(error)) {
            return false;
        }
        for address in &self.addresses {
            text = without_name(&text, address);
        }
        let separates = |c: char| c.is_whitespace() || c.is_control() || "<>()[]{},;\"'`=|!?*".contains(c);
        text.split(separates).all(|token| self.covers_token(token))
    }

    fn covers_token(&self, token: &str) -> bool {
        if token.contains('@') || token.contains("://") || is_path(token) {
            return false;
        }
        let token = token.trim_matches(|c: char| !c.is_alphanumeric() && c != ':');
        if self.words.iter().any(|word| word == token) {
            return true;
        }
        let address = token.strip_prefix("ipv6:").unwrap_or(token);
        let address = address.split('%').next().unwrap_or(address);
        if address.contains("::") || address.parse::<Ipv6Addr>().is_ok() {
            return false;
        }
        token.split([':', '/', '#', '%', '&', '+']).all(|part| {
            let part = part.trim_matches(|c: char| !c.is_alphanumeric());
            self.words.iter().any(|word| word == part) || !is_host(part)
        })
    }
}

/// True for a file name with a folder, or a share.
fn is_path(token: &str) -> bool {
    let rooted = token.len() > 1 && token.starts_with(['/', '~']);
    rooted || token.contains('\\') || token.matches('/').count() > 1
}

/// True for a name with a dot (`mx.example`), an IP address, `localhost`, and a word that ends in digits (`mx7`).
fn is_host(word: &str) -> bool {
    if word == "localhost" || word.parse::<IpAddr>().is_ok() {
        return true;
    }
    if let Some((front, last)) = word.rsplit_once('.') {
        // `5.1.1` and `e.g` have no top-level domain.
        return !front.is_empty() && last.chars().count() > 1 && last.chars().any(char::is_alphabetic);
    }
    let name = word.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = word.len() - name.len();
    let name = name.trim_end_matches(['-', '_']);
    (1..=3).contains(&digits) && name.starts_with(char::is_alphabetic) && !TERMS.contains(&name)
}

/// Replaces `name` by a space wherever it is not a part of a longer name.
fn without_name(text: &str, name: &str) -> String {
    let continues = |c: char| c.is_alphanumeric() || "._-+%/=@".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let (before, after) = (&rest[..at], &rest[at + name.len()..]);
        let joined_before = before.chars().next_back().is_some_and(|c| continues(c) && c != '=');
        let mut following = after.chars();
        let joined_after = match following.next() {
            // A full stop may end the sentence.
            Some('.') => following.next().is_some_and(char::is_alphanumeric),
            Some(c) => continues(c) && c != '=',
            None => false,
        };
        out.push_str(before);
        out.push_str(if joined_before || joined_after { name } else { " " });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> UsedNames {
        let mut names = UsedNames::default();
        for address in ["anna.b@example.org", "bert@example.net"] {
            names.add_address(&address.parse().expect("an address"));
        }
        names.add_host("mx.example.org");
        names
    }

    #[test]
    fn covers_text_about_what_the_sender_used() {
        for text in [
            "no such user",
            "<anna.b@example.org> moved away in 1999",
            "ANNA.B@EXAMPLE.ORG: Recipient address rejected: User unknown in local table",
            "mailbox full (10 MB of 10240K used), try again in 5 minutes.",
            "mailto=anna.b@example.org.",
            "User anna.b is over quota at mx.example.org",
            "See RFC 5321, RFC5321 and 8BITMIME/SMTPUTF8; e.g. 5.1.1 or (#5.1.1)",
            "and/or TLSv1.2 is needed - 25% full, code:550",
            "example.org takes no mail from example.net: policy",
            "",
        ] {
            assert!(names().cover(text), "{text}");
        }
    }

    #[test]
    fn finds_other_addresses_hosts_and_files() {
        for text in [
            "<secret.person@inner.example> unknown",
            "secret.person is away",
            "xanna.b@example.org",
            "anna.b@example.org.evil.example",
            "anna.b@example.org@exch",
            "rejected by mail.example.org",
            "host exch01 said no",
            "relay mx-7 is down",
            "10.0.0.5 refused",
            "[10.0.0.5]:25",
            "10.0.0.5:24 closed",
            "[IPv6:fd00::1] refused",
            "fe80::1%eth0",
            "see https://inner.example/?p=1",
            "/run/dovecot/lmtp",
            "connect(/run/lmtp): refused",
            "\\\\files\\users",
            "No such file or directory (os error 2)",
            "at localhost",
            "local (b\u{fc}cher.example)",
            "user=secret.person",
            "by:exchange.inner:25",
        ] {
            assert!(!names().cover(text), "{text}");
        }
    }
}
