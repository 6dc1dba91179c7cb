//! Posthouse: an SMTP host with homing, exemption and NDR policies as sandboxed WebAssembly components.
//!
//! This crate is the daemon ([`daemon`]), its control socket ([`control`]) and the command line ([`cli`]).
//! `docs/internals/flow.md` follows a message through the crates, `docs/internals/house.md` gives the reasons of the
//! layout. From the bottom up:
//!
//! | crate | owns |
//! |---|---|
//! | [`host_mail`] | addresses, envelopes, replies, header fields, trace fields; no I/O |
//! | [`host_files`] | private files, files that are whole or absent, owners |
//! | `host_sync` | the batch queue (group commit), the fair permit pool, the queue budget |
//! | [`host_events`] | the catalogue of events, stdout, the durable event log |
//! | [`host_contract`] | questions to a policy, decisions, and the trait that answers |
//! | [`host_config`] | the configuration file, read into checked types |
//! | [`host_directory`] | accounts, aliases, groups, homes, passwords; DNS |
//! | [`host_spool`] | the durable queue: put, claim, settle |
//! | [`host_smtp`] | listeners and sessions |
//! | [`host_delivery`] | delivery of accepted mail, and non-delivery reports |
//! | [`host_engine`] | the sandbox: components compiled, instantiated, bounded and called |
//! | [`host_policy`] | policies evaluated, recorded, managed and shadowed |

pub mod cli;
pub mod control;
pub mod daemon;
