//! The text output of a comparison between the active policy and a candidate.

use crate::cli::output::line;
use host_events::escape;
use host_policy::{Comparison, Example};

/// Prints the counts, then each kind of change with examples. `dropped` is the number of questions that a shadow
/// dropped.
pub fn show(comparison: &Comparison, dropped: Option<u64>) -> std::io::Result<()> {
    let dropped = dropped.map_or(String::new(), |count| format!(", {count} dropped"));
    line(format!(
        "{} compared: {} same, {} different; {} unrecorded, {} skipped, {} faulted{dropped}",
        comparison.compared,
        comparison.same,
        comparison.different,
        comparison.unrecorded,
        comparison.skipped,
        comparison.faulted,
    ))?;
    let average = |micros: u64| micros.checked_div(comparison.compared);
    if let (Some(active), Some(candidate)) = (average(comparison.active_micros), average(comparison.candidate_micros)) {
        line(format!(
            "on average {active} µs a question for the active policy, {candidate} µs for the candidate"
        ))?;
    }
    for (class, count) in &comparison.faults {
        line(format!("{count} × fault {}", escape(class)))?;
    }
    for change in &comparison.changes {
        let (from, to) = (change.from.to_string(), change.to.to_string());
        let to = if from == to { format!("{to}, in detail") } else { to };
        line(format!(
            "{} × {}: {} -> {}",
            change.count,
            escape(&change.stage),
            escape(&from),
            escape(&to)
        ))?;
        change.examples.iter().try_for_each(|item| line(example(item)))?;
    }
    if comparison.more_changes > 0 {
        line(format!("{} × other changes", comparison.more_changes))?;
    }
    Ok(())
}

fn example(example: &Example) -> String {
    let session = example.session.map_or(String::new(), |id| format!(" session {id}"));
    let message = example.message.map_or(String::new(), |id| format!(" message {id}"));
    let guess = if example.unrecorded {
        " (a guess: it asked what was not recorded)"
    } else {
        ""
    };
    format!(
        "    {} record {}{session}{message} {}{guess}",
        example.time,
        example.record,
        escape(&example.subject)
    )
}
