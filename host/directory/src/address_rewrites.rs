//! Rewriting of addresses by regular expressions, from the directory's `[[rewrite]]` tables.

use regex::{Regex, RegexBuilder};
use toml::Value;

use host_config::toml_reader::{self, TableReader};
use host_mail::Mailbox;

/// Maximum number of rules of a directory.
pub(super) const MAX_RULES: usize = 200;
/// Maximum length of a pattern, in bytes.
const MAX_PATTERN: usize = 512;
/// Maximum size of a compiled pattern, in bytes; matching takes time linear in the address (at most 320 octets).
const MAX_COMPILED: usize = 256 * 1024;

/// Addresses that a rule applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RewriteSide {
    /// Reverse-path of MAIL.
    Sender,
    /// Recipients, when they are looked up.
    Recipient,
}

/// A rule: an address that matches the pattern as a whole becomes another.
#[derive(Debug)]
struct RewriteRule {
    side: RewriteSide,
    pattern: Regex,
    /// Address with references to groups, such as `$1@example.org`.
    to: String,
}

/// Rules in the order of the file. The first that matches counts, and its result is not rewritten again.
#[derive(Debug, Default)]
pub(super) struct AddressRewrites {
    rules: Vec<RewriteRule>,
}

impl AddressRewrites {
    /// Reads a table.
    pub(super) fn read(&mut self, mut reader: TableReader<'_>) {
        let sides = [("sender", RewriteSide::Sender), ("recipient", RewriteSide::Recipient)];
        let side = reader.required("of", toml_reader::choice(&sides));
        let pattern = reader.required("pattern", pattern);
        let to = reader.required("to", replacement);
        if self.rules.len() >= MAX_RULES {
            reader.problem("pattern", format!("is one rule too many: at most {MAX_RULES} are read"));
            return;
        }
        if let (Some(side), Some(pattern), Some(to)) = (side, pattern, to) {
            self.rules.push(RewriteRule { side, pattern, to });
        }
    }

    /// Returns the address that takes the place of another, and the index of the rule; `None` if no rule matches, or if
    /// the result of the first that matches is no address or the same.
    pub(super) fn apply(&self, side: RewriteSide, address: &Mailbox) -> Option<(usize, Mailbox)> {
        let of_side = |(_, rule): &(usize, &RewriteRule)| rule.side == side;
        let mut rules = self.rules.iter().enumerate().filter(of_side).peekable();
        rules.peek()?;
        let text = address.key();
        let (index, found, rule) =
            rules.find_map(|(index, rule)| Some((index, rule.pattern.captures(&text)?, rule)))?;
        let mut rewritten = String::new();
        found.expand(&rule.to, &mut rewritten);
        let rewritten: Mailbox = rewritten.parse().ok()?;
        (rewritten.key() != text).then_some((index, rewritten))
    }
}

/// Compiles a pattern that matches whole addresses, without regard to case.
fn pattern(value: &Value) -> Result<Regex, String> {
    let text = toml_reader::text(value)?;
    if text.len() > MAX_PATTERN {
        return Err(format!("is longer than {MAX_PATTERN} bytes"));
    }
    RegexBuilder::new(&format!("^(?:{text})$"))
        .case_insensitive(true)
        .size_limit(MAX_COMPILED)
        .dfa_size_limit(MAX_COMPILED)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => format!("{text:?} takes too much memory: write a shorter pattern"),
            error => {
                let lines = error.to_string();
                let last = lines.lines().next_back().unwrap_or_default();
                format!(
                    "{text:?} is no regular expression: {}",
                    last.trim_start_matches("error: ")
                )
            }
        })
}

/// Reads an address with references to groups. With a letter in the place of each reference it must be an address.
fn replacement(value: &Value) -> Result<String, String> {
    let text = toml_reader::text(value)?;
    match without_references(&text).parse::<Mailbox>() {
        Ok(_) => Ok(text),
        Err(error) => Err(format!("{text:?} is no address, such as \"$1@example.org\": {error}")),
    }
}

/// Returns the text with an `x` for each `$NAME` and `${NAME}`, which [`regex::Captures::expand`] replaces.
fn without_references(text: &str) -> String {
    let mut parts = text.split('$');
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = match part.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((_, rest)) => rest,
            None => part.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_'),
        };
        filled.push('x');
        filled.push_str(rest);
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;
    use host_config::toml_reader::Problems;

    fn rewrites(text: &str) -> (AddressRewrites, Vec<String>) {
        let document = toml_reader::parse(text).expect("TOML");
        let problems = Problems::default();
        let mut rewrites = AddressRewrites::default();
        for table in TableReader::new(&document, &problems).tables("rewrite") {
            rewrites.read(table);
        }
        let problems = problems.into_inner();
        (rewrites, problems.iter().map(ToString::to_string).collect())
    }

    fn apply(rewrites: &AddressRewrites, side: RewriteSide, address: &str) -> Option<String> {
        let address = address.parse().expect("an address");
        rewrites.apply(side, &address).map(|(_, to)| to.to_string())
    }

    #[test]
    fn first_rule_that_matches_the_whole_address_counts_once() {
        let (rules, problems) = rewrites(
            "[[rewrite]]\nof = 'recipient'\npattern = '(.+)@old\\.example'\nto = '$1@new.example'\n\
             [[rewrite]]\nof = 'recipient'\npattern = '(.+)@new\\.example'\nto = '$1@old.example'\n\
             [[rewrite]]\nof = 'sender'\npattern = '(?<who>[^@]+)@(.*\\.)?lan\\.example'\nto = '${who}@example.org'\n",
        );
        assert_eq!(problems, Vec::<String>::new());
        let recipient = |address| apply(&rules, RewriteSide::Recipient, address);
        assert_eq!(recipient("Anna@OLD.example").as_deref(), Some("anna@new.example"));
        assert_eq!(recipient("anna@new.example").as_deref(), Some("anna@old.example"));
        assert_eq!(recipient("anna@old.example.org"), None);
        assert_eq!(recipient("anna@pc.lan.example"), None);
        let sender = |address| apply(&rules, RewriteSide::Sender, address);
        assert_eq!(sender("anna@pc.lan.example").as_deref(), Some("anna@example.org"));
        assert_eq!(sender("anna@lan.example").as_deref(), Some("anna@example.org"));
        assert_eq!(sender("anna@old.example"), None);
    }

    #[test]
    fn patterns_that_cannot_be_used_are_problems() {
        let long = "a".repeat(600);
        let rule =
            |pattern: &str, to: &str| format!("[[rewrite]]\nof = 'sender'\npattern = '{pattern}'\nto = '{to}'\n");
        for (pattern, to, part) in [
            ("(", "a@b.example", "is no regular expression"),
            (long.as_str(), "a@b.example", "is longer than"),
            ("((a{1000}){1000}){1000}@x", "a@b.example", "takes too much memory"),
            ("(.*)", "$1", "is no address"),
            ("(.*)", "two words@b.example", "is no address"),
        ] {
            let (_, problems) = rewrites(&rule(pattern, to));
            assert!(
                problems.len() == 1 && problems[0].contains(part),
                "{pattern}: {problems:?}"
            );
        }
        let (_, problems) = rewrites(&rule("a@b", "a@b.example").repeat(MAX_RULES + 1));
        assert!(
            problems.len() == 1 && problems[0].contains("one rule too many"),
            "{problems:?}"
        );
    }
}
