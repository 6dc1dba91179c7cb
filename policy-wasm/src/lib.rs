//! The policy every Posthouse host starts with.

pub mod contract;
mod guest;
