//! What commands about policies are given: code and settings.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::control::ClientError;
use host_config::Problem;
use host_engine::component::encode::component_of;

/// Where a file is, for status.
pub fn origin(file: &Path) -> String {
    std::path::absolute(file)
        .unwrap_or_else(|_| file.to_owned())
        .display()
        .to_string()
}

/// A component; a core module that carries its types is made one.
pub fn read_component(file: &Path) -> anyhow::Result<Vec<u8>> {
    component_of(read_file(file)?).with_context(|| file.display().to_string())
}

/// The file of a policy; without one, what to do about that.
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

/// Problems of a component by the name of its file; those of its settings, grants and limits keep their keys.
pub fn of_file(file: &Path, problems: Vec<Problem>) -> Vec<Problem> {
    let named = |problem: Problem| match problem.key.as_str() {
        "file" => Problem::new(file.display().to_string(), problem.text),
        _ => problem,
    };
    problems.into_iter().map(named).collect()
}

/// What the daemon answered about a component, as [`of_file`] has it.
pub fn answered<T>(file: Option<&Path>, answer: Result<T, ClientError>) -> Result<T, ClientError> {
    answer.map_err(|error| match (file, error) {
        (Some(file), ClientError::Refused(problems)) => ClientError::Refused(of_file(file, problems)),
        (_, error) => error,
    })
}

/// A component, in base64.
pub fn read_code(file: &Path) -> anyhow::Result<String> {
    Ok(STANDARD.encode(read_component(file)?))
}

/// The signature of a component: the file named, else `FILE.minisig` if it is there.
pub fn read_signature(named: Option<&Path>, component: Option<&Path>) -> anyhow::Result<Option<String>> {
    let beside = component.map(|file| {
        let mut name = file.as_os_str().to_owned();
        name.push(".minisig");
        PathBuf::from(name)
    });
    let file = match (named, beside) {
        (Some(named), _) => named.to_owned(),
        (None, Some(beside)) if beside.exists() => beside,
        _ => return Ok(None),
    };
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    Ok(Some(text))
}

/// `@FILE` or the JSON itself.
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
    fn settings_are_an_object_given_or_in_a_file() {
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
