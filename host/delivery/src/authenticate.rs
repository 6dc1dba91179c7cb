//! SMTP AUTH as a client (RFC 4954): only within TLS, and only to a server whose certificate has verified.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use host_config::{ServerLogin, secret};
use host_mail::Reply;

use super::outcome::RecipientOutcome;
use crate::client_connection::{Connection, Unusable};
use crate::client_wire::WireError;

/// Longest command line in bytes, including CRLF (RFC 4954 section 4).
const MAX_LINE: usize = 512;
/// Time for which a refused password is not sent again. Servers lock accounts, and block hosts, after repeated
/// refusals.
const COOLDOWN: Duration = Duration::from_secs(15 * 60);
/// Number of leading characters of a secret that, found in a reply, count as a repetition of the secret.
const SECRET_PREFIX: usize = 8;

/// Last refusal of each login. Attempts with the same login run in sequence.
#[derive(Default)]
pub(super) struct Logins(parking_lot::Mutex<HashMap<ServerLogin, Arc<Mutex<Option<RefusedLogin>>>>>);

/// A password that was refused.
struct RefusedLogin {
    password: String,
    outcome: RecipientOutcome,
    at: Instant,
}

/// User name and password for a server.
pub(super) struct LoginCredentials {
    user: String,
    password: String,
    last_refusal: Arc<Mutex<Option<RefusedLogin>>>,
}

impl Logins {
    /// Reads the password file and returns the credentials of `login`. Fails if the file cannot be read, or if the
    /// server has refused the same password within the cooldown.
    pub(super) async fn credentials(&self, login: &ServerLogin) -> Result<LoginCredentials, RecipientOutcome> {
        let file = login.password_file.clone();
        let read = tokio::task::spawn_blocking(move || secret(&file)).await;
        let password = read.unwrap_or_else(|error| Err(error.to_string()));
        let credentials = LoginCredentials {
            user: login.user.clone(),
            password: password.map_err(|why| login_deferral(&login.server.to_string(), &why))?,
            last_refusal: self.last_refusal(login),
        };
        // The lock is held during a login; `log_in` checks the refusal again once it has the lock.
        let refusal = credentials
            .last_refusal
            .try_lock()
            .ok()
            .and_then(|last| credentials.refusal(&last));
        refusal.map_or(Ok(credentials), Err)
    }

    fn last_refusal(&self, login: &ServerLogin) -> Arc<Mutex<Option<RefusedLogin>>> {
        Arc::clone(self.0.lock().entry(login.clone()).or_default())
    }
}

impl LoginCredentials {
    /// Returns the outcome of the last login if this password was refused within the cooldown.
    fn refusal(&self, last: &Option<RefusedLogin>) -> Option<RecipientOutcome> {
        let last = last.as_ref()?;
        (last.password == self.password && last.at.elapsed() < COOLDOWN).then(|| last.outcome.clone())
    }
}

impl Connection {
    /// Logs in with AUTH PLAIN (RFC 4616), or with LOGIN if PLAIN is not offered.
    ///
    /// Every failure is a deferral: a failed login concerns this host and the server, not the message. A permanent
    /// refusal is remembered for the cooldown.
    pub(super) async fn log_in(&mut self, credentials: &LoginCredentials) -> Result<(), Unusable> {
        let Ok(mut last) = timeout_at(self.deadline, credentials.last_refusal.lock()).await else {
            return Err(Unusable::AddressFailed(login_deferral(
                &self.host,
                "others are still at it",
            )));
        };
        if let Some(outcome) = credentials.refusal(&last) {
            return Err(Unusable::LoginRefused(outcome));
        }
        let reply = self.authenticate(credentials).await?;
        if reply.code == 235 {
            return Ok(());
        }
        let is_permanent = reply.is_permanent();
        let outcome = login_deferral(&self.host, &redact_secrets(reply, credentials).to_string());
        if !is_permanent {
            return Err(Unusable::AddressFailed(outcome));
        }
        *last = Some(RefusedLogin {
            password: credentials.password.clone(),
            outcome: outcome.clone(),
            at: Instant::now(),
        });
        Err(Unusable::LoginRefused(outcome))
    }

    async fn authenticate(&mut self, credentials: &LoginCredentials) -> Result<Reply, Unusable> {
        let LoginCredentials { user, password, .. } = credentials;
        let reply = if self.offers.auth_plain {
            self.auth_plain(user, password).await
        } else if self.offers.auth_login {
            self.auth_exchange(["AUTH LOGIN", &STANDARD.encode(user), &STANDARD.encode(password)])
                .await
        } else {
            let why = "neither AUTH PLAIN nor AUTH LOGIN is offered within TLS";
            return Err(Unusable::AddressFailed(login_deferral(&self.host, why)));
        };
        reply.map_err(|error| match error {
            // The text of a malformed reply may repeat the secret.
            WireError::BadReply(_) => Unusable::AddressFailed(login_deferral(&self.host, "what came is no reply")),
            error => error.into(),
        })
    }

    async fn auth_plain(&mut self, user: &str, password: &str) -> Result<Reply, WireError> {
        let response = plain(user, password);
        let line = format!("AUTH PLAIN {response}");
        if line.len() + 2 <= MAX_LINE {
            self.auth_exchange([&line]).await
        } else {
            self.auth_exchange(["AUTH PLAIN", &response]).await
        }
    }

    /// Sends each line once the previous line was answered with 334, and returns the last reply.
    async fn auth_exchange<const N: usize>(&mut self, lines: [&str; N]) -> Result<Reply, WireError> {
        let mut lines = lines.into_iter();
        let mut reply = Reply::bare(334, "");
        while reply.code == 334
            && let Some(line) = lines.next()
        {
            reply = self.ask(&format!("{line}\r\n")).await?;
        }
        Ok(reply)
    }
}

/// The response of AUTH PLAIN, in base64.
pub(super) fn plain(user: &str, password: &str) -> String {
    STANDARD.encode(format!("\0{user}\0{password}"))
}

/// Redacts a reply that repeats the password in any form. Some servers repeat unknown commands, and the reply goes into
/// events, records and reports.
fn redact_secrets(mut reply: Reply, LoginCredentials { user, password, .. }: &LoginCredentials) -> Reply {
    let secrets = [password.clone(), STANDARD.encode(password), plain(user, password)];
    // Some servers repeat commands in capitals.
    let text = reply.text.to_lowercase();
    let repeats = |secret: &String| {
        let beginning: String = secret.chars().take(SECRET_PREFIX).collect();
        text.contains(&beginning.to_lowercase())
    };
    if secrets.iter().any(repeats) {
        reply.text = "(the reply repeats what was sent)".to_owned();
    }
    reply
}

/// The outcome for recipients if a login at `host` is not possible.
pub(super) fn login_deferral(host: &str, why: &str) -> RecipientOutcome {
    RecipientOutcome::Deferred(Reply::new(454, (4, 7, 0), format!("logging in at {host}: {why}")))
}
