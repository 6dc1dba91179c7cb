//! Verification of a message's origin: SPF (RFC 7208), DKIM (RFC 6376), DMARC (RFC 7489) and ARC (RFC 8617), with
//! results as in RFC 8601. Computed on demand and once per message for the live services. Bounded in size, number and
//! time; a bound or a DNS failure is reported as a finding.

mod auth_results;
mod body_hashes;

use std::time::Duration;

use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{AuthenticatedMessage, DkimOutput, MessageAuthenticator, SpfOutput, SpfResult};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::services::verification::auth_results::{finding, found_arc, found_dkim, found_dmarc, found_spf};
use crate::services::verification::body_hashes::hash_relaxed_bodies;
use host_directory::dns::Resolver;
use host_engine::host_call::Finding;
use host_engine::message_view::{Arrival, MessageView};
use host_mail::{Content, HeaderBlock};

/// Maximum size of a message for the verification of signatures, in bytes.
const MAX_MESSAGE: u64 = 16 * 1024 * 1024;
/// Maximum number of DKIM signatures that are verified, the topmost first.
const MAX_SIGNATURES: usize = 8;
/// Maximum number of ARC sets.
const MAX_ARC_SETS: usize = 16;
/// Time limit of SPF, DKIM and ARC. DMARC needs the results.
const FIRST_PHASE: Duration = Duration::from_millis(3000);
/// Time limit of the whole verification.
const TIME_LIMIT: Duration = Duration::from_millis(4000);
/// Maximum number of messages that are verified at the same time, and held in memory.
const MAX_CONCURRENT: usize = 8;
/// Bytes per read.
const READ_SIZE: usize = 1024 * 1024;

/// A verifier of messages, with a limit on concurrent verifications.
pub(crate) struct Verifier {
    hostname: String,
    permits: Semaphore,
}

impl Verifier {
    /// Makes a verifier. `hostname` is this host's name, for the macros of SPF.
    pub(crate) fn new(hostname: String) -> Self {
        Self {
            hostname,
            permits: Semaphore::new(MAX_CONCURRENT),
        }
    }

    /// Returns the findings of all methods. A method that could not run has a finding, too.
    pub(crate) async fn findings(&self, dns: &Resolver, message: &MessageView) -> Vec<Finding> {
        let Some(received) = message.received() else {
            return all_with("none", "it is not known where the message is from");
        };
        match self.verify(dns, received, message).await {
            Ok(findings) => findings,
            Err(why) => all_with("temperror", &why),
        }
    }

    async fn verify(&self, dns: &Resolver, received: &Arrival, message: &MessageView) -> Result<Vec<Finding>, String> {
        let end = Instant::now() + TIME_LIMIT;
        let resolver = dns.resolver().await.map_err(|error| error.to_string())?.clone();
        let verification = Verification {
            authenticator: MessageAuthenticator(resolver),
            hostname: self.hostname.clone(),
            received: received.clone(),
            end,
        };
        let content = message.content();
        let _permit = timeout_at(end, self.permits.acquire())
            .await
            .map_err(|_| "too many messages are being verified".to_owned())?;
        // Hashing a large message takes long, and parsers of hostile input may panic: neither may happen on a worker of
        // the runtime.
        let handle = Handle::current();
        let verifying = tokio::task::spawn_blocking(move || {
            let (raw, is_complete) =
                read(&*content).map_err(|error| format!("the message could not be read: {error}"))?;
            Ok(handle.block_on(verification.run(&raw, is_complete)))
        });
        match timeout_at(end + Duration::from_millis(200), verifying).await {
            Ok(Ok(findings)) => findings,
            Ok(Err(_)) => Err("the verifier failed; this is a defect of the host".to_owned()),
            Err(_) => Err("not verified in time".to_owned()),
        }
    }
}

/// The verification of a message.
struct Verification {
    authenticator: MessageAuthenticator,
    hostname: String,
    received: Arrival,
    end: Instant,
}

impl Verification {
    async fn run(&self, raw: &[u8], is_complete: bool) -> Vec<Finding> {
        let first = self.end - (TIME_LIMIT - FIRST_PHASE);
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
        let unverified = message.dkim_headers.len().saturating_sub(MAX_SIGNATURES);
        message.dkim_headers.truncate(MAX_SIGNATURES);
        hash_relaxed_bodies(&mut message);
        let message = &message;
        let dkim = async {
            if is_complete {
                self.authenticator.verify_dkim(message).await
            } else {
                Vec::new()
            }
        };
        let (spf, dkim, arc) = tokio::join!(
            timeout_at(first, self.spf()),
            timeout_at(first, dkim),
            timeout_at(first, self.arc(message, is_complete)),
        );
        let undecided = spf.is_err() || dkim.is_err() || !is_complete;
        let spf = spf.unwrap_or_else(|_| self.spf_too_late());
        findings.push(found_spf(&spf));
        match &dkim {
            Ok(_) if !is_complete => findings.push(finding("dkim", "policy", None, Some(too_large()))),
            Ok(outputs) => findings.extend(found_dkim(outputs)),
            Err(_) => findings.push(too_late("dkim")),
        }
        if unverified > 0 && is_complete {
            let why = format!("{unverified} more signatures were not verified");
            findings.push(finding("dkim", "policy", None, Some(why)));
        }
        findings.push(arc.unwrap_or_else(|_| too_late("arc")));
        let dkim = dkim.unwrap_or_default();
        let dmarc = timeout_at(self.end, self.dmarc(message, &dkim, &spf, undecided)).await;
        findings.push(dmarc.unwrap_or_else(|_| too_late("dmarc")));
        findings
    }

    /// Verifies SPF; the HELO name is used for the null reverse-path (RFC 7208 section 2.4).
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

    async fn arc(&self, message: &AuthenticatedMessage<'_>, is_complete: bool) -> Finding {
        if !is_complete {
            return finding("arc", "policy", None, Some(too_large()));
        }
        if message.ams_headers.len() > MAX_ARC_SETS {
            return finding("arc", "policy", None, Some(format!("more than {MAX_ARC_SETS} sets")));
        }
        found_arc(&self.authenticator.verify_arc(message).await)
    }

    /// Evaluates DMARC. If SPF or DKIM is `undecided`, a failure is temporary.
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

/// Reads the message, or only the header of a message that is too large. Returns true for a complete message.
fn read(content: &dyn Content) -> std::io::Result<(Vec<u8>, bool)> {
    if content.size() > MAX_MESSAGE {
        let mut header = HeaderBlock::read(content)?.as_bytes().to_vec();
        header.extend_from_slice(b"\r\n");
        return Ok((header, false));
    }
    let mut raw = Vec::with_capacity(usize::try_from(content.size()).unwrap_or(0));
    loop {
        let chunk = content.read(raw.len() as u64, READ_SIZE)?;
        if chunk.is_empty() {
            return Ok((raw, true));
        }
        raw.extend_from_slice(&chunk);
    }
}

fn too_large() -> String {
    format!("larger than {} MiB", MAX_MESSAGE >> 20)
}

fn too_late(method: &str) -> Finding {
    finding(method, "temperror", None, Some("not found out in time".to_owned()))
}

/// Returns the same finding for all methods.
fn all_with(outcome: &str, why: &str) -> Vec<Finding> {
    let all = ["spf", "dkim", "arc", "dmarc"];
    all.map(|method| finding(method, outcome, None, Some(why.to_owned())))
        .to_vec()
}

#[cfg(test)]
mod tests;
