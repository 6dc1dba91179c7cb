//! Kinds of faults.

use std::hint::black_box;
use std::mem::forget;

use serde::Deserialize;

/// Settings: the kind of fault and its conditions.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    mode: Option<Mode>,
    stage: Option<Stage>,
    /// Restriction to this recipient.
    recipient: Option<String>,
    /// Restriction to messages whose `Subject:` contains this text.
    subject: Option<String>,
    /// Probability of the fault in per cent.
    chance: Option<u64>,
    /// Number of handles that each call leaks.
    handles: Option<usize>,
    /// Text that is added to each message in `X-Stamp:`, followed by all questions so far.
    pub stamp: Option<String>,
}

/// Kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    Loop,
    Slow,
    EatMemory,
    LieReply,
    ForgeAddress,
    AddRecipient,
    Recurse,
    Panic,
    HugeDecision,
    LeakHandles,
}

/// Stage of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    Configure,
    Admit,
    Sender,
    Recipient,
    Message,
    Ndr,
}

impl Stage {
    /// Returns the name in settings and stamps.
    pub fn name(self) -> &'static str {
        match self {
            Self::Configure => "configure",
            Self::Admit => "admit",
            Self::Sender => "sender",
            Self::Recipient => "recipient",
            Self::Message => "message",
            Self::Ndr => "ndr",
        }
    }
}

/// A question of the host.
pub struct Question<'a> {
    pub stage: Stage,
    pub recipient: Option<&'a str>,
    pub subject: Option<String>,
}

impl Question<'_> {
    /// Makes a question of which only the stage matters.
    pub fn at(stage: Stage) -> Self {
        Self {
            stage,
            recipient: None,
            subject: None,
        }
    }
}

/// An answer that can be decoded and violates the contract or harms the host.
pub enum InvalidAnswer {
    /// A success code in a refusal.
    Reply,
    /// An address with a line break.
    Address,
    /// A valid recipient whose mail comes back to this host: a mail loop.
    Recipient,
    /// A text of several MiB.
    Huge,
}

impl Settings {
    /// Causes the configured fault if the question fulfils all conditions. Returns the invalid answer for modes that
    /// answer, and `None` for a correct answer.
    pub fn act(&self, question: &Question<'_>) -> Option<InvalidAnswer> {
        let (mode, stage) = (self.mode?, question.stage);
        if stage != self.stage_of(mode) || !self.is_about(question) {
            return None;
        }
        match mode {
            Mode::Loop => spin(),
            Mode::Slow => {
                spin_for_milliseconds();
                None
            }
            Mode::EatMemory => eat_memory(),
            Mode::Recurse => {
                recurse(1);
                None
            }
            Mode::Panic => panic!("told to panic at {stage:?}"),
            Mode::LieReply => Some(InvalidAnswer::Reply),
            Mode::ForgeAddress => Some(InvalidAnswer::Address),
            Mode::AddRecipient => Some(InvalidAnswer::Recipient),
            Mode::HugeDecision => Some(InvalidAnswer::Huge),
            Mode::LeakHandles => {
                leak_handles(self.handles.unwrap_or(HANDLES));
                None
            }
        }
    }

    fn is_about(&self, question: &Question<'_>) -> bool {
        let matches_recipient = |recipient: &String| question.recipient == Some(recipient);
        let matches_subject = |text: &String| question.subject.as_ref().is_some_and(|subject| subject.contains(text));
        self.recipient.as_ref().is_none_or(matches_recipient)
            && self.subject.as_ref().is_none_or(matches_subject)
            && self
                .chance
                .is_none_or(|chance| wasip2::random::random::get_random_u64() % 100 < chance)
    }

    fn stage_of(&self, mode: Mode) -> Stage {
        match (mode, self.stage) {
            // Only the stages `message` and `ndr` answer with addresses.
            (Mode::ForgeAddress, Some(Stage::Ndr)) => Stage::Ndr,
            (Mode::ForgeAddress, _) => Stage::Message,
            (Mode::AddRecipient, _) => Stage::Message,
            (_, Some(stage)) => stage,
            (_, None) if self.subject.is_some() => Stage::Message,
            (_, None) if self.recipient.is_some() => Stage::Recipient,
            (_, None) => Stage::Sender,
        }
    }
}

#[inline(never)]
fn spin() -> ! {
    loop {
        black_box(());
    }
}

/// Spins for some milliseconds, within the time limit of a call.
#[inline(never)]
fn spin_for_milliseconds() {
    for round in 0..5_000_000_u32 {
        black_box(round);
    }
}

/// Default number of leaked handles, more than the host's limit.
const HANDLES: usize = 2_000;

/// Opens handles and leaks every handle.
#[inline(never)]
fn leak_handles(count: usize) {
    for _ in 0..count {
        forget(wasip2::clocks::monotonic_clock::subscribe_duration(1));
    }
}

/// Allocates memory without writing: on a slow machine, writes would reach the time limit before the memory limit.
#[inline(never)]
fn eat_memory() -> ! {
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    loop {
        blocks.push(Vec::with_capacity(1 << 20));
        black_box(&blocks);
    }
}

/// Recurses without end. The addition after the call prevents tail-call optimisation.
#[inline(never)]
#[allow(unconditional_recursion, reason = "this is the mischief")]
fn recurse(depth: u64) -> u64 {
    black_box(recurse(black_box(depth) + 1)) + depth
}
