//! Verification of credentials, and the consequences of failed logins.

use std::net::IpAddr;
use std::time::Duration;

use super::{Driver, NextStep};
use crate::session::auth::Evidence;
use crate::session::driver::input::Interrupted;
use crate::session::login_fault::LoginFault;
use crate::session::login_limiter::LimitedBy;
use crate::session::machine::{FindingVerifier, RejectedLogin, Step, Verifying};
use crate::session::transport::Stream;
use crate::session::wire::Wire;
use host_directory::{Directory, Login, LookupError};
use host_events::Event;
use host_mail::{Client, client_network, cut};

/// Maximum length of a user name in an event, in bytes.
const MAX_USER: usize = 255;

impl Driver {
    /// Looks up the verifier of SCRAM. A user without one gets a challenge that no proof answers.
    pub(super) async fn find_verifier(&mut self, pending: FindingVerifier) -> NextStep {
        let directory = self.context.directory.clone();
        let network = client_network(pending.session.client.address);
        let account = directory.login_name(pending.start.user()).await;
        if let Err(limit) = self.context.logins.admit(network, &account) {
            return self.refuse_login(pending.rejected(LoginFault::Refused), limit);
        }
        match directory.scram_login(pending.start.user()).await {
            Ok(Some(login)) => pending.found(login),
            Ok(None) => Step::RejectLogin(pending.rejected(LoginFault::Credentials)),
            Err(error) => {
                let rejected = pending.rejected(LoginFault::Unavailable);
                self.emit_failed_login(&rejected, error.to_string());
                rejected.done()
            }
        }
    }

    /// Verifies the credentials. A client that closes the connection withdraws its attempt.
    pub(super) async fn verify<S>(&mut self, wire: &mut Wire<S>, pending: Verifying) -> Result<NextStep, Interrupted>
    where
        S: Stream,
    {
        let directory = self.context.directory.clone();
        let user = &pending.credentials.user;
        let network = client_network(pending.session.client.address);
        let password = match &pending.credentials.evidence {
            Evidence::Password(password) => password.reveal(),
            Evidence::Proven(account) => {
                let account = account.clone();
                self.context.logins.succeeded(network, &account);
                return Ok(pending.accepted(account));
            }
            Evidence::Certificate(names) => {
                let found = account_of_certificate(&*directory, names, user).await;
                return Ok(match found {
                    Ok(Some(account)) => {
                        self.context.logins.succeeded(network, &account);
                        pending.accepted(account)
                    }
                    Ok(None) => Step::RejectLogin(pending.rejected(LoginFault::Certificate)),
                    Err(error) => {
                        let rejected = pending.rejected(LoginFault::Unavailable);
                        self.emit_failed_login(&rejected, error.to_string());
                        rejected.done()
                    }
                });
            }
        };
        let account = directory.login_name(user).await;
        let known = match self.context.logins.admit(network, &account) {
            Ok(known) => known,
            Err(limit) => return Ok(self.refuse_login(pending.rejected(LoginFault::Refused), limit)),
        };
        let login = Login {
            user,
            password,
            network,
            known,
        };
        match self.peer.while_connected(wire, directory.authenticate(login)).await? {
            Ok(Some(account)) => {
                self.context.logins.succeeded(network, &account);
                Ok(pending.accepted(account))
            }
            Ok(None) => self.reject_login(wire, pending.rejected(LoginFault::Credentials)).await,
            Err(error @ (LookupError::Busy | LookupError::Unavailable(_))) => {
                let rejected = pending.rejected(LoginFault::Unavailable);
                self.emit_failed_login(&rejected, error.to_string());
                Ok(rejected.done())
            }
        }
    }

    fn refuse_login(&self, rejected: RejectedLogin, limit: LimitedBy) -> NextStep {
        let reason = format!("{}, of the {}", LoginFault::Refused.reason(), subject(limit));
        self.emit_failed_login(&rejected, reason);
        rejected.done()
    }

    /// Emits an event and returns the reply. A guess counts towards the limits on failed logins, and its reply is
    /// delayed.
    pub(super) async fn reject_login<S>(
        &mut self,
        wire: &mut Wire<S>,
        rejected: RejectedLogin,
    ) -> Result<NextStep, Interrupted>
    where
        S: Stream,
    {
        let fault = rejected.failed.fault;
        self.emit_failed_login(&rejected, fault.reason().to_owned());
        let network = client_network(rejected.session.client.address);
        if fault.is_malformed() {
            self.count_failure(network, "");
        }
        if fault.is_guess() {
            let account = self.context.directory.login_name(&rejected.failed.user).await;
            let delay = self.count_failure(network, &account);
            self.peer.pause(wire, delay).await?;
        }
        Ok(rejected.done())
    }

    /// Counts a failed login towards the limits, with Event 5095 for a limit that is reached. Returns the delay of the
    /// reply. `account` is empty if the attempt named none.
    fn count_failure(&self, network: IpAddr, account: &str) -> Duration {
        let limits = &self.context.config.login_limits;
        let penalty = self.context.logins.failed(limits, network, account);
        for limit in penalty.reached {
            let (client, account, failures) = match limit {
                LimitedBy::Network => (Some(network.to_string()), None, limits.failures_per_client),
                LimitedBy::Account => (
                    None,
                    Some(cut(account.to_owned(), MAX_USER)),
                    limits.failures_per_account,
                ),
            };
            self.context.events.emit(Event::LoginsRefused {
                client,
                account,
                failures: failures.into(),
                for_seconds: limits.refuse.as_secs(),
            });
        }
        penalty.delay
    }

    /// Emits the event of an exchange with a line that is too long, which ends the connection and counts as a failed
    /// login of the client.
    pub(super) fn reject_endless_exchange(&self, mechanism: &str, client: &Client) {
        self.count_failure(client_network(client.address), "");
        self.context.events.emit(Event::AuthFailed {
            session: self.peer.session.to_string(),
            client: self.peer.address.clone(),
            mechanism: mechanism.to_owned(),
            account: String::new(),
            reason: "the response is too long".to_owned(),
        });
    }

    fn emit_failed_login(&self, rejected: &RejectedLogin, reason: String) {
        self.context.events.emit(Event::AuthFailed {
            session: self.peer.session.to_string(),
            client: self.peer.address.clone(),
            mechanism: rejected.failed.mechanism.to_owned(),
            account: cut(rejected.failed.user.clone(), MAX_USER),
            reason,
        });
    }
}

/// Returns the account of a certificate: the one that the client asks for, or else the first that a name in the
/// certificate leads to. A client asks for no account that its certificate does not name.
async fn account_of_certificate(
    directory: &dyn Directory,
    names: &[String],
    asked: &str,
) -> Result<Option<String>, LookupError> {
    let wanted = match asked {
        "" => None,
        asked => Some(directory.login_name(asked).await),
    };
    for name in names {
        let account = directory.account_named(name).await?;
        if account.is_some() && (wanted.is_none() || account == wanted) {
            return Ok(account);
        }
    }
    Ok(None)
}

/// Returns the subject of a limit in words.
fn subject(limit: LimitedBy) -> &'static str {
    match limit {
        LimitedBy::Network => "client",
        LimitedBy::Account => "account",
    }
}
