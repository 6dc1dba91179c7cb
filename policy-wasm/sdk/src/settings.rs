//! Settings of a policy, which the operator writes.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

/// Maximum number of problems that [`Settings::read`] reports.
const MAX_PROBLEMS: usize = 64;

/// A problem of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the key, such as `accept.hosts[2].network`; empty for the settings as a whole.
    pub key: String,
    /// Description of the problem and of the expected value.
    pub text: String,
}

impl Problem {
    /// Makes a problem at a key.
    pub fn new(key: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            text: text.into(),
        }
    }
}

/// The settings as JSON text, as given by the host.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a>(&'a str);

impl<'a> Settings<'a> {
    /// Makes settings of a JSON text, for tests.
    pub fn new(json: &'a str) -> Self {
        Self(json)
    }

    /// Returns the JSON text.
    pub fn json(self) -> &'a str {
        self.0
    }

    /// Deserializes the settings. Put `#[serde(deny_unknown_fields)]` on the type, so that a misspelled key is a
    /// problem.
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
    /// Problems by key, at most 64. Serde stops at the first mistake; the wrong member is then removed and the rest is
    /// read again. A mistake after a missing key, or in the rest of a list with a mistake, is found only at the next
    /// attempt.
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
            // A missing field may be a removed member, which is reported already.
            let is_missing = text.starts_with("missing field");
            if !is_missing || problems.is_empty() {
                problems.push(Problem::new(key, text));
            }
            if is_missing || problems.len() == MAX_PROBLEMS || !remove_member(&mut value, &path) {
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

/// Removes the innermost member that contains the end of the path. A list is removed as a whole, since the remaining
/// elements would get new indices. Returns false if there is no such member.
fn remove_member(value: &mut Value, path: &[Segment]) -> bool {
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
