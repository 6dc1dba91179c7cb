//! Address lists of originator fields (RFC 5322 section 3.4, RFC 6532 section 3.2), read strictly and in one pass.
//!
//! Accepted are the forms that every reader of mail reads alike. Obsolete syntax (routes, empty list elements but for a
//! comma at the end, white space within an address) and quoting that readers treat differently is an error. `phrase`
//! may contain dots (section 4.1), which is in common use.

use std::borrow::Cow;

use super::atext::is_word;
use super::encoded_words;

/// Maximum length of the value of an originator field, in bytes.
pub const MAX_VALUE: usize = 16 * 1024;
/// Maximum number of addresses in a field.
const MAX_ADDRESSES: usize = 32;
/// Maximum nesting of comments.
const MAX_NESTING: usize = 8;

/// Addresses of an originator field.
#[derive(Debug, Default, PartialEq)]
pub struct Claimed {
    /// The mailboxes of the field, groups resolved, in order. A quoted local-part has lost its quotes.
    pub mailboxes: Vec<String>,
    /// Addresses without quotes before `<`, which some readers take for the mailbox.
    pub unquoted: Vec<String>,
    /// Addresses in encoded words (RFC 2047), which readers take for a mailbox if they decode before they parse.
    pub decoded: Vec<String>,
}

impl Claimed {
    /// Returns every address that some reader takes for a mailbox.
    pub fn all(&self) -> impl Iterator<Item = &String> {
        self.mailboxes.iter().chain(&self.unquoted).chain(&self.decoded)
    }
}

/// Reads the folded value of an originator field. The error is the reason, for the reply.
pub fn read(value: &[u8]) -> Result<Claimed, &'static str> {
    if value.len() > MAX_VALUE {
        return Err("is too long");
    }
    if value.iter().any(|byte| matches!(byte, 0..=8 | 11 | 12 | 14..=31 | 127)) {
        return Err("contains a control character");
    }
    // Byte-wise readers and readers of multi-byte charsets see different escapes.
    if value.contains(&b'\\') && std::str::from_utf8(value).is_err() {
        return Err("escapes a character in a text that is not UTF-8");
    }
    let mut reader = Reader {
        text: value,
        at: 0,
        claimed: Claimed::default(),
        in_group: false,
    };
    reader.list()?;
    reader.claimed.decoded = encoded_words::addresses(value)?;
    match reader.claimed.all().count() > 2 * MAX_ADDRESSES {
        true => Err("names too many addresses"),
        false => Ok(reader.claimed),
    }
}

/// Returns the domain behind each `@` of a text, without regard to syntax.
pub fn every_domain(text: &[u8]) -> impl Iterator<Item = Cow<'_, str>> {
    text.split(|byte| *byte == b'@').skip(1).filter_map(|behind| {
        let behind = behind.trim_ascii_start();
        let length = behind.iter().position(|byte| !(is_domain(*byte) || *byte == b'.'));
        let domain = behind[..length.unwrap_or(behind.len())].trim_ascii_end();
        (!domain.is_empty()).then(|| String::from_utf8_lossy(domain))
    })
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    claimed: Claimed,
    in_group: bool,
}

/// A word before an address: the text of an atom, or the content of a quoted string.
struct Word<'a> {
    content: &'a [u8],
    is_quoted: bool,
}

/// The display name under way.
#[derive(Default)]
struct Phrase<'a> {
    first: Option<Word<'a>>,
    words: usize,
    /// True after a comment that contains an address, or that not every reader ends at the same parenthesis.
    has_odd_comment: bool,
    /// True after a quoted string that contains an `@`.
    has_quoted_at: bool,
}

impl<'a> Reader<'a> {
    fn list(&mut self) -> Result<(), &'static str> {
        loop {
            self.element()?;
            match self.next() {
                Some(b',') => {
                    // A comma at the very end (section 4.4) is in use, and every reader ignores it.
                    self.space();
                    if self.peek().is_none() {
                        return Ok(());
                    }
                }
                None => return Ok(()),
                Some(_) => return Err("has text behind an address"),
            }
        }
    }

    /// Reads a mailbox or a group.
    fn element(&mut self) -> Result<(), &'static str> {
        let mut phrase = Phrase::default();
        loop {
            self.space_and_comments(&mut phrase)?;
            match self.peek() {
                Some(b'"') => {
                    let content = self.quoted_string()?;
                    phrase.push(content, true);
                }
                Some(byte) if is_word(byte) => {
                    let content = self.run(is_word);
                    phrase.push(content, false);
                }
                Some(b'<') => {
                    let address = self.angle_address()?;
                    return self.end_of_mailbox(phrase, address);
                }
                Some(b':') if phrase.words > 0 && !self.in_group => return self.group(phrase),
                Some(_) => return Err("is no list of addresses"),
                None if phrase.words == 0 => return Err("names no address"),
                None => return Err("has a name without an address"),
            }
            // An address without brackets is a single word that the `@` follows directly.
            if self.peek() == Some(b'@') {
                let local = phrase.first.take().filter(|_| phrase.words == 1);
                let address = self.address(local.ok_or("is no list of addresses")?)?;
                return self.end_of_bare_address(phrase, address);
            }
        }
    }

    /// Ends an element that is an address without brackets. An address in brackets may follow: the first is a name to
    /// most readers, and the author to others.
    fn end_of_bare_address(&mut self, mut phrase: Phrase<'a>, address: String) -> Result<(), &'static str> {
        self.space_and_comments(&mut phrase)?;
        if self.peek() == Some(b'<') {
            self.claimed.unquoted.push(address);
            let address = self.angle_address()?;
            return self.end_of_mailbox(phrase, address);
        }
        if phrase.has_odd_comment {
            return Err("has an address or a comment in a comment beside an address");
        }
        self.push(address)
    }

    fn end_of_mailbox(&mut self, mut phrase: Phrase<'a>, address: String) -> Result<(), &'static str> {
        self.space_and_comments(&mut phrase)?;
        self.push(address)
    }

    fn push(&mut self, address: String) -> Result<(), &'static str> {
        if self.claimed.mailboxes.len() == MAX_ADDRESSES {
            return Err("names too many addresses");
        }
        self.claimed.mailboxes.push(address);
        Ok(())
    }

    /// Reads a group behind its name (RFC 6854 allows groups in `From:`).
    fn group(&mut self, mut phrase: Phrase<'a>) -> Result<(), &'static str> {
        self.at += 1;
        self.in_group = true;
        // Some readers know no groups.
        if phrase.has_odd_comment || phrase.has_quoted_at {
            return Err("has an address in the name of a group");
        }
        self.space_and_comments(&mut phrase)?;
        if self.peek() == Some(b';') {
            self.at += 1;
        } else {
            loop {
                self.element()?;
                match self.next() {
                    Some(b',') => {}
                    Some(b';') => break,
                    _ => return Err("has a group without an end"),
                }
            }
        }
        self.in_group = false;
        self.space_and_comments(&mut phrase)
    }

    /// Reads `<local-part@domain>`. A route (section 4.4) is an error.
    fn angle_address(&mut self) -> Result<String, &'static str> {
        self.at += 1;
        self.space();
        let local = match self.peek() {
            Some(b'"') => Word {
                content: self.quoted_string()?,
                is_quoted: true,
            },
            _ => Word {
                content: self.run(is_word),
                is_quoted: false,
            },
        };
        if self.peek() != Some(b'@') {
            return Err("has brackets without an address");
        }
        let address = self.address(local)?;
        self.space();
        match self.next() {
            Some(b'>') => Ok(address),
            _ => Err("has brackets with more than an address"),
        }
    }

    /// Reads `@domain` behind a local-part. The quotes of a local-part that needs none are dropped; readers disagree
    /// about other quoted local-parts.
    fn address(&mut self, local: Word<'_>) -> Result<String, &'static str> {
        self.at += 1;
        let domain = match self.peek() {
            Some(b'[') => {
                let literal = self.run(|byte| byte.is_ascii_alphanumeric() || b"[.:".contains(&byte));
                if self.next() != Some(b']') {
                    return Err("has a malformed address literal");
                }
                [literal, b"]"].concat()
            }
            _ => self.run(|byte| is_domain(byte) || byte == b'.').to_vec(),
        };
        let is_dot_string = |text: &[u8]| text.split(|byte| *byte == b'.').all(|atom| !atom.is_empty());
        let is_local_part = is_dot_string(local.content) && local.content.iter().all(|byte| is_word(*byte));
        if !is_local_part {
            return Err(if local.is_quoted {
                "has a quoted local-part that readers read differently"
            } else {
                "has a malformed address"
            });
        }
        if !is_dot_string(&domain) || local.content.windows(2).any(|pair| pair == b"=?") {
            return Err("has a malformed address");
        }
        match (std::str::from_utf8(local.content), std::str::from_utf8(&domain)) {
            (Ok(local), Ok(domain)) => Ok(format!("{local}@{domain}")),
            _ => Err("has an address that is not UTF-8"),
        }
    }

    /// Reads a quoted string and returns its content with escapes.
    fn quoted_string(&mut self) -> Result<&'a [u8], &'static str> {
        self.at += 1;
        let start = self.at;
        while let Some(byte) = self.next() {
            match byte {
                b'"' => {
                    let content = &self.text[start..self.at - 1];
                    if self.in_group && content.contains(&b';') {
                        return Err("has a semicolon in a quoted string of a group");
                    }
                    // Some readers end a quoted string with the line.
                    if content.contains(&b'\n') && content.iter().any(|byte| matches!(byte, b'@' | b'<' | b'>')) {
                        return Err("has an address in a folded quoted string");
                    }
                    return Ok(content);
                }
                b'\\' => {
                    self.next();
                }
                _ => {}
            }
        }
        Err("has a quoted string without an end")
    }

    fn space_and_comments(&mut self, phrase: &mut Phrase<'_>) -> Result<(), &'static str> {
        self.space();
        while self.peek() == Some(b'(') {
            phrase.has_odd_comment |= self.comment()?;
            self.space();
        }
        Ok(())
    }

    /// Skips a comment. True if the comment has an address, or nested comments or escapes, which some readers do not
    /// know; nested comments and escapes beside anything that could be an address are an error.
    fn comment(&mut self) -> Result<bool, &'static str> {
        let mut depth = 0;
        let (mut is_odd, mut has_specials, mut has_at) = (false, false, false);
        while let Some(byte) = self.next() {
            match byte {
                b'(' => {
                    depth += 1;
                    is_odd |= depth > 1;
                }
                b')' => depth -= 1,
                b'\\' => {
                    is_odd = true;
                    self.next();
                }
                // Some readers end a comment with the line.
                b'\n' => is_odd = true,
                b';' if self.in_group => has_specials = true,
                b'@' => (has_at, has_specials) = (true, true),
                b'<' | b'>' | b',' | b';' | b':' | b'"' => has_specials = true,
                _ => {}
            }
            if depth > MAX_NESTING {
                return Err("has comments nested too deeply");
            }
            if depth == 0 {
                return match is_odd && has_specials {
                    true => Err("has a comment that readers read differently"),
                    false => Ok(is_odd || has_at),
                };
            }
        }
        Err("has a comment without an end")
    }

    /// Skips folding white space.
    fn space(&mut self) {
        self.run(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
    }

    /// Returns the longest run of these bytes.
    fn run(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = &self.text[self.at..];
        let length = rest.iter().position(|byte| !belongs(*byte)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }
}

impl<'a> Phrase<'a> {
    fn push(&mut self, content: &'a [u8], is_quoted: bool) {
        self.words += 1;
        self.has_quoted_at |= is_quoted && content.contains(&b'@');
        self.first.get_or_insert(Word { content, is_quoted });
    }
}

fn is_domain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'-' | b'_')
}

#[cfg(test)]
mod tests;
