//! Posthouse: an SMTP host whose homing, exemption and NDR policy is a sandboxed WebAssembly
//! component. `docs/flow.md` follows one message through these modules.

pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod decisions;
pub mod delivery;
pub mod directory;
pub mod dns;
pub mod event;
pub mod gather;
pub mod listener;
pub mod mail;
pub mod ndr;
pub mod policy;
pub mod reader;
pub mod session;
pub mod slots;
pub mod spool;
