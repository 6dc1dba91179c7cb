//! What a policy in Rust depends on, as folders that need nothing but cargo: this repository's crates
//! with their manifests made independent of its workspace, and the versions they were tested with.

use std::collections::BTreeSet;

use anyhow::{Context, anyhow};
use include_dir::{Dir, include_dir};
use toml::{Table, Value};

use super::template::Output;

/// The workspace whose crates these are.
const WORKSPACE: &str = include_str!("../../../../../Cargo.toml");
const LOCK: &str = include_str!("../../../../../Cargo.lock");

/// Package and sources.
static CRATES: [(&str, Dir<'static>); 2] = [
    (
        "posthouse-policy",
        include_dir!("$CARGO_MANIFEST_DIR/../../policy-wasm/sdk"),
    ),
    (
        "posthouse-cases",
        include_dir!("$CARGO_MANIFEST_DIR/../../policy-wasm/cases"),
    ),
];

/// What the template itself depends on beside.
const OWN: [&str; 2] = ["schemars", "serde"];

/// Tables of a manifest in which dependencies stand.
const DEPENDENCIES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Each crate as `vendor/PACKAGE`.
///
/// # Errors
/// A manifest asks the workspace for what it does not have: a defect of the build.
pub fn crates() -> anyhow::Result<Vec<Output>> {
    let workspace: Table = WORKSPACE.parse().context("Cargo.toml of the workspace")?;
    let workspace = workspace["workspace"]
        .as_table()
        .ok_or_else(|| anyhow!("no workspace"))?;
    let mut outputs = Vec::new();
    for (package, folder) in &CRATES {
        let mut files = Vec::new();
        collect(folder, &mut files);
        for (path, content) in files {
            let content = match path.as_str() {
                "Cargo.toml" => {
                    let text = String::from_utf8_lossy(&content);
                    independent(&text, workspace)
                        .with_context(|| format!("Cargo.toml of {package}"))?
                        .into_bytes()
                }
                _ => content,
            };
            outputs.push(Output {
                path: format!("vendor/{package}/{path}").into(),
                content,
            });
        }
    }
    Ok(outputs)
}

fn collect(folder: &Dir<'_>, files: &mut Vec<(String, Vec<u8>)>) {
    for file in folder.files() {
        files.push((file.path().to_string_lossy().into_owned(), file.contents().to_vec()));
    }
    // Tests of the crate are this repository's affair.
    let inner = folder
        .dirs()
        .filter(|dir| !matches!(dir.path().to_str(), Some("tests" | "target")));
    inner.for_each(|dir| collect(dir, files));
}

/// A manifest with what it inherits from the workspace written out.
fn independent(manifest: &str, workspace: &Table) -> anyhow::Result<String> {
    let mut manifest: Table = manifest.parse()?;
    manifest.remove("lints");
    // Its tests stay behind, and what they need.
    manifest.remove("dev-dependencies");
    if let Some(package) = manifest.get_mut("package").and_then(Value::as_table_mut) {
        let shared = workspace.get("package").and_then(Value::as_table);
        for (key, value) in package.iter_mut().filter(|(_, value)| inherits(value)) {
            let inherited = shared.and_then(|shared| shared.get(key));
            *value = inherited
                .ok_or_else(|| anyhow!("package.{key} is not in the workspace"))?
                .clone();
        }
    }
    let shared = workspace.get("dependencies").and_then(Value::as_table);
    write_out(&mut manifest, shared)?;
    Ok(manifest.to_string())
}

/// Dependencies of a manifest, or of one of its targets.
fn write_out(manifest: &mut Table, shared: Option<&Table>) -> anyhow::Result<()> {
    for (key, value) in manifest.iter_mut() {
        let Some(table) = value.as_table_mut() else {
            continue;
        };
        if key == "target" {
            for target in table.iter_mut().filter_map(|(_, target)| target.as_table_mut()) {
                write_out(target, shared)?;
            }
        }
        if !DEPENDENCIES.contains(&key.as_str()) {
            continue;
        }
        for (name, wanted) in table.iter_mut() {
            if inherits(wanted) {
                let inherited = shared.and_then(|shared| shared.get(name));
                let inherited = inherited.ok_or_else(|| anyhow!("{name} is not in the workspace"))?;
                *wanted = merged(inherited, wanted);
            }
            if let Some(path) = wanted.get_mut("path")
                && CRATES.iter().any(|(package, _)| package == name)
            {
                *path = Value::String(format!("../{name}"));
            }
        }
    }
    Ok(())
}

fn inherits(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

/// The workspace's dependency with what a crate adds to it.
fn merged(inherited: &Value, wanted: &Value) -> Value {
    let mut merged = match inherited {
        Value::Table(table) => table.clone(),
        version => Table::from_iter([("version".to_owned(), version.clone())]),
    };
    for (key, value) in wanted
        .as_table()
        .into_iter()
        .flatten()
        .filter(|(key, _)| *key != "workspace")
    {
        match (merged.get_mut(key), value) {
            (Some(Value::Array(features)), Value::Array(more)) => features.extend(more.iter().cloned()),
            _ => {
                merged.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Table(merged)
}

/// The versions of everything the new policy needs, as this repository tests them.
///
/// # Errors
/// The lock file of the build cannot be read.
pub fn lock() -> anyhow::Result<String> {
    let mut lock: Table = LOCK.parse().context("Cargo.lock")?;
    let packages = lock.remove("package").and_then(|packages| match packages {
        Value::Array(packages) => Some(packages),
        _ => None,
    });
    let packages = packages.ok_or_else(|| anyhow!("Cargo.lock has no packages"))?;
    let mut wanted: Vec<String> = CRATES.iter().map(|(package, _)| (*package).to_owned()).collect();
    wanted.extend(OWN.map(str::to_owned));
    let mut kept = BTreeSet::new();
    while let Some(dependency) = wanted.pop() {
        let found = packages.iter().position(|package| is_named(package, &dependency));
        if let Some(place) = found.filter(|place| kept.insert(*place)) {
            let more = packages[place].get("dependencies").and_then(Value::as_array);
            wanted.extend(more.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
        }
    }
    let kept = kept.into_iter().map(|place| packages[place].clone()).collect();
    lock.insert("package".to_owned(), Value::Array(kept));
    Ok(lock.to_string())
}

/// `NAME`, or `NAME VERSION` where there are several.
fn is_named(package: &Value, dependency: &str) -> bool {
    let of = |key| package.get(key).and_then(Value::as_str);
    let mut words = dependency.split(' ');
    of("name") == words.next() && words.next().is_none_or(|version| of("version") == Some(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_stands_by_itself() {
        let workspace: Table = "[package]\nversion = '1.0.0'\n[dependencies]\na = '1'\n\
             b = { version = '2', features = ['x'] }\nposthouse-cases = { path = 'policy-wasm/cases' }"
            .parse()
            .expect("a workspace");
        let manifest = "[package]\nname = 'c'\nversion.workspace = true\n[lints]\nworkspace = true\n\
             [dev-dependencies]\nz.workspace = true\n[dependencies]\na.workspace = true\n\
             b = { workspace = true, features = ['y'] }\n[target.'cfg(unix)'.dependencies]\nposthouse-cases.workspace = true";
        let written: Table = independent(manifest, &workspace)
            .expect("a manifest")
            .parse()
            .expect("TOML");
        let expected: Table = "[package]\nname = 'c'\nversion = '1.0.0'\n[dependencies]\na = { version = '1' }\n\
             b = { version = '2', features = ['x', 'y'] }\n\
             [target.'cfg(unix)'.dependencies]\nposthouse-cases = { path = '../posthouse-cases' }"
            .parse()
            .expect("TOML");
        assert_eq!(written, expected);
        assert!(independent("[dependencies]\nnone.workspace = true", &workspace).is_err());
    }

    #[test]
    fn the_crates_are_complete() {
        let outputs = crates().expect("crates");
        for (package, _) in &CRATES {
            for file in ["Cargo.toml", "src/lib.rs"] {
                let path = std::path::PathBuf::from(format!("vendor/{package}/{file}"));
                let output = outputs.iter().find(|output| output.path == path).expect(file);
                let text = String::from_utf8_lossy(&output.content);
                assert!(file != "Cargo.toml" || !text.contains("workspace = true"), "{text}");
            }
        }
    }

    #[test]
    fn the_lock_has_what_is_needed_and_no_engine() {
        let lock = lock().expect("a lock file");
        for name in ["posthouse-cases", "schemars", "serde", "toml", "serde_json"] {
            assert!(lock.contains(&format!("name = \"{name}\"\n")), "{name}");
        }
        assert!(!lock.contains("\"wasmtime\""));
    }
}
