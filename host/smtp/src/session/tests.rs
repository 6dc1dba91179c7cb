//! Whole sessions over loopback, with a real spool, no policy, and captured events.

mod dialogue;
pub(crate) mod host;
mod hostile;
mod message;
mod room;
