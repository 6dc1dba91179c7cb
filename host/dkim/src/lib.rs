//! DKIM (RFC 6376): canonical forms, keys, signatures, and the records that publish keys. The crate reads messages
//! through `host_mail::Content`, performs no other I/O and does not depend on tokio.

mod key_record;
mod relaxed_body;
mod relaxed_header;
mod signed_fields;
mod signer;
mod signing_key;

pub use key_record::{publishes, record_name, record_text, zone_line};
pub use relaxed_body::RelaxedBody;
pub use signed_fields::SignedFields;
pub use signer::{DomainSigner, MailOrigin, SignedMail, Signers};
pub use signing_key::{KeyAlgorithm, KeyError, SigningKey, generate_ed25519};
