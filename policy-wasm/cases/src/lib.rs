//! Cases for policies, in files that a postmaster can read: a client, an envelope and a message, the answers of the
//! host to the policy's questions, and the expected decisions of the policy.
//!
//! The same file is run by `posthouse policy run --case`, against the compiled component, and by the tests of a policy
//! in Rust, natively. Both use this crate for the file and its errors, the order of questions ([`Play`]), the answers
//! of a host that exists only in the file ([`Fixture`]), the comparison ([`Case::compare`]), and the update of
//! expectations ([`update`]).
//!
//! # A complete file
//!
//! ```toml
#![doc = include_str!("../example.toml")]
//! ```
//!
//! # Questions
//!
//! A case with a client is a connection, with a transaction if the case has a sender. The questions are `admit`, the
//! sender, each recipient, and the message. A refusal ends the questions as a real refusal would: a refused connection
//! sends nothing, and a refused recipient gets no message. Exemptions that `admit` grants hold for the later questions.
//! A case with `client.exemptions` begins after the banner: `admit` is asked only if the case has an expectation for
//! `admit`. A case with a failure asks for the plan of notices.
//!
//! # Expectations
//!
//! An expectation is a decision in words, of which the beginning is enough: `"reject"`, `"reject 550"` and
//! `"reject 550 5.7.1 Relaying denied"` all fit the same answer.
//!
//! | stage | words |
//! |---|---|
//! | `admit` | `pass`, `admit`, `refuse CODE STATUS TEXT` |
//! | `sender`, `recipient` | `pass`, `accept`, `reject CODE STATUS TEXT`, `defer CODE STATUS TEXT` |
//! | `message` | the words of `recipient`, `fail CLASS`, `quarantine FOLDER`, `discard` |
//! | `ndr` | `tell nobody`, `tell WHO CONTENT, WHO CONTENT`: `sender`, `administrator` or an address, and `nothing`, `headers` or `full` |
//! | any | `fault`, `fault CLASS` such as `fault panic` |
//!
//! A table in place of the words can expect more: `decision`, `rule`, `entry`, and further details of the stage (see
//! [`Expected`]). Only the named details are compared. `expect.problems` lists the keys for which `configure` must
//! report problems; such a case asks no questions.
//!
//! Unknown keys, other words than those of the stage, and an expectation for a question that the case does not ask are
//! [`Error`]s with file, line and key.

mod case;
mod case_counters;
mod case_decision;
mod case_directory;
mod case_dns;
mod case_message;
mod case_text;
mod compare;
mod error;
mod expect;
mod file;
mod fixture;
mod play;
mod update;

pub use case::{Case, Client, FailedRecipient, Failure, Field, Finding, Identity, ReversePath, Service, Tls};
pub use case_counters::Counters;
pub use case_decision::{
    Answer, Audience, Because, Content, Decision, Edit, Log, Notice, Outcome, Problem, Reply, Stage, Terms,
};
pub use case_directory::{Account, Alias, Directory, Entry, Group};
pub use case_dns::{Dns, Exchange, Records};
pub use case_message::Message;
pub use compare::Mismatch;
pub use error::Error;
pub use expect::{Expect, Expected};
pub use file::CaseFile;
pub use fixture::{Fixture, NoAnswer};
pub use play::{Play, Question};
pub use update::update;
