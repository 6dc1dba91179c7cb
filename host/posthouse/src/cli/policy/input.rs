//! Input files of commands about policies: code, signature and settings.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::control::ClientError;
use host_config::Problem;
use host_engine::component::encode::component_of;

/// Absolute path of a file, for the status.
pub fn origin(file: &Path) -> String {
    std::path::absolute(file)
        .unwrap_or_else(|_| file.to_owned())
        .display()
        .to_string()
}

/// Reads a component. A core module with its component types is converted to a component.
///
/// # Errors
/// The file could not be read or converted.
pub fn read_component(file: &Path) -> anyhow::Result<Vec<u8>> {
    component_of(read_file(file)?).with_context(|| file.display().to_string())
}

/// Reads the file of a policy.
///
/// # Errors
/// The file could not be read. The error advises what to build or to name.
pub fn read_file(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| {
        let advice = match error.kind() {
            ErrorKind::NotFound => ": build the policy first, or name the .wasm file that the build makes",
            ErrorKind::IsADirectory => ": name the .wasm file in it that the build makes",
            _ => "",
        };
        anyhow!("{}: {error}{advice}", file.display())
    })
}

/// Replaces the key `file` of problems by the path of the component. Keys of settings, grants and limits stay.
pub fn name_file(file: &Path, problems: Vec<Problem>) -> Vec<Problem> {
    let named = |problem: Problem| match problem.key.as_str() {
        "file" => Problem::new(file.display().to_string(), problem.text),
        _ => problem,
    };
    problems.into_iter().map(named).collect()
}

/// Applies [`name_file`] to the problems of a refusal by the daemon.
pub fn name_file_in_refusal<T>(file: Option<&Path>, answer: Result<T, ClientError>) -> Result<T, ClientError> {
    answer.map_err(|error| match (file, error) {
        (Some(file), ClientError::Refused(problems)) => ClientError::Refused(name_file(file, problems)),
        (_, error) => error,
    })
}

/// Reads a component and returns its base64.
pub fn read_code(file: &Path) -> anyhow::Result<String> {
    Ok(STANDARD.encode(read_component(file)?))
}

/// Reads the signature of a component from the given file, or from `FILE.minisig` if that file exists.
pub fn read_signature(given: Option<&Path>, component: Option<&Path>) -> anyhow::Result<Option<String>> {
    let beside = component.map(|file| {
        let mut name = file.as_os_str().to_owned();
        name.push(".minisig");
        PathBuf::from(name)
    });
    let file = match (given, beside) {
        (Some(given), _) => given.to_owned(),
        (None, Some(beside)) if beside.exists() => beside,
        _ => return Ok(None),
    };
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    Ok(Some(text))
}

/// Parses settings from a JSON object, or from the file of `@FILE`.
///
/// # Errors
/// The file could not be read, or the text is not a JSON object.
pub fn read_settings(text: &str) -> anyhow::Result<Map<String, Value>> {
    let (origin, read) = match text.strip_prefix('@') {
        Some(file) => (file, std::fs::read_to_string(file).with_context(|| file.to_owned())?),
        None => ("--settings", text.to_owned()),
    };
    match serde_json::from_str(&read) {
        Ok(Value::Object(settings)) => Ok(settings),
        Ok(_) => bail!("{origin}: expected a JSON object"),
        Err(_) if Path::new(text).exists() => bail!("--settings: to read the file, write @{text}"),
        Err(error) => bail!("{origin}: expected a JSON object: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_settings_from_argument_or_file() {
        let dir = tempfile::tempdir().expect("folder");
        let file = dir.path().join("s.json");
        std::fs::write(&file, "{\"a\": 1}").expect("writes");
        assert_eq!(read_settings(&format!("@{}", file.display())).expect("object")["a"], 1);
        assert!(read_settings("{}").expect("object").is_empty());
        for wrong in ["[]", "5", "{", "@/nowhere.json"] {
            assert!(read_settings(wrong).is_err(), "{wrong}");
        }
        let bare = read_settings(&file.display().to_string()).expect_err("a path without @");
        assert_eq!(
            bare.to_string(),
            format!("--settings: to read the file, write @{}", file.display())
        );
    }
}
