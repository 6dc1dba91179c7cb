//! The policy every Posthouse host starts with: who may submit, who is exempt, and who hears about
//! a failure. `docs/default-policy.md` is its manual.
//!
//! Every rule is a pure function of settings, the question and the directory; [`guest`] connects
//! them to the contract.

mod admission;
mod directory;
mod filter;
pub mod guest;
mod homing;
mod message;
mod network;
mod notices;
mod originator;
mod pattern;
mod recipient;
mod reply;
mod rule;
mod settings;

#[cfg(test)]
mod docs;
#[cfg(test)]
mod testing;
