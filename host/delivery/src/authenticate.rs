//! Says to a server who this host is (RFC 4954): only within TLS, and only to one whose certificate has verified.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use host_config::{ServerLogin, secret};
use host_mail::Reply;

use super::outcome::RecipientOutcome;
use crate::client_wire::WireError;
use crate::connect::{Connection, Unusable};

/// Longest command line (RFC 4954 section 4), its end included.
const MAX_LINE: usize = 512;
/// A password that was refused is not said again for so long: servers lock accounts, and shut out hosts, that insist.
const COOLDOWN: Duration = Duration::from_secs(15 * 60);
/// So much of a secret in a reply is a repetition of it.
const TELLING: usize = 8;

/// What is known of logins: at each server they are tried one at a time.
#[derive(Default)]
pub(super) struct Logins(std::sync::Mutex<HashMap<ServerLogin, Arc<Mutex<Option<RefusedLogin>>>>>);

/// A password that was refused.
struct RefusedLogin {
    password: String,
    outcome: RecipientOutcome,
    at: Instant,
}

/// A name and its password.
pub(super) struct Access {
    user: String,
    password: String,
    refused: Arc<Mutex<Option<RefusedLogin>>>,
}

impl Logins {
    /// With the password as it is in its file now, unless it was refused not long ago.
    pub(super) async fn access(&self, login: &ServerLogin) -> Result<Access, RecipientOutcome> {
        let file = login.password_file.clone();
        let read = tokio::task::spawn_blocking(move || secret(&file)).await;
        let password = read.unwrap_or_else(|error| Err(error.to_string()));
        let access = Access {
            user: login.user.clone(),
            password: password.map_err(|why| no_login(&login.server.host(), &why))?,
            refused: self.known(login),
        };
        // If it is said just now, it is looked at again before it is said once more.
        let refusal = access.refused.try_lock().ok().and_then(|last| access.refusal(&last));
        refusal.map_or(Ok(access), Err)
    }

    fn known(&self, login: &ServerLogin) -> Arc<Mutex<Option<RefusedLogin>>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(login.clone()).or_default())
    }
}

impl Access {
    /// What was said to this password, if it was refused not long ago.
    fn refusal(&self, last: &Option<RefusedLogin>) -> Option<RecipientOutcome> {
        let last = last.as_ref()?;
        (last.password == self.password && last.at.elapsed() < COOLDOWN).then(|| last.outcome.clone())
    }
}

impl Connection {
    /// AUTH PLAIN (RFC 4616), or LOGIN where nothing else is offered. If it fails mail waits: that is between this host
    /// and the server, and says nothing about the message.
    pub(super) async fn log_in(&mut self, access: &Access) -> Result<(), Unusable> {
        let Ok(mut last) = timeout_at(self.deadline, access.refused.lock()).await else {
            return Err(Unusable::RecipientOutcome(no_login(
                &self.host,
                "others are still at it",
            )));
        };
        if let Some(outcome) = access.refusal(&last) {
            return Err(Unusable::ServerLogin(outcome));
        }
        let reply = self.authenticate(access).await?;
        if reply.code == 235 {
            return Ok(());
        }
        let is_permanent = reply.is_permanent();
        let outcome = no_login(&self.host, &redact_secrets(reply, access).to_string());
        if !is_permanent {
            return Err(Unusable::RecipientOutcome(outcome));
        }
        *last = Some(RefusedLogin {
            password: access.password.clone(),
            outcome: outcome.clone(),
            at: Instant::now(),
        });
        Err(Unusable::ServerLogin(outcome))
    }

    async fn authenticate(&mut self, access: &Access) -> Result<Reply, Unusable> {
        let Access { user, password, .. } = access;
        let said = if self.offers.auth_plain {
            self.auth_plain(user, password).await
        } else if self.offers.auth_login {
            self.say_in_turn(["AUTH LOGIN", &STANDARD.encode(user), &STANDARD.encode(password)])
                .await
        } else {
            let why = "neither AUTH PLAIN nor AUTH LOGIN is offered within TLS";
            return Err(Unusable::RecipientOutcome(no_login(&self.host, why)));
        };
        said.map_err(|error| match error {
            // What came may be what was sent.
            WireError::BadReply(_) => Unusable::RecipientOutcome(no_login(&self.host, "what came is no reply")),
            error => error.into(),
        })
    }

    async fn auth_plain(&mut self, user: &str, password: &str) -> Result<Reply, WireError> {
        let response = plain(user, password);
        let line = format!("AUTH PLAIN {response}");
        if line.len() + 2 <= MAX_LINE {
            self.say_in_turn([&line]).await
        } else {
            self.say_in_turn(["AUTH PLAIN", &response]).await
        }
    }

    /// Each line when the one before was answered with 334; the last reply.
    async fn say_in_turn<const N: usize>(&mut self, lines: [&str; N]) -> Result<Reply, WireError> {
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

/// The response of AUTH PLAIN.
pub(super) fn plain(user: &str, password: &str) -> String {
    STANDARD.encode(format!("\0{user}\0{password}"))
}

/// Some servers repeat what they do not understand; the reply goes into events, records and reports.
fn redact_secrets(mut reply: Reply, Access { user, password, .. }: &Access) -> Reply {
    let secrets = [password.clone(), STANDARD.encode(password), plain(user, password)];
    // Some in capitals.
    let text = reply.text.to_lowercase();
    let repeats = |secret: &String| {
        let beginning: String = secret.chars().take(TELLING).collect();
        text.contains(&beginning.to_lowercase())
    };
    if secrets.iter().any(repeats) {
        reply.text = "(the reply repeats what was sent)".to_owned();
    }
    reply
}

/// Why nothing is sent to this server.
pub(super) fn no_login(host: &str, why: &str) -> RecipientOutcome {
    RecipientOutcome::Deferred(Reply::new(454, (4, 7, 0), format!("logging in at {host}: {why}")))
}
