//! The message after DATA, compared with a splitter that sees the whole input.

use host_delivery::fuzzing::dot_stuff;
use host_smtp::fuzzing::data;

/// Longest line, in octets.
const MAX_TEXT_LINE: usize = 998;

/// Message, octets up to the end of data, and defect.
type Received = (Vec<u8>, usize, Option<String>);

/// Reads the message whole, in pieces and octet by octet, and compares with `split`. A clean message must come out
/// the same after this host has sent it to another.
pub fn data_reader(input: &[u8]) {
    let whole = data(input, &[]);
    let pieces: Vec<usize> = input.iter().map(|octet| usize::from(octet % 16)).collect();
    assert_eq!(data(input, &[1]), whole, "octet by octet");
    assert_eq!(data(input, &pieces), whole, "in pieces");
    let expected = split(input);
    match (whole, expected) {
        (Some((message, end, defect)), Some(expected)) => {
            assert_eq!((end, &defect), (expected.1, &expected.2));
            // The octets of a refused message do not matter.
            if defect.is_none() || defect.as_deref() == Some("EightBit") {
                assert_eq!(message, expected.0);
                let part = pieces.first().map_or(1, |length| length + 1);
                let sent = dot_stuff(&message, part);
                assert_eq!(data(&sent, &pieces), Some((message, sent.len(), defect)));
            }
        }
        (whole, expected) => assert_eq!(whole, expected),
    }
    // No input makes this host send an end of data within a message.
    let sent = dot_stuff(input, 7);
    let received = data(&sent, &[]).expect("an end");
    assert_eq!(received.1, sent.len());
}

/// Splits the input at the first CR LF `.` CR LF, then into lines. The CR LF of the DATA command counts (RFC 5321
/// section 4.1.1.4).
fn split(input: &[u8]) -> Option<Received> {
    let whole = [b"\r\n", input].concat();
    let end = whole.windows(5).position(|window| window == b"\r\n.\r\n")?;
    let mut message = Vec::new();
    let mut defect = None;
    if end > 0 {
        let mut rest = Some(&whole[2..end]);
        let mut number = 0;
        while let Some(text) = rest {
            let line_end = text.windows(2).position(|window| window == b"\r\n");
            let line = &text[..line_end.unwrap_or(text.len())];
            rest = line_end.map(|at| &text[at + 2..]);
            number += 1;
            let line = line.strip_prefix(b".").unwrap_or(line);
            defect = defect.or_else(|| defect_of(line, number));
            message.extend_from_slice(line);
            message.extend_from_slice(b"\r\n");
        }
    }
    let eight_bit = (!message.is_ascii()).then(|| "EightBit".to_owned());
    Some((message, end + 3, defect.or(eight_bit)))
}

fn defect_of(line: &[u8], number: u64) -> Option<String> {
    let found = line.iter().position(|octet| matches!(octet, b'\r' | b'\n' | 0));
    let name = match found.map(|at| line[at]) {
        _ if found.unwrap_or(line.len()) > MAX_TEXT_LINE => "LongLine",
        Some(b'\r') => "BareCr",
        Some(b'\n') => "BareLf",
        Some(_) => "Nul",
        None => return None,
    };
    Some(format!("{name}({number})"))
}
