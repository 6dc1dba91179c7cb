//! What holds for a whole connection.

use host_config::{Config, Listener, ListenerTls};
use host_contract::AdmissionTerms;
use host_mail::{Client, Reply};

use super::super::{auth, replies};

/// AUTH attempts that may fail before the connection is closed.
const AUTH_FAILURES: usize = 3;

/// What this client may do and owes: configuration, listener and admission in one. Never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// This host's name.
    pub hostname: String,
    /// Octets.
    pub message_size: u64,
    /// Of one transaction.
    pub recipients: usize,
    /// After these the connection is closed.
    pub errors: usize,
    /// Of one connection.
    pub transactions: usize,
    /// STARTTLS can be had.
    pub starttls: bool,
    /// AUTH is offered in the clear.
    pub auth_without_tls: bool,
    /// AUTH must come before MAIL.
    pub authentication: bool,
    /// TLS must come before AUTH and MAIL.
    pub encryption: bool,
}

impl Rules {
    /// The terms of admission go before the listener's.
    pub fn new(config: &Config, listener: &Listener, terms: &AdmissionTerms, tls_available: bool) -> Self {
        let limits = &config.limits;
        Self {
            hostname: config.hostname.clone(),
            message_size: limits.message_size,
            recipients: limits.recipients,
            errors: limits.errors,
            transactions: limits.transactions,
            starttls: tls_available && listener.tls == ListenerTls::StartTls,
            auth_without_tls: listener.auth_without_tls,
            authentication: terms.owes_authentication(listener.require_authentication),
            encryption: terms.owes_encryption(listener.require_encryption),
        }
    }
}

/// Facts about a connection; they survive RSET and every message.
#[derive(Debug)]
pub struct Session {
    /// Fixed at admission.
    pub rules: Rules,
    /// The peer as known by now.
    pub client: Client,
    /// EHLO was used, not HELO.
    pub extended: bool,
    pub(super) transactions: usize,
    errors: usize,
    auth_failures: usize,
}

impl Session {
    /// A connection that was admitted.
    pub fn new(rules: Rules, client: Client) -> Self {
        Self {
            rules,
            client,
            extended: false,
            transactions: 0,
            errors: 0,
            auth_failures: 0,
        }
    }

    /// The answer to EHLO (RFC 5321 section 4.1.1.1): only what would work now.
    pub(super) fn extensions(&self) -> Reply {
        let mut lines = vec![
            self.rules.hostname.clone(),
            "PIPELINING".to_owned(),
            format!("SIZE {}", self.rules.message_size),
            "8BITMIME".to_owned(),
            "SMTPUTF8".to_owned(),
            "ENHANCEDSTATUSCODES".to_owned(),
        ];
        if self.can_start_tls() {
            lines.push("STARTTLS".to_owned());
        }
        if self.can_authenticate() && self.client.identity.is_none() {
            lines.push(format!("AUTH {}", auth::MECHANISMS));
        }
        lines.push("HELP".to_owned());
        Reply::bare(250, lines.join("\n"))
    }

    /// What the client owes before MAIL.
    pub(super) fn owed(&self) -> Option<Reply> {
        if self.rules.encryption && self.client.tls.is_none() {
            Some(replies::encryption_required())
        } else if self.rules.authentication && self.client.identity.is_none() {
            Some(replies::authentication_required())
        } else {
            None
        }
    }

    pub(super) fn can_start_tls(&self) -> bool {
        self.rules.starttls && self.client.tls.is_none()
    }

    /// RFC 4954 section 4: passwords in the clear only where the operator says so.
    pub(super) fn can_authenticate(&self) -> bool {
        self.client.tls.is_some() || (self.rules.auth_without_tls && !self.rules.encryption)
    }

    /// One mistake more; the error closes the connection.
    pub(super) fn count_error(&mut self) -> Result<(), Reply> {
        self.errors += 1;
        if self.errors < self.rules.errors {
            Ok(())
        } else {
            Err(replies::too_many_errors(&self.rules.hostname))
        }
    }

    /// One failed AUTH more; the error closes the connection.
    pub(super) fn count_auth_failure(&mut self) -> Result<(), Reply> {
        self.auth_failures += 1;
        if self.auth_failures < AUTH_FAILURES {
            self.count_error()
        } else {
            Err(replies::too_many_errors(&self.rules.hostname))
        }
    }
}
