//! A message in memory with the read operations and bounds of the contract.

/// Maximum number of fields that [`Message::header`] returns.
const MAX_FIELDS: usize = 64;
/// Maximum length of a field's value, in bytes.
const MAX_VALUE: usize = 8 * 1024;
/// Maximum length of the header block, in bytes.
const MAX_BLOCK: usize = 256 * 1024;
/// Maximum length of a read, in bytes.
const MAX_READ: usize = 1024 * 1024;

/// A message: header and body with CRLF line ends.
///
/// ```
/// let message = posthouse_cases::Message::new(b"Subject: long\n words\n\nHello\n");
/// assert_eq!(message.header("subject"), ["long words"]);
/// assert_eq!(message.header_block(), b"Subject: long\r\n words\r\n");
/// assert_eq!(message.read(message.size() - 7, 5), b"Hello");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message(Vec<u8>);

impl Message {
    /// Makes a message of a text. Line ends become CRLF.
    pub fn new(text: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(text.len() + text.len() / 16);
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(line) => {
                    bytes.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
                    bytes.extend_from_slice(b"\r\n");
                }
                None => bytes.extend_from_slice(line),
            }
        }
        Self(bytes)
    }

    /// Returns the whole message.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the size in bytes.
    pub fn size(&self) -> u64 {
        self.0.len() as u64
    }

    /// Returns the offset of the empty line that ends the header, or the message's length if there is no empty line.
    fn header_end(&self) -> usize {
        if self.0.starts_with(b"\r\n") {
            return 0;
        }
        let end = self.0.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        end.map_or(self.0.len(), |end| end + 2)
    }

    /// Returns the header block without the empty line; a block longer than 256 KiB is cut at a line end.
    pub fn header_block(&self) -> &[u8] {
        let block = &self.0[..self.header_end()];
        if block.len() <= MAX_BLOCK {
            return block;
        }
        let end = block[..MAX_BLOCK].windows(2).rposition(|bytes| bytes == b"\r\n");
        &block[..end.map_or(0, |end| end + 2)]
    }

    /// Returns the values of the fields with this name, unfolded and in order: at most 64, each cut to 8 KiB.
    pub fn header(&self, name: &str) -> Vec<String> {
        let fields = self
            .fields()
            .into_iter()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name));
        fields
            .take(MAX_FIELDS)
            .map(|(_, mut value)| {
                value.truncate(value.floor_char_boundary(MAX_VALUE));
                value
            })
            .collect()
    }

    /// Returns name and value of every field, unfolded.
    pub fn fields(&self) -> Vec<(String, String)> {
        let block = String::from_utf8_lossy(self.header_block());
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in block.split("\r\n").filter(|line| !line.is_empty()) {
            if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = fields.last_mut() {
                    value.push_str(line);
                }
            } else if let Some((name, value)) = line.split_once(':') {
                fields.push((name.trim_end().to_owned(), value.to_owned()));
            }
        }
        for (_, value) in &mut fields {
            *value = value.trim().to_owned();
        }
        fields
    }

    /// Returns at most 1 MiB from an offset on: less at the end of the message, and nothing beyond.
    pub fn read(&self, offset: u64, length: u32) -> &[u8] {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let length = usize::try_from(length).unwrap_or(MAX_READ).min(MAX_READ);
        &self.0[start..self.0.len().min(start.saturating_add(length))]
    }
}
