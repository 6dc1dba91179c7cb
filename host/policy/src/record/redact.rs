//! A record without personal data: still worth reading and counting, of no use for a replay.
//!
//! What is kept is named here; what is not is left out. Addresses become keyed hashes that keep the
//! domain, so that one sender can be told from another without saying who they are; client addresses
//! keep their network.

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

/// Header fields that name nobody.
const FIELDS: [&str; 8] = [
    "auto-submitted",
    "content-transfer-encoding",
    "importance",
    "mime-version",
    "precedence",
    "priority",
    "x-auto-response-suppress",
    "x-priority",
];
/// In the place of a text that might name somebody.
const LEFT_OUT: &str = "(left out)";

/// Makes a short name of a text that cannot be turned back without the key.
pub type Hash<'a> = &'a (dyn Fn(&str) -> String + 'a);

impl Record {
    /// The same without personal data.
    pub fn redact(self, hash: Hash<'_>) -> Self {
        let censor = Redactor { hash };
        Self {
            kept: Completeness::Hashed,
            exchanges: self.exchanges.into_iter().map(|it| censor.exchange(it)).collect(),
            ..self
        }
    }
}

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
        // It is one: a word and a domain that was good before. If not, nothing of it is kept.
        hashed.parse().unwrap_or_else(|_| Self::nobody(mailbox))
    }

    /// For a domain so long that there is no room for the name before it.
    fn nobody(mailbox: &Mailbox) -> Mailbox {
        "h@invalid".parse().unwrap_or_else(|_| mailbox.clone())
    }

    /// An address, or whatever else a policy took for one.
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
            recipients: envelope.recipients.iter().map(|it| self.mailbox(it)).collect(),
            ..envelope
        }
    }

    fn exchange(&self, exchange: Exchange) -> Exchange {
        Exchange {
            question: self.question(exchange.question),
            calls: exchange.calls.into_iter().map(|it| self.called(it)).collect(),
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
        let kept = |(name, value): &(String, String)| harmless(name, value);
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
                Answer::Entries(entries.into_iter().map(|it| self.meaning(it)).collect())
            }
            Given::Answer(Answer::Findings(findings)) => {
                let quiet = |finding: Finding| Finding {
                    detail: None,
                    ..finding
                };
                Answer::Findings(findings.into_iter().map(quiet).collect())
            }
            Given::Answer(answer @ (Answer::Truth(_) | Answer::Count(_))) => answer,
            _ => return Given::LeftOut,
        })
    }

    fn meaning(&self, meaning: DirectoryEntry) -> DirectoryEntry {
        DirectoryEntry {
            account: meaning.account.map(|account| self.name(&account)),
            address: self.address(&meaning.address),
            ..meaning
        }
    }

    fn outcome(&self, outcome: ExchangeOutcome) -> ExchangeOutcome {
        match outcome {
            ExchangeOutcome::Pass => ExchangeOutcome::Pass,
            ExchangeOutcome::Decided { answer, because } => ExchangeOutcome::Decided {
                answer: self.decision(answer),
                because: Reason {
                    // Whatever a policy says that matched: an account as well as a network.
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
                    // These are the engine's own words; others quote what the policy said.
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
            Decision::Plan(plan) => Decision::Plan(plan.into_iter().map(|it| self.notice(it)).collect()),
            other @ (Decision::Admission(Admission::Admit(_)) | Decision::Verdict(Verdict::Accept)) => other,
        }
    }

    fn disposition(&self, disposition: Disposition) -> Disposition {
        match disposition {
            Disposition::Accept(edits) => Disposition::Accept(edits.into_iter().map(|it| self.edit(it)).collect()),
            Disposition::Reject(refusal) => Disposition::Reject(reply(refusal)),
            Disposition::Defer(refusal) => Disposition::Defer(reply(refusal)),
            // A folder may be somebody's.
            Disposition::Quarantine(folder) => Disposition::Quarantine(self.name(&folder)),
            other @ (Disposition::Fail(_) | Disposition::Discard) => other,
        }
    }

    fn edit(&self, edit: Edit) -> Edit {
        match edit {
            Edit::AddHeader(name, value) if harmless(&name, &value) => Edit::AddHeader(name, value),
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

/// The text of a reply may quote anything; its codes cannot.
fn reply(reply: Reply) -> Reply {
    Reply {
        text: LEFT_OUT.to_owned(),
        ..reply
    }
}

fn harmless(name: &str, value: &str) -> bool {
    FIELDS.iter().any(|field| field.eq_ignore_ascii_case(name)) && !value.contains('@')
}

fn excerpt(message: &Excerpt) -> Excerpt {
    let block = HeaderBlock::read(&InMemory(message.header.0.clone())).unwrap_or_default();
    let mut header = String::new();
    for field in block.fields() {
        let (name, value) = (String::from_utf8_lossy(field.name), field.unfolded(256));
        if harmless(&name, &value) {
            header.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    Excerpt {
        size: message.size(),
        header: Octets(header.into()),
        body: Octets::default(),
    }
}

/// What is left when the machine is left out: 24 bits of an IPv4 address, 48 of an IPv6 one.
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
    fn a_client_s_network_is_kept_and_its_machine_is_not() {
        let kept = |text: &str| network(text.parse().expect("address")).to_string();
        assert_eq!(kept("192.0.2.77"), "192.0.2.0");
        assert_eq!(kept("::ffff:192.0.2.77"), "192.0.2.0");
        assert_eq!(kept("2001:db8:1:2:3:4:5:6"), "2001:db8:1::");
    }

    #[test]
    fn addresses_keep_their_domain_and_hide_who() {
        let censor = Redactor {
            hash: &|text| format!("{:016x}", text.len()),
        };
        let shown = |text: &str| censor.mailbox(&text.parse().expect("mailbox")).to_string();
        assert_eq!(shown("Anna@Example.org"), "h-0000000000000010@example.org");
        assert_eq!(shown("x@[192.0.2.1]"), "h-000000000000000d@invalid");
        assert!(shown(&format!("x@{}.example", "a.".repeat(100).trim_end_matches('.'))).starts_with("h-"));
        let long = format!("x@{}", vec!["abcdefg"; 31].join("."));
        assert_eq!(shown(&long), "h@invalid");
    }

    #[test]
    fn a_header_keeps_what_names_nobody() {
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
