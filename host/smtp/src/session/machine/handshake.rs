//! AUTH (RFC 4954) and STARTTLS (RFC 3207).

use super::connection::Session;
use super::state::{Authenticating, Conversation, Handshake, Phase, Step, Verified, Verifying};
use crate::session::auth::{self, ExchangeState, Secret};
use crate::session::replies;
use host_mail::{Identity, TlsSession};

impl<P> Conversation<P> {
    pub(super) fn auth(self, mechanism: &str, initial: Option<&Secret>) -> Step<P> {
        let session = &self.session;
        let refusal = if !matches!(self.phase, Phase::Greeted) || !session.extended {
            Some(replies::out_of_order(
                "AUTH comes after EHLO and not within a transaction",
            ))
        } else if session.client.identity.is_some() {
            Some(replies::out_of_order("Already authenticated"))
        } else if session.can_authenticate() {
            None
        } else if session.can_start_tls() {
            Some(replies::authentication_needs_tls())
        } else {
            Some(replies::not_implemented())
        };
        match refusal {
            Some(reply) => self.mistake(reply),
            None => Authenticating::advance(self.session, auth::start(mechanism, initial)),
        }
    }

    pub(super) fn start_tls(self) -> Step<P> {
        let session = &self.session;
        if session.client.tls.is_some() {
            self.mistake(replies::out_of_order("TLS is already on"))
        } else if !session.rules.starttls {
            self.mistake(replies::not_implemented())
        } else if !session.extended {
            self.mistake(replies::out_of_order("Send EHLO first"))
        } else {
            Step::StartTls(replies::start_tls(), Handshake { session: self.session })
        }
    }
}

impl Authenticating {
    /// Continues the exchange with a line without CR LF.
    pub fn response<P>(self, line: &[u8]) -> Step<P> {
        let state = self.exchange.response(line);
        Self::advance(self.session, state)
    }

    fn advance<P>(session: Box<Session>, state: ExchangeState) -> Step<P> {
        match state {
            ExchangeState::Challenge(reply, exchange) => Step::Challenge(reply, Self { session, exchange }),
            ExchangeState::Complete(credentials) => Step::Verify(Verifying { session, credentials }),
            ExchangeState::OnBehalf(credentials) => Step::Impersonation(Verifying { session, credentials }),
            ExchangeState::Failed(reply) => Conversation::greeted(session).mistake(reply),
        }
    }
}

impl Verifying {
    /// Ends the exchange.
    pub fn result<P>(mut self, verified: Verified) -> Step<P> {
        match verified {
            Verified::Account(account) => {
                self.session.client.identity = Some(Identity {
                    account,
                    mechanism: self.credentials.mechanism.to_owned(),
                });
                Conversation::greeted(self.session).reply(replies::authenticated())
            }
            Verified::Invalid => match self.session.count_auth_failure() {
                Ok(()) => Conversation::greeted(self.session).reply(replies::credentials_invalid()),
                Err(closing_reply) => Step::Close(closing_reply, Some("too many failed AUTH attempts")),
            },
            Verified::Unavailable => Conversation::greeted(self.session).reply(replies::authentication_unavailable()),
        }
    }
}

impl Handshake {
    /// Continues under TLS. The session forgets what the client sent in plaintext (RFC 3207 section 4.2), but not the
    /// counted errors.
    pub fn established<P>(mut self, tls: TlsSession) -> Step<P> {
        let session = &mut self.session;
        session.client.helo = None;
        session.client.identity = None;
        session.client.tls = Some(tls);
        session.extended = false;
        Step::Listen(
            None,
            Conversation {
                session: self.session,
                phase: Phase::Connected,
            },
        )
    }
}
