//! What the operator decided.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

/// Problems of one reading are bounded: nobody reads more.
const MAX_PROBLEMS: usize = 64;

/// One thing wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// A path such as `accept.hosts[2].network`; empty for the whole.
    pub key: String,
    /// What is wrong and what was expected.
    pub text: String,
}

impl Problem {
    /// A problem at a key.
    pub fn new(key: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            text: text.into(),
        }
    }
}

/// The settings as the host hands them over: a JSON object.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a>(&'a str);

impl<'a> Settings<'a> {
    /// Settings that are this text, for tests.
    pub fn new(json: &'a str) -> Self {
        Self(json)
    }

    /// The JSON text.
    pub fn json(self) -> &'a str {
        self.0
    }

    /// Reads them as a type. Write `deny_unknown_fields` on it, so that a typing mistake is a problem.
    ///
    /// ```
    /// use posthouse_policy::Settings;
    /// #[derive(Debug, serde::Deserialize)]
    /// #[serde(deny_unknown_fields)]
    /// struct Quota { per_hour: u64, #[serde(default)] exempt: Vec<String> }
    ///
    /// let quota: Quota = Settings::new(r#"{"per_hour": 20}"#).read().unwrap();
    /// let problems = Settings::new(r#"{"per_hour": "many", "exmpt": []}"#).read::<Quota>().unwrap_err();
    /// let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    /// assert_eq!(keys, ["exmpt", "per_hour"]);
    /// # assert_eq!((quota.per_hour, quota.exempt.len()), (20, 0));
    /// ```
    ///
    /// # Errors
    /// What is wrong, key by key. Serde stops at the first mistake, so each is taken out and what is
    /// left is read again; a mistake behind a missing key, or in the rest of a list with one, is found next time.
    pub fn read<T: DeserializeOwned>(self) -> Result<T, Vec<Problem>> {
        let mut value: Value =
            serde_json::from_str(self.0).map_err(|error| vec![Problem::new("", format!("not JSON: {error}"))])?;
        let mut problems: Vec<Problem> = Vec::new();
        loop {
            let error = match serde_path_to_error::deserialize::<_, T>(&value) {
                Ok(read) if problems.is_empty() => return Ok(read),
                Ok(_) => return Err(problems),
                Err(error) => error,
            };
            let path: Vec<Segment> = error.path().iter().cloned().collect();
            let key = key_of(&path);
            let text = error.into_inner().to_string();
            // What is missing now may be what was taken out: the operator knows of it.
            let is_missing = text.starts_with("missing field");
            if !is_missing || problems.is_empty() {
                problems.push(Problem::new(key, text));
            }
            if is_missing || problems.len() == MAX_PROBLEMS || !take_out(&mut value, &path) {
                return Err(problems);
            }
        }
    }
}

fn key_of(path: &[Segment]) -> String {
    let mut key = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => key.push_str(&format!("[{index}]")),
            Segment::Map { key: name } | Segment::Enum { variant: name } => {
                if !key.is_empty() {
                    key.push('.');
                }
                key.push_str(name);
            }
            Segment::Unknown => {}
        }
    }
    key
}

/// Removes the innermost member that holds what the path leads to. An element leaves with its list, as
/// the others would get new numbers.
fn take_out(value: &mut Value, path: &[Segment]) -> bool {
    let names: Vec<&String> = path
        .iter()
        .map_while(|segment| match segment {
            Segment::Map { key } => Some(key),
            _ => None,
        })
        .collect();
    let Some((last, parents)) = names.split_last() else {
        return false;
    };
    let mut at = value;
    for name in parents {
        match at.get_mut(name.as_str()) {
            Some(inner) => at = inner,
            None => return false,
        }
    }
    at.as_object_mut()
        .is_some_and(|members| members.remove(last.as_str()).is_some())
}
