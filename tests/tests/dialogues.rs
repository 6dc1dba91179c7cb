//! The scripts in `tests/dialogues`, played against a daemon.

use posthouse_tests::{Dialogue, Site, play};

#[test]
fn plays_every_dialogue_as_written() {
    let site = Site::new();
    let daemon = site.start();
    let dialogues = Dialogue::all();
    assert!(dialogues.len() >= 25, "scripts are missing");
    let failures: Vec<String> = dialogues
        .iter()
        .filter_map(|one| play(one, &site, &daemon).err())
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {} dialogues went otherwise:\n\n{}",
        failures.len(),
        dialogues.len(),
        failures.join("\n")
    );
}
