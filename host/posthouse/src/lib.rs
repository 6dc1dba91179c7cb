//! Posthouse: an SMTP host with homing, exemption and NDR policies as sandboxed WebAssembly components. `docs/internals/flow.md`
//! follows a message through the crates.

pub mod cli;
pub mod control;
pub mod daemon;
