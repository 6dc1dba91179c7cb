//! The DNS record that publishes a key (RFC 6376 section 3.6).

use crate::signing_key::SigningKey;

/// Longest string of a TXT record, in octets (RFC 1035 section 3.3.14).
const MAX_STRING: usize = 255;

/// Returns the name of the record of a key.
pub fn record_name(selector: &str, domain: &str) -> String {
    format!("{selector}._domainkey.{domain}")
}

/// Returns the text of the record of a key.
pub fn record_text(key: &SigningKey) -> String {
    format!("v=DKIM1; k={}; p={}", key.algorithm().name(), key.public_key())
}

/// Returns a record in the form of zone files, as a line: a text beyond 255 octets is split into strings, which
/// verifiers join again.
pub fn zone_line(name: &str, text: &str) -> String {
    let strings = text.as_bytes().chunks(MAX_STRING);
    let strings: Vec<String> = strings
        .map(|part| format!("\"{}\"", String::from_utf8_lossy(part)))
        .collect();
    format!("{name}. IN TXT ( {} )", strings.join(" "))
}

/// True if a published record is of the key: tags may stand in any order and have white space (RFC 6376 section 3.2).
pub fn publishes(record: &str, key: &SigningKey) -> bool {
    let public = record.split(';').find_map(|tag| {
        let (name, value) = tag.split_once('=')?;
        (name.trim() == "p").then(|| value.chars().filter(|c| !c.is_ascii_whitespace()).collect::<String>())
    });
    public.is_some_and(|public| public == key.public_key())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing_key::generate_ed25519;

    #[test]
    fn long_record_is_split_into_strings() {
        let line = zone_line(&record_name("s", "a.example"), &"x".repeat(600));
        let strings: Vec<usize> = line.split('"').skip(1).step_by(2).map(str::len).collect();
        assert_eq!(strings, [255, 255, 90]);
        assert!(line.starts_with("s._domainkey.a.example. IN TXT ( \"x"), "{line}");
        assert_eq!(zone_line("n", "short"), "n. IN TXT ( \"short\" )");
    }

    #[test]
    fn recognises_the_record_of_a_key() {
        let pem = generate_ed25519().expect("made");
        let key = SigningKey::from_pem(pem.as_bytes()).expect("a key");
        let text = record_text(&key);
        assert!(publishes(&text, &key));
        let spaced = text
            .replace("p=", "p= ")
            .replace("; k=", ";k = ")
            .replacen("v=DKIM1", "t=y", 1);
        assert!(publishes(&spaced, &key), "{spaced}");
        assert!(!publishes("v=DKIM1; p=", &key));
        assert!(!publishes("v=spf1 -all", &key));
    }
}
