//! Sends the reports about TLS sessions of days that have ended, and keeps the counts on the disk.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{MissedTickBehavior, interval};

use host_config::{Config, TlsReportConfig};
use host_events::Event;
use host_mail::{BodyType, Envelope, Mailbox, ReversePath, Timestamp};
use host_spool::{Message, PutError, Recipient, Spool, State};

use crate::delivery_services::DeliveryServices;
use crate::tls_report_mail::{TlsReport, report_addresses};

/// Interval of looks for a day that has ended, and of writes of the counts.
const INTERVAL: Duration = Duration::from_secs(300);
/// Time for which a report is tried; a later one is of little use.
const EXPIRE: Duration = Duration::from_secs(24 * 3600);

/// Sender of reports.
pub(super) struct TlsReportSender {
    pub(super) services: Arc<DeliveryServices>,
    pub(super) config: Arc<ArcSwap<Config>>,
    pub(super) spool: Spool,
}

impl TlsReportSender {
    /// Reads the counts, and sends reports from then on. Never returns. Cancel safe: a day is removed once all of its
    /// reports are in the spool, so that a crash sends reports again at worst.
    pub(super) async fn run(self) {
        let services = Arc::clone(&self.services);
        // Reading and writing block.
        let _ = tokio::task::spawn_blocking(move || services.policies.reports.load()).await;
        let mut interval = interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let config = self.config.load_full();
            if let Some(reports) = &config.delivery.tls_reports {
                self.send_ended(&config, reports).await;
            }
            let services = Arc::clone(&self.services);
            let _ = tokio::task::spawn_blocking(move || services.policies.reports.store()).await;
        }
    }

    async fn send_ended(&self, config: &Config, reports: &TlsReportConfig) {
        let resolver = self.services.resolver.get();
        while let Some(day) = self.services.policies.reports.ended() {
            for (domain, policies) in &day.domains {
                let report = TlsReport {
                    hostname: &config.hostname,
                    organization: reports.organization.as_deref().unwrap_or(&config.hostname),
                    contact: &reports.contact,
                    domain,
                    day: day.day,
                    policies,
                };
                let records = resolver.texts(&format!("_smtp._tls.{domain}")).await;
                for to in report_addresses(&records.unwrap_or_default()) {
                    self.send(&report, &to).await;
                }
            }
            self.services.policies.reports.remove(day.day);
        }
    }

    async fn send(&self, report: &TlsReport<'_>, to: &Mailbox) {
        let emit = &self.services.emit;
        match self.put(report, to).await {
            Ok(message) => emit(Event::TlsReportSent {
                message,
                domain: report.domain.to_owned(),
                to: to.to_string(),
                successes: report.policies.iter().map(|(_, counts)| counts.successes).sum(),
                failures: report.policies.iter().map(|(_, counts)| counts.failures).sum(),
            }),
            Err(error) => emit(Event::TlsReportNotSent {
                domain: report.domain.to_owned(),
                to: to.to_string(),
                error: error.to_string(),
            }),
        }
    }

    /// Puts a report into the spool. It is a notification: no report is sent about its failure.
    async fn put(&self, report: &TlsReport<'_>, to: &Mailbox) -> Result<String, PutError> {
        let now = Timestamp::now();
        let mut draft = self.spool.notice_draft();
        let text = report.message(to, draft.id(), now);
        let text = text.map_err(|error| PutError::Store(error.to_string()))?;
        draft.write(text.as_bytes()).await?;
        let message = Message {
            id: draft.id(),
            received: now,
            envelope: Envelope {
                sender: ReversePath::Mailbox(report.contact.clone()),
                recipients: vec![to.clone()],
                body: BodyType::SevenBit,
                smtputf8: false,
                options: None,
            },
            client: None,
            size: draft.size(),
            state: State::Queued,
            recipients: vec![Recipient::pending(to.clone())],
            attempts: 0,
            due: now,
            expires: now.after(EXPIRE),
            notification: true,
            faults: 0,
            delay_reported: true,
            successes: Vec::new(),
        };
        let id = message.id.to_string();
        draft.commit(message).await?;
        Ok(id)
    }
}
