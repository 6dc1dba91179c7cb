//! This host's own mark on a message whose recipients a policy changed: what finds a policy that sends
//! a message round in circles.

use super::HeaderBlock;

/// The field's name.
pub const REDIRECTED: &str = "Posthouse-Redirected";

/// Bytes of a field's value that are looked at: a host's name and a module's.
const VALUE: usize = 512;

/// The field with its CRLF: `host` let `policy` change the recipients.
pub fn redirected_field(host: &str, policy: &str) -> String {
    format!("{REDIRECTED}: by {host} policy {policy}\r\n")
}

/// The policy of `host` that changed the recipients most often, and how often it did.
pub fn redirections(header: &HeaderBlock, host: &str) -> Option<(String, usize)> {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for field in header.named(REDIRECTED) {
        let value = field.unfolded(VALUE);
        let Some(policy) = policy_of(&value, host) else {
            continue;
        };
        match counts.iter_mut().find(|(known, _)| known == policy) {
            Some((_, count)) => *count += 1,
            None => counts.push((policy.to_owned(), 1)),
        }
    }
    counts.into_iter().max_by_key(|(_, count)| *count)
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

    #[test]
    fn only_this_hosts_fields_count_and_each_policy_for_itself() {
        let fields = [
            redirected_field("mail.example.org", "copies"),
            redirected_field("mail.example.net", "others"),
            redirected_field("MAIL.example.org", "lists"),
            "posthouse-redirected: by mail.example.org\r\n\tpolicy lists\r\n".to_owned(),
            format!("{REDIRECTED}: by mail.example.org policy lists and more\r\n"),
            format!("{REDIRECTED}: \r\n"),
        ];
        let header = |text: String| HeaderBlock::read(&InMemory(text.into())).expect("in memory");
        let all = header(format!("{}\r\nbody\r\n", fields.concat()));
        assert_eq!(redirections(&all, "mail.example.org"), Some(("lists".to_owned(), 2)));
        assert_eq!(redirections(&all, "mail.example.com"), None);
    }
}
