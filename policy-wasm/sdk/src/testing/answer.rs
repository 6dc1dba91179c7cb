//! Conversions between the types of cases and the SDK's types.

use posthouse_cases as cases;

use crate::{
    Admission, Audience, Because, Client, Content, Decision, Disposition, Edit, Envelope, FailedRecipient, Failure,
    Identity, Notice, Plan, Reply, ReversePath, Tls, Verdict,
};

impl From<&cases::Identity> for Identity {
    fn from(identity: &cases::Identity) -> Self {
        Self {
            account: identity.account.clone(),
            mechanism: identity.mechanism.clone(),
        }
    }
}

impl From<&cases::Client> for Client {
    fn from(client: &cases::Client) -> Self {
        Self {
            listener: client.listener.clone(),
            address: client.address.clone(),
            port: client.port,
            name: client.name.clone(),
            helo: client.helo.clone(),
            tls: client.tls.as_ref().map(|tls| Tls {
                version: tls.version.clone(),
                cipher: tls.cipher.clone(),
                subject: tls.subject.clone(),
            }),
            identity: client.identity.as_ref().map(Into::into),
            exemptions: client.exemptions.clone().unwrap_or_default(),
        }
    }
}

impl From<&cases::ReversePath> for ReversePath {
    fn from(path: &cases::ReversePath) -> Self {
        match path {
            cases::ReversePath::Null => Self::Null,
            cases::ReversePath::Mailbox(address) => Self::Mailbox(address.clone()),
        }
    }
}

impl From<&cases::Failure> for Failure {
    fn from(failure: &cases::Failure) -> Self {
        let failed = |failed: &cases::FailedRecipient| FailedRecipient {
            address: failed.address.clone(),
            reply: Reply::new(failed.reply.code, failed.reply.status, &failed.reply.text),
            remote: failed.remote.clone(),
        };
        Self {
            class: failure.class.clone(),
            envelope: Envelope {
                sender: (&failure.sender).into(),
                recipients: failure.recipients.clone(),
            },
            failed: failure.failed.iter().map(failed).collect(),
            identity: failure.identity.as_ref().map(Into::into),
            client_address: failure.client_address.clone(),
            exemptions: failure.exemptions.clone(),
            automatic: failure.automatic,
            headers: failure
                .headers
                .iter()
                .map(|field| (field.name.clone(), field.value.clone()))
                .collect(),
        }
    }
}

fn reply(reply: &Reply) -> cases::Reply {
    cases::Reply {
        code: reply.code(),
        status: reply.status(),
        text: reply.text().to_owned(),
    }
}

impl From<Because> for cases::Because {
    fn from(because: Because) -> Self {
        Self {
            rule: because.rule,
            entry: because.entry,
        }
    }
}

impl<T: Into<cases::Decision>> From<Decision<T>> for cases::Answer {
    fn from(decision: Decision<T>) -> Self {
        Self {
            decision: decision.answer.into(),
            because: decision.because.into(),
        }
    }
}

impl From<Admission> for cases::Decision {
    fn from(admission: Admission) -> Self {
        match admission {
            Admission::Pass => Self::Pass,
            Admission::Admit(terms) => Self::Admit(cases::Terms {
                authentication: terms.authentication,
                encryption: terms.encryption,
                exemptions: terms.exemptions,
            }),
            Admission::Refuse(refusal) => Self::Refuse(reply(&refusal)),
        }
    }
}

impl From<Verdict> for cases::Decision {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Pass,
            Verdict::Accept => Self::Accept(Vec::new()),
            Verdict::Reject(refusal) => Self::Reject(reply(&refusal)),
            Verdict::Defer(refusal) => Self::Defer(reply(&refusal)),
        }
    }
}

impl From<Disposition> for cases::Decision {
    fn from(disposition: Disposition) -> Self {
        match disposition {
            Disposition::Pass => Self::Pass,
            Disposition::Accept(edits) => Self::Accept(edits.into_iter().map(Into::into).collect()),
            Disposition::Reject(refusal) => Self::Reject(reply(&refusal)),
            Disposition::Defer(refusal) => Self::Defer(reply(&refusal)),
            Disposition::Fail(class) => Self::Fail(class),
            Disposition::Quarantine(folder) => Self::Quarantine(folder),
            Disposition::Discard => Self::Discard,
        }
    }
}

impl From<Edit> for cases::Edit {
    fn from(edit: Edit) -> Self {
        match edit {
            Edit::AddHeader(name, value) => Self::AddHeader { name, value },
            Edit::RemoveHeader(name) => Self::RemoveHeader(name),
            Edit::RemoveRecipient(address) => Self::RemoveRecipient(address),
            Edit::AddRecipient(address) => Self::AddRecipient(address),
        }
    }
}

impl From<Plan> for cases::Decision {
    fn from(plan: Plan) -> Self {
        Self::Tell(plan.0.into_iter().map(Into::into).collect())
    }
}

impl From<Notice> for cases::Notice {
    fn from(notice: Notice) -> Self {
        Self {
            to: match notice.to {
                Audience::Sender => cases::Audience::Sender,
                Audience::Administrator => cases::Audience::Administrator,
                Audience::Address(address) => cases::Audience::Address(address),
            },
            content: match notice.content {
                Content::Nothing => cases::Content::Nothing,
                Content::Headers => cases::Content::Headers,
                Content::Full => cases::Content::Full,
            },
            remark: notice.remark,
        }
    }
}
