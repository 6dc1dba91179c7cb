//! Rules and facts that last for a whole connection.

use host_config::{Config, Listener, ListenerTls};
use host_contract::AdmissionTerms;
use host_mail::{Client, Reply};

use crate::session::auth;
use crate::session::replies;

/// Number of failed AUTH attempts that closes the connection.
const MAX_AUTH_FAILURES: usize = 3;

/// Rules of a connection, merged from configuration, listener and admission. Constant for the whole connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Name of the host in replies.
    pub hostname: String,
    /// Maximum size of a message, in octets.
    pub message_size: u64,
    /// Maximum number of recipients of a transaction.
    pub recipients: usize,
    /// Number of errors that closes the connection.
    pub errors: usize,
    /// Maximum number of transactions of a connection.
    pub transactions: usize,
    /// True if STARTTLS is available.
    pub starttls: bool,
    /// True if AUTH is offered without TLS.
    pub auth_without_tls: bool,
    /// True if AUTH must precede MAIL.
    pub authentication: bool,
    /// True if TLS must precede AUTH and MAIL.
    pub encryption: bool,
}

impl Rules {
    /// Merges the rules. The terms of admission override the listener's configuration.
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

/// Facts about a connection, kept across RSET and across messages.
#[derive(Debug)]
pub struct Session {
    /// Rules, fixed at admission.
    pub rules: Rules,
    /// Peer as known so far.
    pub client: Client,
    /// True if the client used EHLO, not HELO.
    pub extended: bool,
    pub(super) transactions: usize,
    errors: usize,
    auth_failures: usize,
}

impl Session {
    /// Creates the session of an admitted connection.
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

    /// Reply to EHLO (RFC 5321 section 4.1.1.1): lists only extensions that work now.
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

    /// Reply to MAIL if the client has to start TLS or authenticate first.
    pub(super) fn missing_requirement(&self) -> Option<Reply> {
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

    /// True if AUTH is available: under TLS, or in plaintext if the operator allows plaintext passwords (RFC 4954
    /// section 4).
    pub(super) fn can_authenticate(&self) -> bool {
        self.client.tls.is_some() || (self.rules.auth_without_tls && !self.rules.encryption)
    }

    /// Counts an error. `Err` is the reply that closes the connection.
    pub(super) fn count_error(&mut self) -> Result<(), Reply> {
        self.errors += 1;
        if self.errors < self.rules.errors {
            Ok(())
        } else {
            Err(replies::too_many_errors(&self.rules.hostname))
        }
    }

    /// Counts a failed AUTH, also as an error. `Err` is the reply that closes the connection.
    pub(super) fn count_auth_failure(&mut self) -> Result<(), Reply> {
        self.auth_failures += 1;
        if self.auth_failures < MAX_AUTH_FAILURES {
            self.count_error()
        } else {
            Err(replies::too_many_errors(&self.rules.hostname))
        }
    }
}
