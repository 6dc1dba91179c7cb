//! Body hashes by the host's own relaxed canonicalization. That of mail-auth 0.13 keeps lines of white space at the end
//! of a body, which RFC 6376 section 3.4.4 ignores, so that sound signatures would fail (ADR 0010).

use mail_auth::AuthenticatedMessage;
use mail_auth::common::headers::{Writable, Writer};
use mail_auth::dkim::Canonicalization;

use host_dkim::RelaxedBody;

/// Replaces the body hashes of relaxed signatures, those of DKIM and of ARC. The parser refuses signatures with a limit
/// of the body (`l=`), so that every hash is of the whole body.
pub(super) fn hash_relaxed_bodies(message: &mut AuthenticatedMessage<'_>) {
    let start = usize::try_from(message.body_offset).unwrap_or(usize::MAX);
    let body = message.raw_message.get(start..).unwrap_or_default();
    for (canonicalization, algorithm, _, hash) in &mut message.body_hashes {
        if *canonicalization == Canonicalization::Relaxed {
            *hash = algorithm.hash(Relaxed(body)).as_ref().to_vec();
        }
    }
}

/// A body that is written in its relaxed form.
struct Relaxed<'a>(&'a [u8]);

impl Writable for Relaxed<'_> {
    fn write(self, writer: &mut impl Writer) {
        let mut body = RelaxedBody::default();
        body.push(self.0, |octets| writer.write(octets));
        body.finish(|octets| writer.write(octets));
    }
}
