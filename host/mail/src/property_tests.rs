//! Properties of addresses and header fields over generated input.

use std::io;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Generates local-parts as dot-strings and as quoted strings, in ASCII and beyond.
fn local_part() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,20}(\\.[a-z0-9]{1,5}){0,2}",
        "[äöüßéЖ漢]{1,8}",
        "\"[ !#-\\[\\]-~@>]{0,20}\"",
        "\"(\\\\[ -~]){1,5}\"",
    ]
}

fn domain() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9_]{1,10}(\\.[A-Za-z]{2,5}){0,2}",
        "[äöüßéЖΣ漢K]{1,8}\\.Example",
        any::<[u8; 4]>().prop_map(|octets| format!("[{}]", std::net::Ipv4Addr::from(octets))),
        any::<[u8; 16]>().prop_map(|octets| format!("[IPv6:{}]", std::net::Ipv6Addr::from(octets))),
    ]
}

/// Generates text that is close to an address.
fn nearly_an_address() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a@.\"\\\\ İẞȺéΣK\\[\\]:\\r\\n\\x00<>-]{0,40}",
        "[a-zİȺ.]{0,80}@[a-zİȺ.]{0,300}",
        any::<String>(),
    ]
}

/// Removes line ends as RFC 5322 section 2.2.3 unfolds a value that holds no other CR or LF.
fn without_folds(value: &str) -> String {
    value.replace("\r\n", "")
}

/// Generates a field in the form `Name: value CRLF`, with folds in the value.
fn field() -> impl Strategy<Value = (String, String)> {
    let word = prop_oneof!["[!-9;-~é漢]{0,12}", "[:]{1,3}"];
    let fold = prop_oneof![Just(" "), Just("\r\n "), Just("\r\n\t"), Just("\r\n \r\n ")];
    let value = vec((word, fold), 0..6).prop_map(|parts| {
        let parts: Vec<String> = parts.into_iter().map(|(word, fold)| word + fold).collect();
        parts.concat() + "end"
    });
    ("[!-9;-~]{1,20}", value)
}

/// Generates octets with many line ends, colons and spaces.
fn octets() -> impl Strategy<Value = Vec<u8>> {
    let octet = prop_oneof![
        3 => prop::sample::select(b"\r\n: \tAb\0\xc3".to_vec()),
        1 => any::<u8>(),
    ];
    vec(octet, 0..200)
}

fn block(bytes: impl Into<Bytes>) -> HeaderBlock {
    HeaderBlock::read(&InMemory(bytes.into())).expect("in memory")
}

/// A content whose every read is at most `step` bytes long.
struct Slow {
    bytes: Bytes,
    step: usize,
}

impl Content for Slow {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        InMemory(self.bytes.clone()).read(offset, length.min(self.step))
    }
}

proptest! {
    #[test]
    fn mailbox_round_trips_through_display(local in local_part(), domain in domain()) {
        let text = format!("{local}@{domain}");
        let mailbox: Mailbox = text.parse().expect("a mailbox");
        prop_assert_eq!(mailbox.local_part(), local);
        let canonical = canonical_domain(&domain).expect("a domain");
        prop_assert_eq!(mailbox.domain(), canonical);
        prop_assert_eq!(mailbox.to_string().parse(), Ok(mailbox));
    }

    #[test]
    fn parsed_text_round_trips_and_stays_within_the_limits(text in nearly_an_address()) {
        if let Ok(mailbox) = text.parse::<Mailbox>() {
            prop_assert!((1..=64).contains(&mailbox.local_part().len()));
            prop_assert!((1..=255).contains(&mailbox.domain().len()));
            prop_assert!(mailbox.as_str().len() <= 254);
            prop_assert!(!mailbox.as_str().contains(char::is_control));
            prop_assert_eq!(mailbox.domain().to_lowercase(), mailbox.domain());
            prop_assert_eq!(mailbox.as_str().parse(), Ok(mailbox));
        }
    }

    #[test]
    fn limits_lengths_exactly(local in 1..80_usize, labels in vec(1..70_usize, 1..6)) {
        let domain: Vec<String> = labels.iter().map(|length| "d".repeat(*length)).collect();
        let text = format!("{}@{}", "l".repeat(local), domain.join("."));
        let expected = if text.len() > 254 || local > 64 {
            Err(AddressError::TooLong)
        } else if labels.iter().any(|length| *length > 63) {
            Err(AddressError::Domain)
        } else {
            Ok(())
        };
        prop_assert_eq!(text.parse::<Mailbox>().map(|_| ()), expected, "{}", text);
    }

    #[test]
    fn domains_beyond_ascii_become_a_labels_within_the_limits(labels in vec("[aİȺẞü漢]{1,40}", 1..6)) {
        let text = format!("a@{}", labels.join("."));
        match text.parse::<Mailbox>() {
            Ok(mailbox) => {
                prop_assert!(mailbox.is_ascii());
                prop_assert!(mailbox.as_str().len() <= 254);
                prop_assert!(mailbox.domain().split('.').all(|label| (1..=63).contains(&label.len())));
            }
            Err(error) => prop_assert!(matches!(error, AddressError::TooLong | AddressError::Domain)),
        }
    }

    #[test]
    fn reverse_path_displays_its_mailbox_in_brackets(local in local_part(), domain in domain()) {
        let mailbox: Mailbox = format!("{local}@{domain}").parse().expect("a mailbox");
        let shown = ReversePath::Mailbox(mailbox.clone()).to_string();
        let inner = shown.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
        prop_assert_eq!(inner, Some(mailbox.as_str()));
    }

    #[test]
    fn fields_concatenate_to_the_block(fields in vec(field(), 0..8), body in octets()) {
        let header: String = fields.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect();
        let block = block([header.as_bytes(), b"\r\n", &body].concat());
        prop_assert_eq!(block.as_bytes(), header.as_bytes());
        let read: Vec<_> = block.fields().collect();
        prop_assert_eq!(read.len(), fields.len());
        for (field, (name, value)) in read.iter().zip(&fields) {
            prop_assert_eq!((field.name, field.value), (name.as_bytes(), value.as_bytes()));
        }
    }

    #[test]
    fn unfolding_removes_exactly_the_folds(field in field()) {
        let (name, value) = field;
        let block = block(format!("{name}:{value}\r\n\r\n"));
        let read = block.fields().next().expect("a field");
        let unfolded = without_folds(&value);
        prop_assert_eq!(read.unfolded(usize::MAX), unfolded.trim());
        for limit in 0..=value.len() {
            let cut = read.unfolded(limit);
            prop_assert!(cut.len() <= limit && !cut.contains(['\r', '\n']));
        }
    }

    #[test]
    fn block_is_what_precedes_the_empty_line_of_any_message(message in octets()) {
        let block = block(message.clone());
        let with_line_end = [b"\r\n", &message[..]].concat();
        // The line end before the message makes an empty first line one like any other.
        let end = memchr::memmem::find(&with_line_end, b"\r\n\r\n").unwrap_or(message.len());
        prop_assert_eq!(block.as_bytes(), &message[..end]);
    }

    #[test]
    fn fields_of_any_message_are_disjoint_parts_in_order(message in octets()) {
        let block = block(message);
        let start = block.as_bytes().as_ptr() as usize;
        let mut end = start;
        for field in block.fields() {
            let name = field.name.as_ptr() as usize;
            let value = field.value.as_ptr() as usize;
            prop_assert!(end <= name && name + field.name.len() < value);
            prop_assert!(!field.name.is_empty() && field.name.iter().all(u8::is_ascii_graphic));
            end = value + field.value.len();
            prop_assert!(!field.unfolded(100).contains(['\r', '\n']));
        }
        prop_assert!(end <= start + block.as_bytes().len());
    }

    #[test]
    fn block_does_not_depend_on_the_length_of_reads(message in octets(), step in 1..20_usize) {
        let whole = block(message.clone());
        let read = HeaderBlock::read(&Slow { bytes: message.into(), step }).expect("in memory");
        prop_assert_eq!(read.as_bytes(), whole.as_bytes());
    }
}
