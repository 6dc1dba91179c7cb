//! Types of the mail system that every part of the host shares: paths, envelopes, replies, headers. The crate performs
//! no I/O and does not depend on tokio.

mod address;
mod client;
mod content;
mod domain;
mod dsn;
mod endpoint;
mod envelope;
mod header;
mod id;
mod redirected;
mod reply;
mod text;
mod time;
mod timing;
mod trace;
mod xtext;

pub use address::{AddressError, Mailbox, ReversePath};
pub use client::{Client, Identity, TlsSession, client_network};
pub use content::{Content, InMemory};
pub use domain::{canonical_domain, is_address_literal, is_domain_name};
pub use dsn::{EnvelopeId, OriginalRecipient, RecipientDsn, RequestedReports, ReturnedPart};
pub use endpoint::Endpoint;
pub use envelope::{BodyType, Envelope, EnvelopeOptions};
pub use header::{Field, HeaderBlock};
pub use id::{MessageId, RecordId, SessionId};
pub use redirected::{REDIRECTED, Redirected, added_by_host, redirected, redirected_field};
pub use reply::{RemoteName, Reply, StatusCode};
pub use text::cut;
pub use time::Timestamp;
pub use timing::{DeliverBy, DeliverByMode, DeliveryHold};
pub use trace::{Received, hop_count};
pub use xtext::{decode_xtext, encode_xtext};

#[cfg(test)]
mod property_tests;
