//! AUTH (RFC 4954) and STARTTLS (RFC 3207).

use super::connection::Session;
use super::state::{Authenticating, Conversation, FindingVerifier, Handshake, Phase, RejectedLogin, Step, Verifying};
use crate::session::auth::{self, ExchangeState, Secret};
use crate::session::login_fault::{FailedLogin, LoginFault};
use crate::session::replies;
use crate::session::transport::Secured;
use host_directory::ScramLogin;
use host_mail::{Client, Identity};

impl<P> Conversation<P> {
    pub(super) fn auth(self, mechanism: &str, initial: Option<&Secret>) -> Step<P> {
        let session = &self.session;
        let refusal = if !session.rules.auth {
            Some(replies::not_implemented())
        } else if !matches!(self.phase, Phase::Greeted) || !session.extended {
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
            None => match self.session.exchange(mechanism) {
                Some(exchange) => Authenticating::advance(self.session, auth::start(exchange, initial)),
                None => self.mistake(replies::unknown_mechanism()),
            },
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
    /// Name of the mechanism.
    pub fn mechanism(&self) -> &'static str {
        self.exchange.mechanism()
    }

    /// Client of the session.
    pub fn client(&self) -> &Client {
        &self.session.client
    }

    /// Continues the exchange with a line without CR LF.
    pub fn response<P>(self, line: &[u8]) -> Step<P> {
        let state = self.exchange.response(line);
        Self::advance(self.session, state)
    }

    fn advance<P>(session: Box<Session>, state: ExchangeState) -> Step<P> {
        match state {
            ExchangeState::Challenge(reply, exchange) => Step::Challenge(reply, Self { session, exchange }),
            ExchangeState::Complete(credentials) => Step::Verify(Verifying { session, credentials }),
            ExchangeState::Failed(failed) => Step::RejectLogin(RejectedLogin { session, failed }),
            ExchangeState::FindVerifier(start) => Step::FindVerifier(FindingVerifier { session, start }),
        }
    }
}

impl FindingVerifier {
    /// Continues with the verifier.
    pub fn found<P>(self, login: ScramLogin) -> Step<P> {
        Authenticating::advance(self.session, auth::scram_challenge(self.start, login))
    }

    /// Ends the exchange: the login failed.
    pub fn rejected(self, fault: LoginFault) -> RejectedLogin {
        RejectedLogin {
            session: self.session,
            failed: FailedLogin {
                mechanism: self.start.mechanism(),
                user: self.start.user().to_owned(),
                fault,
            },
        }
    }
}

impl Verifying {
    /// Ends the exchange: the credentials belong to `account`.
    pub fn accepted<P>(mut self, account: String) -> Step<P> {
        self.session.client.identity = Some(Identity {
            account,
            mechanism: self.credentials.mechanism.to_owned(),
        });
        Conversation::greeted(self.session).reply(replies::authenticated())
    }

    /// Ends the exchange: the login failed.
    pub fn rejected(self, fault: LoginFault) -> RejectedLogin {
        RejectedLogin {
            session: self.session,
            failed: FailedLogin {
                mechanism: self.credentials.mechanism,
                user: self.credentials.user,
                fault,
            },
        }
    }
}

impl RejectedLogin {
    /// Replies and counts the attempt once: credentials that were or would have been wrong as failed AUTH, others as an
    /// error.
    pub fn done<P>(mut self) -> Step<P> {
        let fault = self.failed.fault;
        if !fault.is_guess() && fault != LoginFault::Refused {
            return Conversation::greeted(self.session).mistake(fault.reply());
        }
        match self.session.count_auth_failure() {
            Ok(()) => Conversation::greeted(self.session).reply(fault.reply()),
            Err(closing_reply) => Step::Close(closing_reply, Some("too many failed AUTH attempts")),
        }
    }
}

impl Handshake {
    /// Continues under TLS. The session forgets what the client sent in plaintext (RFC 3207 section 4.2), but not the
    /// counted errors.
    pub fn established<P>(mut self, tls: Secured) -> Step<P> {
        let session = &mut self.session;
        session.client.helo = None;
        session.client.identity = None;
        session.client.tls = Some(tls.session);
        session.channel_binding = tls.channel_binding;
        session.certificate_names = tls.certificate_names;
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
