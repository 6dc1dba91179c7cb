//! Fields that a host itself added to a message, and loop detection for redirected messages: the host adds a trace field
//! after a policy changed the recipients, and counts how often the message comes back.

use super::{HeaderBlock, MessageId};

/// Name of the trace field.
pub const REDIRECTED: &str = "Posthouse-Redirected";

/// Bytes of a field's value that are parsed.
const MAX_VALUE: usize = 1024;

/// Returns the field, including the CRLF, which records that `policy` changed the recipients on `host`. The field
/// belongs below the `Received:` field of the host.
pub fn redirected_field(host: &str, policy: &str) -> String {
    format!("{REDIRECTED}: by {host} policy {policy}\r\n")
}

/// History of a message since a policy of this host first changed the recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirected {
    /// The policy that changed the recipients last.
    pub policy: String,
    /// Number of passes through this host since the first change, including the pass of that change.
    pub passes: usize,
}

/// Reads the trace fields of `host`. Returns `None` if no policy of the host changed the recipients.
pub fn redirected(header: &HeaderBlock, host: &str) -> Option<Redirected> {
    let mut passes = 0;
    let mut found: Option<Redirected> = None;
    // The newest field comes first.
    for field in header.fields() {
        if field.is("Received") {
            passes += usize::from(is_added_by(&field.unfolded(MAX_VALUE), host));
        } else if field.is(REDIRECTED) {
            let value = field.unfolded(MAX_VALUE);
            match (&mut found, policy_of(&value, host)) {
                (_, None) => {}
                (Some(found), Some(_)) => found.passes = passes,
                (None, Some(policy)) => {
                    let policy = policy.to_owned();
                    found = Some(Redirected { policy, passes });
                }
            }
        }
    }
    found
}

/// Returns the number of bytes at the front of the header that `host` added to the message `id`, in this pass and in
/// earlier passes: everything down to its lowest `Received:` field and the trace field below that.
///
/// What stands above may name members of aliases and hosts behind this one; what stands below came from the sender.
pub fn added_by_host(header: &HeaderBlock, host: &str, id: MessageId) -> usize {
    let id = id.to_string();
    let (mut end, mut follows) = (0, false);
    for (field, field_end) in header.fields_with_ends() {
        let ours = if field.is("Received") {
            let value = field.unfolded(MAX_VALUE);
            is_added_by(&value, host) || has_pair(&value, "id", &id)
        } else {
            follows && field.is(REDIRECTED) && policy_of(&field.unfolded(MAX_VALUE), host).is_some()
        };
        if ours {
            end = field_end;
        }
        follows = ours;
    }
    end
}

/// True if the `Received:` field was added by `host` (RFC 5321 section 4.4).
fn is_added_by(received: &str, host: &str) -> bool {
    has_pair(received, "by", host)
}

/// True if `word` is followed by `value` anywhere. The name that a client gives in HELO may itself be `word`.
fn has_pair(received: &str, word: &str, value: &str) -> bool {
    let words = || received.split_ascii_whitespace().map(|word| word.trim_end_matches(';'));
    words()
        .zip(words().skip(1))
        .any(|(first, second)| first == word && second.eq_ignore_ascii_case(value))
}

/// Returns the policy named in the value of a trace field of `host`; `None` for other hosts and malformed values.
fn policy_of<'a>(value: &'a str, host: &str) -> Option<&'a str> {
    let mut words = value.split_ascii_whitespace();
    let (by, name, keyword, policy) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let is_ours = by == "by" && name.eq_ignore_ascii_case(host) && keyword == "policy";
    (is_ours && words.next().is_none()).then_some(policy)
}

#[cfg(test)]
mod tests {
    use super::super::InMemory;
    use super::*;

    const HOST: &str = "mail.example.org";

    fn read(fields: &[&str]) -> Option<Redirected> {
        let text = format!("{}\r\nbody\r\n", fields.concat());
        redirected(&HeaderBlock::read(&InMemory(text.into())).expect("in memory"), HOST)
    }

    #[test]
    fn counts_passes_from_the_first_redirection() {
        let here = "Received: from by ([192.0.2.1])\r\n\tby MAIL.example.org with ESMTP id 1;\r\n\tnow\r\n";
        let there = "Received: from b ([192.0.2.2])\r\n\tby mail.example.net with ESMTP id 2;\r\n\tnow\r\n";
        let (copies, lists) = (redirected_field(HOST, "copies"), redirected_field(HOST, "lists"));
        assert_eq!(read(&[here, here, here]), None);
        let passes = |policy: &str, passes| {
            let policy = policy.to_owned();
            Some(Redirected { policy, passes })
        };
        assert_eq!(read(&[here, &copies, there, here]), passes("copies", 1));
        assert_eq!(read(&[here, there, here, &copies, here]), passes("copies", 2));
        assert_eq!(read(&[here, &lists, here, there, here, &copies]), passes("lists", 3));
    }

    #[test]
    fn knows_what_this_host_added() {
        let id: MessageId = "0123456789abcdef0123".parse().expect("an id");
        let added = |fields: &[&str]| {
            let text = format!("{}\r\nbody\r\n", fields.concat());
            added_by_host(&HeaderBlock::read(&InMemory(text.into())).expect("in memory"), HOST, id)
        };
        let here = "Received: from a ([192.0.2.1])\r\n\tby MAIL.example.org with ESMTP id 1;\r\n\tnow\r\n";
        let there = "Received: from b ([192.0.2.2])\r\n\tby mail.example.net with ESMTP id 2;\r\n\tnow\r\n";
        let renamed =
            "Received: from c ([192.0.2.3])\r\n\tby old.example.org with SMTP id 0123456789abcdef0123;\r\n\tnow\r\n";
        let mark = redirected_field(HOST, "copies");
        assert_eq!(added(&["Subject: x\r\n", there]), 0);
        assert_eq!(
            added(&["X-Spam: no\r\n", here, &mark, there]),
            12 + here.len() + mark.len()
        );
        assert_eq!(
            added(&[here, there, here, "To: b\r\n", &mark]),
            2 * here.len() + there.len()
        );
        assert_eq!(added(&[renamed, there]), renamed.len());
    }

    #[test]
    fn ignores_fields_of_other_hosts_and_malformed_fields() {
        for field in [
            redirected_field("mail.example.net", "copies"),
            format!("{REDIRECTED}: by {HOST} policy lists and more\r\n"),
            format!("{REDIRECTED}: by {HOST}\r\n"),
            format!("{REDIRECTED}:\r\n"),
        ] {
            assert_eq!(read(&[&field]), None, "{field}");
        }
    }
}
