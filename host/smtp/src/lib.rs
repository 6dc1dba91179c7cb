//! The SMTP server: listeners and sessions. An accepted message is on disk before its 250. Policies are consulted
//! through [`host_contract::Decide`].

pub mod listener;
pub mod session;
mod shutdown;
