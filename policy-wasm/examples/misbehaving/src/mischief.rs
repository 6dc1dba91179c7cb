//! The ways to be wrong.

use std::hint::black_box;
use std::mem::forget;

use serde::Deserialize;

/// What to do and when.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    mode: Option<Mode>,
    stage: Option<Stage>,
    /// Only about this recipient.
    recipient: Option<String>,
    /// Only about messages whose `Subject:` has this in it.
    subject: Option<String>,
    /// Only in so many of a hundred cases.
    chance: Option<u64>,
    /// How many are leaked in each call.
    handles: Option<usize>,
    /// Added to each message in `X-Stamp:`, with every question that was asked before.
    pub stamp: Option<String>,
}

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

/// When the host asks.
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
    /// As settings and stamps have it.
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

/// What is asked.
pub struct Question<'a> {
    pub stage: Stage,
    pub recipient: Option<&'a str>,
    pub subject: Option<String>,
}

impl Question<'_> {
    /// Where nothing but the stage matters.
    pub fn at(stage: Stage) -> Self {
        Self {
            stage,
            recipient: None,
            subject: None,
        }
    }
}

/// An answer that decodes and cannot be true.
pub enum Lie {
    Reply,
    Address,
    /// No lie, yet no better: mail for this address comes back.
    Recipient,
    /// Larger than anybody wants to read.
    Huge,
}

impl Settings {
    /// Misbehaves if this is the stage; returns if it is to be a lie or nothing.
    pub fn act(&self, question: &Question<'_>) -> Option<Lie> {
        let (mode, stage) = (self.mode?, question.stage);
        if stage != self.stage_of(mode) || !self.is_about(question) {
            return None;
        }
        match mode {
            Mode::Loop => spin(),
            Mode::Slow => {
                think();
                None
            }
            Mode::EatMemory => eat_memory(),
            Mode::Recurse => {
                recurse(1);
                None
            }
            Mode::Panic => panic!("told to panic at {stage:?}"),
            Mode::LieReply => Some(Lie::Reply),
            Mode::ForgeAddress => Some(Lie::Address),
            Mode::AddRecipient => Some(Lie::Recipient),
            Mode::HugeDecision => Some(Lie::Huge),
            Mode::LeakHandles => {
                leak_handles(self.handles.unwrap_or(HANDLES));
                None
            }
        }
    }

    fn is_about(&self, question: &Question<'_>) -> bool {
        let recipient = |wanted: &String| question.recipient == Some(wanted);
        let subject = |wanted: &String| {
            question
                .subject
                .as_ref()
                .is_some_and(|subject| subject.contains(wanted))
        };
        self.recipient.as_ref().is_none_or(recipient)
            && self.subject.as_ref().is_none_or(subject)
            && self
                .chance
                .is_none_or(|chance| wasip2::random::random::get_random_u64() % 100 < chance)
    }

    fn stage_of(&self, mode: Mode) -> Stage {
        match (mode, self.stage) {
            // Only these two stages answer with addresses.
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

/// Milliseconds of work, within what a call may take.
#[inline(never)]
fn think() {
    for turn in 0..5_000_000_u32 {
        black_box(turn);
    }
}

/// More than a host keeps for anybody.
const HANDLES: usize = 2_000;

/// Takes handles and never gives them back.
#[inline(never)]
fn leak_handles(count: usize) {
    for _ in 0..count {
        forget(wasip2::clocks::monotonic_clock::subscribe_duration(1));
    }
}

/// Asks for memory and writes nothing to it: writing takes time, and on a slow machine the limit on
/// that would be met first.
#[inline(never)]
fn eat_memory() -> ! {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(Vec::with_capacity(1 << 20));
        black_box(&hoard);
    }
}

/// What comes after the call keeps it from being turned into a loop.
#[inline(never)]
#[allow(unconditional_recursion, reason = "this is the mischief")]
fn recurse(depth: u64) -> u64 {
    black_box(recurse(black_box(depth) + 1)) + depth
}
