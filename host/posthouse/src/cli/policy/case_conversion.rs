//! Conversion of case file types to the host's types, and back.

use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use posthouse_cases as cases;

use host_contract::{
    Admission, Audience, Decision, Disposition, Edit, FailedRecipient, Failure, Notice, Question, Reason,
    ReturnContent, Verdict,
};
use host_engine::message_view::MessageView;
use host_events::PolicyFault;
use host_mail::{Client, Envelope, Identity, InMemory, Mailbox, MessageId, Reply, ReversePath, TlsSession};
use host_policy::{LiveQuestion, Measurement};

/// Converts a question of a case.
///
/// # Errors
/// An invalid mail or IP address in the case.
pub fn question(question: &cases::Question<'_>) -> anyhow::Result<LiveQuestion> {
    use cases::Question::{Admit, Message, Plan, Recipient, Sender};
    Ok(match question {
        Admit { client } => Question::Admit {
            client: Arc::new(self::client(client)?),
        },
        Sender { client, sender } => Question::Sender {
            client: Arc::new(self::client(client)?),
            sender: Arc::new(reverse_path(sender)?),
        },
        Recipient {
            client,
            sender,
            recipient,
        } => Question::Recipient {
            client: Arc::new(self::client(client)?),
            sender: Arc::new(reverse_path(sender)?),
            recipient: mailbox(recipient)?,
        },
        Message {
            client,
            sender,
            recipients,
            message,
        } => Question::Message {
            client: Arc::new(self::client(client)?),
            envelope: Arc::new(envelope(sender, recipients)?),
            message: MessageView::new(Arc::new(InMemory(Bytes::copy_from_slice(message.bytes())))),
        },
        Plan { failure } => Question::Plan {
            failure: Arc::new(self::failure(failure)?),
        },
    })
}

/// Client, address, message or failure that a question is about, as text.
pub fn subject(question: &cases::Question<'_>) -> String {
    match question {
        cases::Question::Admit { client } => client.address.clone(),
        cases::Question::Sender { sender, .. } => sender.to_string(),
        cases::Question::Recipient { recipient, .. } => (*recipient).to_owned(),
        cases::Question::Message { message, .. } => format!("{} bytes", message.size()),
        cases::Question::Plan { failure } => failure.class.clone(),
    }
}

fn mailbox(text: &str) -> anyhow::Result<Mailbox> {
    text.parse().with_context(|| format!("{text:?} is no address"))
}

fn reverse_path(path: &cases::ReversePath) -> anyhow::Result<ReversePath> {
    Ok(match path {
        cases::ReversePath::Null => ReversePath::Null,
        cases::ReversePath::Mailbox(text) => ReversePath::Mailbox(mailbox(text)?),
    })
}

fn envelope(sender: &cases::ReversePath, recipients: &[String]) -> anyhow::Result<Envelope> {
    let recipients: anyhow::Result<_> = recipients.iter().map(|text| mailbox(text)).collect();
    Ok(Envelope {
        recipients: recipients?,
        ..Envelope::from_sender(reverse_path(sender)?)
    })
}

fn identity(identity: &cases::Identity) -> Identity {
    Identity {
        account: identity.account.clone(),
        mechanism: identity.mechanism.clone(),
    }
}

fn client(client: &cases::Client) -> anyhow::Result<Client> {
    let address = client.address.parse();
    Ok(Client {
        listener: client.listener.clone(),
        address: address.with_context(|| format!("{:?} is no IP address", client.address))?,
        port: client.port,
        name: client.name.clone(),
        helo: client.helo.clone(),
        tls: client.tls.as_ref().map(|tls| TlsSession {
            version: tls.version.clone(),
            cipher: tls.cipher.clone(),
            subject: tls.subject.clone(),
        }),
        identity: client.identity.as_ref().map(identity),
        exemptions: client.exemptions.clone().unwrap_or_default().into(),
    })
}

fn failure(failure: &cases::Failure) -> anyhow::Result<Failure> {
    let failed = |failed: &cases::FailedRecipient| {
        let cases::Reply { code, status, text } = &failed.reply;
        anyhow::Ok(FailedRecipient {
            address: mailbox(&failed.address)?,
            reply: Reply::new(*code, *status, text.as_str()),
            remote: failed.remote.clone(),
        })
    };
    let failed: anyhow::Result<_> = failure.failed.iter().map(failed).collect();
    let client_address = failure.client_address.as_ref().map(|text| {
        let parsed = text.parse();
        parsed.with_context(|| format!("failure.client-address: {text:?} is no IP address"))
    });
    let field = |field: &cases::Field| (field.name.clone(), field.value.clone());
    Ok(Failure {
        message: MessageId::generate(),
        class: failure.class.clone(),
        envelope: envelope(&failure.sender, &failure.recipients)?,
        failed: failed?,
        identity: failure.identity.as_ref().map(identity),
        client_address: client_address.transpose()?,
        exemptions: failure.exemptions.clone(),
        automatic: failure.automatic,
        headers: failure.headers.iter().map(field).collect(),
    })
}

/// Converts the answer to a question, for comparison with a case.
pub fn answer(measurement: &Measurement) -> cases::Answer {
    if let Some(fault) = &measurement.fault {
        return cases::Answer::fault(fault.class.as_str(), fault_text(fault));
    }
    match &measurement.opinion {
        None => cases::Answer {
            decision: cases::Decision::Pass,
            because: cases::Because::default(),
        },
        Some((reaction, because)) => cases::Answer {
            decision: decision(reaction),
            because: reason(because),
        },
    }
}

/// Code and place of a fault in a line, followed by the policy's standard error.
fn fault_text(fault: &PolicyFault) -> String {
    let place = match (&fault.function, &fault.location) {
        (Some(function), Some(location)) => format!(", in {function} at {location}"),
        (Some(function), None) => format!(", in {function}"),
        (None, Some(location)) => format!(", at {location}"),
        (None, None) => String::new(),
    };
    let stderr = fault.stderr.trim_end();
    let colon = if stderr.is_empty() { "" } else { ": " };
    format!("{}{place}{colon}{stderr}", fault.code)
}

fn reason(because: &Reason) -> cases::Because {
    cases::Because {
        rule: because.rule.clone(),
        entry: because.entry.clone(),
    }
}

fn reply(reply: &Reply) -> cases::Reply {
    let status = reply.status.map(|status| (status.0, status.1, status.2));
    cases::Reply {
        code: reply.code,
        status: status.unwrap_or_default(),
        text: reply.text.clone(),
    }
}

fn decision(decision: &Decision) -> cases::Decision {
    match decision {
        Decision::Admission(Admission::Refuse(reply)) => cases::Decision::Refuse(self::reply(reply)),
        Decision::Admission(Admission::Admit(terms)) => cases::Decision::Admit(cases::Terms {
            authentication: terms.authentication,
            encryption: terms.encryption,
            exemptions: terms.exemptions.to_vec(),
        }),
        Decision::Verdict(Verdict::Accept) => cases::Decision::Accept(Vec::new()),
        Decision::Disposition(Disposition::Accept(edits)) => cases::Decision::Accept(edits.iter().map(edit).collect()),
        Decision::Verdict(Verdict::Reject(reply)) | Decision::Disposition(Disposition::Reject(reply)) => {
            cases::Decision::Reject(self::reply(reply))
        }
        Decision::Verdict(Verdict::Defer(reply)) | Decision::Disposition(Disposition::Defer(reply)) => {
            cases::Decision::Defer(self::reply(reply))
        }
        Decision::Disposition(Disposition::Fail(class)) => cases::Decision::Fail(class.clone()),
        Decision::Disposition(Disposition::Quarantine(folder)) => cases::Decision::Quarantine(folder.clone()),
        Decision::Disposition(Disposition::Discard) => cases::Decision::Discard,
        Decision::Plan(plan) => cases::Decision::Tell(plan.iter().map(notice).collect()),
    }
}

fn edit(edit: &Edit) -> cases::Edit {
    match edit {
        Edit::AddHeader(name, value) => cases::Edit::AddHeader {
            name: name.clone(),
            value: value.clone(),
        },
        Edit::RemoveHeader(name) => cases::Edit::RemoveHeader(name.clone()),
        Edit::AddRecipient(address) => cases::Edit::AddRecipient(address.to_string()),
        Edit::RemoveRecipient(address) => cases::Edit::RemoveRecipient(address.to_string()),
    }
}

fn notice(notice: &Notice) -> cases::Notice {
    cases::Notice {
        to: match &notice.to {
            Audience::Sender => cases::Audience::Sender,
            Audience::Administrator => cases::Audience::Administrator,
            Audience::Address(address) => cases::Audience::Address(address.to_string()),
        },
        content: match notice.content {
            ReturnContent::Nothing => cases::Content::Nothing,
            ReturnContent::Headers => cases::Content::Headers,
            ReturnContent::Full => cases::Content::Full,
        },
        remark: notice.remark.clone(),
    }
}

/// Details of a decision, a line each: terms, edits, remarks or the text of a fault.
pub fn details(decision: &cases::Decision) -> Vec<String> {
    let mut details = Vec::new();
    match decision {
        cases::Decision::Admit(terms) => {
            for (what, owed) in [
                ("authentication", terms.authentication),
                ("encryption", terms.encryption),
            ] {
                details.extend(owed.map(|owed| format!("{what} = {owed}")));
            }
            if !terms.exemptions.is_empty() {
                details.push(format!("exempt from {}", terms.exemptions.join(", ")));
            }
        }
        cases::Decision::Accept(edits) => details.extend(edits.iter().map(ToString::to_string)),
        cases::Decision::Tell(notices) => {
            let remarks = notices
                .iter()
                .filter_map(|notice| Some((&notice.to, notice.remark.as_ref()?)));
            details.extend(remarks.map(|(_, remark)| format!("remark: {remark}")));
        }
        cases::Decision::Fault { text, .. } => details.extend(text.lines().map(str::to_owned)),
        _ => {}
    }
    details
}
