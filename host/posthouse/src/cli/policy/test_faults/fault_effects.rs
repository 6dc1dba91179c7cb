//! Effects of a fault on clients and senders, found by asking through the daemon's own stages.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use host_config::Config;
use host_contract::{Admission, Answered, Disposition, Failure, Question, Verdict};
use host_delivery::ndr::{DeliveryPath, FailedDelivery, NdrService, Notification};
use host_events::Events;
use host_mail::{Client, InMemory, MessageId, SessionId, Timestamp};
use host_policy::{LiveQuestion, PolicyManager};
use host_smtp::session::replies;
use host_spool::{Failed, Message, Recipient, Spool, SpoolOptions, State};

/// Asks questions like the daemon and reports the effects of the answers.
pub struct EffectProbe<'a> {
    pub config: &'a Config,
    pub policies: &'a Arc<PolicyManager>,
    pub events: &'a Events,
    /// Folder of the spool for notices.
    pub folder: &'a Path,
}

impl EffectProbe<'_> {
    /// Asks the question and returns the effects on the client, or on the sender of a failed message, a line each.
    ///
    /// # Errors
    /// The spool for notices could not be used.
    pub async fn observe(&self, question: &LiveQuestion) -> anyhow::Result<Vec<String>> {
        let session = SessionId::generate();
        let mut transaction = self.policies.transaction(session);
        Ok(match question {
            Question::Admit { client } => self.admission_effects(&self.policies.admit(session, client).await),
            Question::Sender { client, sender } => {
                let asked = transaction.sender(client, sender).await;
                vec![client_reads(&verdict_reply(asked.answer, replies::sender_ok()))]
            }
            Question::Recipient {
                client,
                sender,
                recipient,
            } => {
                let asked = transaction.recipient(client, sender, recipient).await;
                let reads = client_reads(&verdict_reply(asked.answer, replies::recipient_ok()));
                let later = transaction.recipient(client, sender, recipient).await;
                let reads_later = client_reads(&verdict_reply(later.answer, replies::recipient_ok()));
                vec![reads, format!("the next recipient of this transaction: {reads_later}")]
            }
            Question::Message {
                client,
                envelope,
                message,
            } => {
                let id = MessageId::generate();
                let asked = transaction.message(id, client, envelope, message.content()).await;
                let reply = match asked.answer {
                    Disposition::Reject(reply) | Disposition::Defer(reply) => reply,
                    _ => replies::queued(id),
                };
                vec![client_reads(&reply)]
            }
            Question::Plan { failure } => self.notice_effects(failure).await?,
        })
    }

    fn admission_effects(&self, asked: &Answered<Admission>) -> Vec<String> {
        match &asked.answer {
            Admission::Refuse(reply) => vec![format!("in the banner's place the {}", client_reads(reply))],
            Admission::Admit(terms) if terms.exemptions.is_empty() => vec![
                format!("the {}", client_reads(&replies::banner(&self.config.hostname))),
                "it is admitted on the listener's own terms and exempt from nothing".to_owned(),
            ],
            Admission::Admit(terms) => vec![format!("it is exempt from {}", terms.exemptions.join(", "))],
        }
    }

    async fn notice_effects(&self, failure: &Failure) -> anyhow::Result<Vec<String>> {
        let spool = Spool::open(self.folder, SpoolOptions::default(), self.events.clone())?;
        let ndr = NdrService {
            policies: Arc::clone(self.policies) as _,
            spool: spool.clone(),
            events: self.events.clone(),
            hostname: self.config.hostname.clone(),
            administrator: self.config.administrator.clone(),
        };
        let header: String = failure
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let content = Arc::new(InMemory(Bytes::from(format!("{header}\r\n"))));
        let failed: Vec<FailedDelivery> = failure
            .failed
            .iter()
            .map(|failed| failed_delivery(failure, failed))
            .collect();
        let outcome = ndr.prepare(&original(failure), content, &failed).await;
        let meets = match outcome? {
            Notification::Freeze(why) => vec![format!("nobody is told, the message is frozen: {why}")],
            Notification::Notices(notices) if notices.is_empty() => vec!["nobody is told".to_owned()],
            Notification::Notices(notices) => {
                let recipients = notices.iter().flat_map(|(_, notice)| &notice.recipients);
                recipients
                    .map(|recipient| format!("the host's own report goes to {}", recipient.address))
                    .collect()
            }
        };
        spool.close().await;
        Ok(meets)
    }
}

fn verdict_reply(verdict: Verdict, ok: host_mail::Reply) -> host_mail::Reply {
    match verdict {
        Verdict::Accept => ok,
        Verdict::Reject(reply) | Verdict::Defer(reply) => reply,
    }
}

fn client_reads(reply: &host_mail::Reply) -> String {
    format!("client reads: {reply}")
}

fn failed_delivery(failure: &Failure, failed: &host_contract::FailedRecipient) -> FailedDelivery {
    FailedDelivery {
        written: failed.address.clone(),
        address: failed.address.clone(),
        why: Failed {
            class: failure.class.clone(),
            reply: failed.reply.clone(),
            remote: failed.remote.clone(),
        },
        path: DeliveryPath::Inside,
        last_attempt: None,
    }
}

/// The failed message as a record of the spool. Its sender wrote every failed address.
fn original(failure: &Failure) -> Message {
    let now = Timestamp::now();
    let mut envelope = failure.envelope.clone();
    envelope.recipients = failure.failed.iter().map(|failed| failed.address.clone()).collect();
    let client = failure.client_address.map(|address| Client {
        listener: "smtp".to_owned(),
        address,
        port: 40_000,
        name: None,
        helo: None,
        tls: None,
        identity: failure.identity.clone(),
        exemptions: failure.exemptions.clone().into(),
    });
    Message {
        id: failure.message,
        received: now,
        client,
        size: 0,
        state: State::Queued,
        recipients: envelope.recipients.iter().cloned().map(Recipient::pending).collect(),
        envelope,
        attempts: 1,
        due: now,
        expires: now,
        notification: false,
        faults: 0,
        delay_reported: false,
        successes: Vec::new(),
    }
}
