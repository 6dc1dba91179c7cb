//! Test doubles that the unit tests of several crates share. A dependency of tests only.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

pub mod dns_server;
mod no_policy;
mod signer;

pub use no_policy::NoPolicy;
pub use signer::{Signer, sign};
