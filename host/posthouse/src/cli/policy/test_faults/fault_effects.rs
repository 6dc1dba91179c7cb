//! What those who wait for a decision meet, through the daemon's own stages.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use host_config::Config;
use host_contract::{Admission, Answered, Disposition, Failure, Verdict};
use host_delivery::ndr::{NdrService, Notification};
use host_events::Events;
use host_mail::{Client, InMemory, Mailbox, MessageId, SessionId, Timestamp};
use host_policy::{Inquiry, Policies};
use host_smtp::session::replies;
use host_spool::{Failed, Message, Recipient, Spool, SpoolOptions, State};

/// Asks as the daemon does, and looks at what comes of it.
pub struct Onlooker<'a> {
    pub config: &'a Config,
    pub policies: &'a Policies,
    pub events: &'a Events,
    /// For the spool that notices are put into.
    pub folder: &'a Path,
}

impl Onlooker<'_> {
    /// What the client meets, or the sender of a message that failed.
    pub async fn watch(&self, inquiry: &Inquiry) -> anyhow::Result<Vec<String>> {
        let session = SessionId::generate();
        let mut transaction = self.policies.transaction(session);
        Ok(match inquiry {
            Inquiry::Admit { client } => self.admitted(&self.policies.admit(session, client).await),
            Inquiry::Sender { client, sender } => {
                let asked = transaction.sender(client, sender).await;
                vec![client_reads(&verdict(asked.answer, replies::sender_ok()))]
            }
            Inquiry::Recipient {
                client,
                sender,
                recipient,
            } => {
                let asked = transaction.recipient(client, sender, recipient).await;
                let reads = client_reads(&verdict(asked.answer, replies::recipient_ok()));
                let later = transaction.recipient(client, sender, recipient).await;
                let reads_later = client_reads(&verdict(later.answer, replies::recipient_ok()));
                vec![reads, format!("the next recipient of this transaction: {reads_later}")]
            }
            Inquiry::Message {
                client,
                envelope,
                content,
            } => {
                let id = MessageId::generate();
                let asked = transaction.message(id, client, envelope, Arc::clone(content)).await;
                let reply = match asked.answer {
                    Disposition::Reject(reply) | Disposition::Defer(reply) => reply,
                    _ => replies::queued(id),
                };
                vec![client_reads(&reply)]
            }
            Inquiry::Plan(failure) => self.notified(failure).await?,
        })
    }

    fn admitted(&self, asked: &Answered<Admission>) -> Vec<String> {
        match &asked.answer {
            Admission::Refuse(reply) => vec![format!("in the banner's place the {}", client_reads(reply))],
            Admission::Admit(terms) if terms.exemptions.is_empty() => vec![
                format!("the {}", client_reads(&replies::banner(&self.config.hostname))),
                "it is admitted on the listener's own terms and exempt from nothing".to_owned(),
            ],
            Admission::Admit(terms) => vec![format!("it is exempt from {}", terms.exemptions.join(", "))],
        }
    }

    async fn notified(&self, failure: &Failure) -> anyhow::Result<Vec<String>> {
        let spool = Spool::open(self.folder, SpoolOptions::default(), self.events.clone())?;
        let ndr = NdrService {
            policies: Arc::new(self.policies.clone()),
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
        let failed: Vec<(Mailbox, Failed)> = failure.failed.iter().map(|failed| gave_up(failure, failed)).collect();
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

fn verdict(verdict: Verdict, ok: host_mail::Reply) -> host_mail::Reply {
    match verdict {
        Verdict::Accept => ok,
        Verdict::Reject(reply) | Verdict::Defer(reply) => reply,
    }
}

fn client_reads(reply: &host_mail::Reply) -> String {
    format!("client reads: {reply}")
}

fn gave_up(failure: &Failure, failed: &host_contract::FailedRecipient) -> (Mailbox, Failed) {
    let why = Failed {
        class: failure.class.clone(),
        reply: failed.reply.clone(),
        remote: failed.remote.clone(),
    };
    (failed.address.clone(), why)
}

/// The message that failed, as the spool has it.
fn original(failure: &Failure) -> Message {
    let now = Timestamp::now();
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
        envelope: failure.envelope.clone(),
        client,
        size: 0,
        state: State::Queued,
        recipients: failure
            .envelope
            .recipients
            .iter()
            .cloned()
            .map(Recipient::pending)
            .collect(),
        attempts: 1,
        due: now,
        expires: now,
        notification: false,
        faults: 0,
    }
}
