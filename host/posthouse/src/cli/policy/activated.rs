//! The text output of an activation.

use std::io;

use crate::cli::output::line;
use host_events::escape;
use host_mail::Timestamp;
use host_policy::{Activation, Changes, Differs};

/// Hexadecimal digits of a shortened digest.
const DIGEST_DIGITS: usize = 12;

/// Prints the generation, the changes, and the work that still uses the previous generation.
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
            oldest_since(active.oldest)
        )),
        _ => Ok(()),
    }
}

/// Start of the oldest unit of work as `, the oldest since TIME`; empty without work.
pub fn oldest_since(oldest: Option<Timestamp>) -> String {
    oldest.map_or_else(String::new, |oldest| format!(", the oldest since {oldest}"))
}

/// Prints a line for each kind of change.
pub fn show_changes(changes: &Changes) -> io::Result<()> {
    let short = |digest: &str| digest.chars().take(DIGEST_DIGITS).collect::<String>();
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
