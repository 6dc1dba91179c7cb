//! A parser of dialogue scripts.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::pattern::Pattern;
use crate::client::Reply;

/// A parsed script.
#[derive(Debug, Clone)]
pub struct Dialogue {
    /// Name of the script's file.
    pub name: String,
    /// Steps with line numbers, counted from 1.
    pub(crate) steps: Vec<(usize, Step)>,
}

/// An action or expectation of a script.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Connect { source: String, listener: String },
    Send(Vec<u8>),
    Handshake,
    Close,
    Expect { times: usize, want: ExpectedReply },
    Has(Pattern),
    Lacks(Pattern),
    Closed,
    Delivered { account: String, text: String },
}

/// An expected reply, compared by the last line.
#[derive(Debug, Clone)]
pub(crate) struct ExpectedReply(Pattern);

impl ExpectedReply {
    pub(crate) fn matches(&self, reply: &Reply) -> bool {
        self.0.matches(reply.line())
    }
}

impl fmt::Display for ExpectedReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Dialogue {
    /// Reads a script.
    ///
    /// # Panics
    /// If the script cannot be read or parsed; the message names the line.
    pub fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let name = file
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let mut steps = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match parse(line) {
                Ok(more) => steps.extend(more.into_iter().map(|step| (index + 1, step))),
                Err(problem) => panic!("{name}:{}: {problem}: {line}", index + 1),
            }
        }
        Self { name, steps }
    }
}

fn parse(line: &str) -> Result<Vec<Step>, String> {
    if let Some(text) = line.strip_prefix("C:") {
        let text = text.strip_prefix(' ').unwrap_or(text);
        return Ok(vec![Step::Send(format!("{text}\r\n").into_bytes())]);
    }
    if let Some(text) = line.strip_prefix("S:") {
        return Ok(vec![expect(1, text)]);
    }
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    Ok(match word {
        "S+" => vec![Step::Has(Pattern::new(rest.trim()))],
        "S-" => vec![Step::Lacks(Pattern::new(rest.trim()))],
        "S" => {
            let (times, pattern) = rest.split_once("x:").ok_or("S 3x: pattern")?;
            vec![expect(times.trim().parse().map_err(|_| "how many times?")?, pattern)]
        }
        "connect" => vec![connect(rest)?],
        "raw" => vec![Step::Send(unescape(rest)?)],
        "repeat" => {
            let (times, quoted) = rest.split_once(' ').ok_or("repeat 3 \"text\"")?;
            vec![Step::Send(repeat(
                times.parse().map_err(|_| "how many times?")?,
                quoted,
            )?)]
        }
        "tls" => vec![
            Step::Send(b"STARTTLS\r\n".to_vec()),
            expect(1, "220 *"),
            Step::Handshake,
            Step::Send(b"EHLO client.example\r\n".to_vec()),
            expect(1, "250 *"),
        ],
        "handshake" => vec![Step::Handshake],
        "auth" => {
            let (user, password) = rest.split_once(' ').ok_or("auth USER PASSWORD")?;
            let response = STANDARD.encode(format!("\0{user}\0{password}"));
            vec![
                Step::Send(format!("AUTH PLAIN {response}\r\n").into_bytes()),
                expect(1, "235 *"),
            ]
        }
        "close" => vec![Step::Close],
        "closed" => vec![Step::Closed],
        "mailbox" => {
            let (account, text) = rest.split_once(" gets ").ok_or("mailbox ACCOUNT gets TEXT")?;
            vec![Step::Delivered {
                account: account.to_owned(),
                text: text.to_owned(),
            }]
        }
        _ => return Err("not a step".to_owned()),
    })
}

fn expect(times: usize, pattern: &str) -> Step {
    Step::Expect {
        times,
        want: ExpectedReply(Pattern::new(pattern.trim())),
    }
}

/// Parses the arguments of `connect`: `from ADDRESS`, `to LISTENER`, both, or neither.
fn connect(rest: &str) -> Result<Step, String> {
    let (mut source, mut listener) = ("127.0.0.1".to_owned(), "smtp".to_owned());
    let mut words = rest.split_whitespace();
    while let Some(word) = words.next() {
        let value = words.next().ok_or("connect from ADDRESS to LISTENER")?.to_owned();
        match word {
            "from" => source = value,
            "to" => listener = value,
            _ => return Err("connect from ADDRESS to LISTENER".to_owned()),
        }
    }
    Ok(Step::Connect { source, listener })
}

/// Repeats a text; `{n}` in the text is replaced by the number of the repetition, counted from 1.
fn repeat(times: usize, quoted: &str) -> Result<Vec<u8>, String> {
    let once = unescape(quoted)?;
    let text = String::from_utf8(once).map_err(|_| "repeat takes text")?;
    let all = (1..=times).map(|n| text.replace("{n}", &n.to_string()));
    Ok(all.collect::<String>().into_bytes())
}

/// Decodes a quoted string with the escapes `\r \n \t \0 \\ \" \xHH`.
fn unescape(quoted: &str) -> Result<Vec<u8>, String> {
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let inner = inner.ok_or("text in double quotes")?;
    let mut out = Vec::new();
    let mut bytes = inner.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match bytes.next() {
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'0') => 0,
            Some(b'x') => {
                let digits = [bytes.next().unwrap_or(b'?'), bytes.next().unwrap_or(b'?')];
                let digits = String::from_utf8_lossy(&digits).into_owned();
                u8::from_str_radix(&digits, 16).map_err(|_| "\\xHH")?
            }
            Some(other @ (b'\\' | b'"')) => other,
            _ => return Err("\\r \\n \\t \\0 \\\\ \\\" or \\xHH".to_owned()),
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_escapes() {
        assert_eq!(unescape(r#""a\r\n\0\x80\"\\""#), Ok(b"a\r\n\0\x80\"\\".to_vec()));
        assert!(unescape("a").is_err());
        assert!(unescape(r#""\q""#).is_err());
        assert!(unescape(r#""\x8""#).is_err());
    }

    #[test]
    fn numbers_repetitions() {
        assert_eq!(repeat(2, r#""u{n}\n""#), Ok(b"u1\nu2\n".to_vec()));
    }

    #[test]
    fn refuses_unknown_steps() {
        assert!(parse("say hello").is_err());
        assert!(parse("connect over there").is_err());
    }
}
