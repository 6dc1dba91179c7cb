//! A message on the way, with everything that attempts to deliver the message need.

use std::sync::Arc;

use host_config::TlsLevel;
use host_mail::{Content, Envelope, Mailbox, ReversePath, Timestamp};

use super::destination::Remote;
use super::transaction::{OutgoingMessage, ReportRequests};
use crate::activity::Activity;
use crate::connect_options::ConnectOptions;
use crate::delivery_services::{DeliveryServices, Settings};
use crate::mail_exchanges::{Exchanges, interfaces};
use crate::remote_health::WaitBound;
use crate::signed_content::OutgoingContent;

/// A message with everything that attempts to deliver the message need.
#[derive(Clone, Copy)]
pub(super) struct Delivery<'a> {
    pub(super) services: &'a DeliveryServices,
    pub(super) settings: Settings<'a>,
    pub(super) envelope: &'a Envelope,
    /// Reverse-path of recipients elsewhere that an alias led to; `None` is that of the envelope.
    pub(super) forwarding_sender: Option<&'a ReversePath>,
    /// Content as stored.
    pub(super) content: &'a Arc<dyn Content>,
    /// Content for other hosts.
    pub(super) outgoing: &'a OutgoingContent,
    /// Requests for reports of the recipients; `None` without any.
    pub(super) reports: Option<&'a ReportRequests>,
    /// Time at which this host accepted the message.
    pub(super) received: Timestamp,
    /// True for a message that an operator has released: remotes that are known to be down are tried.
    pub(super) is_forced: bool,
    /// True for a report about TLS sessions, which goes out regardless of what the domain publishes (RFC 8460 section
    /// 5.3), and is not counted.
    pub(super) is_tls_report: bool,
    /// Bound on the wait for a connection in memory.
    pub(super) wait_bound: WaitBound,
}

impl Delivery<'_> {
    /// Returns the reverse-path for a group of recipients: those that no alias led elsewhere have the envelope's.
    pub(super) fn sender(&self, is_forwarded: bool) -> &ReversePath {
        let forwarding = self.forwarding_sender.filter(|_| is_forwarded);
        forwarding.unwrap_or(&self.envelope.sender)
    }

    /// Returns the message for a transaction with these recipients.
    pub(super) fn message<'b>(
        &'b self,
        sender: &'b ReversePath,
        content: &'b Arc<dyn Content>,
        recipients: &'b [&'b Mailbox],
    ) -> OutgoingMessage<'b> {
        OutgoingMessage {
            sender,
            envelope: self.envelope,
            reports: self.reports,
            received: self.received,
            is_named_by_dns: false,
            content,
            recipients,
        }
    }

    pub(super) fn connect_options<'b>(&'b self, remote: &Remote, activity: &'b Activity) -> ConnectOptions<'b> {
        let delivery = self.settings.delivery;
        let settings = remote.settings(delivery);
        ConnectOptions {
            hostname: settings
                .and_then(|own| own.hello.as_deref())
                .unwrap_or(self.settings.hostname),
            settings,
            connect_timeout: delivery.connect_timeout,
            reply_timeout: delivery.reply_timeout,
            tls_level: match remote.tls_level(delivery) {
                level if self.is_tls_report && (level.asks_dane() || level.asks_mta_sts()) => TlsLevel::May,
                level => level,
            },
            emit: self.services.emit.as_ref(),
            login: remote.login(delivery),
            logins: &self.services.logins,
            tls: &self.services.tls,
            policies: &self.services.policies,
            activity,
            exchanges: Exchanges {
                resolver: &self.services.resolver,
                secure: None,
                hostname: self.settings.hostname,
                listeners: self.settings.listeners,
                interfaces,
                private_networks: &delivery.private_exchanges,
                port: self.services.exchange_port,
            },
            // Bounds the time for a remote with many addresses that answer slowly.
            open_timeout: delivery.connect_timeout * 2 + delivery.reply_timeout,
        }
    }
}
