//! What a policy can call: the directory, the message, the log and the clock, and the state of
//! one instance that these need.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::OnceCell;
use wasmtime::Engine;
use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::bindings::Everything;
use super::bindings::posthouse::policy::{counters, directory, dns, host, message, types, verification};
use super::call::{Answer, Answers, Asker, Call, Finding, Meaning, NoAnswer};
use super::fault::Stop;
use super::limits::{CpuLimit, MemoryLimit};
use super::older::link_0_1;
use super::verification::Received;
use super::wasi::{self, Console};
use crate::policy::component::Contract;
use host_config::PolicyLimits;
use host_contract::{Excerpt, Octets, Origin};
use host_directory::Directory;
use host_events::{Event, Events};
use host_mail::{Content, HeaderBlock, Timestamp};

/// Handles an instance may have at once, on both sides.
const HANDLES: usize = 1024;
/// Bounds of `host.log`.
const LOG_LINES: u32 = 64;
const LOG_LINE: usize = 4 * 1024;
/// Bounds of `message.header` and `message.read`.
const HEADER_VALUES: usize = 64;
const HEADER_VALUE: usize = 8 * 1024;
const READ: u32 = 1024 * 1024;

/// What ends a header.
const EMPTY_LINE: usize = 2;

/// A growth slot of the contract: there is none yet, so no value of it exists.
pub enum Slot {}

/// The message under decision, as the guest's handle sees it.
#[derive(Clone)]
pub struct MessageView {
    content: Arc<dyn Content>,
    header: Arc<OnceLock<HeaderBlock>>,
    received: Option<Arc<Received>>,
    findings: Arc<OnceCell<Vec<Finding>>>,
}

impl MessageView {
    pub(in crate::policy) fn new(content: Arc<dyn Content>) -> Self {
        Self {
            content,
            header: Arc::default(),
            received: None,
            findings: Arc::default(),
        }
    }

    /// Its header is known already.
    pub(in crate::policy) fn with_header(content: Arc<dyn Content>, header: HeaderBlock) -> Self {
        Self {
            header: Arc::new(OnceLock::from(header)),
            ..Self::new(content)
        }
    }

    /// With what is known of how it came here.
    pub(in crate::policy) fn received_from(self, received: Received) -> Self {
        Self {
            received: Some(Arc::new(received)),
            ..self
        }
    }

    pub(in crate::policy) fn content(&self) -> Arc<dyn Content> {
        Arc::clone(&self.content)
    }

    /// What a record keeps of it: the header, the empty line and `body` bytes behind it.
    pub(in crate::policy) fn excerpt(&self, body: u64) -> std::io::Result<Excerpt> {
        let header = match self.header() {
            Ok(header) => Bytes::copy_from_slice(header.as_bytes()),
            Err(stop) => return Err(std::io::Error::other(stop)),
        };
        let length = usize::try_from(body).unwrap_or(usize::MAX).saturating_add(EMPTY_LINE);
        let body = self.content.read(header.len() as u64, length)?;
        Ok(Excerpt {
            size: self.content.size(),
            header: Octets(header),
            body: Octets(body),
        })
    }

    pub(super) fn received(&self) -> Option<&Received> {
        self.received.as_deref()
    }

    /// What was verified, once for all modules of the chain.
    pub(super) fn findings(&self) -> &OnceCell<Vec<Finding>> {
        &self.findings
    }

    /// Scanned once for all modules of the chain.
    fn header(&self) -> Result<&HeaderBlock, Stop> {
        if let Some(header) = self.header.get() {
            return Ok(header);
        }
        let header = HeaderBlock::read(&*self.content).map_err(unreadable)?;
        Ok(self.header.get_or_init(|| header))
    }
}

fn unreadable(error: std::io::Error) -> Stop {
    Stop::Host(format!("the message could not be read: {error}"))
}

/// What all instances of one unit of work share.
#[derive(Clone)]
pub(in crate::policy) struct Surroundings {
    /// What the host itself looks up in.
    pub(in crate::policy) directory: Arc<dyn Directory>,
    /// What policies' calls are answered from.
    pub(in crate::policy) answers: Arc<dyn Answers>,
    pub(in crate::policy) events: Events,
    /// The time `host.now` tells.
    pub(in crate::policy) now: Timestamp,
    pub(in crate::policy) origin: Origin,
}

/// What a module took of the bounds that hold for a whole unit of work.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::policy) struct Spent {
    calls: u64,
    lines: u32,
}

/// The state of one instance.
pub(super) struct Host {
    pub(super) memory: MemoryLimit,
    pub(super) cpu: CpuLimit,
    pub(super) console: Console,
    pub(super) around: Surroundings,
    pub(super) table: ResourceTable,
    pub(super) spent: Spent,
    module: Arc<str>,
    limits: PolicyLimits,
    /// Made when the guest first asks for it: most never do. Its clock must not begin again.
    wasi: Option<WasiCtx>,
    asked_wasi: bool,
}

impl Host {
    pub(super) fn new(module: Arc<str>, limits: &PolicyLimits, around: Surroundings) -> Self {
        let console = Console::default();
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        Self {
            memory: MemoryLimit::new(limits.memory),
            cpu: CpuLimit::new(limits.cpu),
            wasi: None,
            asked_wasi: false,
            console,
            around,
            table,
            module,
            limits: limits.clone(),
            spent: Spent::default(),
        }
    }

    pub(super) fn limits(&self) -> &PolicyLimits {
        &self.limits
    }

    /// Whether the guest has called neither the host nor WASI.
    pub(super) fn asked_nothing(&self) -> bool {
        self.spent.calls == 0 && !self.asked_wasi
    }

    /// Of memory and handles it has less than half of what it may have.
    pub(super) fn is_light(&mut self) -> bool {
        self.memory.used() <= self.limits.memory / 2 && self.table.iter_mut().count() <= HANDLES / 2
    }

    /// It is for something else from here on. What is left of before are the guest's memory and its open handles.
    pub(super) fn begin(&mut self, around: Surroundings) {
        self.memory.forget_denied();
        self.console.clear();
        self.asked_wasi = false;
        self.around = around;
        self.spent = Spent::default();
    }

    /// Counts a call of the guest to the host.
    fn count(&mut self) -> Result<(), Stop> {
        self.spent.calls += 1;
        if self.spent.calls > self.limits.host_calls {
            return Err(Stop::HostCalls(self.limits.host_calls));
        }
        Ok(())
    }

    fn message(&self, handle: &Resource<MessageView>) -> wasmtime::Result<MessageView> {
        Ok(self.table.get(handle)?.clone())
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.asked_wasi = true;
        WasiCtxView {
            ctx: self.wasi.get_or_insert_with(|| wasi::inert(&self.console)),
            table: &mut self.table,
        }
    }
}

/// Everything that can be imported. Grants are checked before a component gets here.
pub(super) fn link(engine: &Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    Everything::add_to_linker::<_, HasSelf<_>>(&mut linker, |host| host)?;
    let [oldest, _] = Contract::SERVED;
    link_0_1(&mut linker, oldest)?;
    Ok(linker)
}

impl types::Host for Host {}

impl types::HostMoreClient for Host {
    async fn drop(&mut self, _slot: Resource<Slot>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl types::HostMoreEnvelope for Host {
    async fn drop(&mut self, _slot: Resource<Slot>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl types::HostMoreFailure for Host {
    async fn drop(&mut self, _slot: Resource<Slot>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl Host {
    /// One call that is answered by the host as it stands, or from a record.
    async fn ask(&mut self, call: Call) -> wasmtime::Result<Result<Answer, NoAnswer>> {
        self.ask_about(None, call).await
    }

    async fn ask_about(
        &mut self,
        message: Option<&MessageView>,
        call: Call,
    ) -> wasmtime::Result<Result<Answer, NoAnswer>> {
        self.count()?;
        let asker = Asker {
            module: &self.module,
            message,
        };
        Ok(self.around.answers.answer(asker, &call).await)
    }
}

/// An answer of another kind than the question's: only a damaged record has one.
fn unfit<T>(_: Answer) -> Result<T, NoAnswer> {
    Err(NoAnswer::Other("the answer does not fit the question".to_owned()))
}

fn truth(answer: Answer) -> Result<bool, NoAnswer> {
    match answer {
        Answer::Truth(truth) => Ok(truth),
        other => unfit(other),
    }
}

fn texts(answer: Answer) -> Result<Vec<String>, NoAnswer> {
    match answer {
        Answer::Texts(texts) => Ok(texts),
        other => unfit(other),
    }
}

fn count(answer: Answer) -> Result<u64, NoAnswer> {
    match answer {
        Answer::Count(count) => Ok(count),
        other => unfit(other),
    }
}

impl directory::Host for Host {
    async fn lookup(
        &mut self,
        address: String,
    ) -> wasmtime::Result<Result<Vec<directory::Entry>, directory::LookupError>> {
        let answer = self.ask(Call::Lookup { address }).await?;
        let entries = answer.and_then(|answer| match answer {
            Answer::Entries(entries) => Ok(entries.into_iter().map(entry).collect()),
            other => unfit(other),
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

fn entry(meaning: Meaning) -> directory::Entry {
    directory::Entry {
        account: meaning.account,
        address: meaning.address,
        home: meaning
            .elsewhere
            .map_or(directory::Home::Here, directory::Home::Elsewhere),
        kind: meaning.kind,
    }
}

fn lookup_error(error: NoAnswer) -> directory::LookupError {
    match error {
        NoAnswer::Unavailable(why) => directory::LookupError::Unavailable(why),
        other => directory::LookupError::Other(other.to_string()),
    }
}

impl dns::Host for Host {
    async fn addresses(&mut self, name: String) -> wasmtime::Result<Result<Vec<String>, dns::DnsError>> {
        let answer = self.ask(Call::Addresses { name }).await?;
        Ok(answer.and_then(texts).map_err(dns_error))
    }

    async fn exchanges(&mut self, name: String) -> wasmtime::Result<Result<Vec<dns::Exchange>, dns::DnsError>> {
        let answer = self.ask(Call::Exchanges { name }).await?;
        let exchange = |(preference, name)| dns::Exchange { preference, name };
        let exchanges = answer.and_then(|answer| match answer {
            Answer::Exchanges(exchanges) => Ok(exchanges.into_iter().map(exchange).collect()),
            other => unfit(other),
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

impl counters::Host for Host {
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

impl verification::Host for Host {
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
            // What cannot be looked up is a finding of its own (`temperror`), never an error.
            Ok(_) | Err(_) => Ok(Vec::new()),
        }
    }
}

impl message::Host for Host {}

impl message::HostMessage for Host {
    async fn size(&mut self, handle: Resource<MessageView>) -> wasmtime::Result<u64> {
        self.count()?;
        Ok(self.message(&handle)?.content.size())
    }

    async fn header(&mut self, handle: Resource<MessageView>, name: String) -> wasmtime::Result<Vec<String>> {
        self.count()?;
        let message = self.message(&handle)?;
        let values = message
            .header()?
            .named(&name)
            .take(HEADER_VALUES)
            .map(|field| field.unfolded(HEADER_VALUE))
            .collect();
        Ok(values)
    }

    async fn header_block(&mut self, handle: Resource<MessageView>) -> wasmtime::Result<Vec<u8>> {
        self.count()?;
        Ok(self.message(&handle)?.header()?.as_bytes().to_vec())
    }

    async fn read(&mut self, handle: Resource<MessageView>, offset: u64, length: u32) -> wasmtime::Result<Vec<u8>> {
        self.count()?;
        let length = usize::try_from(length.min(READ))?;
        let bytes = self
            .message(&handle)?
            .content
            .read(offset, length)
            .map_err(unreadable)?;
        Ok(bytes.to_vec())
    }

    async fn drop(&mut self, handle: Resource<MessageView>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

impl host::Host for Host {
    async fn log(&mut self, level: host::Level, text: String) -> wasmtime::Result<()> {
        self.count()?;
        if self.spent.lines >= LOG_LINES {
            return Ok(());
        }
        self.spent.lines += 1;
        let level = match level {
            host::Level::Debug => "debug",
            host::Level::Info => "info",
            host::Level::Warning => "warning",
            host::Level::Error => "error",
        };
        self.around.events.emit(Event::PolicyLog {
            policy: self.module.to_string(),
            level: level.to_owned(),
            text: cut(text, LOG_LINE),
            session: self.around.origin.session.map(|id| id.to_string()),
            message: self.around.origin.message.map(|id| id.to_string()),
        });
        Ok(())
    }

    async fn now(&mut self) -> wasmtime::Result<u64> {
        self.count()?;
        Ok(self.around.now.seconds())
    }
}

/// At most `limit` bytes of a text, cut between characters.
pub(in crate::policy) fn cut(mut text: String, limit: usize) -> String {
    text.truncate(text.floor_char_boundary(limit));
    text
}
