//! Posthouse: an SMTP host whose homing, exemption and NDR policy is a sandboxed WebAssembly
//! component. `docs/flow.md` follows one message through these modules.

pub mod cli;
pub mod control;
pub mod daemon;
