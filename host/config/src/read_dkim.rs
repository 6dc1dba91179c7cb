//! Reads the tables `[[dkim]]`.

use std::path::{Path, PathBuf};

use toml::Value;

use super::DkimKey;
use crate::toml_reader::{TableReader, choice, text};
use crate::values::expected;
use host_dkim::{SignedFields, SignedMail};
use host_mail::{Timestamp, canonical_domain, is_domain_name};

/// Values of the key `sign`.
const SIGNED_MAIL: [(&str, SignedMail); 3] = [
    ("accounts", SignedMail::Accounts),
    ("submissions", SignedMail::Submissions),
    ("all", SignedMail::All),
];

/// Reads every table `[[dkim]]`; relative paths start at `base`.
pub(super) fn read_dkim(root: &mut TableReader<'_>, base: &Path) -> Vec<DkimKey> {
    let mut keys: Vec<DkimKey> = Vec::new();
    for mut reader in root.tables("dkim") {
        let domain = reader.required("domain", domain_name);
        let selector = reader.required("selector", selector);
        let file = reader.required("key", |value| key_file(value, base));
        let (headers, oversigned) = SignedFields::default_names();
        let headers = if reader.has("headers") {
            reader.list("headers", field_name)
        } else {
            headers
        };
        let oversign = if reader.has("oversign") {
            reader.list("oversign", field_name)
        } else {
            oversigned
        };
        let mail = reader.or("sign", SignedMail::Submissions, choice(&SIGNED_MAIL));
        let not_before = reader.optional("not-before", time);
        let not_after = reader.optional("not-after", time);
        if let (Some(start), Some(end)) = (not_before, not_after)
            && start >= end
        {
            reader.problem("not-after", "is not after not-before: the key would never sign");
        }
        let (Some(domain), Some(selector), Some(key)) = (domain, selector, file) else {
            continue;
        };
        if keys
            .iter()
            .any(|other| other.domain == domain && other.selector == selector)
        {
            reader.problem("selector", format!("there is a key {selector:?} of {domain} already"));
        }
        keys.push(DkimKey {
            domain,
            selector,
            key,
            headers,
            oversign,
            mail,
            not_before,
            not_after,
        });
    }
    keys
}

fn domain_name(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    let name = canonical_domain(&text).filter(|name| !name.starts_with('['));
    name.map(|name| name.into_owned())
        .ok_or_else(|| format!("{text:?} is not a domain name"))
}

fn selector(value: &Value) -> Result<String, String> {
    dkim_selector(&text(value)?).ok_or_else(|| {
        expected(
            "a selector of at most 63 letters, digits, hyphens and dots, such as \"2026a\"",
            value,
        )
    })
}

/// Returns a selector in lower case (RFC 6376 section 3.1): at most 63 letters, digits, hyphens and dots between labels.
/// `None` for any other text.
pub fn dkim_selector(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let is_right = text.len() <= 63 && text.is_ascii() && !text.contains('_') && is_domain_name(&text);
    is_right.then_some(text)
}

fn key_file(value: &Value, base: &Path) -> Result<PathBuf, String> {
    match text(value)? {
        empty if empty.is_empty() => Err("expected a path".to_owned()),
        path => Ok(base.join(path)),
    }
}

fn field_name(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    let is_right =
        (1..=64).contains(&text.len()) && text.bytes().all(|octet| matches!(octet, b'!'..=b'9' | b'<'..=b'~'));
    match text.to_ascii_lowercase().as_str() {
        _ if !is_right => Err(expected("the name of a header field", value)),
        "received" | "return-path" | "dkim-signature" | "bcc" => {
            Err(format!("{text} changes on the way, and must not be signed"))
        }
        _ => Ok(text),
    }
}

/// Reads a time, as a string or as a date with time of TOML.
fn time(value: &Value) -> Result<Timestamp, String> {
    let text = match value {
        Value::Datetime(time) => time.to_string(),
        Value::String(text) => text.clone(),
        _ => String::new(),
    };
    text.parse()
        .map_err(|()| expected("a time with its zone, such as 2026-12-01T00:00:00Z", value))
}
