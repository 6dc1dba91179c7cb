//! The demonstration `posthouse demo`, which checks every step of the story.

use std::process::Command;

use posthouse_tests::{posthouse, run};

#[test]
fn demo_passes() {
    let said = run(Command::new(posthouse()).arg("demo"), "").ok();
    for word in ["4037", "4151", "multipart/report", "q178091"] {
        assert!(said.contains(word), "{word} is not in:\n{said}");
    }
}
