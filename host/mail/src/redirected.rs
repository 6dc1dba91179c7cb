//! This host's own mark on a message whose recipients a policy changed: what finds a policy that sends
//! a message round in circles.

use super::HeaderBlock;

/// The field's name.
pub const REDIRECTED: &str = "Posthouse-Redirected";

/// Bytes of a field's value that are looked at.
const VALUE: usize = 1024;

/// The field with its CRLF, to stand below the trace field: `host` let `policy` change the recipients.
pub fn redirected_field(host: &str, policy: &str) -> String {
    format!("{REDIRECTED}: by {host} policy {policy}\r\n")
}

/// What a message tells of its way since a policy changed its recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirected {
    /// The policy that changed them last.
    pub policy: String,
    /// How often the message passed this host since they were first changed, that time included.
    pub passes: usize,
}

/// Reads the marks of `host`; none if no policy of this host changed the recipients.
pub fn redirected(header: &HeaderBlock, host: &str) -> Option<Redirected> {
    let mut passes = 0;
    let mut found: Option<Redirected> = None;
    // The newest field comes first.
    for field in header.fields() {
        if field.is("Received") {
            passes += usize::from(is_by(&field.unfolded(VALUE), host));
        } else if field.is(REDIRECTED) {
            let value = field.unfolded(VALUE);
            let mark = policy_of(&value, host);
            match (&mut found, mark) {
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

/// Whether a trace field is this host's own (RFC 5321 section 4.4).
fn is_by(received: &str, host: &str) -> bool {
    let words = || received.split_ascii_whitespace();
    // A client may call itself "by".
    words()
        .zip(words().skip(1))
        .any(|(by, name)| by == "by" && name.eq_ignore_ascii_case(host))
}

fn policy_of<'a>(value: &'a str, host: &str) -> Option<&'a str> {
    let mut words = value.split_ascii_whitespace();
    let (by, name, what, policy) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let ours = by == "by" && name.eq_ignore_ascii_case(host) && what == "policy";
    (ours && words.next().is_none()).then_some(policy)
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
    fn passes_count_from_the_first_mark_on() {
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
    fn the_marks_of_others_and_broken_ones_do_not_count() {
        for mark in [
            redirected_field("mail.example.net", "copies"),
            format!("{REDIRECTED}: by {HOST} policy lists and more\r\n"),
            format!("{REDIRECTED}: by {HOST}\r\n"),
            format!("{REDIRECTED}:\r\n"),
        ] {
            assert_eq!(read(&[&mark]), None, "{mark}");
        }
    }
}
