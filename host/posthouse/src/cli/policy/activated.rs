//! What an activation did, for people.

use std::io;

use crate::cli::output::line;
use host_events::escape;
use host_mail::Timestamp;
use host_policy::{Activation, Changes, Differs};

/// Digits of a digest that tell two apart at a glance.
const SHORT: usize = 12;

/// Generation, what changed, and what still goes on with the old one.
pub fn show_activation(active: &Activation) -> io::Result<()> {
    let same = active.previous == Some(active.generation);
    let previous = match active.previous {
        Some(_) if same => ", as before".to_owned(),
        Some(previous) => format!(", was {previous}"),
        None => String::new(),
    };
    line(format!(
        "{} {}: generation {}{previous}, digest {}",
        escape(&active.module),
        escape(&active.version),
        active.generation,
        escape(&active.digest)
    ))?;
    show_changes(&active.changes)?;
    match active.previous {
        Some(previous) if !same && active.in_hand > 0 => line(format!(
            "  {} unit(s) of work in hand finish with generation {previous}{}",
            active.in_hand,
            since(active.oldest)
        )),
        _ => Ok(()),
    }
}

/// How long something has had work in hand.
pub fn since(oldest: Option<Timestamp>) -> String {
    oldest.map_or_else(String::new, |oldest| format!(", the oldest since {oldest}"))
}

/// A line for each kind of change.
pub fn show_changes(changes: &Changes) -> io::Result<()> {
    let short = |digest: &str| digest.chars().take(SHORT).collect::<String>();
    if let Some(Differs { was, now }) = &changes.code {
        line(format!(
            "  code      {} -> {}",
            escape(&short(was)),
            escape(&short(now))
        ))?;
    }
    if let Some(Differs { was, now }) = &changes.version {
        line(format!("  version   {} -> {}", escape(was), escape(now)))?;
    }
    for (what, keys) in [
        ("added", &changes.settings_added),
        ("changed", &changes.settings_changed),
        ("removed", &changes.settings_removed),
    ] {
        if !keys.is_empty() {
            line(format!("  settings  {what}: {}", escape(&keys.join(", "))))?;
        }
    }
    Ok(())
}
