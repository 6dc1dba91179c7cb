//! The SMTP server: listeners and sessions. Mail that is accepted is on disk before its 250; what a policy decides is asked
//! through [`host_contract::Decide`].

pub mod listener;
pub mod session;
