//! SDK for Posthouse policies in Rust.
//!
//! A policy is a type that implements [`Policy`] and one or more roles: [`Exemption`] (admission of connections and
//! their terms), [`Homing`] (senders, recipients, messages), [`Ndr`] (notices about failures). A question that a role
//! leaves open passes to the next module of the chain. [`export!`] makes a component of the type.
//!
//! ```
//! use posthouse_policy::{Client, Decision, Description, Homing, Host, Policy, Problem, Reply, ReversePath, Rule, Settings, Verdict};
//!
//! const REFUSE: Rule = Rule::new("refuse", "recipients that get no mail");
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Refuse {
//!     #[serde(default)]
//!     refuse: Vec<String>,
//! }
//!
//! impl Policy for Refuse {
//!     fn describe() -> Description {
//!         posthouse_policy::description!(REFUSE)
//!     }
//!
//!     fn configure(settings: Settings<'_>) -> Result<Self, Vec<Problem>> {
//!         settings.read()
//!     }
//! }
//!
//! impl Homing for Refuse {
//!     fn recipient(&self, _: &Client, _: &ReversePath, recipient: &str, _: &Host) -> Decision<Verdict> {
//!         if !self.refuse.iter().any(|address| address.eq_ignore_ascii_case(recipient)) {
//!             return Decision::pass();
//!         }
//!         let reply = Reply::new(550, (5, 7, 1), "This recipient gets no mail");
//!         Verdict::Reject(reply).because(REFUSE.with(recipient))
//!     }
//! }
//!
//! posthouse_policy::export!(Refuse: Homing);
//!
//! // A test of the policy, without a host:
//! let policy = Refuse { refuse: vec!["x@example.org".to_owned()] };
//! let host = Host::default();
//! let decision = policy.recipient(&Client::at("192.0.2.1"), &ReversePath::Null, "X@example.org", &host);
//! assert!(matches!(decision.answer, Verdict::Reject(reply) if reply.code() == 550));
//! ```
//!
//! # Building
//!
//! The package is a `cdylib`, built with `cargo build --release --target wasm32-wasip2`. The following profile removes
//! unused code and lets Event 4037 quote the file and line of a panic:
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib"]
//!
//! [profile.release]
//! lto = true
//! codegen-units = 1
//! panic = "abort"
//! debug = "line-tables-only"
//! ```
//!
//! A component imports only the functions that its code calls: a policy that calls [`Host::texts`] needs the grant
//! `dns`, other policies do not.
//!
//! # Memory
//!
//! A component uses the allocator of the standard library. The feature `allocator`, which is off by default, replaces
//! the standard allocator with size-class free lists (segregated fit): a decision then takes half to three quarters of
//! the fuel, in exchange for hand-written `unsafe` code. The default policy switches the feature on.
//!
//! Do not switch the feature on for a policy that has a `#[global_allocator]` of its own, or that links C code which
//! receives lists from WASI, as `getentropy` does: the C code would `free` memory of the other allocator.
//!
//! # Faults
//!
//! A panic is a fault of the unit of work in which the panic occurs, Event 4037. The event has the panic's message, the
//! place in the source, and all output to stderr.
//!
//! # Tests
//!
//! A policy that is built for another target than wasm32 has no real host. A test then makes the [`Host`] and the
//! [`Message`]; see the module `testing`, which also runs files of cases.

#![deny(missing_docs)]

#[doc(hidden)]
#[cfg(target_arch = "wasm32")]
#[path = "contract_bindings.rs"]
pub mod __bindings;
#[cfg(any(
    test,
    all(feature = "allocator", target_arch = "wasm32", not(target_feature = "atomics"))
))]
mod allocator;
mod answers;
mod client_and_envelope;
mod export;
mod failure;
mod host;
mod message_reader;
mod roles;
mod rule;
mod settings;
mod smtp_reply;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

#[doc(hidden)]
pub use export::{Exported, Glue};

pub use answers::{Admission, Audience, Content, Decision, Disposition, Edit, Notice, Opinion, Plan, Terms, Verdict};
pub use client_and_envelope::{Client, Envelope, Identity, ReversePath, Tls, domain_of};
pub use failure::{FailedRecipient, Failure};
pub use host::{Entry, Exchange, Finding, Home, Host, NoAnswer};
pub use mail_parser;
pub use message_reader::Message;
pub use roles::{Exemption, Homing, Ndr, Policy};
pub use rule::{Because, Description, Rule};
pub use settings::{Problem, Settings};
pub use smtp_reply::{Reply, ReplyError};
