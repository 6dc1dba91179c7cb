//! What can be verified about where a message is from: SPF (RFC 7208), DKIM (RFC 6376), DMARC and ARC
//! (RFC 8617), in the words of RFC 8601. Computed when a policy asks, once for a message; bounded in
//! size, number and time, and what a bound or the DNS stands in the way of is a finding as well.

mod auth_results;

use std::time::Duration;

use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{AuthenticatedMessage, DkimOutput, MessageAuthenticator, SpfOutput, SpfResult};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::services::verification::auth_results::{finding, found_arc, found_dkim, found_dmarc, found_spf};
use host_directory::dns::Resolver;
use host_engine::host_call::Finding;
use host_engine::message_view::{Arrival, MessageView};
use host_mail::{Content, HeaderBlock};

/// Larger messages are not read for their signatures.
const MESSAGE: u64 = 16 * 1024 * 1024;
/// Signatures of one message that are verified, the topmost first.
const SIGNATURES: usize = 8;
/// Sets of ARC fields of one message.
const SETS: usize = 16;
/// For everything but DMARC, which needs the results of the others; and for all.
const FIRST: Duration = Duration::from_millis(3000);
const WHOLE: Duration = Duration::from_millis(4000);
/// Messages that are held in memory at once.
const AT_ONCE: usize = 8;
/// Bytes read at once.
const PIECE: usize = 1024 * 1024;

/// Verifies messages, a few at once.
pub(crate) struct Verifier {
    hostname: String,
    room: Semaphore,
}

impl Verifier {
    /// `hostname` is this host's name, for the macros of SPF.
    pub(crate) fn new(hostname: String) -> Self {
        Self {
            hostname,
            room: Semaphore::new(AT_ONCE),
        }
    }

    /// All findings of all methods, whatever stands in their way.
    pub(crate) async fn findings(&self, dns: &Resolver, message: &MessageView) -> Vec<Finding> {
        let Some(received) = message.received() else {
            return undone("none", "it is not known where the message is from");
        };
        match self.verify(dns, received, message).await {
            Ok(findings) => findings,
            Err(why) => undone("temperror", &why),
        }
    }

    async fn verify(&self, dns: &Resolver, received: &Arrival, message: &MessageView) -> Result<Vec<Finding>, String> {
        let end = Instant::now() + WHOLE;
        let resolver = dns.resolver().await.map_err(|error| error.to_string())?.clone();
        let work = Verification {
            authenticator: MessageAuthenticator(resolver),
            hostname: self.hostname.clone(),
            received: received.clone(),
            end,
        };
        let content = message.content();
        let _room = timeout_at(end, self.room.acquire())
            .await
            .map_err(|_| "too many messages are being verified".to_owned())?;
        // Hashing a large message takes long, and parsers of hostile input may fail in any way:
        // neither may happen to a worker of the runtime.
        let handle = Handle::current();
        let verifying = tokio::task::spawn_blocking(move || {
            let (raw, whole) = read(&*content).map_err(|error| format!("the message could not be read: {error}"))?;
            Ok(handle.block_on(work.all(&raw, whole)))
        });
        match timeout_at(end + Duration::from_millis(200), verifying).await {
            Ok(Ok(findings)) => findings,
            Ok(Err(_)) => Err("the verifier failed; this is a defect of the host".to_owned()),
            Err(_) => Err("not verified in time".to_owned()),
        }
    }
}

/// One message's verification.
struct Verification {
    authenticator: MessageAuthenticator,
    hostname: String,
    received: Arrival,
    end: Instant,
}

impl Verification {
    async fn all(&self, raw: &[u8], whole: bool) -> Vec<Finding> {
        let first = self.end - (WHOLE - FIRST);
        let mut findings = Vec::new();
        let Some(mut message) = AuthenticatedMessage::parse(raw) else {
            let spf = timeout_at(first, self.spf())
                .await
                .unwrap_or_else(|_| self.spf_too_late());
            findings.push(found_spf(&spf));
            let none = |method| finding(method, "none", None, Some("there is no header".to_owned()));
            findings.extend(["dkim", "arc", "dmarc"].map(none));
            return findings;
        };
        let more = message.dkim_headers.len().saturating_sub(SIGNATURES);
        message.dkim_headers.truncate(SIGNATURES);
        let message = &message;
        let dkim = async {
            if whole {
                self.authenticator.verify_dkim(message).await
            } else {
                Vec::new()
            }
        };
        let (spf, dkim, arc) = tokio::join!(
            timeout_at(first, self.spf()),
            timeout_at(first, dkim),
            timeout_at(first, self.arc(message, whole)),
        );
        let undecided = spf.is_err() || dkim.is_err() || !whole;
        let spf = spf.unwrap_or_else(|_| self.spf_too_late());
        findings.push(found_spf(&spf));
        match &dkim {
            Ok(_) if !whole => findings.push(finding("dkim", "policy", None, Some(too_large()))),
            Ok(outputs) => findings.extend(found_dkim(outputs)),
            Err(_) => findings.push(too_late("dkim")),
        }
        if more > 0 && whole {
            let why = format!("{more} more signatures were not verified");
            findings.push(finding("dkim", "policy", None, Some(why)));
        }
        findings.push(arc.unwrap_or_else(|_| too_late("arc")));
        let dkim = dkim.unwrap_or_default();
        let dmarc = timeout_at(self.end, self.dmarc(message, &dkim, &spf, undecided)).await;
        findings.push(dmarc.unwrap_or_else(|_| too_late("dmarc")));
        findings
    }

    /// For the null reverse-path the HELO name stands in (RFC 7208 section 2.4).
    async fn spf(&self) -> SpfOutput {
        let Arrival { address, helo, sender } = &self.received;
        let address = address.to_canonical();
        let helo = helo.as_deref().unwrap_or("");
        let parameters = match sender.mailbox() {
            Some(mailbox) => SpfParameters::verify_mail_from(address, helo, &self.hostname, mailbox.as_str()),
            None => SpfParameters::verify_ehlo(address, helo, &self.hostname),
        };
        self.authenticator.verify_spf(parameters).await
    }

    fn spf_too_late(&self) -> SpfOutput {
        SpfOutput::new(self.sender_domain().to_owned()).with_result(SpfResult::TempError)
    }

    fn sender_domain(&self) -> &str {
        let helo = self.received.helo.as_deref().unwrap_or("");
        self.received.sender.mailbox().map_or(helo, |mailbox| mailbox.domain())
    }

    async fn arc(&self, message: &AuthenticatedMessage<'_>, whole: bool) -> Finding {
        if !whole {
            return finding("arc", "policy", None, Some(too_large()));
        }
        if message.ams_headers.len() > SETS {
            return finding("arc", "policy", None, Some(format!("more than {SETS} sets")));
        }
        found_arc(&self.authenticator.verify_arc(message).await)
    }

    /// What fails only for want of a result that could not be had may pass another time.
    async fn dmarc(
        &self,
        message: &AuthenticatedMessage<'_>,
        dkim: &[DkimOutput<'_>],
        spf: &SpfOutput,
        undecided: bool,
    ) -> Finding {
        let parameters = DmarcParameters::new(message, dkim, self.sender_domain(), spf);
        let output = self.authenticator.verify_dmarc(parameters).await;
        found_dmarc(&output, undecided)
    }
}

/// The message, or its header alone if it is too large; and which of the two.
fn read(content: &dyn Content) -> std::io::Result<(Vec<u8>, bool)> {
    if content.size() > MESSAGE {
        let mut header = HeaderBlock::read(content)?.as_bytes().to_vec();
        header.extend_from_slice(b"\r\n");
        return Ok((header, false));
    }
    let mut raw = Vec::with_capacity(usize::try_from(content.size()).unwrap_or(0));
    loop {
        let piece = content.read(raw.len() as u64, PIECE)?;
        if piece.is_empty() {
            return Ok((raw, true));
        }
        raw.extend_from_slice(&piece);
    }
}

fn too_large() -> String {
    format!("larger than {} MiB", MESSAGE >> 20)
}

fn too_late(method: &str) -> Finding {
    finding(method, "temperror", None, Some("not found out in time".to_owned()))
}

/// The same for all methods.
fn undone(outcome: &str, why: &str) -> Vec<Finding> {
    let all = ["spf", "dkim", "arc", "dmarc"];
    all.map(|method| finding(method, outcome, None, Some(why.to_owned())))
        .to_vec()
}

#[cfg(test)]
mod tests;
