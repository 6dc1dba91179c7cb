//! Whole sessions over loopback: real spool, no policy, everything the operator is told kept.

mod dialogue;
pub(crate) mod host;
mod hostile;
mod message;
mod room;
