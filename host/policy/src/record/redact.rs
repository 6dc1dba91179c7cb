//! Redaction: a record without personal data, which can be read and counted but not replayed. Used by the log of
//! decisions in the mode `hashed`.
//!
//! Data is kept by an explicit list; everything else is left out. Addresses become keyed hashes that keep the domain,
//! so that senders can be told apart without being named; client addresses keep the network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::record::{Called, Completeness, Exchange, ExchangeOutcome, Given, Record};
use host_contract::{
    Admission, Audience, Decision, Disposition, Edit, Excerpt, FailedRecipient, Failure, Notice, Octets, Question,
    Reason, Verdict,
};
use host_engine::host_call::{Answer, Call, DirectoryEntry, Finding};
use host_mail::{
    Client, Content as _, Envelope, HeaderBlock, Identity, InMemory, Mailbox, Reply, ReversePath, TlsSession,
    is_domain_name,
};

/// Header fields without personal data.
const IMPERSONAL_FIELDS: [&str; 8] = [
    "auto-submitted",
    "content-transfer-encoding",
    "importance",
    "mime-version",
    "precedence",
    "priority",
    "x-auto-response-suppress",
    "x-priority",
];
/// Replacement of a text that may contain personal data.
const LEFT_OUT: &str = "(left out)";

/// A keyed hash: returns a short name of a text, irreversible without the key.
pub type Hash<'a> = &'a (dyn Fn(&str) -> String + 'a);

impl Record {
    /// Returns the record without personal data.
    pub fn redact(self, hash: Hash<'_>) -> Self {
        let redactor = Redactor { hash };
        Self {
            kept: Completeness::Hashed,
            exchanges: self
                .exchanges
                .into_iter()
                .map(|exchange| redactor.exchange(exchange))
                .collect(),
            ..self
        }
    }
}

/// The redaction of a record.
struct Redactor<'a> {
    hash: Hash<'a>,
}

impl Redactor<'_> {
    fn name(&self, text: &str) -> String {
        format!("h-{}", (self.hash)(text))
    }

    fn mailbox(&self, mailbox: &Mailbox) -> Mailbox {
        let domain = match mailbox.domain() {
            // An address literal is the address of a machine.
            literal if literal.starts_with('[') => "invalid",
            domain => domain,
        };
        let hashed = format!("{}@{domain}", self.name(&mailbox.key()));
        // A name before a valid domain is a valid mailbox, unless the result is too long.
        hashed.parse().unwrap_or_else(|_| Self::placeholder(mailbox))
    }

    /// Returns the mailbox that replaces an address with a domain too long for a hash.
    fn placeholder(mailbox: &Mailbox) -> Mailbox {
        "h@invalid".parse().unwrap_or_else(|_| mailbox.clone())
    }

    /// Redacts an address, or any other text that a policy used as an address.
    fn address(&self, text: &str) -> String {
        match text.parse::<Mailbox>() {
            Ok(mailbox) => self.mailbox(&mailbox).to_string(),
            Err(_) => self.name(text),
        }
    }

    fn path(&self, path: &ReversePath) -> ReversePath {
        match path {
            ReversePath::Null => ReversePath::Null,
            ReversePath::Mailbox(mailbox) => ReversePath::Mailbox(self.mailbox(mailbox)),
        }
    }

    fn identity(&self, identity: Option<Identity>) -> Option<Identity> {
        identity.map(|identity| Identity {
            account: self.name(&identity.account),
            mechanism: identity.mechanism,
        })
    }

    fn client(&self, client: &Client) -> Arc<Client> {
        let client = client.clone();
        Arc::new(Client {
            address: network(client.address),
            port: 0,
            name: None,
            helo: None,
            tls: client.tls.map(|tls| TlsSession { subject: None, ..tls }),
            identity: self.identity(client.identity),
            ..client
        })
    }

    fn envelope(&self, envelope: Envelope) -> Envelope {
        Envelope {
            sender: self.path(&envelope.sender),
            recipients: envelope
                .recipients
                .iter()
                .map(|recipient| self.mailbox(recipient))
                .collect(),
            options: None,
            ..envelope
        }
    }

    fn exchange(&self, exchange: Exchange) -> Exchange {
        Exchange {
            question: self.question(exchange.question),
            calls: exchange.calls.into_iter().map(|called| self.called(called)).collect(),
            outcome: self.outcome(exchange.outcome),
            ..exchange
        }
    }

    fn question(&self, question: Question) -> Question {
        match question {
            Question::Admit { client } => Question::Admit {
                client: self.client(&client),
            },
            Question::Sender { client, sender } => Question::Sender {
                client: self.client(&client),
                sender: Arc::new(self.path(&sender)),
            },
            Question::Recipient {
                client,
                sender,
                recipient,
            } => Question::Recipient {
                client: self.client(&client),
                sender: Arc::new(self.path(&sender)),
                recipient: self.mailbox(&recipient),
            },
            Question::Message {
                client,
                envelope,
                message,
            } => Question::Message {
                client: self.client(&client),
                envelope: Arc::new(self.envelope(Envelope::clone(&envelope))),
                message: excerpt(&message),
            },
            Question::Plan { failure } => Question::Plan {
                failure: Arc::new(self.failure(Failure::clone(&failure))),
            },
        }
    }

    fn failure(&self, failure: Failure) -> Failure {
        let failed = |failed: &FailedRecipient| FailedRecipient {
            address: self.mailbox(&failed.address),
            reply: reply(failed.reply.clone()),
            remote: failed.remote.clone(),
        };
        let kept = |(name, value): &(String, String)| is_impersonal(name, value);
        Failure {
            envelope: self.envelope(failure.envelope),
            failed: failure.failed.iter().map(failed).collect(),
            identity: self.identity(failure.identity),
            client_address: failure.client_address.map(network),
            headers: failure.headers.into_iter().filter(kept).collect(),
            ..failure
        }
    }

    fn called(&self, called: Called) -> Called {
        let name = |text: String| self.name(&text);
        let call = match called.call {
            Call::Lookup { address } => Call::Lookup {
                address: self.address(&address),
            },
            Call::MaySendAs { account, address } => Call::MaySendAs {
                account: self.name(&account),
                address: self.address(&address),
            },
            Call::IsMember { group, address } => Call::IsMember {
                group: self.address(&group),
                address: self.address(&address),
            },
            Call::IsLocalDomain { domain } if is_domain_name(&domain) => Call::IsLocalDomain { domain },
            Call::IsLocalDomain { domain } => Call::IsLocalDomain { domain: name(domain) },
            // Names in DNS lists hold the client's address, and keys of counters may hold anything.
            Call::Addresses { name: text } => Call::Addresses { name: name(text) },
            Call::Exchanges { name: text } => Call::Exchanges { name: name(text) },
            Call::Texts { name: text } => Call::Texts { name: name(text) },
            Call::Names { address } => Call::Names { address: name(address) },
            Call::CounterAdd { key, amount, seconds } => Call::CounterAdd {
                key: name(key),
                amount,
                seconds,
            },
            Call::CounterValue { key } => Call::CounterValue { key: name(key) },
            Call::Findings => Call::Findings,
        };
        Called {
            call,
            given: self.given(called.given),
        }
    }

    fn given(&self, given: Given) -> Given {
        Given::Answer(match given {
            Given::Answer(Answer::Entries(entries)) => {
                Answer::Entries(entries.into_iter().map(|entry| self.entry(entry)).collect())
            }
            Given::Answer(Answer::Findings(findings)) => {
                let without_detail = |finding: Finding| Finding {
                    detail: None,
                    ..finding
                };
                Answer::Findings(findings.into_iter().map(without_detail).collect())
            }
            Given::Answer(answer @ (Answer::Truth(_) | Answer::Count(_))) => answer,
            _ => return Given::LeftOut,
        })
    }

    fn entry(&self, entry: DirectoryEntry) -> DirectoryEntry {
        DirectoryEntry {
            account: entry.account.map(|account| self.name(&account)),
            address: self.address(&entry.address),
            ..entry
        }
    }

    fn outcome(&self, outcome: ExchangeOutcome) -> ExchangeOutcome {
        match outcome {
            ExchangeOutcome::Pass => ExchangeOutcome::Pass,
            ExchangeOutcome::Decided { answer, because } => ExchangeOutcome::Decided {
                answer: self.decision(answer),
                because: Reason {
                    // The entry may be an account as well as a network.
                    entry: because.entry.map(|entry| self.address(&entry)),
                    ..because
                },
            },
            ExchangeOutcome::Fault {
                class,
                code,
                function,
                location,
            } => ExchangeOutcome::Fault {
                code: match class.as_str() {
                    // Codes of these classes are the engine's own texts; the codes of other classes quote the policy.
                    "panic" | "cpu-timeout" | "host-timeout" | "memory" | "stack" => code,
                    _ => LEFT_OUT.to_owned(),
                },
                class,
                function,
                location,
            },
        }
    }

    fn decision(&self, decision: Decision) -> Decision {
        match decision {
            Decision::Admission(Admission::Refuse(refusal)) => Decision::Admission(Admission::Refuse(reply(refusal))),
            Decision::Verdict(Verdict::Reject(refusal)) => Decision::Verdict(Verdict::Reject(reply(refusal))),
            Decision::Verdict(Verdict::Defer(refusal)) => Decision::Verdict(Verdict::Defer(reply(refusal))),
            Decision::Disposition(disposition) => Decision::Disposition(self.disposition(disposition)),
            Decision::Plan(plan) => Decision::Plan(plan.into_iter().map(|notice| self.notice(notice)).collect()),
            other @ (Decision::Admission(Admission::Admit(_)) | Decision::Verdict(Verdict::Accept)) => other,
        }
    }

    fn disposition(&self, disposition: Disposition) -> Disposition {
        match disposition {
            Disposition::Accept(edits) => Disposition::Accept(edits.into_iter().map(|edit| self.edit(edit)).collect()),
            Disposition::Reject(refusal) => Disposition::Reject(reply(refusal)),
            Disposition::Defer(refusal) => Disposition::Defer(reply(refusal)),
            // A folder's name may name a person.
            Disposition::Quarantine(folder) => Disposition::Quarantine(self.name(&folder)),
            other @ (Disposition::Fail(_) | Disposition::Discard) => other,
        }
    }

    fn edit(&self, edit: Edit) -> Edit {
        match edit {
            Edit::AddHeader(name, value) if is_impersonal(&name, &value) => Edit::AddHeader(name, value),
            Edit::AddHeader(name, _) => Edit::AddHeader(name, LEFT_OUT.to_owned()),
            Edit::RemoveHeader(name) => Edit::RemoveHeader(name),
            Edit::RemoveRecipient(mailbox) => Edit::RemoveRecipient(self.mailbox(&mailbox)),
            Edit::AddRecipient(mailbox) => Edit::AddRecipient(self.mailbox(&mailbox)),
        }
    }

    fn notice(&self, notice: Notice) -> Notice {
        Notice {
            to: match notice.to {
                Audience::Address(mailbox) => Audience::Address(self.mailbox(&mailbox)),
                other => other,
            },
            content: notice.content,
            remark: notice.remark.map(|_| LEFT_OUT.to_owned()),
        }
    }
}

/// Redacts a reply: the text may quote anything, the codes cannot.
fn reply(reply: Reply) -> Reply {
    Reply {
        text: LEFT_OUT.to_owned(),
        ..reply
    }
}

/// True if a header field may be kept.
fn is_impersonal(name: &str, value: &str) -> bool {
    IMPERSONAL_FIELDS.iter().any(|field| field.eq_ignore_ascii_case(name)) && !value.contains('@')
}

fn excerpt(message: &Excerpt) -> Excerpt {
    let block = HeaderBlock::read(&InMemory(message.header.0.clone())).unwrap_or_default();
    let mut header = String::new();
    for field in block.fields() {
        let (name, value) = (String::from_utf8_lossy(field.name), field.unfolded(256));
        if is_impersonal(&name, &value) {
            header.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    Excerpt {
        size: message.size(),
        header: Octets(header.into()),
        body: Octets::default(),
    }
}

/// Returns the network of an address: 24 bits of an IPv4 address, 48 of an IPv6 address.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            Ipv4Addr::new(a, b, c, 0).into()
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_only_the_network_of_a_client_address() {
        let kept = |text: &str| network(text.parse().expect("address")).to_string();
        assert_eq!(kept("192.0.2.77"), "192.0.2.0");
        assert_eq!(kept("::ffff:192.0.2.77"), "192.0.2.0");
        assert_eq!(kept("2001:db8:1:2:3:4:5:6"), "2001:db8:1::");
    }

    #[test]
    fn hashes_local_parts_and_keeps_domains() {
        let redactor = Redactor {
            hash: &|text| format!("{:016x}", text.len()),
        };
        let shown = |text: &str| redactor.mailbox(&text.parse().expect("mailbox")).to_string();
        assert_eq!(shown("Anna@Example.org"), "h-0000000000000010@example.org");
        assert_eq!(shown("x@[192.0.2.1]"), "h-000000000000000d@invalid");
        assert!(shown(&format!("x@{}.example", "a.".repeat(100).trim_end_matches('.'))).starts_with("h-"));
        let long = format!("x@{}", vec!["abcdefg"; 31].join("."));
        assert_eq!(shown(&long), "h@invalid");
    }

    #[test]
    fn keeps_only_impersonal_header_fields() {
        let message = Excerpt {
            size: 5000,
            header: Octets("Subject: secret\r\nFrom: a@b.example\r\nPrecedence: bulk\r\nPriority: a@b\r\n".into()),
            body: Octets("\r\nbody".into()),
        };
        let kept = excerpt(&message);
        assert_eq!(kept.header, Octets("Precedence: bulk\r\n".into()));
        assert_eq!((kept.size, kept.body), (5000, Octets::default()));
    }
}
