//! Faults of policies: classifies traps and other errors of the engine for Event 4037.

use std::fmt;
use std::time::Duration;

use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace, WasmCoreDump};
use wasmtime_wasi::I32Exit;

use super::backtrace::{SourceMap, SourcePlace};
use crate::abort::Abort;
use crate::limits::Denied;
use crate::validate::InvalidAnswer;
use host_mail::cut;

/// Bytes of an error's text that are quoted.
const QUOTED: usize = 512;

/// Classes of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The guest gave up: a panic, an exception or an abort.
    Panic,
    /// The call used more guest CPU than `limits.cpu`.
    CpuTimeout,
    /// The call took longer than `limits.wall`.
    HostTimeout,
    /// The guest ended after a denied growth of memory.
    Memory,
    /// The call stack was exhausted.
    Stack,
    /// Any other trap.
    Trap,
    /// The result could not be decoded.
    Abi,
    /// The result was decoded and breaks a rule of the contract.
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

    /// Returns the class as in events and `status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::CpuTimeout => "cpu-timeout",
            Self::HostTimeout => "host-timeout",
            Self::Memory => "memory",
            Self::Stack => "stack",
            Self::Trap => "trap",
            Self::Abi => "abi",
            Self::InvalidAnswer => "invalid-answer",
            Self::HostBug => "host-bug",
        }
    }
}

/// End of a bounded call without a result.
pub(super) enum CallEnd {
    /// The engine returned an error: a trap, or an [`Abort`] of the host.
    Error(wasmtime::Error),
    /// The call did not end within this time.
    TimedOut(Duration),
    /// The host panicked with this text.
    Panicked(String),
}

/// State of an instance that explains a fault.
pub(super) struct FaultContext {
    /// Output of the guest to stdout and stderr.
    pub(super) stderr: String,
    /// Last growth of memory that was denied.
    pub(super) denied: Option<Denied>,
}

/// A fault of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Kind of fault.
    pub class: Class,
    /// Text of the trap, or of the rule that the answer breaks.
    pub code: String,
    /// Function and source line, as far as debug information is available.
    pub place: SourcePlace,
    /// Output of the guest to stdout and stderr, at most the last 8 KiB.
    pub stderr: String,
    /// Path of the core dump.
    pub core_dump: Option<String>,
}

/// Reason for which a call has no result.
#[derive(Debug)]
pub enum CallFailed {
    /// The policy is at fault, or the host is ([`Class::HostBug`]).
    Fault(Box<Fault>),
    /// The pool of instances is full; no fault of the policy.
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
    fn new(class: Class, code: impl Into<String>, context: FaultContext) -> Self {
        Self {
            class,
            code: code.into(),
            place: SourcePlace::default(),
            stderr: context.stderr,
            core_dump: None,
        }
    }

    /// A fault of the host that prevented the call.
    pub fn of_host(code: &str) -> Self {
        Self {
            class: Class::HostBug,
            code: code.to_owned(),
            place: SourcePlace::default(),
            stderr: String::new(),
            core_dump: None,
        }
    }

    /// The fault for an answer that breaks a rule of the contract.
    pub(super) fn invalid_answer(invalid: &InvalidAnswer, context: FaultContext) -> Self {
        Self::new(Class::InvalidAnswer, invalid.to_string(), context)
    }
}

/// Classifies how a call ended.
pub(super) fn classify(end: &CallEnd, source_map: &SourceMap, context: FaultContext) -> CallFailed {
    match end {
        CallEnd::TimedOut(limit) => Fault::new(
            Class::HostTimeout,
            format!("no answer within {} ms", limit.as_millis()),
            context,
        )
        .into(),
        CallEnd::Panicked(text) => Fault::new(Class::HostBug, format!("the host panicked: {text}"), context).into(),
        CallEnd::Error(error) if error.is::<PoolConcurrencyLimitError>() => CallFailed::Crowded,
        CallEnd::Error(error) => {
            let (class, code) = class_and_code(error, context.denied);
            let trace = error.downcast_ref::<WasmBacktrace>();
            CallFailed::from(Fault {
                place: trace.map(|trace| source_map.place(trace)).unwrap_or_default(),
                ..Fault::new(class, code, context)
            })
        }
    }
}

fn class_and_code(error: &wasmtime::Error, denied: Option<Denied>) -> (Class, String) {
    if let Some(abort) = error.downcast_ref::<Abort>() {
        let class = match abort {
            Abort::Cpu(_) => Class::CpuTimeout,
            Abort::HostCalls(_) => Class::Trap,
            Abort::Host(_) => Class::HostBug,
        };
        return (class, abort.to_string());
    }
    let trap = error.downcast_ref::<Trap>().copied();
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return (Class::Trap, format!("the guest left with exit code {}", exit.0));
    }
    let may_be_memory = matches!(
        trap,
        None | Some(Trap::UnreachableCodeReached | Trap::MemoryOutOfBounds | Trap::AllocationTooLarge)
    );
    if let Some(denied) = denied
        && may_be_memory
    {
        let code = format!("{} bytes of memory wanted, {} allowed", denied.requested, denied.limit);
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

/// The texts of an error and of all causes, without backtrace and core dump, which are reported separately.
fn causes(error: &wasmtime::Error) -> String {
    let backtrace = error.downcast_ref::<WasmBacktrace>().map(ToString::to_string);
    let dump = error.downcast_ref::<WasmCoreDump>().map(ToString::to_string);
    let is_separate = |text: &String| Some(text) == backtrace.as_ref() || Some(text) == dump.as_ref();
    let texts = error.chain().map(ToString::to_string);
    let texts: Vec<String> = texts.filter(|text| !is_separate(text)).collect();
    cut(texts.join(": "), QUOTED)
}
