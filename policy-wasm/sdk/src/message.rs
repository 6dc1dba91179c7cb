//! The message under decision.

#[cfg(target_arch = "wasm32")]
type Source = crate::__bindings::imports::posthouse::policy::message::Message;
#[cfg(not(target_arch = "wasm32"))]
type Source = posthouse_cases::Message;

/// One call reads no more, in bytes.
const CHUNK: u32 = 1024 * 1024;

/// The message under decision. Read only what you need: each byte is copied into the sandbox.
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

    /// Bytes, header and body with CRLF line ends.
    pub fn size(&self) -> u64 {
        self.0.size()
    }

    /// Values of the fields with this name, unfolded, in order; at most 64, each at most 8 KiB.
    pub fn header(&self, name: &str) -> Vec<String> {
        self.0.header(name)
    }

    /// The raw header block up to and without the empty line; at most 256 KiB, cut at a line end.
    pub fn header_block(&self) -> Vec<u8> {
        self.0.header_block().into()
    }

    /// At most 1 MiB a call; short at the end of the message, empty beyond it.
    pub fn read(&self, offset: u64, length: u32) -> Vec<u8> {
        self.0.read(offset, length).into()
    }

    /// The first `limit` bytes of the message, or all of it if it is not longer.
    pub fn read_up_to(&self, limit: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < limit {
            let length = u32::try_from(limit - bytes.len()).unwrap_or(CHUNK).min(CHUNK);
            let chunk = self.read(bytes.len() as u64, length);
            if chunk.is_empty() {
                break;
            }
            bytes.extend(chunk);
        }
        bytes
    }

    /// The whole message, parsed. Nothing is known about what is in it: a parser finds something in
    /// anything. None if it is not even a header.
    ///
    /// The message is in the policy's memory then, which is bounded: look at [`Self::size`] first.
    pub fn parse(&self) -> Option<mail_parser::Message<'static>> {
        let bytes = self.read_up_to(usize::try_from(self.size()).unwrap_or(usize::MAX));
        let parsed = mail_parser::MessageParser::default().parse(&bytes)?;
        Some(parsed.into_owned())
    }

    /// Its header, parsed; what stands behind a cut (see [`Self::header_block`]) is not in it.
    pub fn parse_header(&self) -> Option<mail_parser::Message<'static>> {
        let block = self.header_block();
        let parsed = mail_parser::MessageParser::default().parse_headers(&block)?;
        Some(parsed.into_owned())
    }
}
