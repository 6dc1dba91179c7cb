//! Conditions that begin with an event and end with another, as reasons of the host's health. A part whose events form
//! such a pair needs no further code: add a row here.

use crate::catalogue::Event;
use crate::health::{Condition, HealthRegistry};

/// Raises the reason that `event` begins, or clears the reason that `event` ends.
pub(super) fn note(registry: &HealthRegistry, event: &Event) {
    let degraded = |name: &'static str, text: String| registry.raise(name, Condition::Degraded, text);
    match event {
        Event::SpaceLow { free, mark } => degraded(
            "space",
            format!("the disk is nearly full, {free} bytes are free of at least {mark}: new mail is answered 452"),
        ),
        Event::SpaceEnough { .. } => registry.clear("space"),
        Event::DiskBehind { waited_ms, .. } => degraded(
            "disk",
            format!("accepted messages wait too long for the disk, {waited_ms} ms: MAIL is answered 451"),
        ),
        Event::DiskCaughtUp { .. } => registry.clear("disk"),
        Event::DirectoryProblem { error } => degraded("directory", format!("the last good one serves: {error}")),
        Event::Reloaded { what } if what.iter().any(|what| what.starts_with("directory")) => {
            registry.clear("directory")
        }
        Event::SessionsFull { limit } => degraded("sessions", format!("all {limit} connection slots are taken")),
        Event::SessionsEnough { .. } => registry.clear("sessions"),
        Event::PolicyWatchFailed { folder, error } => degraded("watch", format!("{folder}: {error}")),
        Event::PolicyWatchResumed { .. } => registry.clear("watch"),
        Event::RecordsDropped { reason, .. } => degraded("records", format!("decisions are not recorded: {reason}")),
        Event::RecordsResumed { .. } => registry.clear("records"),
        Event::CountersNotSaved { error } => degraded("counters", format!("they are not saved: {error}")),
        Event::SpoolFull { error } => degraded(
            "spool",
            format!("it cannot be written for lack of room: new mail is answered 452, nothing is delivered: {error}"),
        ),
        Event::SpoolWritable {} => registry.clear("spool"),
        Event::AcceptFailed { listener, error } => registry.raise(
            format!("listener {listener}"),
            Condition::Degraded,
            format!("it cannot take connections: {error}"),
        ),
        Event::AcceptResumed { listener } => registry.clear(&format!("listener {listener}")),
        Event::FewDescriptors {
            descriptors, sessions, ..
        } => degraded(
            "descriptors",
            format!("{descriptors} file descriptors allow {sessions} sessions only, fewer than limits.sessions"),
        ),
        _ => {}
    }
}
