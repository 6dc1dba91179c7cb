//! The policy that every Posthouse host starts with. Rules decide which clients may submit mail, which clients are
//! exempt, and which people a failure is reported to. `docs/reference/default-policy.md` is the manual.
//!
//! Every rule is a pure function of settings, the question and the directory; [`guest`] connects the rules to the
//! contract.

mod admission;
mod directory_questions;
mod filter;
pub mod guest;
mod header_source;
mod homing;
mod message_rules;
mod network;
mod notices;
mod objections;
mod originator;
mod own_domains;
mod pattern;
mod recipient;
mod rule_names;
mod settings;

#[cfg(test)]
mod docs;
#[cfg(test)]
mod testing;
