//! The operator's socket: what the command line talks to. HTTP with JSON over a Unix socket.
//!
//! | request | answer |
//! |---|---|
//! | `GET /status` | [`Status`] |
//! | `GET /policies` | list of [`crate::policy::ModuleStatus`] |
//! | `POST /policies` with [`Load`] | [`crate::policy::Activation`] |
//! | `GET /policies/setup?module=` | [`crate::policy::ModuleSetup`] |
//! | `POST /policies/shadow` with [`Shadow`], `GET`, `DELETE /policies/shadow` | [`crate::policy::ShadowReport`] |
//! | `GET /records?since=&last=&module=` | a line of JSON for each [`crate::policy::Record`] |
//! | `GET /records/{id}` | [`crate::policy::Record`] |
//! | `POST /policies/check` with [`Load`] | [`crate::policy::Checked`] |
//! | `GET /policies/history?module=` | list of [`crate::policy::ModuleHistory`] |
//! | `POST /policies/rollback` with [`Rollback`] | [`crate::policy::Activation`] |
//! | `POST /policies/stage` with [`Stage`], `DELETE /policies/stage` | [`crate::policy::Staged`] |
//! | `POST /policies/promote` with [`Promote`] | [`crate::policy::Activation`] |
//! | `GET /events?id=&last=&follow=` | a line of JSON for each [`host_events::Record`] |
//! | `GET /queue?state=&after=&limit=` | [`QueuePage`] |
//! | `GET /queue/{id}` | [`QueueItem`] |
//! | `POST /queue/{id}/release`, `DELETE /queue/{id}` | [`Done`] |
//! | `POST /reload` | [`Reloaded`] |
//! | `POST /stop` | [`Done`] |
//!
//! What fails answers 4xx or 5xx and [`Failure`].

mod api;
mod client;
mod server;
mod socket;

pub use api::{
    Done, Failure, ListenerStatus, Load, Order, Promote, QueueItem, QueuePage, Reloaded, Rollback, Shadow, Stage,
    Status,
};
pub use client::{Client, ClientError, Lines, query};
pub use server::{Handles, serve};
pub use socket::bind;

#[cfg(test)]
mod tests;
