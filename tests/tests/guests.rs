//! Checks of the hostile guests.

use posthouse_tests::guest;

#[test]
fn assembles_every_guest() {
    let folder = tempfile::tempdir().expect("a folder");
    let guests = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
    let mut count = 0;
    for entry in std::fs::read_dir(guests).expect("the folder is part of the repository") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        let stem = name.strip_suffix(".core.wat").or(name.strip_suffix(".wat"));
        if let Some(stem) = stem.filter(|stem| *stem != "frame") {
            guest(stem, folder.path());
            count += 1;
        }
    }
    assert!(count >= 8, "{count}");
}
