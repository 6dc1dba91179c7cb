//! From the words of case files to the host's, and back.

use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use posthouse_cases as cases;
use posthouse_cases::{Decision, Question};

use host_contract::{
    Admission, Audience, Disposition, Edit, FailedRecipient, Failure, Notice, Reason, ReturnContent, Verdict,
};
use host_events::PolicyFault;
use host_mail::{Client, Envelope, Identity, InMemory, Mailbox, MessageId, Reply, ReversePath, TlsSession};
use host_policy::{Inquiry, Measurement, Reaction};

/// A question as the engine puts it.
pub fn inquiry(question: &Question<'_>) -> anyhow::Result<Inquiry> {
    Ok(match question {
        Question::Admit { client } => Inquiry::Admit {
            client: self::client(client)?,
        },
        Question::Sender { client, sender } => Inquiry::Sender {
            client: self::client(client)?,
            sender: reverse_path(sender)?,
        },
        Question::Recipient {
            client,
            sender,
            recipient,
        } => Inquiry::Recipient {
            client: self::client(client)?,
            sender: reverse_path(sender)?,
            recipient: mailbox(recipient)?,
        },
        Question::Message {
            client,
            sender,
            recipients,
            message,
        } => Inquiry::Message {
            client: self::client(client)?,
            envelope: envelope(sender, recipients)?,
            content: Arc::new(InMemory(Bytes::copy_from_slice(message.bytes()))),
        },
        Question::Plan { failure } => Inquiry::Plan(Box::new(self::failure(failure)?)),
    })
}

/// What a question is about, for people.
pub fn subject(question: &Question<'_>) -> String {
    match question {
        Question::Admit { client } => client.address.clone(),
        Question::Sender { sender, .. } => sender.to_string(),
        Question::Recipient { recipient, .. } => (*recipient).to_owned(),
        Question::Message { message, .. } => format!("{} bytes", message.size()),
        Question::Plan { failure } => failure.class.clone(),
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

/// What came of a question, in the words of cases.
pub fn answer(reading: &Measurement) -> cases::Answer {
    if let Some(fault) = &reading.fault {
        return cases::Answer::fault(fault.class.as_str(), about(fault));
    }
    match &reading.opinion {
        None => cases::Answer {
            decision: Decision::Pass,
            because: cases::Because::default(),
        },
        Some((reaction, because)) => cases::Answer {
            decision: decision(reaction),
            because: reason(because),
        },
    }
}

/// What is known about a fault, in one line; then what the policy wrote.
pub fn about(fault: &PolicyFault) -> String {
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

fn decision(reaction: &Reaction) -> Decision {
    match reaction {
        Reaction::Admission(Admission::Refuse(reply)) => Decision::Refuse(self::reply(reply)),
        Reaction::Admission(Admission::Admit(terms)) => Decision::Admit(cases::Terms {
            authentication: terms.authentication,
            encryption: terms.encryption,
            exemptions: terms.exemptions.to_vec(),
        }),
        Reaction::Verdict(Verdict::Accept) => Decision::Accept(Vec::new()),
        Reaction::Disposition(Disposition::Accept(edits)) => Decision::Accept(edits.iter().map(edit).collect()),
        Reaction::Verdict(Verdict::Reject(reply)) | Reaction::Disposition(Disposition::Reject(reply)) => {
            Decision::Reject(self::reply(reply))
        }
        Reaction::Verdict(Verdict::Defer(reply)) | Reaction::Disposition(Disposition::Defer(reply)) => {
            Decision::Defer(self::reply(reply))
        }
        Reaction::Disposition(Disposition::Fail(class)) => Decision::Fail(class.clone()),
        Reaction::Disposition(Disposition::Quarantine(folder)) => Decision::Quarantine(folder.clone()),
        Reaction::Disposition(Disposition::Discard) => Decision::Discard,
        Reaction::Plan(plan) => Decision::Tell(plan.iter().map(notice).collect()),
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

/// What a decision has beside its words.
pub fn details(decision: &Decision) -> Vec<String> {
    let mut details = Vec::new();
    match decision {
        Decision::Admit(terms) => {
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
        Decision::Accept(edits) => details.extend(edits.iter().map(ToString::to_string)),
        Decision::Tell(notices) => {
            let remarks = notices
                .iter()
                .filter_map(|notice| Some((&notice.to, notice.remark.as_ref()?)));
            details.extend(remarks.map(|(_, remark)| format!("remark: {remark}")));
        }
        Decision::Fault { text, .. } => details.extend(text.lines().map(str::to_owned)),
        _ => {}
    }
    details
}
