//! The simulated session: the questions of a real session in their order, answered by the policies and the listener's
//! terms.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use host_config::Listener;
use host_contract::{
    Admission, AdmissionTerms, Answered, Audience, Disposition, Edit, FailedRecipient, Failure, Notice, Reason,
    ReturnContent, Verdict,
};
use host_delivery::ndr::failure_facts::of_nobody;
use host_directory::{Directory as _, FileDirectory};
use host_events::{Captured, EventRecord, Format};
use host_mail::{
    Client, Content, Envelope, HeaderBlock, InMemory, Mailbox, MessageId, Reply, ReversePath, SessionId, Timestamp,
};
use host_policy::{PolicyManager, PolicyTransaction};
use host_smtp::session::replies;

/// The session to play.
pub(super) struct Script {
    pub(super) listener: Listener,
    pub(super) client: Client,
    pub(super) sender: ReversePath,
    pub(super) recipients: Vec<Mailbox>,
    /// Content with CRLF line ends; `None` ends the session after the envelope.
    pub(super) message: Option<Bytes>,
}

/// Result of a played session; printed as JSON with `--json`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlayedSession {
    /// True if the last reply to the client would be 250.
    pub accepted: bool,
    /// Decisions in order.
    pub steps: Vec<SessionStep>,
}

/// A decision of the session.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SessionStep {
    /// `admit`, `terms`, `directory`, `sender`, `recipient`, `message` or `ndr`.
    pub stage: &'static str,
    /// Client, address or message that the decision is about.
    pub subject: String,
    /// Decision in words.
    pub decision: String,
    /// Name of the deciding module, or `host`.
    pub policy: String,
    /// Rule that decided.
    pub rule: String,
    /// Entry of the rule that matched.
    pub entry: Option<String>,
    /// True if the policy faulted, so that the fault table decided.
    pub fault: bool,
    /// Reply to the client.
    pub reply: Option<String>,
    /// Log lines and faults of the policies during the question, as rendered events.
    pub events: Vec<String>,
}

/// Plays the script to its end, or to the first refusal of the client, the sender or the message.
///
/// # Errors
/// The message's header could not be read.
pub(super) async fn play(
    policies: &PolicyManager,
    directory: &FileDirectory,
    script: Script,
    captured: &Captured,
) -> std::io::Result<PlayedSession> {
    let mut player = SessionPlayer {
        captured,
        directory,
        // Events of loading the policies are not part of the session.
        events_shown: captured.events().len(),
        played: PlayedSession::default(),
    };
    player.played.accepted = player.session(policies, script).await?;
    Ok(player.played)
}

struct SessionPlayer<'a> {
    captured: &'a Captured,
    directory: &'a FileDirectory,
    /// Number of captured events that earlier steps have shown.
    events_shown: usize,
    played: PlayedSession,
}

impl SessionPlayer<'_> {
    /// Plays the session. Returns true if the last reply is 250.
    async fn session(&mut self, policies: &PolicyManager, script: Script) -> std::io::Result<bool> {
        let session = SessionId::generate();
        let Script {
            listener,
            mut client,
            mut sender,
            recipients,
            message,
        } = script;
        let Some(terms) = self.admit(policies, session, &client).await else {
            return Ok(false);
        };
        if terms.owes_encryption(listener.require_encryption) && client.tls.is_none() {
            self.terms("encryption", replies::encryption_required());
            return Ok(false);
        }
        if terms.owes_authentication(listener.require_authentication) && client.identity.is_none() {
            self.terms("authentication", replies::authentication_required());
            return Ok(false);
        }
        client.exemptions = terms.exemptions;
        if let Some(new) = sender
            .mailbox()
            .and_then(|sender| self.directory.rewritten_sender(sender))
        {
            self.directory_step(sender.to_string(), format!("becomes <{new}>, by a rewrite of senders"));
            sender = ReversePath::Mailbox(new);
        }
        let mut transaction = policies.transaction(session);
        let asked = transaction.sender(&client, &sender).await;
        if !self.verdict("sender", sender.to_string(), asked, replies::sender_ok()) {
            return Ok(false);
        }
        let mut envelope = Envelope::from_sender(sender);
        for recipient in recipients {
            if let Some(meaning) = self.directory.explain(&recipient) {
                self.directory_step(format!("<{recipient}>"), meaning);
            }
            let asked = transaction.recipient(&client, &envelope.sender, &recipient).await;
            if self.verdict("recipient", format!("<{recipient}>"), asked, replies::recipient_ok()) {
                envelope.recipients.push(recipient);
            }
        }
        let (false, Some(bytes)) = (envelope.recipients.is_empty(), message) else {
            return Ok(!envelope.recipients.is_empty());
        };
        let content = Arc::new(InMemory(bytes));
        match self
            .message(&mut transaction, &client, &envelope, content.clone())
            .await
        {
            Disposition::Reject(_) | Disposition::Defer(_) => Ok(false),
            Disposition::Fail(class) => {
                let failure = failure(&class, &client, &envelope, content.as_ref())?;
                self.plan(policies, &failure).await;
                Ok(true)
            }
            _ => Ok(true),
        }
    }

    async fn admit(&mut self, policies: &PolicyManager, session: SessionId, client: &Client) -> Option<AdmissionTerms> {
        // The admission is decided before the banner, so before EHLO and AUTH.
        let stranger = Client {
            helo: None,
            identity: None,
            ..client.clone()
        };
        let asked = policies.admit(session, &stranger).await;
        let (decision, reply, terms) = match asked.answer {
            Admission::Refuse(reply) => ("refuse".to_owned(), Some(reply), None),
            Admission::Admit(terms) => (admission_text(&terms), None, Some(terms)),
        };
        self.step(
            "admit",
            client.address.to_string(),
            decision,
            &asked.because,
            asked.fault,
            reply,
        );
        terms
    }

    /// Shows what a rule of the directory makes of an address.
    fn directory_step(&mut self, subject: String, meaning: String) {
        self.step("directory", subject, meaning, &Reason::host("directory"), false, None);
    }

    fn terms(&mut self, what: &str, reply: Reply) {
        let because = Reason::host(format!("{what} required"));
        self.step(
            "terms",
            what.to_owned(),
            "refuse".to_owned(),
            &because,
            false,
            Some(reply),
        );
    }

    fn verdict(&mut self, stage: &'static str, subject: String, asked: Answered<Verdict>, accepted: Reply) -> bool {
        let (decision, reply) = match asked.answer {
            Verdict::Accept => ("accept", accepted),
            Verdict::Reject(reply) => ("reject", reply),
            Verdict::Defer(reply) => ("defer", reply),
        };
        self.step(
            stage,
            subject,
            decision.to_owned(),
            &asked.because,
            asked.fault,
            Some(reply),
        );
        decision == "accept"
    }

    async fn message(
        &mut self,
        transaction: &mut PolicyTransaction,
        client: &Client,
        envelope: &Envelope,
        content: Arc<InMemory>,
    ) -> Disposition {
        let size = content.size();
        let id = MessageId::generate();
        let asked = transaction.message(id, client, envelope, content).await;
        let accepted = || replies::queued(id);
        let (decision, reply) = match &asked.answer {
            Disposition::Accept(edits) => (edits_text(edits), accepted()),
            Disposition::Fail(class) => (format!("accept, then fail as {class}"), accepted()),
            Disposition::Quarantine(folder) => (format!("accept, then quarantine in {folder}"), accepted()),
            Disposition::Discard => ("accept, then discard".to_owned(), accepted()),
            Disposition::Reject(reply) => ("reject".to_owned(), reply.clone()),
            Disposition::Defer(reply) => ("defer".to_owned(), reply.clone()),
        };
        let subject = format!("{size} bytes");
        self.step("message", subject, decision, &asked.because, asked.fault, Some(reply));
        asked.answer
    }

    async fn plan(&mut self, policies: &PolicyManager, failure: &Failure) {
        let asked = policies.plan(failure).await;
        let decision = match &asked.answer {
            None => "as the fault table says".to_owned(),
            Some(notices) if notices.is_empty() => "nobody is told".to_owned(),
            Some(notices) => notices.iter().map(notice_text).collect::<Vec<_>>().join("; "),
        };
        self.step(
            "ndr",
            failure.class.clone(),
            decision,
            &asked.because,
            asked.fault,
            None,
        );
    }

    fn step(
        &mut self,
        stage: &'static str,
        subject: String,
        decision: String,
        because: &Reason,
        fault: bool,
        reply: Option<Reply>,
    ) {
        let events = self.captured.events();
        let line = |event| Format::Text.line(&EventRecord::new(Timestamp::now(), event));
        let new = events[self.events_shown..].iter().map(line).collect();
        self.events_shown = events.len();
        self.played.steps.push(SessionStep {
            stage,
            subject,
            decision,
            policy: because.policy.clone(),
            rule: because.rule.clone(),
            entry: because.entry.clone(),
            fault,
            reply: reply.map(|reply| reply.to_string()),
            events: new,
        });
    }
}

fn admission_text(terms: &AdmissionTerms) -> String {
    let mut out = "admit".to_owned();
    for (what, owed) in [
        ("authentication", terms.authentication),
        ("encryption", terms.encryption),
    ] {
        match owed {
            Some(true) => out += &format!(", must use {what}"),
            Some(false) => out += &format!(", need not use {what}"),
            None => {}
        }
    }
    if !terms.exemptions.is_empty() {
        out += &format!(", exempt from {}", terms.exemptions.join(" "));
    }
    out
}

fn edits_text(edits: &[Edit]) -> String {
    let mut out = "accept".to_owned();
    for edit in edits {
        out += &match edit {
            Edit::AddHeader(name, value) => format!(", add header {name}: {value}"),
            Edit::RemoveHeader(name) => format!(", remove header {name}"),
            Edit::RemoveRecipient(address) => format!(", remove recipient {address}"),
            Edit::AddRecipient(address) => format!(", add recipient {address}"),
        };
    }
    out
}

fn notice_text(notice: &Notice) -> String {
    let to = match &notice.to {
        Audience::Sender => "the sender".to_owned(),
        Audience::Administrator => "the administrator".to_owned(),
        Audience::Address(address) => address.to_string(),
    };
    let content = match notice.content {
        ReturnContent::Nothing => "nothing",
        ReturnContent::Headers => "the header",
        ReturnContent::Full => "all",
    };
    format!("tell {to}, return {content}")
}

/// The failure that the NDR policy plans for: every recipient failed with the class that the message policy chose.
fn failure(class: &str, client: &Client, envelope: &Envelope, content: &dyn Content) -> std::io::Result<Failure> {
    let header = HeaderBlock::read(content)?;
    let failed = |address: &Mailbox| FailedRecipient {
        address: address.clone(),
        reply: Reply::new(550, (5, 7, 1), format!("Failed by the policy: {class}")),
        remote: None,
    };
    Ok(Failure {
        failed: envelope.recipients.iter().map(failed).collect(),
        ..of_nobody(MessageId::generate(), Some(client), envelope, &header, class)
    })
}
