//! Write policies for Posthouse in Rust.
//!
//! A policy is a type that implements [`Policy`] and one or more of its roles: [`Exemption`] (which
//! connections, on which terms), [`Homing`] (senders, recipients, messages), [`Ndr`] (who hears about a
//! failure). What a role does not say passes to the next module of the chain. [`export!`] makes a
//! component of it.
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
//! // And a test of it, without a host:
//! let policy = Refuse { refuse: vec!["x@example.org".to_owned()] };
//! let host = Host::default();
//! let decision = policy.recipient(&Client::at("192.0.2.1"), &ReversePath::Null, "X@example.org", &host);
//! assert!(matches!(decision.answer, Verdict::Reject(reply) if reply.code() == 550));
//! ```
//!
//! # Building
//!
//! The package is a `cdylib`, built with `cargo build --release --target wasm32-wasip2`. This profile
//! leaves out what is not used and lets Event 4037 quote the file and line of a panic:
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
//! A component imports what its code uses and nothing else: a policy that calls [`Host::texts`] needs
//! the grant `dns`, one that does not needs none.
//!
//! # Memory
//!
//! Policies have an allocator made for what they do, the feature `allocator`: a decision takes half to three quarters of the
//! fuel that it takes with the system's. A policy with a `#[global_allocator]` of its own says `default-features = false`,
//! and so does one with C code in it that has WASI give it lists, as `getentropy` does: C would `free` what is not its own.
//!
//! # When it fails
//!
//! A panic is a fault of that one unit of work, Event 4037. Its message and the place in the source are
//! in the event; everything on stderr is, too.
//!
//! # Tests
//!
//! Built for anything but wasm32 a policy has no host. [`Host`] and [`Message`] are then what a test makes
//! them; see the module `testing`, which also runs files of cases.

#![deny(missing_docs)]

#[doc(hidden)]
#[cfg(target_arch = "wasm32")]
#[path = "bindings.rs"]
pub mod __bindings;
#[cfg(any(
    test,
    all(feature = "allocator", target_arch = "wasm32", not(target_feature = "atomics"))
))]
mod allocator;
mod client;
mod decision;
mod export;
mod failure;
mod host;
mod message;
mod policy;
mod reply;
mod rule;
mod settings;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

#[doc(hidden)]
pub use export::{Exported, Glue};

pub use client::{Client, Envelope, Identity, ReversePath, Tls, domain_of};
pub use decision::{Admission, Audience, Content, Decision, Disposition, Edit, Notice, Opinion, Plan, Terms, Verdict};
pub use failure::{FailedRecipient, Failure};
pub use host::{Entry, Exchange, Finding, Home, Host, NoAnswer};
pub use mail_parser;
pub use message::Message;
pub use policy::{Exemption, Homing, Ndr, Policy};
pub use reply::{Reply, ReplyError};
pub use rule::{Because, Description, Rule};
pub use settings::{Problem, Settings};
