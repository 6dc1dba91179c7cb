//! The text output of `posthouse try`.

use crate::cli::output::line;
use crate::cli::try_command::play_session::{PlayedSession, SessionStep};
use host_events::escape;

/// Prints a paragraph for each decision, then `accepted` or `refused`.
pub fn show(played: &PlayedSession) -> std::io::Result<()> {
    for step in &played.steps {
        line(format!("{:<10} {}", step.stage, escape(&step.subject)))?;
        line(format!("           {}", escape(&step.decision)))?;
        line(format!("           because {}", because(step)))?;
        if let Some(reply) = &step.reply {
            line(format!("           reply {}", escape(reply)))?;
        }
        for event in &step.events {
            // The renderer of events has escaped the line.
            line(format!("           event {event}"))?;
        }
    }
    line(if played.accepted { "accepted" } else { "refused" })
}

fn because(step: &SessionStep) -> String {
    let entry = step.entry.as_ref().map_or(String::new(), |entry| format!(" ({entry})"));
    let fault = if step.fault { ", after a fault" } else { "" };
    escape(&format!("{}/{}{entry}{fault}", step.policy, step.rule))
}
