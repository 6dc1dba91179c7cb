//! An open SMTP or LMTP connection to a remote: commands, replies and time limits.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use host_mail::Reply;

use super::destination::Protocol;
use super::outcome::RecipientOutcome;
use crate::activity::Activity;
use crate::client_tls::TlsFacts;
use crate::client_wire::{ClientWire, WireError};

/// Extensions that a remote offers (RFC 5321 section 4.1.1.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Offers {
    /// RFC 2920.
    pub(super) pipelining: bool,
    /// RFC 6152.
    pub(super) eight_bit: bool,
    /// RFC 6531.
    pub(super) utf8: bool,
    /// RFC 3207.
    pub(super) start_tls: bool,
    /// RFC 4954 with PLAIN (RFC 4616).
    pub(super) auth_plain: bool,
    /// RFC 4954 with LOGIN.
    pub(super) auth_login: bool,
    /// RFC 3461.
    pub(super) dsn: bool,
    /// RFC 3030, CHUNKING.
    pub(super) chunking: bool,
    /// RFC 3030, BINARYMIME.
    pub(super) binary: bool,
    /// RFC 8689.
    pub(super) require_tls: bool,
    /// RFC 2852.
    pub(super) deliver_by: bool,
    /// RFC 6710.
    pub(super) priority: bool,
    /// RFC 9422, RCPTMAX: maximum recipients of a transaction, at least 1.
    pub(super) max_recipients: Option<usize>,
    /// RFC 9422, MAILMAX: maximum transactions of a connection, at least 1.
    pub(super) max_transactions: Option<u32>,
    /// RFC 1870: maximum message size in bytes; 0 is no limit.
    pub(super) size: Option<u64>,
}

impl Offers {
    /// Parses the reply to EHLO or LHLO. The first line is the remote's name and is skipped.
    pub(super) fn parse(reply: &Reply) -> Self {
        let mut offers = Self::default();
        for line in reply.text.split('\n').skip(1) {
            let mut words = line.split_ascii_whitespace();
            match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "PIPELINING" => offers.pipelining = true,
                "8BITMIME" => offers.eight_bit = true,
                "SMTPUTF8" => offers.utf8 = true,
                "STARTTLS" => offers.start_tls = true,
                "DSN" => offers.dsn = true,
                "REQUIRETLS" => offers.require_tls = true,
                "DELIVERBY" => offers.deliver_by = true,
                "MT-PRIORITY" => offers.priority = true,
                "LIMITS" => words.for_each(|limit| offers.add_limit(limit)),
                "CHUNKING" => offers.chunking = true,
                "BINARYMIME" => offers.binary = true,
                "AUTH" => {
                    for mechanism in words {
                        offers.auth_plain |= mechanism.eq_ignore_ascii_case("PLAIN");
                        offers.auth_login |= mechanism.eq_ignore_ascii_case("LOGIN");
                    }
                }
                "SIZE" => offers.size = Some(words.next().and_then(|n| n.parse().ok()).unwrap_or(0)),
                _ => {}
            }
        }
        offers
    }

    /// Takes a limit `NAME=VALUE` of RFC 9422; unknown ones are ignored (section 3).
    fn add_limit(&mut self, limit: &str) {
        let Some((name, value)) = limit.split_once('=') else {
            return;
        };
        let value = value.parse().ok().filter(|value| *value > 0);
        match name.to_ascii_uppercase().as_str() {
            "RCPTMAX" => self.max_recipients = value.map(|value: u32| value as usize),
            "MAILMAX" => self.max_transactions = value,
            _ => {}
        }
    }
}

/// An open dialogue with a remote, ready for a transaction.
pub(super) struct Connection {
    pub(super) wire: ClientWire,
    pub(super) protocol: Protocol,
    pub(super) offers: Offers,
    /// TLS session; `None` in the clear.
    pub(super) tls: Option<Arc<TlsFacts>>,
    /// Name of the remote in reports.
    pub(super) host: String,
    /// Number of transactions so far.
    pub(super) transactions: u32,
    /// True if another transaction may begin after the last transaction.
    pub(super) reusable: bool,
    /// True if the last transaction was refused and is still open: RSET must end it.
    pub(super) needs_reset: bool,
    /// Record of the remote's signs of life, for the delivery that uses the connection.
    pub(super) activity: Activity,
    pub(super) reply_timeout: Duration,
    /// Time at which the current transaction, or the opening of the connection, is given up.
    pub(super) deadline: Instant,
}

/// Reason for which an address of a remote was not usable.
pub(super) enum Unusable {
    /// The address failed, with this outcome for the recipients. Another address may work.
    AddressFailed(RecipientOutcome),
    /// The TLS handshake failed; a connection without TLS may work.
    Handshake(String),
    /// The login was refused. Other addresses of the remote are not tried.
    LoginRefused(RecipientOutcome),
}

impl From<WireError> for Unusable {
    fn from(error: WireError) -> Self {
        Self::AddressFailed(RecipientOutcome::Deferred(bad_connection(&error.to_string())))
    }
}

impl Unusable {
    pub(super) fn outcome(self) -> RecipientOutcome {
        match self {
            Self::AddressFailed(outcome) | Self::LoginRefused(outcome) => outcome,
            Self::Handshake(why) => {
                RecipientOutcome::Deferred(Reply::new(454, (4, 7, 5), format!("TLS failed: {why}")))
            }
        }
    }
}

/// The reply of this host if a remote gave no usable reply: 4.4.2, bad connection (RFC 3463).
pub(super) fn bad_connection(why: &str) -> Reply {
    Reply::new(451, (4, 4, 2), why)
}

impl Connection {
    /// Sends octets within the reply timeout.
    pub(super) async fn send(&mut self, octets: &[u8]) -> Result<(), WireError> {
        let end = self.deadline_after(self.reply_timeout);
        timeout_at(end, self.wire.send(octets))
            .await
            .map_err(|_| timed_out())??;
        self.activity.touch();
        Ok(())
    }

    /// Reads the next reply within the reply timeout.
    pub(super) async fn reply(&mut self) -> Result<Reply, WireError> {
        self.reply_within(self.reply_timeout).await
    }

    /// Reads the next reply within `time`.
    pub(super) async fn reply_within(&mut self, time: Duration) -> Result<Reply, WireError> {
        let end = self.deadline_after(time);
        let reply = timeout_at(end, self.wire.reply()).await.map_err(|_| timed_out())??;
        self.activity.touch();
        Ok(reply)
    }

    /// Sends a command, given with CRLF, and reads the reply.
    pub(super) async fn ask(&mut self, command: &str) -> Result<Reply, WireError> {
        self.send(command.as_bytes()).await?;
        self.reply().await
    }

    /// True if the remote has neither closed the connection nor sent an unexpected reply, as far as is known locally.
    pub(super) fn is_alive(&mut self) -> bool {
        self.wire.is_quiet()
    }

    /// Sends QUIT (RFC 5321 section 4.1.1.10) and closes the connection. The reply is awaited for at most a second and
    /// ignored.
    pub(super) async fn quit(mut self) {
        const QUIT_TIMEOUT: Duration = Duration::from_secs(1);
        self.deadline = Instant::now() + QUIT_TIMEOUT;
        if self.send(b"QUIT\r\n").await.is_ok() {
            let _ = self.reply_within(QUIT_TIMEOUT).await;
        }
    }

    fn deadline_after(&self, time: Duration) -> Instant {
        self.deadline.min(Instant::now() + time)
    }
}

fn timed_out() -> WireError {
    WireError::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "timed out"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_offers_in_any_case() {
        let text = "mx.example greets\nPIPELINING\n8bitmime\nSIZE 1000\nSMTPUTF8\nSTARTTLS\nDSN\nchunking\nBINARYMIME\nREQUIRETLS\nDELIVERBY 60\nMT-PRIORITY\nLIMITS RCPTMAX=20 mailmax=5 RCPTDOMAINMAX=1 X=y\nAUTH X login Plain\nX-ODD a b\n";
        let offers = Offers::parse(&Reply::bare(250, text));
        let all = Offers {
            pipelining: true,
            eight_bit: true,
            utf8: true,
            start_tls: true,
            auth_plain: true,
            auth_login: true,
            dsn: true,
            chunking: true,
            binary: true,
            require_tls: true,
            deliver_by: true,
            priority: true,
            max_recipients: Some(20),
            max_transactions: Some(5),
            size: Some(1000),
        };
        assert_eq!(offers, all);
        assert_eq!(Offers::parse(&Reply::bare(250, "PIPELINING")), Offers::default());
        assert_eq!(
            Offers::parse(&Reply::bare(250, "x\nLIMITS RCPTMAX=0 MAILMAX=-1 RCPTMAX")),
            Offers::default()
        );
        assert_eq!(Offers::parse(&Reply::bare(250, "x\nSIZE")).size, Some(0));
        assert_eq!(Offers::parse(&Reply::bare(250, "x\nSIZE -1")).size, Some(0));
    }
}
