//! Imports go in one direction (`docs/flow.md`): whoever knows whom is in the table below, and
//! nowhere else.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module and what it may name of the crate. `module::Item` allows that item alone.
const MAY_USE: &[(&str, &[&str])] = &[
    ("mail", &[]),
    ("reader", &[]),
    ("gather", &[]),
    ("slots", &[]),
    ("event", &["mail", "gather"]),
    ("config", &["mail", "reader", "directory::Endpoint", "event::Format"]),
    ("directory", &["mail", "reader", "event"]),
    ("dns", &["config"]),
    ("policy", &["mail", "config", "directory", "dns", "event", "slots"]),
    ("spool", &["mail", "event", "gather", "policy::Because"]),
    ("decisions", &["mail", "config", "event", "policy", "spool"]),
    ("ndr", &["mail", "config", "event", "policy", "spool"]),
    (
        "session",
        &["mail", "config", "directory", "event", "policy", "slots", "spool"],
    ),
    ("listener", &["mail", "config", "event", "session"]),
    (
        "delivery",
        &[
            "mail",
            "config",
            "directory",
            "dns",
            "event",
            "ndr",
            "policy::Because",
            "spool",
        ],
    ),
];

/// Wiring and the operator's side: they know everybody, and nobody above knows them.
const ON_TOP: &[&str] = &["control", "daemon", "cli", "demo", "lib", "main"];

#[test]
fn imports_go_in_one_direction() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for file in rust_files(&src) {
        let inside = file.strip_prefix(&src).expect("a file in src");
        if is_test(inside) {
            continue;
        }
        let module = top_module(inside);
        let text = fs::read_to_string(&file).expect("a source file");
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            if !ON_TOP.contains(&module.as_str()) {
                wrong.push(format!("{module} is not in the table of {}", file!()));
            }
            continue;
        };
        for path in crate_paths(without_tests(&text)) {
            if !permitted(&path, &module, allowed) {
                wrong.push(format!("{}: crate::{path}", inside.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the direction:\n{}", wrong.join("\n"));
}

#[test]
fn the_table_itself_has_no_circle() {
    // Modules in the table's order may only name whole modules that stand before them.
    let mut known = BTreeSet::new();
    for (module, allowed) in MAY_USE {
        for name in allowed.iter().filter(|name| !name.contains("::")) {
            assert!(known.contains(name), "{module} names {name}, which comes later");
        }
        known.insert(*module);
    }
}

#[test]
fn paths_are_found_however_they_are_written() {
    let found = |text| crate_paths(text).into_iter().collect::<Vec<_>>();
    assert_eq!(
        found("use crate::mail::{Reply, address::Mailbox};"),
        ["mail::Reply", "mail::address"]
    );
    assert_eq!(found("use crate::{mail::Reply, spool};"), ["mail::Reply", "spool"]);
    assert_eq!(found("let a = crate::mail::Reply::new();"), ["mail::Reply"]);
    assert_eq!(
        found("pub(crate) fn a() {} // see crate::daemon\n//! [`crate::cli`]"),
        [""; 0]
    );
}

fn permitted(path: &str, module: &str, allowed: &[&str]) -> bool {
    let head = path.split("::").next().unwrap_or(path);
    head == module || allowed.iter().any(|name| *name == head || *name == path)
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Tests may look at anything: `tests.rs`, `*_tests.rs` and what is in folders of these names.
fn is_test(inside: &Path) -> bool {
    inside.with_extension("").components().any(|part| {
        let name = part.as_os_str().to_string_lossy();
        name == "tests" || name == "testing" || name.ends_with("_tests")
    })
}

/// `src/policy/engine.rs` belongs to `policy`.
fn top_module(inside: &Path) -> String {
    let first = inside.components().next().expect("a file in src");
    first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// Test modules stand at the end of their file.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod ").next().unwrap_or(text)
}

/// `module` or `module::Item` of everything named as `crate::...`; comments do not count.
fn crate_paths(text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or(""))
        .collect::<Vec<_>>()
        .join(" ");
    let mut paths = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => paths.extend(branches(group).iter().flat_map(|branch| expand(branch))),
            None => paths.extend(expand(rest)),
        }
    }
    paths
}

/// `mail::{a, b::c} ...` is `mail::a` and `mail::b`; `mail::Reply::new` is `mail::Reply`.
fn expand(path: &str) -> Vec<String> {
    let Some(head) = identifier(path) else {
        return Vec::new();
    };
    let Some(rest) = path[head.len()..].strip_prefix("::") else {
        return vec![head.to_owned()];
    };
    let items = match rest.strip_prefix('{') {
        Some(group) => branches(group),
        None => vec![rest.to_owned()],
    };
    items
        .iter()
        .filter_map(|item| Some(format!("{head}::{}", identifier(item.trim())?)))
        .collect()
}

fn identifier(text: &str) -> Option<&str> {
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    (end > 0).then(|| &text[..end])
}

/// The comma-separated parts up to the brace that closes the group.
fn branches(group: &str) -> Vec<String> {
    let (mut depth, mut parts) = (0_i32, vec![String::new()]);
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts
        .iter()
        .map(|part| part.trim().to_owned())
        .filter(|part| !part.is_empty())
        .collect()
}
