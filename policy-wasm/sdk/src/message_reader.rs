//! Reader of the message under decision.

#[cfg(target_arch = "wasm32")]
type Source = crate::__bindings::imports::posthouse::policy::message::Message;
#[cfg(not(target_arch = "wasm32"))]
type Source = posthouse_cases::Message;

/// Maximum number of bytes that a call reads.
const MAX_READ: u32 = 1024 * 1024;

/// The message under decision. Read only the necessary parts: each byte is copied into the sandbox.
///
/// ```
/// use posthouse_policy::testing::message;
/// let text = message("From: anna@example.org\nSubject: Hi\n\nHello\n");
/// let message = posthouse_policy::Message::from(&text);
/// assert_eq!(message.header("subject"), ["Hi"]);
/// assert_eq!(message.parse().and_then(|parsed| parsed.body_text(0).map(String::from)).as_deref(), Some("Hello\r\n"));
/// ```
pub struct Message<'a>(&'a Source);

impl<'a> From<&'a Source> for Message<'a> {
    fn from(source: &'a Source) -> Self {
        Self(source)
    }
}

impl Message<'_> {
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn handle(&self) -> &Source {
        self.0
    }

    /// Returns the size in bytes of header and body, with CRLF line ends.
    pub fn size(&self) -> u64 {
        self.0.size()
    }

    /// Returns the values of the fields with this name, unfolded and in order: at most 64, each of at most 8 KiB.
    pub fn header(&self, name: &str) -> Vec<String> {
        self.0.header(name)
    }

    /// Returns the raw header block without the empty line: at most 256 KiB, cut at a line end.
    pub fn header_block(&self) -> Vec<u8> {
        self.0.header_block().into()
    }

    /// Returns at most 1 MiB from an offset on: less at the end of the message, and nothing beyond.
    pub fn read(&self, offset: u64, length: u32) -> Vec<u8> {
        self.0.read(offset, length).into()
    }

    /// Returns the first `limit` bytes of the message, or the whole message if shorter.
    pub fn read_up_to(&self, limit: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < limit {
            let length = u32::try_from(limit - bytes.len()).unwrap_or(MAX_READ).min(MAX_READ);
            let chunk = self.read(bytes.len() as u64, length);
            if chunk.is_empty() {
                break;
            }
            bytes.extend(chunk);
        }
        bytes
    }

    /// Parses the whole message. The result is no proof of a well-formed message, since the parser accepts any text;
    /// `None` if there is not even a header.
    ///
    /// The whole message is copied into the policy's memory, which is bounded: check [`Self::size`] first.
    pub fn parse(&self) -> Option<mail_parser::Message<'static>> {
        let bytes = self.read_up_to(usize::try_from(self.size()).unwrap_or(usize::MAX));
        let parsed = mail_parser::MessageParser::default().parse(&bytes)?;
        Some(parsed.into_owned())
    }

    /// Parses the header block, of which fields beyond 256 KiB are missing (see [`Self::header_block`]).
    pub fn parse_header(&self) -> Option<mail_parser::Message<'static>> {
        let block = self.header_block();
        let parsed = mail_parser::MessageParser::default().parse_headers(&block)?;
        Some(parsed.into_owned())
    }
}
