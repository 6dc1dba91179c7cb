//! The ways to be wrong.

use std::hint::black_box;

use serde::Deserialize;

/// What to do and when.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    mode: Option<Mode>,
    stage: Option<Stage>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    Loop,
    EatMemory,
    LieReply,
    ForgeAddress,
    AddRecipient,
    Recurse,
    Panic,
}

/// When the host asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    Admit,
    Sender,
    Recipient,
    Message,
    Ndr,
}

/// An answer that decodes and cannot be true.
pub enum Lie {
    Reply,
    Address,
    /// No lie, yet no better: mail for this address comes back.
    Recipient,
}

impl Settings {
    /// Misbehaves if this is the stage; returns if it is to be a lie or nothing.
    pub fn act(&self, stage: Stage) -> Option<Lie> {
        let mode = self.mode?;
        if stage != self.stage_of(mode) {
            return None;
        }
        match mode {
            Mode::Loop => spin(),
            Mode::EatMemory => eat_memory(),
            Mode::Recurse => {
                recurse(1);
                None
            }
            Mode::Panic => panic!("told to panic at {stage:?}"),
            Mode::LieReply => Some(Lie::Reply),
            Mode::ForgeAddress => Some(Lie::Address),
            Mode::AddRecipient => Some(Lie::Recipient),
        }
    }

    fn stage_of(&self, mode: Mode) -> Stage {
        match (mode, self.stage) {
            // Only these two stages answer with addresses.
            (Mode::ForgeAddress, Some(Stage::Ndr)) => Stage::Ndr,
            (Mode::ForgeAddress, _) => Stage::Message,
            (Mode::AddRecipient, _) => Stage::Message,
            (_, stage) => stage.unwrap_or(Stage::Sender),
        }
    }
}

#[inline(never)]
fn spin() -> ! {
    loop {
        black_box(());
    }
}

#[inline(never)]
fn eat_memory() -> ! {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(vec![1; 1 << 20]);
        black_box(&hoard);
    }
}

/// What comes after the call keeps it from being turned into a loop.
#[inline(never)]
#[allow(unconditional_recursion, reason = "this is the mischief")]
fn recurse(depth: u64) -> u64 {
    black_box(recurse(black_box(depth) + 1)) + depth
}
