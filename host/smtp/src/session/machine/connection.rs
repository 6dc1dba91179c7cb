//! Rules and facts that last for a whole connection.

use host_config::{Config, Listener, ListenerTls, SaslMechanism, SaslMechanisms};
use host_contract::AdmissionTerms;
use host_mail::{Client, Reply};

use crate::session::auth::SaslExchange;
use crate::session::replies;
use crate::session::scram_exchange::{ChannelBinding, ScramTerms};

/// Number of failed AUTH attempts that closes the connection.
const MAX_AUTH_FAILURES: usize = 3;
/// Number of commands without effect between accepted messages; each further one counts as an error.
const MAX_IDLE_COMMANDS: usize = 100;
/// Number of errors whose replies are not delayed.
const FREE_ERRORS: usize = 5;

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
    /// True if AUTH is offered at all.
    pub auth: bool,
    /// Mechanisms of AUTH.
    pub mechanisms: SaslMechanisms,
    /// True if AUTH is offered without TLS.
    pub auth_without_tls: bool,
    /// True if octets above 127 need no announcement in MAIL.
    pub undeclared_eight_bit: bool,
    /// True if the argument of EHLO must be a domain or an address literal.
    pub strict_hello: bool,
    /// True if addresses need no angle brackets.
    pub bare_addresses: bool,
    /// True if AUTH must precede MAIL.
    pub authentication: bool,
    /// True if TLS must precede AUTH and MAIL.
    pub encryption: bool,
}

/// Facts of the host that decide what a connection is offered.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionOffer {
    /// True if the host has a certificate.
    pub tls: bool,
    /// True if SCRAM works for every account.
    pub scram: bool,
}

impl Rules {
    /// Merges the rules. The terms of admission override the listener's configuration.
    pub fn new(config: &Config, listener: &Listener, terms: &AdmissionTerms, offer: ConnectionOffer) -> Self {
        let limits = &config.limits;
        let by_default = || {
            let works = |mechanism: &SaslMechanism| offer.scram || !mechanism.is_scram();
            SaslMechanism::ALL.into_iter().filter(works).collect()
        };
        Self {
            hostname: config.hostname.clone(),
            message_size: limits.message_size,
            recipients: limits.recipients,
            errors: limits.errors,
            transactions: limits.transactions,
            starttls: offer.tls && listener.tls == ListenerTls::StartTls,
            auth: listener.auth,
            mechanisms: listener.mechanisms.unwrap_or_else(by_default),
            auth_without_tls: listener.auth_without_tls,
            undeclared_eight_bit: listener.undeclared_eight_bit,
            strict_hello: listener.strict_hello,
            bare_addresses: listener.bare_addresses,
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
    /// Channel binding of the TLS session, if any.
    pub channel_binding: Option<ChannelBinding>,
    /// Names in the client's verified certificate, if any.
    pub certificate_names: Option<Vec<String>>,
    pub(super) transactions: usize,
    /// Errors since the last accepted message.
    errors: usize,
    /// Commands without effect since the last accepted message.
    idle_commands: usize,
    /// Errors beyond [`FREE_ERRORS`] for which the next reply is delayed.
    penalty: usize,
    auth_failures: usize,
}

impl Session {
    /// Creates the session of an admitted connection.
    pub fn new(rules: Rules, client: Client) -> Self {
        Self {
            rules,
            client,
            extended: false,
            channel_binding: None,
            certificate_names: None,
            transactions: 0,
            errors: 0,
            idle_commands: 0,
            penalty: 0,
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
        if self.can_authenticate() && self.client.identity.is_none() && !self.mechanisms().is_empty() {
            lines.push(format!("AUTH {}", self.mechanisms()));
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

    /// True if AUTH is available on the listener: under TLS, or in plaintext if the operator allows plaintext passwords (RFC 4954
    /// section 4).
    pub(super) fn can_authenticate(&self) -> bool {
        let rules = &self.rules;
        rules.auth && (self.client.tls.is_some() || (rules.auth_without_tls && !rules.encryption))
    }

    /// Mechanisms that work on the connection as it is now.
    pub(super) fn mechanisms(&self) -> SaslMechanisms {
        let works = |mechanism| match mechanism {
            SaslMechanism::ScramSha256Plus => self.channel_binding.is_some(),
            SaslMechanism::External => self.certificate_names.is_some(),
            SaslMechanism::Plain | SaslMechanism::Login | SaslMechanism::ScramSha256 => true,
        };
        self.rules.mechanisms.filter(works)
    }

    /// Begins an exchange of the mechanism, if it is offered now.
    pub(super) fn exchange(&self, mechanism: &str) -> Option<SaslExchange> {
        let offered = self.mechanisms();
        let mechanism = offered.iter().find(|offered| offered.name() == mechanism)?;
        let scram = |plus| {
            SaslExchange::ScramFirst(ScramTerms {
                plus,
                binding: self
                    .channel_binding
                    .filter(|_| offered.contains(SaslMechanism::ScramSha256Plus)),
            })
        };
        Some(match mechanism {
            SaslMechanism::Plain => SaslExchange::Plain,
            SaslMechanism::Login => SaslExchange::LoginUser,
            SaslMechanism::ScramSha256 => scram(false),
            SaslMechanism::ScramSha256Plus => scram(true),
            SaslMechanism::External => SaslExchange::External(self.certificate_names.clone()?),
        })
    }

    /// Counts an error. `Err` is the reply that closes the connection.
    pub(super) fn count_error(&mut self) -> Result<(), Reply> {
        self.errors += 1;
        self.check_errors(0)
    }

    /// Counts a command that has no effect, an error if there are too many. `Err` is the reply that closes the
    /// connection.
    pub(super) fn count_idle_command(&mut self) -> Result<(), Reply> {
        self.idle_commands += 1;
        match self.idle_commands > MAX_IDLE_COMMANDS {
            true => self.count_error(),
            false => Ok(()),
        }
    }

    /// Compares the errors, and `more` errors of a transaction that is not over, with the limit. `Err` is the reply that
    /// closes the connection; otherwise the next reply is delayed.
    pub(super) fn check_errors(&mut self, more: usize) -> Result<(), Reply> {
        let errors = self.errors + more;
        if errors >= self.rules.errors {
            return Err(replies::too_many_errors(&self.rules.hostname));
        }
        self.penalty = errors.saturating_sub(FREE_ERRORS);
        Ok(())
    }

    /// Adds the refused recipients of a transaction that ends without an accepted message.
    pub(super) fn add_errors(&mut self, refused: usize) {
        self.errors += refused;
    }

    /// Clears the counts of errors: a message was accepted.
    pub(super) fn clear_errors(&mut self) {
        self.errors = 0;
        self.idle_commands = 0;
    }

    /// Takes the number of errors for which the next reply is delayed.
    pub fn take_penalty(&mut self) -> usize {
        std::mem::take(&mut self.penalty)
    }

    /// Counts a failed AUTH. `Err` is the reply that closes the connection.
    pub(super) fn count_auth_failure(&mut self) -> Result<(), Reply> {
        self.auth_failures += 1;
        if self.auth_failures < MAX_AUTH_FAILURES {
            Ok(())
        } else {
            Err(replies::too_many_errors(&self.rules.hostname))
        }
    }
}
