//! Checks of invalid configurations: each file in `tests/bad-configs` yields exactly the messages of the `.expect`
//! file.

use std::path::{Path, PathBuf};

use posthouse_tests::{Pattern, Site};

const WRONG_DIRECTORY: &str = r#"
domains = ["not a domain"]

[[account]]
name = "anna"
password = "in clear"

[[account]]
name = "../../etc"
"#;

#[test]
fn reports_the_expected_messages_for_every_bad_configuration() {
    let site = Site::new();
    site.file("wrong-directory.toml", WRONG_DIRECTORY);
    let files = bad_configurations();
    assert!(files.len() >= 12, "files are missing");
    let failures: Vec<String> = files.iter().filter_map(|file| compare(&site, file).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn accepts_the_sample_configuration() {
    let site = Site::new();
    site.cli(&["check"]).ok();
}

fn bad_configurations() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bad-configs");
    let entries = std::fs::read_dir(folder).expect("the folder is part of the repository");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files
}

fn compare(site: &Site, file: &Path) -> Result<(), String> {
    let configuration = std::fs::read_to_string(file).expect("a configuration");
    let expected = std::fs::read_to_string(file.with_extension("expect")).expect("its messages");
    std::fs::write(site.configuration_file(), configuration).expect("the folder can be written");
    let said = site.cli(&["check"]);
    let total = format!("{} problem(s)", expected.lines().count());
    let wanted: Vec<&str> = expected.lines().chain([total.as_str()]).collect();
    let got: Vec<&str> = said.stdout.lines().collect();
    let fits = wanted.len() == got.len()
        && wanted
            .iter()
            .zip(&got)
            .all(|(want, got)| Pattern::new(want).matches(got));
    if fits && !said.status.success() {
        return Ok(());
    }
    Err(format!(
        "{}: {}, wanted\n  {}\ngot\n  {}",
        file.display(),
        said.status,
        wanted.join("\n  "),
        said.text().trim_end().replace('\n', "\n  ")
    ))
}
