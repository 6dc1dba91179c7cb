//! Checks of the documents: links, summary, cited standards and samples.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use posthouse_tests::Site;

fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the package is in the repository").to_owned()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the pages in a folder and below.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder of the repository");
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            found.extend(pages(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found
}

/// Returns the pages of the repository's top level.
fn top_pages(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).expect("the repository");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect()
}

/// Returns the targets of `[text](target)` that are files.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    files
        .map(|target| target.split('#').next().unwrap_or(target).to_owned())
        .collect()
}

#[test]
fn links_point_to_existing_files() {
    let root = repository();
    let mut broken = Vec::new();
    for page in [top_pages(&root), pages(&root.join("docs")), pages(&root.join("wit"))].concat() {
        let folder = page.parent().expect("a page is in a folder");
        let missing = links(&read(&page))
            .into_iter()
            .filter(|link| !folder.join(link).exists());
        broken.extend(missing.map(|link| format!("{}: {link}", page.display())));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn summary_lists_every_page() {
    let docs = repository().join("docs");
    let summary = links(&read(&docs.join("SUMMARY.md")));
    let pages = pages(&docs);
    assert!(pages.len() > 20, "{} pages", pages.len());
    for page in pages {
        let name = page
            .strip_prefix(&docs)
            .expect("a page of docs")
            .to_string_lossy()
            .into_owned();
        assert!(
            name == "SUMMARY.md" || summary.contains(&name),
            "{name} is not in SUMMARY.md"
        );
    }
}

/// Returns the Rust sources below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder of the repository");
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Returns the leading digits of a text.
fn leading_digits(text: &str) -> &str {
    text.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default()
}

#[test]
fn table_lists_every_cited_standard() {
    let root = repository();
    let table = read(&root.join("docs/reference/standards.md"));
    let rows = table.lines().filter_map(|line| line.strip_prefix("| "));
    let listed: Vec<&str> = rows
        .flat_map(|row| row.split(" |").next().unwrap_or_default().split(", "))
        .collect();
    for source in [sources(&root.join("host")), sources(&root.join("policy-wasm/src"))].concat() {
        for cited in read(&source)
            .split("RFC ")
            .skip(1)
            .map(leading_digits)
            .filter(|cited| !cited.is_empty())
        {
            assert!(
                listed.contains(&cited),
                "{}: RFC {cited} is not in docs/reference/standards.md",
                source.display()
            );
        }
    }
}

/// Returns the rows of the Markdown tables whose first cell begins with `start`, as cells without back quotes.
fn rows<'a>(page: &'a str, start: &str) -> Vec<Vec<&'a str>> {
    let lines = page.lines().filter_map(|line| line.strip_prefix("| "));
    let rows = lines.filter(|line| line.starts_with(start));
    rows.map(|row| {
        row.split(" | ")
            .map(|cell| cell.trim_matches(['`', '|', ' ']))
            .collect()
    })
    .collect()
}

/// True if a Rust source declares a function or type of this name.
fn declares(source: &str, name: &str) -> bool {
    ["fn", "struct", "enum", "trait"].iter().any(|keyword| {
        let declaration = format!("{keyword} {name}");
        let mut rests = source.split(declaration.as_str()).skip(1);
        rests.any(|rest| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_'))
    })
}

/// Checks a table whose first cells are `prefix` and a number counted from 1: at most `most` rows, and each names a file
/// that exists, occurs once, and declares the item.
fn check_flow_table(page: &str, prefix: &str, most: usize) {
    let mut listed = Vec::new();
    for number in 1_usize.. {
        let found = rows(page, &format!("{prefix}{number} | "));
        let [row] = found.as_slice() else {
            assert!(found.is_empty(), "number {prefix}{number} stands twice");
            break;
        };
        let [_, file, item, what] = row[..] else {
            panic!("row {prefix}{number} has not four cells: {row:?}");
        };
        assert!(!what.is_empty(), "row {prefix}{number} has no text");
        assert!(!listed.contains(&file), "{file} stands twice");
        assert!(
            declares(&read(&repository().join(file)), item),
            "{file} declares no {item}"
        );
        listed.push(file);
    }
    let is_numbered = |line: &str| {
        let number = line.strip_prefix("| ").and_then(|row| row.strip_prefix(prefix));
        number.is_some_and(|number| !leading_digits(number).is_empty())
    };
    let numbered = page.lines().filter(|line| is_numbered(line)).count();
    assert_eq!(listed.len(), numbered, "the numbers have a gap");
    assert!(
        (most / 2..=most).contains(&numbered),
        "{numbered} rows of at most {most}"
    );
}

#[test]
fn flow_tables_name_existing_files_and_items() {
    let page = read(&repository().join("docs/internals/flow.md"));
    check_flow_table(&page, "", 40);
    check_flow_table(&page, "L", 18);
}

#[test]
fn crate_table_equals_the_manifests() {
    let root = repository();
    let page = read(&root.join("docs/internals/house.md"));
    let table = rows(&page, "`host/");
    let folders = std::fs::read_dir(root.join("host")).expect("a folder of the repository");
    assert_eq!(table.len(), folders.count(), "a row for each crate of host/");
    for row in table {
        let manifest = read(&root.join(row[0]).join("Cargo.toml"));
        let section = manifest.split("\n[dependencies]\n").nth(1).unwrap_or_default();
        let section = section.split("\n[").next().unwrap_or_default();
        let known = section.lines().filter_map(|line| line.strip_prefix("host-"));
        let known: Vec<&str> = known.filter_map(|line| line.split('.').next()).collect();
        let listed: Vec<&str> = row[1].split(", ").filter(|name| *name != "–").collect();
        assert_eq!(listed, known, "{}", row[0]);
    }
}

/// Returns the content of each block fenced as TOML.
fn toml_blocks(text: &str) -> Vec<&str> {
    let blocks = text.split("```toml\n").skip(1);
    blocks.filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn first_configuration_of_the_readme_works() {
    let readme = read(&repository().join("README.md"));
    let blocks = toml_blocks(&readme);
    let site = Site::new();
    let here = |text: &str| {
        let folder = site.path().to_string_lossy();
        text.replace("/etc/posthouse", &folder)
            .replace("/var/lib/posthouse", &format!("{folder}/data"))
    };
    site.file("posthouse.toml", here(blocks[0]));
    site.file("directory.toml", blocks[1]);
    site.cli_with_input(&["account", "passwd", "anna", "--password-stdin"], "a good password\n")
        .ok();
    let checked = site.cli(&["check"]).ok();
    assert!(checked.ends_with("OK\n") && !checked.contains("warning"), "{checked}");
    let message = site.file("mail.eml", "Subject: try\r\n\r\nHello\r\n");
    let message = message.to_string_lossy();
    let tried = |client, sender, recipient, more: &[&str]| {
        let basic = [
            "try",
            client,
            "--sender",
            sender,
            "--recipient",
            recipient,
            "--message",
            &message,
        ];
        site.cli(&[&basic[..], more].concat()).ok()
    };
    let submission = ["--listener", "submission", "--tls"];

    let world = tried("198.51.100.7", "world@example.net", "anna@example.org", &[]);
    assert!(world.contains("default/homing (exempt)"), "{world}");
    let anna = [&submission[..], &["--identity", "anna"]].concat();
    let submitted = tried("198.51.100.7", "anna@example.org", "world@example.net", &anna);
    assert!(submitted.contains("default/homing (anna@example.org)"), "{submitted}");
    // The sender has no mailbox here: the message is accepted from the exempt host, but not delivered.
    let relayed = tried("192.0.2.25", "stranger@example.net", "anna@example.org", &submission);
    assert!(
        relayed.contains("192.0.2.25/32") && relayed.contains("fail as not-homed"),
        "{relayed}"
    );
}

/// Files that an example in another language shares with the template of its language: example, template, name of the
/// policy in the source, and world.
const SHARED_WITH_TEMPLATES: [(&str, &str, &str, &str); 9] = [
    ("c-blocklist/build.sh", "c/build.sh", "c-blocklist", ""),
    ("c-blocklist/src/json.c", "c/src/json.c", "", ""),
    ("c-blocklist/src/json.h", "c/src/json.h", "", ""),
    ("c-blocklist/src/lifecycle.c", "c/src/lifecycle.c", "blocklist", ""),
    ("c-blocklist/src/policy.c", "c/src/policy.c", "", ""),
    ("c-blocklist/src/policy.h", "c/src/policy.h", "", ""),
    (
        "javascript-subject-tags/build.sh",
        "javascript/build.when-homing+all.sh",
        "javascript-subject-tags",
        "",
    ),
    (
        "javascript-subject-tags/wit/world.wit",
        "javascript/wit/world.wit",
        "",
        "homing-policy",
    ),
    (
        "python-quiet-notices/build.sh",
        "python/build.sh",
        "python-quiet-notices",
        "",
    ),
];

#[test]
fn examples_share_the_files_of_their_templates() {
    let root = repository();
    for (example, template, name, world) in SHARED_WITH_TEMPLATES {
        let template = read(&root.join("host/posthouse/templates").join(template));
        let expected = template.replace("{{name}}", name).replace("{{world}}", world);
        let found = read(&root.join("policy-wasm/languages").join(example));
        assert!(found == expected, "{example} is not made from its template");
    }
}

/// Returns the keys of a sample with their values and tables, commented ones without a value: `(table, key, value)`.
fn sample_keys(sample: &str) -> Vec<(String, String, Option<String>)> {
    let mut table = String::new();
    let mut keys = Vec::new();
    for line in sample.lines() {
        let is_commented = line.starts_with("# ");
        let line = line.trim_start_matches("# ");
        if line.starts_with('[') {
            let name = line.trim_start_matches('[').split(']').next().unwrap_or_default();
            table = name.to_owned();
        } else if let Some((key, value)) = line.split_once(" = ")
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        {
            let value = value.split(" #").next().unwrap_or_default().trim().to_owned();
            keys.push((table.clone(), key.to_owned(), Some(value).filter(|_| !is_commented)));
        }
    }
    keys
}

/// Returns the rows `| key | default | …` of the section about a table; the empty name is the section "The host".
fn section_rows<'a>(page: &'a str, table: &str) -> Vec<(&'a str, &'a str)> {
    let headings = [format!("`[{table}]`"), format!("`[[{table}]]`")];
    let is_heading = |line: &str| match table {
        "" => line == "## The host",
        _ => line.starts_with('#') && headings.iter().any(|heading| line.contains(heading.as_str())),
    };
    let section = page.lines().skip_while(|line| !is_heading(line)).skip(1);
    let section = section.take_while(|line| !line.starts_with('#'));
    let cells = section.filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    cells
        .map(|(key, rest)| (key, rest.split(" | ").next().unwrap_or_default()))
        .collect()
}

#[test]
fn configuration_page_lists_every_key_with_its_default() {
    let root = repository();
    let page = read(&root.join("docs/reference/configuration.md"));
    let sample = read(&root.join("docs/samples/defaults.toml"));
    let keys = sample_keys(&sample);
    assert!(keys.len() > 70, "the sample is not read: {} keys", keys.len());
    let mut differences = Vec::new();
    // The faults of a module are those of the host.
    for (table, key, value) in keys.iter().filter(|(table, ..)| table != "policy.faults") {
        let rows = section_rows(&page, table);
        let Some((_, default)) = rows.iter().find(|(name, _)| name == key) else {
            differences.push(format!("[{table}] {key} has no row"));
            continue;
        };
        // Tables of listeners are examples, and paths depend on the user.
        let is_example = table == "listener" || *default == "must be given" || *default == "see above";
        let is_example = is_example || value.as_ref().is_none_or(|value| value.contains("/var/lib"));
        if !is_example
            && !value
                .as_ref()
                .is_some_and(|value| *default == value.as_str() || default.starts_with(&format!("`{value}`")))
        {
            differences.push(format!(
                "[{table}] {key}: {value:?} in the sample, {default} on the page"
            ));
        }
    }
    let tables: BTreeSet<&String> = keys.iter().map(|(table, ..)| table).collect();
    for table in &tables {
        for (row, _) in section_rows(&page, table) {
            let subtable = [table, row].map(ToOwned::to_owned).join(".");
            let subtable = subtable.trim_start_matches('.').to_owned();
            let is_known = keys.iter().any(|(of, key, _)| of == *table && key == row);
            if !is_known && !tables.contains(&subtable) && !sample.contains(&format!("[{subtable}]")) {
                differences.push(format!("[{table}] {row} is on the page and not in the sample"));
            }
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
}
