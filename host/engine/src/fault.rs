//! What went wrong in a policy: from the engine's errors to the words of Event 4037.

use std::fmt;
use std::time::Duration;

use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, WasmBacktrace, WasmCoreDump};
use wasmtime_wasi::I32Exit;

use super::backtrace::{SourceMap, SourcePlace};
use super::core_dump::CoreDumps;
use crate::instance_state::InstanceState;
use crate::validate::InvalidAnswer;
use host_mail::cut;

/// Bytes of an error's text that are kept.
const QUOTED: usize = 512;

/// Kinds of faults; the names in events and status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The guest gave up: a panic, an exception, an abort.
    Panic,
    /// Too much guest CPU in one call.
    CpuTimeout,
    /// The call took too long on the wall clock.
    HostTimeout,
    /// The guest ended after memory was denied to it.
    Memory,
    /// The call stack was exhausted.
    Stack,
    /// Any other trap.
    Trap,
    /// The result could not be decoded.
    Abi,
    /// The result was decoded and cannot be true.
    InvalidAnswer,
    /// The host failed, not the policy.
    HostBug,
}

impl Class {
    pub(super) const ALL: [Self; 9] = [
        Self::Panic,
        Self::CpuTimeout,
        Self::HostTimeout,
        Self::Memory,
        Self::Stack,
        Self::Trap,
        Self::Abi,
        Self::InvalidAnswer,
        Self::HostBug,
    ];

    /// Returns the class as events and `status` name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::CpuTimeout => "cpu-timeout",
            Self::HostTimeout => "host-timeout",
            Self::Memory => "memory",
            Self::Stack => "stack",
            Self::Trap => "trap",
            Self::Abi => "abi",
            Self::InvalidAnswer => "lie",
            Self::HostBug => "host-bug",
        }
    }
}

/// Why the host itself ended a guest.
#[derive(Debug, thiserror::Error)]
pub(super) enum Abort {
    /// See [`super::limits::CpuLimit`].
    #[error("more than {} ms of guest CPU in one call", .0.as_millis())]
    Cpu(Duration),
    /// See `limits.host-calls`.
    #[error("more than {0} calls to the host in one unit of work")]
    HostCalls(u64),
    /// A host function failed.
    #[error("{0}")]
    Host(String),
}

/// How a bounded call ended if not with a result.
pub(super) enum CallEnd {
    /// The engine says why.
    Error(wasmtime::Error),
    /// Not within this time.
    Slow(Duration),
    /// The host panicked.
    Panicked(String),
}

/// One fault, before it is known what the host does about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Kind of fault.
    pub class: Class,
    /// The trap's code or the lie, in words.
    pub code: String,
    /// Function and source line, as far as debug information tells.
    pub place: SourcePlace,
    /// Text that the guest wrote to stderr, at most 4 KiB.
    pub stderr: String,
    /// File with what the guest held.
    pub core_dump: Option<String>,
}

/// Why a call has no result.
#[derive(Debug)]
pub enum CallFailed {
    /// It is the policy's fault.
    Fault(Box<Fault>),
    /// There was no room in the pool: nobody's fault.
    Crowded,
}

impl fmt::Display for CallFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => write!(f, "{}: {}", fault.class.name(), fault.code),
            Self::Crowded => f.write_str("no room in the pool of instances"),
        }
    }
}

impl From<Fault> for CallFailed {
    fn from(fault: Fault) -> Self {
        Self::Fault(Box::new(fault))
    }
}

impl Fault {
    fn new(class: Class, code: impl Into<String>, host: &InstanceState) -> Self {
        Self {
            class,
            code: code.into(),
            place: SourcePlace::default(),
            stderr: host.console.text(),
            core_dump: None,
        }
    }

    /// The host could not even begin.
    pub fn of_host(code: &str) -> Self {
        Self {
            class: Class::HostBug,
            code: code.to_owned(),
            place: SourcePlace::default(),
            stderr: String::new(),
            core_dump: None,
        }
    }

    /// An answer that was decoded and cannot be true.
    pub(super) fn lie(lie: &InvalidAnswer, host: &InstanceState) -> Self {
        Self::new(Class::InvalidAnswer, lie.to_string(), host)
    }
}

/// Classifies how a call ended, and writes a core dump if one is wanted.
pub(super) fn account(
    ended: &CallEnd,
    places: &SourceMap,
    store: &mut Store<InstanceState>,
    module: &str,
    dumps: &CoreDumps,
) -> CallFailed {
    let mut failed = classify(ended, places, store.data());
    if let (CallFailed::Fault(fault), CallEnd::Error(error)) = (&mut failed, ended) {
        let written = dumps.write(module, error, store);
        fault.core_dump = written.map(|path| path.display().to_string());
    }
    failed
}

/// Classifies how a call ended.
fn classify(ended: &CallEnd, places: &SourceMap, host: &InstanceState) -> CallFailed {
    match ended {
        CallEnd::Slow(limit) => Fault::new(
            Class::HostTimeout,
            format!("no answer within {} ms", limit.as_millis()),
            host,
        )
        .into(),
        CallEnd::Panicked(text) => Fault::new(Class::HostBug, format!("the host panicked: {text}"), host).into(),
        CallEnd::Error(error) if error.is::<PoolConcurrencyLimitError>() => CallFailed::Crowded,
        CallEnd::Error(error) => {
            let (class, code) = class_and_code(error, host);
            let trace = error.downcast_ref::<WasmBacktrace>();
            CallFailed::from(Fault {
                place: trace.map(|trace| places.place(trace)).unwrap_or_default(),
                ..Fault::new(class, code, host)
            })
        }
    }
}

fn class_and_code(error: &wasmtime::Error, host: &InstanceState) -> (Class, String) {
    if let Some(stop) = error.downcast_ref::<Abort>() {
        let class = match stop {
            Abort::Cpu(_) => Class::CpuTimeout,
            Abort::HostCalls(_) => Class::Trap,
            Abort::Host(_) => Class::HostBug,
        };
        return (class, stop.to_string());
    }
    let trap = error.downcast_ref::<Trap>().copied();
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return (Class::Trap, format!("the guest left with exit code {}", exit.0));
    }
    let may_be_memory = matches!(
        trap,
        None | Some(Trap::UnreachableCodeReached | Trap::MemoryOutOfBounds | Trap::AllocationTooLarge)
    );
    if let Some(denied) = host.memory.denied()
        && may_be_memory
    {
        let code = format!("{} bytes of memory wanted, {} allowed", denied.wanted, denied.limit);
        return (Class::Memory, code);
    }
    match trap {
        Some(Trap::UnreachableCodeReached) => (Class::Panic, Trap::UnreachableCodeReached.to_string()),
        Some(Trap::StackOverflow) => (Class::Stack, Trap::StackOverflow.to_string()),
        Some(Trap::AllocationTooLarge) => (Class::Memory, Trap::AllocationTooLarge.to_string()),
        Some(Trap::OutOfFuel) => (Class::Trap, "stopped in the middle of the call, for a test".to_owned()),
        Some(other) => (Class::Trap, other.to_string()),
        None if error.is::<ResourceTableError>() => (Class::Trap, "too many handles".to_owned()),
        None => (Class::Abi, causes(error)),
    }
}

/// The error and what it came of. Backtrace and core dump among them are told apart.
fn causes(error: &wasmtime::Error) -> String {
    let backtrace = error.downcast_ref::<WasmBacktrace>().map(ToString::to_string);
    let dump = error.downcast_ref::<WasmCoreDump>().map(ToString::to_string);
    let apart = |text: &String| Some(text) == backtrace.as_ref() || Some(text) == dump.as_ref();
    let texts = error.chain().map(ToString::to_string);
    let texts: Vec<String> = texts.filter(|text| !apart(text)).collect();
    cut(texts.join(": "), QUOTED)
}
