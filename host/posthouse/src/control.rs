//! The control socket, used by the command line: HTTP with JSON over a Unix socket.
//!
//! | request | answer |
//! |---|---|
//! | `GET /status` | [`Status`] |
//! | `GET /policies` | list of [`host_policy::ModuleStatus`] |
//! | `POST /policies` with [`LoadBody`] | [`host_policy::Activation`] |
//! | `GET /policies/setup?module=` | [`host_policy::ModuleSetup`] |
//! | `POST /policies/shadow` with [`ShadowBody`], `GET`, `DELETE /policies/shadow` | [`host_policy::ShadowReport`] |
//! | `GET /records?since=&last=&module=` | a line of JSON for each [`host_policy::Record`] |
//! | `GET /records/{id}` | [`host_policy::Record`] |
//! | `GET /policies/compiling` | [`host_engine::compile::CompileProgress`] or `null` |
//! | `POST /policies/check` with [`LoadBody`] | [`host_policy::Checked`] |
//! | `GET /policies/history?module=` | list of [`host_policy::ModuleHistory`] |
//! | `GET /policies/counters?module=&after=&limit=` | [`host_policy::CounterPage`] |
//! | `POST /policies/rollback` with [`Rollback`] | [`host_policy::Activation`] |
//! | `POST /policies/stage` with [`StageBody`], `DELETE /policies/stage` | [`host_policy::Staged`] |
//! | `POST /policies/promote` with [`Promote`] | [`host_policy::Activation`] |
//! | `GET /events?id=&last=&follow=` | a line of JSON for each [`host_events::EventRecord`] |
//! | `GET /queue?state=&after=&limit=` | [`QueuePage`] |
//! | `GET /queue/{id}` | [`QueueItem`] |
//! | `POST /queue/{id}/release`, `DELETE /queue/{id}` | [`Done`] |
//! | `POST /reload?require-now=` | [`Reloaded`] |
//! | `POST /stop` | [`Done`] |
//!
//! A failed request is answered with status 4xx or 5xx and an [`ApiFailure`].

mod api;
mod control_client;
mod server;
mod socket;

pub use api::{
    ApiFailure, Done, ListenerStatus, LoadBody, Order, Promote, QueueItem, QueuePage, Reloaded, Rollback, ShadowBody,
    StageBody, Status,
};
pub use control_client::{ClientError, ControlClient, Lines, query};
pub use server::{Handles, serve};
pub use socket::bind;

#[cfg(test)]
mod tests;
