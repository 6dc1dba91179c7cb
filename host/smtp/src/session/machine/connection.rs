//! Rules and facts that last for a whole connection.

use std::time::Duration;

use host_config::{Config, Extension, Listener, ListenerTls, SaslMechanism, SaslMechanisms};
use host_contract::AdmissionTerms;
use host_mail::{Client, DeliverByMode, DeliveryHold, EnvelopeOptions, Reply, Timestamp};

use crate::session::auth::SaslExchange;
use crate::session::front_end;
use crate::session::replies;
use crate::session::scram_exchange::{ChannelBinding, ScramTerms};

/// Room for the text of the reply to EHLO, in octets.
const EHLO_LENGTH: usize = 384;
/// Longest time for which a client may have a message held (RFC 4865).
const MAX_HOLD: Duration = Duration::from_secs(30 * 24 * 3600);
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
    /// Extensions that are not offered, although this host has them.
    pub disabled: Vec<Extension>,
    /// True if the client may name the clients behind it.
    pub is_front_end: bool,
    /// True if mail of a route waits for ETRN.
    pub holds_mail: bool,
    /// Latest time until which a client may have a message held.
    pub latest_release: Timestamp,
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
            disabled: listener.disabled_extensions.clone(),
            is_front_end: false,
            holds_mail: config.delivery.routes.iter().any(|route| route.etrn),
            latest_release: Timestamp::now().after(MAX_HOLD),
            authentication: terms.owes_authentication(listener.require_authentication),
            encryption: terms.owes_encryption(listener.require_encryption),
        }
    }

    /// True if the extension is offered to the client.
    pub(super) fn offers(&self, extension: Extension) -> bool {
        !self.disabled.contains(&extension)
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
    /// Client that XFORWARD named for the next transaction.
    pub(super) forwarded: Option<String>,
    /// Argument of HELO of the client that XCLIENT named; takes the place of the front end's.
    pub(super) forwarded_helo: Option<String>,
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
            forwarded: None,
            forwarded_helo: None,
        }
    }

    /// Reply to EHLO (RFC 5321 section 4.1.1.1): lists only extensions that work now.
    pub(super) fn extensions(&self) -> Reply {
        let mut text = String::with_capacity(EHLO_LENGTH);
        text.push_str(&self.rules.hostname);
        text.push_str("\nPIPELINING\nSIZE ");
        text.push_str(&self.rules.message_size.to_string());
        text.push_str("\n8BITMIME\nSMTPUTF8\nENHANCEDSTATUSCODES");
        for extension in Extension::ALL {
            self.offer(extension, &mut text);
        }
        if self.rules.is_front_end {
            text.push_str(&format!("\nXCLIENT {}", front_end::XCLIENT.join(" ")));
            text.push_str(&format!("\nXFORWARD {}", front_end::XFORWARD.join(" ")));
        }
        if self.can_start_tls() {
            text.push_str("\nSTARTTLS");
        }
        if self.can_authenticate() && self.client.identity.is_none() && !self.mechanisms().is_empty() {
            text.push_str(&format!("\nAUTH {}", self.mechanisms()));
        }
        text.push_str("\nHELP");
        Reply::bare(250, text)
    }

    /// Adds the line for an extension that an operator may switch off, if the extension works now.
    fn offer(&self, extension: Extension, text: &mut String) {
        let rules = &self.rules;
        let works = rules.offers(extension)
            && match extension {
                Extension::Dsn | Extension::Chunking | Extension::Limits | Extension::DeliverBy => true,
                Extension::BinaryMime => rules.offers(Extension::Chunking),
                Extension::RequireTls => self.client.tls.is_some(),
                Extension::FutureRelease | Extension::MtPriority => self.is_submission(),
                Extension::Etrn => rules.holds_mail,
            };
        if !works {
            return;
        }
        text.push('\n');
        text.push_str(extension.keyword());
        match extension {
            Extension::Limits => {
                text.push_str(&format!(" RCPTMAX={} MAILMAX={}", rules.recipients, rules.transactions));
            }
            Extension::FutureRelease => {
                text.push_str(&format!(" {} {}", MAX_HOLD.as_secs(), rules.latest_release));
            }
            _ => {}
        }
    }

    /// True if the client is trusted with when and how urgently its mail is delivered: it has authenticated, or need
    /// not.
    fn is_submission(&self) -> bool {
        let client = &self.client;
        client.identity.is_some() || client.exemptions.iter().any(|name| name == "authentication")
    }

    /// Reply to the parameters of MAIL that are not offered to the client, or that do not fit.
    pub(super) fn unfit_option(&self, options: &EnvelopeOptions) -> Option<Reply> {
        let rules = &self.rules;
        let is_dsn = options.return_content.is_some() || options.envelope_id.is_some();
        let wanted = [
            (Extension::Dsn, is_dsn),
            (Extension::RequireTls, options.require_tls),
            (Extension::DeliverBy, options.deliver_by.is_some()),
            (Extension::FutureRelease, options.hold.is_some()),
            (Extension::MtPriority, options.priority.is_some()),
        ];
        if wanted
            .iter()
            .any(|(extension, is_given)| *is_given && !rules.offers(*extension))
        {
            return Some(replies::unknown_parameter());
        }
        if options.require_tls && self.client.tls.is_none() {
            return Some(replies::require_tls_without_tls());
        }
        if (options.hold.is_some() || options.priority.is_some()) && !self.is_submission() {
            return Some(replies::unknown_parameter());
        }
        // RFC 4865 section 4: a message is not to be returned before its release.
        if let (Some(DeliveryHold::For(hold)), Some(by)) = (options.hold, options.deliver_by)
            && by.mode == DeliverByMode::Return
            && by.seconds.unsigned_abs() <= hold
        {
            return Some(replies::bad_parameter("BY"));
        }
        match options.hold {
            Some(DeliveryHold::For(seconds)) if seconds > MAX_HOLD.as_secs() => Some(replies::bad_parameter("HOLDFOR")),
            Some(DeliveryHold::Until(time)) if time > rules.latest_release => Some(replies::bad_parameter("HOLDUNTIL")),
            _ => None,
        }
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
