//! Stand-ins that the unit tests of several crates share. No crate depends on this one but for its tests.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

pub mod dns_server;
mod no_policy;
mod signer;

pub use no_policy::NoPolicy;
pub use signer::{Signer, sign};
