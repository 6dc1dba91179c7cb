//! The harness of the end-to-end tests: the real binary in a temporary folder, an SMTP client, a scripted mail host,
//! and readers for delivered mail.
//!
//! Every wait has a deadline and fails with a description of the state; fixed sleeps are not used for synchronisation.
//! `docs/internals/testing.md` describes the harness.

mod binary;
mod client;
mod console;
mod daemon;
mod dialogue;
mod dkimpy;
mod dns;
mod events;
mod exim;
mod guests;
mod https;
mod languages;
mod mail_readers;
mod maildir;
mod postfix;
mod report;
mod sink;
mod site;
mod skip;
pub mod tls;
mod tool;
mod wait;

pub use binary::{Output, posthouse, run};
pub use client::{Client, Reply};
pub use console::Console;
pub use daemon::Daemon;
pub use dialogue::{Dialogue, Pattern, play};
pub use dkimpy::Dkimpy;
pub use dns::{DnsAnswer, DnsServer, Zone, address, dns, exchange, soa, text_record, tlsa};
pub use events::{Event, Events};
pub use exim::Exim;
pub use guests::{example, foreign_copy, guest, large_guest, worked_example};
pub use https::{WebAnswer, WebServer};
pub use languages::{Language, Toolchain, overlay, program_folder};
pub use mail_readers::{Authors, MailReaders};
pub use maildir::{Delivered, Maildir};
pub use postfix::Postfix;
pub use report::Report;
pub use sink::{Received, Sink};
pub use site::{PASSWORD, Site};
pub use skip::skipped;
pub use tool::tool;
pub use wait::{TIMEOUT, eventually};
