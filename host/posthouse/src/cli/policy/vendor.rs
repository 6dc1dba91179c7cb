//! Vendored dependencies of a policy in Rust: the repository's own crates, with manifests that are independent of the
//! workspace, and a lock file with the tested versions.

use std::collections::BTreeSet;

use anyhow::{Context, anyhow};
use include_dir::{Dir, include_dir};
use toml::{Table, Value};

use super::template::Output;

/// Manifest of the workspace.
const WORKSPACE: &str = include_str!("../../../../../Cargo.toml");
const LOCK: &str = include_str!("../../../../../Cargo.lock");

/// Vendored crates: package name and sources.
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

/// Dependencies of the template other than the vendored crates.
const TEMPLATE_DEPENDENCIES: [&str; 2] = ["schemars", "serde"];

/// Tables of a manifest that list dependencies.
const DEPENDENCIES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Files of the vendored crates, each crate in `vendor/PACKAGE`.
///
/// # Errors
/// A manifest inherits a key that the workspace does not have, which is a defect of the build.
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
                    without_workspace(&text, workspace)
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
    // The crate's tests stay in this repository.
    let inner = folder
        .dirs()
        .filter(|dir| !matches!(dir.path().to_str(), Some("tests" | "target")));
    inner.for_each(|dir| collect(dir, files));
}

/// Makes a manifest independent of the workspace: inherited keys are replaced by the workspace's values.
fn without_workspace(manifest: &str, workspace: &Table) -> anyhow::Result<String> {
    let mut manifest: Table = manifest.parse()?;
    manifest.remove("lints");
    // Tests are not vendored, so their dependencies are not needed.
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
    inline_dependencies(&mut manifest, shared)?;
    Ok(manifest.to_string())
}

/// Replaces inherited dependencies of a manifest and of its targets by the workspace's values, and points the paths of
/// vendored crates at the vendor folder.
fn inline_dependencies(manifest: &mut Table, shared: Option<&Table>) -> anyhow::Result<()> {
    for (key, value) in manifest.iter_mut() {
        let Some(table) = value.as_table_mut() else {
            continue;
        };
        if key == "target" {
            for target in table.iter_mut().filter_map(|(_, target)| target.as_table_mut()) {
                inline_dependencies(target, shared)?;
            }
        }
        if !DEPENDENCIES.contains(&key.as_str()) {
            continue;
        }
        for (name, dependency) in table.iter_mut() {
            if inherits(dependency) {
                let inherited = shared.and_then(|shared| shared.get(name));
                let inherited = inherited.ok_or_else(|| anyhow!("{name} is not in the workspace"))?;
                *dependency = merged(inherited, dependency);
            }
            if let Some(path) = dependency.get_mut("path")
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

/// Merges the workspace's dependency with the keys and features that a crate adds.
fn merged(inherited: &Value, dependency: &Value) -> Value {
    let mut merged = match inherited {
        Value::Table(table) => table.clone(),
        version => Table::from_iter([("version".to_owned(), version.clone())]),
    };
    for (key, value) in dependency
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

/// A lock file with the packages that the new policy needs, in the versions of this repository.
///
/// # Errors
/// The lock file of the build could not be parsed.
pub fn lock() -> anyhow::Result<String> {
    let mut lock: Table = LOCK.parse().context("Cargo.lock")?;
    let packages = lock.remove("package").and_then(|packages| match packages {
        Value::Array(packages) => Some(packages),
        _ => None,
    });
    let packages = packages.ok_or_else(|| anyhow!("Cargo.lock has no packages"))?;
    let mut pending: Vec<String> = CRATES.iter().map(|(package, _)| (*package).to_owned()).collect();
    pending.extend(TEMPLATE_DEPENDENCIES.map(str::to_owned));
    let mut kept = BTreeSet::new();
    while let Some(dependency) = pending.pop() {
        let found = packages.iter().position(|package| is_named(package, &dependency));
        if let Some(index) = found.filter(|index| kept.insert(*index)) {
            let more = packages[index].get("dependencies").and_then(Value::as_array);
            pending.extend(more.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
        }
    }
    let kept = kept.into_iter().map(|index| packages[index].clone()).collect();
    lock.insert("package".to_owned(), Value::Array(kept));
    Ok(lock.to_string())
}

/// True if the package matches a dependency of a lock file: `NAME`, or `NAME VERSION` among several versions.
fn is_named(package: &Value, dependency: &str) -> bool {
    let of = |key| package.get(key).and_then(Value::as_str);
    let mut words = dependency.split(' ');
    of("name") == words.next() && words.next().is_none_or(|version| of("version") == Some(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inlines_workspace_inheritance() {
        let workspace: Table = "[package]\nversion = '1.0.0'\n[dependencies]\na = '1'\n\
             b = { version = '2', features = ['x'] }\nposthouse-cases = { path = 'policy-wasm/cases' }"
            .parse()
            .expect("a workspace");
        let manifest = "[package]\nname = 'c'\nversion.workspace = true\n[lints]\nworkspace = true\n\
             [dev-dependencies]\nz.workspace = true\n[dependencies]\na.workspace = true\n\
             b = { workspace = true, features = ['y'] }\n[target.'cfg(unix)'.dependencies]\nposthouse-cases.workspace = true";
        let written: Table = without_workspace(manifest, &workspace)
            .expect("a manifest")
            .parse()
            .expect("TOML");
        let expected: Table = "[package]\nname = 'c'\nversion = '1.0.0'\n[dependencies]\na = { version = '1' }\n\
             b = { version = '2', features = ['x', 'y'] }\n\
             [target.'cfg(unix)'.dependencies]\nposthouse-cases = { path = '../posthouse-cases' }"
            .parse()
            .expect("TOML");
        assert_eq!(written, expected);
        assert!(without_workspace("[dependencies]\nnone.workspace = true", &workspace).is_err());
    }

    #[test]
    fn vendored_crates_are_complete() {
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
    fn lock_has_dependencies_but_no_engine() {
        let lock = lock().expect("a lock file");
        for name in ["posthouse-cases", "schemars", "serde", "toml", "serde_json"] {
            assert!(lock.contains(&format!("name = \"{name}\"\n")), "{name}");
        }
        assert!(!lock.contains("\"wasmtime\""));
    }
}
