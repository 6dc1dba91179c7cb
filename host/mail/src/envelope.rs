//! The envelope of a message, as given in the SMTP dialogue.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DeliverBy, DeliveryHold, EnvelopeId, Mailbox, RecipientDsn, ReturnedPart, ReversePath};

/// The BODY parameter of MAIL (RFC 6152, RFC 3030).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BodyType {
    /// Lines of US-ASCII.
    #[default]
    #[serde(rename = "7BIT")]
    SevenBit,
    /// Lines of octets.
    #[serde(rename = "8BITMIME")]
    EightBitMime,
    /// Any octets behind the header, in lines or not.
    #[serde(rename = "BINARYMIME")]
    Binary,
}

/// The envelope of a message: reverse-path, forward-paths and parameters of MAIL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The reverse-path, recipient of notifications.
    pub sender: ReversePath,
    /// Accepted forward-paths, in the order of the RCPT commands.
    pub recipients: Vec<Mailbox>,
    /// The BODY parameter of MAIL (RFC 6152).
    pub body: BodyType,
    /// The SMTPUTF8 parameter of MAIL (RFC 6531): addresses or header fields may be UTF-8.
    pub smtputf8: bool,
    /// Parameters of other extensions; `None` if none was given. Boxed, since little mail has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Box<EnvelopeOptions>>,
}

/// Parameters of MAIL and RCPT beyond those that most mail has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct EnvelopeOptions {
    /// RET (RFC 3461).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub return_content: Option<ReturnedPart>,
    /// ENVID (RFC 3461).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envelope_id: Option<EnvelopeId>,
    /// NOTIFY and ORCPT (RFC 3461) by the key of the recipient.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub recipients: BTreeMap<String, RecipientDsn>,
    /// REQUIRETLS (RFC 8689): the message must not travel without verified TLS.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub require_tls: bool,
    /// BY (RFC 2852).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliver_by: Option<DeliverBy>,
    /// HOLDFOR or HOLDUNTIL (RFC 4865).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<DeliveryHold>,
    /// MT-PRIORITY (RFC 6710), -9 to 9; `None` if it was not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i8>,
}

impl Envelope {
    /// Creates an envelope without recipients, with a 7-bit body and without SMTPUTF8.
    pub fn from_sender(sender: ReversePath) -> Self {
        Self {
            sender,
            recipients: Vec::new(),
            body: BodyType::SevenBit,
            smtputf8: false,
            options: None,
        }
    }

    /// Adds a recipient, with the parameters of RCPT if any were given.
    pub fn add_recipient(&mut self, recipient: Mailbox, dsn: Option<Box<RecipientDsn>>) {
        if let Some(dsn) = dsn {
            let options = self.options.get_or_insert_default();
            options.recipients.insert(recipient.key(), *dsn);
        }
        self.recipients.push(recipient);
    }

    /// NOTIFY and ORCPT of a recipient.
    pub fn recipient_dsn(&self, recipient: &Mailbox) -> Option<&RecipientDsn> {
        let recipients = &self.options.as_ref()?.recipients;
        match recipients.is_empty() {
            true => None,
            false => recipients.get(&recipient.key()),
        }
    }

    /// ENVID of MAIL.
    pub fn envelope_id(&self) -> Option<&EnvelopeId> {
        self.options.as_ref()?.envelope_id.as_ref()
    }

    /// BY of MAIL.
    pub fn deliver_by(&self) -> Option<DeliverBy> {
        self.options.as_ref()?.deliver_by
    }

    /// HOLDFOR or HOLDUNTIL of MAIL.
    pub fn hold(&self) -> Option<DeliveryHold> {
        self.options.as_ref()?.hold
    }

    /// True if MAIL had REQUIRETLS.
    pub fn requires_tls(&self) -> bool {
        self.options.as_ref().is_some_and(|options| options.require_tls)
    }

    /// RET of MAIL.
    pub fn returned_part(&self) -> Option<ReturnedPart> {
        let options = self.options.as_ref()?;
        // RFC 8689 section 5.
        match options.require_tls {
            true => Some(ReturnedPart::Headers),
            false => options.return_content,
        }
    }
}
