//! Conversions between the contract's types and the SDK's types.

use crate::__bindings::exemption::exports::posthouse::policy::exemption;
use crate::__bindings::homing::exports::posthouse::policy::homing;
use crate::__bindings::imports::posthouse::policy::types;
use crate::__bindings::ndr::exports::posthouse::policy::ndr;
use crate::{
    Admission, Audience, Because, Client, Content, Decision, Disposition, Edit, Envelope, FailedRecipient, Failure,
    Identity, Notice, Reply, ReversePath, Terms, Tls, Verdict,
};

impl From<types::Identity> for Identity {
    fn from(identity: types::Identity) -> Self {
        Self {
            account: identity.account,
            mechanism: identity.mechanism,
        }
    }
}

impl From<types::Client<'_>> for Client {
    fn from(client: types::Client<'_>) -> Self {
        Self {
            listener: client.listener,
            address: client.address,
            port: client.port,
            name: client.name,
            helo: client.helo,
            tls: client.tls.map(|tls| Tls {
                version: tls.version,
                cipher: tls.cipher,
                subject: tls.subject,
            }),
            identity: client.identity.map(Into::into),
            exemptions: client.exemptions,
        }
    }
}

impl From<types::ReversePath> for ReversePath {
    fn from(path: types::ReversePath) -> Self {
        match path {
            types::ReversePath::Null => Self::Null,
            types::ReversePath::Mailbox(address) => Self::Mailbox(address),
        }
    }
}

impl From<types::Envelope<'_>> for Envelope {
    fn from(envelope: types::Envelope<'_>) -> Self {
        Self {
            sender: envelope.sender.into(),
            recipients: envelope.recipients,
        }
    }
}

impl From<types::FailedRecipient> for FailedRecipient {
    fn from(failed: types::FailedRecipient) -> Self {
        let types::Reply { code, status, text } = failed.reply;
        Self {
            address: failed.address,
            // The contract promises a 4xx or 5xx reply. Another reply is replaced, so that the failure is not lost.
            reply: Reply::try_new(code, status, &text).unwrap_or_else(|_| Reply::new(550, (5, 0, 0), &text)),
            remote: failed.remote,
        }
    }
}

impl From<types::Failure<'_>> for Failure {
    fn from(failure: types::Failure<'_>) -> Self {
        Self {
            class: failure.class,
            envelope: failure.envelope.into(),
            failed: failure.failed.into_iter().map(Into::into).collect(),
            identity: failure.identity.map(Into::into),
            client_address: failure.client_address,
            exemptions: failure.exemptions,
            automatic: failure.automatic,
            headers: failure.headers,
        }
    }
}

impl From<Because> for types::Because {
    fn from(because: Because) -> Self {
        Self {
            rule: because.rule,
            entry: because.entry,
        }
    }
}

impl From<Reply> for types::Reply {
    fn from(reply: Reply) -> Self {
        Self {
            code: reply.code(),
            status: reply.status(),
            text: reply.text().to_owned(),
        }
    }
}

impl From<Admission> for exemption::Admission {
    fn from(admission: Admission) -> Self {
        match admission {
            Admission::Pass => Self::Pass,
            Admission::Admit(terms) => Self::Admit(terms.into()),
            Admission::Refuse(reply) => Self::Refuse(reply.into()),
        }
    }
}

impl From<Terms> for exemption::Terms {
    fn from(terms: Terms) -> Self {
        Self {
            authentication: terms.authentication,
            encryption: terms.encryption,
            exemptions: terms.exemptions,
        }
    }
}

impl From<Decision<Verdict>> for types::Decision {
    fn from(decision: Decision<Verdict>) -> Self {
        Self {
            verdict: match decision.answer {
                Verdict::Pass => types::Verdict::Pass,
                Verdict::Accept => types::Verdict::Accept,
                Verdict::Reject(reply) => types::Verdict::Reject(reply.into()),
                Verdict::Defer(reply) => types::Verdict::Defer(reply.into()),
            },
            because: decision.because.into(),
        }
    }
}

impl From<Disposition> for homing::Disposition {
    fn from(disposition: Disposition) -> Self {
        match disposition {
            Disposition::Pass => Self::Pass,
            Disposition::Accept(edits) => Self::Accept(edits.into_iter().map(Into::into).collect()),
            Disposition::Reject(reply) => Self::Reject(reply.into()),
            Disposition::Defer(reply) => Self::Defer(reply.into()),
            Disposition::Fail(class) => Self::Fail(class),
            Disposition::Quarantine(folder) => Self::Quarantine(folder),
            Disposition::Discard => Self::Discard,
        }
    }
}

impl From<Edit> for homing::Edit {
    fn from(edit: Edit) -> Self {
        match edit {
            Edit::AddHeader(name, value) => Self::AddHeader((name, value)),
            Edit::RemoveHeader(name) => Self::RemoveHeader(name),
            Edit::RemoveRecipient(address) => Self::RemoveRecipient(address),
            Edit::AddRecipient(address) => Self::AddRecipient(address),
        }
    }
}

impl From<Notice> for ndr::Notice {
    fn from(notice: Notice) -> Self {
        Self {
            to: match notice.to {
                Audience::Sender => ndr::Audience::Sender,
                Audience::Administrator => ndr::Audience::Administrator,
                Audience::Address(address) => ndr::Audience::Address(address),
            },
            content: match notice.content {
                Content::Nothing => ndr::ReturnContent::Nothing,
                Content::Headers => ndr::ReturnContent::Headers,
                Content::Full => ndr::ReturnContent::Full,
            },
            remark: notice.remark,
        }
    }
}
