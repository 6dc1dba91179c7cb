//! Cases for policies, in files that a postmaster can read: which client sends what to whom, what the
//! host would answer, and what the policy must say to it.
//!
//! The same file is run by `posthouse policy run --case`, against the compiled component, and by the
//! tests of a policy in Rust, natively. This crate has what both need: the file and its errors, the
//! order of questions ([`Play`]), the answers of a host that exists only in the file ([`Fixture`]),
//! the comparison ([`Case::compare`]), and writing expectations back ([`update`]).
//!
//! # A complete file
//!
//! ```toml
#![doc = include_str!("../example.toml")]
//! ```
//!
//! # What is asked
//!
//! A case with a client is a connection and perhaps a transaction on it: `admit`, the sender if there is
//! one, each recipient, the message. It goes as far as a real one would: a refused connection sends
//! nothing, a refused recipient gets no message. What `admit` exempts the client from it is exempt from
//! afterwards. A case that says `client.exemptions` begins after the banner: `admit` is asked only if
//! something is expected of it. A case with a failure asks who is told.
//!
//! # What is expected
//!
//! A decision in words, of which the beginning is enough: `"reject"`, `"reject 550"` and
//! `"reject 550 5.7.1 Relaying denied"` all fit the same answer.
//!
//! | stage | words |
//! |---|---|
//! | `admit` | `pass`, `admit`, `refuse CODE STATUS TEXT` |
//! | `sender`, `recipient` | `pass`, `accept`, `reject CODE STATUS TEXT`, `defer CODE STATUS TEXT` |
//! | `message` | those, `fail CLASS`, `quarantine FOLDER`, `discard` |
//! | `ndr` | `tell nobody`, `tell WHO CONTENT, WHO CONTENT`: `sender`, `administrator` or an address, and `nothing`, `headers` or `full` |
//! | any | `fault`, `fault CLASS` such as `fault panic` |
//!
//! In place of the words a table may say more: `decision`, `rule`, `entry`, and what the stage has
//! besides (see [`Expected`]). What an expectation does not name is not compared. `expect.problems`
//! lists the keys that `configure` must complain of; nothing is asked then.
//!
//! A key that is not known, a word that is not one of these, a case without a question: each is an
//! [`Error`] with file, line and key.

mod case;
mod compare;
mod counters;
mod decision;
mod directory;
mod dns;
mod error;
mod expect;
mod file;
mod fixture;
mod message;
mod play;
mod text;
mod update;

pub use case::{Case, Client, FailedRecipient, Failure, Field, Finding, Identity, ReversePath, Service, Tls};
pub use compare::Mismatch;
pub use counters::Counters;
pub use decision::{
    Answer, Audience, Because, Content, Decision, Edit, Log, Notice, Outcome, Problem, Reply, Stage, Terms,
};
pub use directory::{Account, Alias, Directory, Entry, Group};
pub use dns::{Dns, Exchange, Records};
pub use error::Error;
pub use expect::{Expect, Expected};
pub use file::CaseFile;
pub use fixture::{Fixture, NoAnswer};
pub use message::Message;
pub use play::{Play, Question};
pub use update::update;
