//! Parsing of non-delivery reports (RFC 3464, RFC 6522) with a parser that is independent of the host.

use mail_parser::{MessageParser, MimeHeaders, PartType};

/// The parts of a non-delivery report.
#[derive(Debug, Clone)]
pub struct Report {
    /// Header fields of the report itself, verbatim.
    pub header: String,
    /// Explanation for a human reader.
    pub explanation: String,
    /// The part `message/delivery-status`, verbatim.
    pub status: String,
    /// Returned content of the original message; `None` if the part is missing.
    pub original: Option<String>,
}

impl Report {
    /// Parses a report.
    ///
    /// # Panics
    /// If `text` is not a `multipart/report` of type `delivery-status` with the parts of RFC 6522 in order.
    pub fn parse(text: &str) -> Self {
        let message = MessageParser::default().parse(text.as_bytes());
        let message = message.unwrap_or_else(|| panic!("not a message:\n{text}"));
        let kind = message
            .content_type()
            .unwrap_or_else(|| panic!("no Content-Type:\n{text}"));
        assert_eq!((kind.ctype(), kind.subtype()), ("multipart", Some("report")), "{text}");
        assert_eq!(kind.attribute("report-type"), Some("delivery-status"), "{text}");
        let PartType::Multipart(parts) = &message.parts[0].body else {
            panic!("no parts:\n{text}");
        };
        let types: Vec<String> = parts
            .iter()
            .map(|part| {
                let kind = message.parts[*part as usize].content_type();
                kind.map_or("text/plain".into(), |kind| {
                    format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or(""))
                })
            })
            .collect();
        assert!(matches!(types.len(), 2 | 3), "{types:?}\n{text}");
        assert_eq!(types[..2], ["text/plain", "message/delivery-status"], "{text}");
        let part = |index: usize| {
            let part = &message.parts[parts[index] as usize];
            let bytes = &text.as_bytes()[part.offset_body as usize..part.offset_end as usize];
            String::from_utf8_lossy(bytes).into_owned()
        };
        let header_end = message.parts[0].offset_body as usize;
        Self {
            header: text[..header_end].to_owned(),
            explanation: part(0),
            status: part(1),
            original: (types.len() == 3).then(|| part(2)),
        }
    }

    /// Returns the first value of a field in the status part, such as `Action`.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.status.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}
