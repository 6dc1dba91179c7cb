//! The canonical form of domains: all spellings of a domain become one text before anything is decided.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// Returns the canonical form of a domain name or address literal, in lower case and without the final dot of a name.
///
/// A name becomes A-labels (RFC 5890 section 2.3.2.1) by UTS #46, non-transitional: U-labels, A-labels, full-width
/// letters and upper case of one domain have one canonical form. `None` if the mapping refuses a label, or if the result
/// has other characters than letters, digits, hyphens and underscores, a label of more than 63 octets, or more than 253
/// octets. An address literal (RFC 5321 section 4.1.3) has the shortest form of its address.
///
/// ```
/// use host_mail::canonical_domain;
/// for spelling in ["bücher.example", "BÜCHER.example.", "xn--bcher-kva.Example", "ｂüｃｈｅｒ。example"] {
///     assert_eq!(canonical_domain(spelling).as_deref(), Some("xn--bcher-kva.example"));
/// }
/// ```
pub fn canonical_domain(text: &str) -> Option<Cow<'_, str>> {
    if text.starts_with('[') {
        return canonical_literal(text).map(Cow::Owned);
    }
    if text.is_ascii() && !has_a_label(text) {
        let name = text.strip_suffix('.').unwrap_or(text);
        if !is_domain_name(name) || name.len() > 253 {
            return None;
        }
        return Some(match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(name.to_ascii_lowercase()),
            false => Cow::Borrowed(name),
        });
    }
    let mapped = Uts46::new().to_ascii(
        text.as_bytes(),
        AsciiDenyList::EMPTY,
        Hyphens::Allow,
        DnsLength::VerifyAllowRootDot,
    );
    let mapped = mapped.ok()?;
    let name = mapped.strip_suffix('.').unwrap_or(&mapped);
    (is_domain_name(name) && name.is_ascii()).then(|| Cow::Owned(name.to_owned()))
}

/// True if a label begins with `xn--` in any case.
fn has_a_label(text: &str) -> bool {
    text.split('.').any(|label| {
        let start = label.as_bytes().first_chunk::<4>();
        start.is_some_and(|start| start.eq_ignore_ascii_case(b"xn--"))
    })
}

fn canonical_literal(text: &str) -> Option<String> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("ipv6:") => inner[5..]
            .parse::<Ipv6Addr>()
            .ok()
            .map(|address| format!("[ipv6:{address}]")),
        _ => inner.parse::<Ipv4Addr>().ok().map(|address| format!("[{address}]")),
    }
}

/// True if every label has 1 to 63 bytes of letters, digits, hyphens, underscores or characters beyond ASCII (RFC 6531)
/// and neither begins nor ends with a hyphen. The length of the whole name is not checked.
pub fn is_domain_name(text: &str) -> bool {
    text.split('.').all(|label| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_' || (!c.is_ascii() && !c.is_control()))
    })
}

/// True for an IPv4 or IPv6 address literal in brackets, such as `[IPv6:::1]` (RFC 5321 section 4.1.3).
pub fn is_address_literal(text: &str) -> bool {
    canonical_literal(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_has_one_form() {
        for (spellings, canonical) in [
            (
                &[
                    "example.org",
                    "EXAMPLE.org",
                    "example.org.",
                    "ｅｘａｍｐｌｅ.org",
                    "example。org",
                ][..],
                "example.org",
            ),
            (
                &[
                    "bücher.example",
                    "BÜCHER.EXAMPLE",
                    "bu\u{308}cher.example",
                    "xn--bcher-kva.example",
                    "XN--BCHER-KVA.example.",
                ],
                "xn--bcher-kva.example",
            ),
            (&["straße.example", "xn--strae-oqa.example"], "xn--strae-oqa.example"),
            (&["例え.テスト"], "xn--r8jz45g.xn--zckzah"),
            (&["_dmarc.example.org", "_DMARC.example.org"], "_dmarc.example.org"),
            (&["a--b.example"], "a--b.example"),
            (&["[192.0.2.1]"], "[192.0.2.1]"),
            (&["[IPv6:2001:DB8:0:0::1]", "[ipv6:2001:db8::1]"], "[ipv6:2001:db8::1]"),
        ] {
            for spelling in spellings {
                assert_eq!(canonical_domain(spelling).as_deref(), Some(canonical), "{spelling}");
            }
        }
    }

    #[test]
    fn refuses_what_idna_refuses() {
        for text in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "-a.example",
            "a-.example",
            "a b.example",
            "xn--a.example",
            "xn--.example",
            "exam\u{2028}ple",
            "a／b.example",
            "a＠b.example",
            "［192.0.2.1］",
            "\u{308}a.example",
            "a\u{202e}b.example",
            "[192.0.2]",
            "[x",
            "[IPv6:1]",
        ] {
            assert_eq!(canonical_domain(text), None, "{text:?}");
        }
        let long = |label: &str, count: usize| vec![label; count].join(".");
        assert!(canonical_domain(&long("abcdefghi", 25)).is_some());
        assert!(canonical_domain(&long("abcdefghi", 26)).is_none());
        assert!(canonical_domain(&long("bücherbüche", 30)).is_none());
        assert!(canonical_domain(&"ü".repeat(64)).is_none());
    }

    #[test]
    fn canonical_form_is_its_own_form() {
        for text in ["bücher.example", "Example.ORG.", "[IPv6:::1]", "例え.テスト"] {
            let once = canonical_domain(text).expect(text).into_owned();
            assert_eq!(canonical_domain(&once).as_deref(), Some(once.as_str()));
        }
    }
}
