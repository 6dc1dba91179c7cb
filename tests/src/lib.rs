//! What the end-to-end tests are written with: the real binary in a folder of its own, an SMTP
//! client, a mail host that answers as told, and readers for what was delivered.
//!
//! Everything here waits with a deadline and fails with what was seen; nothing sleeps in the hope
//! that something will have happened. See `docs/testing.md`.

mod binary;
mod client;
mod console;
mod daemon;
mod dialogue;
mod dns;
mod events;
mod guests;
mod languages;
mod maildir;
mod report;
mod sink;
mod site;
pub mod tls;
mod tool;
mod wait;

pub use binary::{Output, posthouse, run};
pub use client::{Client, Reply};
pub use console::Console;
pub use daemon::Daemon;
pub use dialogue::{Dialogue, Pattern, play};
pub use dns::{Zone, address, dns, exchange};
pub use events::{Event, Events};
pub use guests::{example, from_outside, guest, large_guest, worked_example};
pub use languages::{Language, Toolchain, only, overlay};
pub use maildir::{Delivered, Maildir};
pub use report::Report;
pub use sink::{Received, Sink};
pub use site::{PASSWORD, Site};
pub use tool::tool;
pub use wait::{PATIENCE, eventually};
