//! The operator's socket: what the command line talks to. HTTP with JSON over a Unix socket.
//!
//! | request | answer |
//! |---|---|
//! | `GET /status` | [`Status`] |
//! | `GET /policies` | list of [`host_policy::ModuleStatus`] |
//! | `POST /policies` with [`LoadBody`] | [`host_policy::Activation`] |
//! | `GET /policies/setup?module=` | [`host_policy::ModuleSetup`] |
//! | `POST /policies/shadow` with [`Shadow`], `GET`, `DELETE /policies/shadow` | [`host_policy::ShadowReport`] |
//! | `GET /records?since=&last=&module=` | a line of JSON for each [`host_policy::Record`] |
//! | `GET /records/{id}` | [`host_policy::Record`] |
//! | `POST /policies/check` with [`LoadBody`] | [`host_policy::Checked`] |
//! | `GET /policies/history?module=` | list of [`host_policy::ModuleHistory`] |
//! | `POST /policies/rollback` with [`Rollback`] | [`host_policy::Activation`] |
//! | `POST /policies/stage` with [`StageBody`], `DELETE /policies/stage` | [`host_policy::Staged`] |
//! | `POST /policies/promote` with [`Promote`] | [`host_policy::Activation`] |
//! | `GET /events?id=&last=&follow=` | a line of JSON for each [`host_events::Record`] |
//! | `GET /queue?state=&after=&limit=` | [`QueuePage`] |
//! | `GET /queue/{id}` | [`QueueItem`] |
//! | `POST /queue/{id}/release`, `DELETE /queue/{id}` | [`Done`] |
//! | `POST /reload` | [`Reloaded`] |
//! | `POST /stop` | [`Done`] |
//!
//! What fails answers 4xx or 5xx and [`Failure`].

mod api;
mod control_client;
mod server;
mod socket;

pub use crate::control::control_client::{ClientError, ControlClient, Lines, query};
pub use api::{
    ApiFailure, Done, ListenerStatus, LoadBody, Order, Promote, QueueItem, QueuePage, Reloaded, Rollback, Shadow,
    StageBody, Status,
};
pub use server::{Handles, serve};
pub use socket::bind;

#[cfg(test)]
mod tests;
