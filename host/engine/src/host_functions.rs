//! Host functions that a policy can import: directory, DNS, counters, verification, message, log and clock.

use wasmtime::component::Resource;

use crate::bindings::posthouse::policy::{counters, directory, dns, host, message, types, verification};
use crate::host_call::{Answer, Call, Caller, DirectoryEntry, Finding, NoAnswer};
use crate::instance_state::InstanceState;
use crate::message_view::{MessageView, Slot, unreadable};
use host_events::Event;
use host_mail::cut;

/// Maximum number of lines of `host.log` in one unit of work; further lines are dropped.
const MAX_LOG_LINES: u32 = 64;
/// Maximum length of a line of `host.log`, in bytes; a longer line is cut.
const MAX_LOG_LINE: usize = 4 * 1024;
/// Maximum number of values that `message.header` returns.
const MAX_HEADER_VALUES: usize = 64;
/// Maximum length of a value that `message.header` returns, in bytes.
const MAX_HEADER_VALUE: usize = 8 * 1024;
/// Maximum number of bytes that `message.read` returns.
const MAX_READ: u32 = 1024 * 1024;

impl types::Host for InstanceState {}

impl types::HostMoreClient for InstanceState {
    async fn drop(&mut self, _slot: Resource<Slot>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl types::HostMoreEnvelope for InstanceState {
    async fn drop(&mut self, _slot: Resource<Slot>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl types::HostMoreFailure for InstanceState {
    async fn drop(&mut self, _slot: Resource<Slot>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl InstanceState {
    /// Answers a call that concerns no message.
    async fn ask(&mut self, call: Call) -> wasmtime::Result<Result<Answer, NoAnswer>> {
        self.ask_about(None, call).await
    }

    /// Counts a call and has the services of the unit of work answer the call.
    async fn ask_about(
        &mut self,
        message: Option<&MessageView>,
        call: Call,
    ) -> wasmtime::Result<Result<Answer, NoAnswer>> {
        self.count_call()?;
        let caller = Caller {
            module: &self.module,
            message,
        };
        Ok(self.context.answers.answer(caller, &call).await)
    }
}

/// Error for an answer of another kind than the call's, as only a damaged record contains.
fn wrong_kind<T>(_: Answer) -> Result<T, NoAnswer> {
    Err(NoAnswer::Other("the answer does not fit the question".to_owned()))
}

fn truth(answer: Answer) -> Result<bool, NoAnswer> {
    match answer {
        Answer::Truth(truth) => Ok(truth),
        other => wrong_kind(other),
    }
}

fn texts(answer: Answer) -> Result<Vec<String>, NoAnswer> {
    match answer {
        Answer::Texts(texts) => Ok(texts),
        other => wrong_kind(other),
    }
}

fn count(answer: Answer) -> Result<u64, NoAnswer> {
    match answer {
        Answer::Count(count) => Ok(count),
        other => wrong_kind(other),
    }
}

impl directory::Host for InstanceState {
    async fn lookup(
        &mut self,
        address: String,
    ) -> wasmtime::Result<Result<Vec<directory::Entry>, directory::LookupError>> {
        let answer = self.ask(Call::Lookup { address }).await?;
        let entries = answer.and_then(|answer| match answer {
            Answer::Entries(entries) => Ok(entries.into_iter().map(entry).collect()),
            other => wrong_kind(other),
        });
        Ok(entries.map_err(lookup_error))
    }

    async fn may_send_as(
        &mut self,
        account: String,
        address: String,
    ) -> wasmtime::Result<Result<bool, directory::LookupError>> {
        let answer = self.ask(Call::MaySendAs { account, address }).await?;
        Ok(answer.and_then(truth).map_err(lookup_error))
    }

    async fn is_local_domain(&mut self, domain: String) -> wasmtime::Result<Result<bool, directory::LookupError>> {
        let answer = self.ask(Call::IsLocalDomain { domain }).await?;
        Ok(answer.and_then(truth).map_err(lookup_error))
    }

    async fn is_member(
        &mut self,
        group: String,
        address: String,
    ) -> wasmtime::Result<Result<bool, directory::LookupError>> {
        let answer = self.ask(Call::IsMember { group, address }).await?;
        Ok(answer.and_then(truth).map_err(lookup_error))
    }
}

fn entry(entry: DirectoryEntry) -> directory::Entry {
    directory::Entry {
        account: entry.account,
        address: entry.address,
        home: entry
            .elsewhere
            .map_or(directory::Home::Here, directory::Home::Elsewhere),
        kind: entry.kind,
    }
}

fn lookup_error(error: NoAnswer) -> directory::LookupError {
    match error {
        NoAnswer::Unavailable(why) => directory::LookupError::Unavailable(why),
        other => directory::LookupError::Other(other.to_string()),
    }
}

impl dns::Host for InstanceState {
    async fn addresses(&mut self, name: String) -> wasmtime::Result<Result<Vec<String>, dns::DnsError>> {
        let answer = self.ask(Call::Addresses { name }).await?;
        Ok(answer.and_then(texts).map_err(dns_error))
    }

    async fn exchanges(&mut self, name: String) -> wasmtime::Result<Result<Vec<dns::Exchange>, dns::DnsError>> {
        let answer = self.ask(Call::Exchanges { name }).await?;
        let exchange = |(preference, name)| dns::Exchange { preference, name };
        let exchanges = answer.and_then(|answer| match answer {
            Answer::Exchanges(exchanges) => Ok(exchanges.into_iter().map(exchange).collect()),
            other => wrong_kind(other),
        });
        Ok(exchanges.map_err(dns_error))
    }

    async fn texts(&mut self, name: String) -> wasmtime::Result<Result<Vec<String>, dns::DnsError>> {
        let answer = self.ask(Call::Texts { name }).await?;
        Ok(answer.and_then(texts).map_err(dns_error))
    }

    async fn names(&mut self, address: String) -> wasmtime::Result<Result<Vec<String>, dns::DnsError>> {
        let answer = self.ask(Call::Names { address }).await?;
        Ok(answer.and_then(texts).map_err(dns_error))
    }
}

fn dns_error(error: NoAnswer) -> dns::DnsError {
    match error {
        NoAnswer::Unavailable(why) => dns::DnsError::Unavailable(why),
        other => dns::DnsError::Other(other.to_string()),
    }
}

impl counters::Host for InstanceState {
    async fn add(
        &mut self,
        key: String,
        amount: u64,
        seconds: u32,
    ) -> wasmtime::Result<Result<u64, counters::CounterError>> {
        let answer = self.ask(Call::CounterAdd { key, amount, seconds }).await?;
        Ok(answer.and_then(count).map_err(counter_error))
    }

    async fn value(&mut self, key: String) -> wasmtime::Result<Result<u64, counters::CounterError>> {
        let answer = self.ask(Call::CounterValue { key }).await?;
        Ok(answer.and_then(count).map_err(counter_error))
    }
}

fn counter_error(error: NoAnswer) -> counters::CounterError {
    match error {
        NoAnswer::Unavailable(why) => counters::CounterError::Unavailable(why),
        NoAnswer::Full => counters::CounterError::Full,
        NoAnswer::Other(why) => counters::CounterError::Other(why),
    }
}

impl verification::Host for InstanceState {
    async fn findings(&mut self, handle: Resource<MessageView>) -> wasmtime::Result<Vec<verification::Finding>> {
        let finding = |finding: Finding| verification::Finding {
            method: finding.method,
            outcome: finding.outcome,
            domain: finding.domain,
            detail: finding.detail,
        };
        let message = self.message(&handle)?;
        match self.ask_about(Some(&message), Call::Findings).await? {
            Ok(Answer::Findings(findings)) => Ok(findings.into_iter().map(finding).collect()),
            // The interface has no error: a failed lookup is a finding of its own (`temperror`).
            Ok(_) | Err(_) => Ok(Vec::new()),
        }
    }
}

impl message::Host for InstanceState {}

impl message::HostMessage for InstanceState {
    async fn size(&mut self, handle: Resource<MessageView>) -> wasmtime::Result<u64> {
        self.count_call()?;
        Ok(self.message(&handle)?.content().size())
    }

    async fn header(&mut self, handle: Resource<MessageView>, name: String) -> wasmtime::Result<Vec<String>> {
        self.count_call()?;
        let message = self.message(&handle)?;
        let values = message
            .header()?
            .named(&name)
            .take(MAX_HEADER_VALUES)
            .map(|field| field.unfolded(MAX_HEADER_VALUE))
            .collect();
        Ok(values)
    }

    async fn header_block(&mut self, handle: Resource<MessageView>) -> wasmtime::Result<Vec<u8>> {
        self.count_call()?;
        Ok(self.message(&handle)?.header()?.as_bytes().to_vec())
    }

    async fn read(&mut self, handle: Resource<MessageView>, offset: u64, length: u32) -> wasmtime::Result<Vec<u8>> {
        self.count_call()?;
        let length = usize::try_from(length.min(MAX_READ))?;
        let bytes = self
            .message(&handle)?
            .content()
            .read(offset, length)
            .map_err(unreadable)?;
        Ok(bytes.to_vec())
    }

    async fn drop(&mut self, handle: Resource<MessageView>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

impl host::Host for InstanceState {
    async fn log(&mut self, level: host::Level, text: String) -> wasmtime::Result<()> {
        self.count_call()?;
        if self.usage.log_lines >= MAX_LOG_LINES {
            return Ok(());
        }
        self.usage.log_lines += 1;
        let level = match level {
            host::Level::Debug => "debug",
            host::Level::Info => "info",
            host::Level::Warning => "warning",
            host::Level::Error => "error",
        };
        self.context.events.emit(Event::PolicyLog {
            policy: self.module.to_string(),
            level: level.to_owned(),
            text: cut(text, MAX_LOG_LINE),
            session: self.context.origin.session.map(|id| id.to_string()),
            message: self.context.origin.message.map(|id| id.to_string()),
        });
        Ok(())
    }

    async fn now(&mut self) -> wasmtime::Result<u64> {
        self.count_call()?;
        Ok(self.context.now.seconds())
    }
}
