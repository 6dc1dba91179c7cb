//! MTA-STS policies and the records that announce them (RFC 8461 section 3).

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest lifetime of a policy: a year (RFC 8461 section 3.2).
const MAX_AGE: u64 = 31_557_600;
/// Longest id of a policy (RFC 8461 section 3.1).
const MAX_ID: usize = 32;

/// Effect of a policy (RFC 8461 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum StsMode {
    /// Mail goes to exchanges that match and verify alone.
    Enforce,
    /// Failures are told, and mail goes on.
    Testing,
    /// The domain has no policy any more.
    None,
}

/// A policy of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StsPolicy {
    pub(super) mode: StsMode,
    /// Patterns of exchanges: names, or names after `*.`, in lower case.
    pub(super) mx: Vec<String>,
    /// Lifetime in seconds.
    pub(super) max_age: u64,
}

impl StsPolicy {
    /// Parses the text of a policy. Unknown keys are skipped, and of a key that occurs twice the first counts, except
    /// for `mx`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (mut version, mut mode, mut max_age, mut mx) = (None, None, None, Vec::new());
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else {
                match line.trim().is_empty() {
                    true => continue,
                    false => return Err(format!("a line is no pair of key and value: {:?}", shortened(line))),
                }
            };
            let value = value.trim();
            match key.trim() {
                "version" => drop(version.get_or_insert(value)),
                "mode" => drop(mode.get_or_insert(value)),
                "max_age" => drop(max_age.get_or_insert(value)),
                "mx" => {
                    mx.push(pattern(value).ok_or_else(|| format!("{:?} is no pattern of names", shortened(value)))?)
                }
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err("the version is not STSv1".to_owned());
        }
        let mode = match mode {
            Some("enforce") => StsMode::Enforce,
            Some("testing") => StsMode::Testing,
            Some("none") => StsMode::None,
            other => return Err(format!("{:?} is no mode", shortened(other.unwrap_or_default()))),
        };
        let max_age = max_age.and_then(|text| text.parse::<u64>().ok());
        let max_age = max_age.ok_or("there is no max_age in seconds")?;
        if mx.is_empty() && mode != StsMode::None {
            return Err("there is no mx".to_owned());
        }
        Ok(Self {
            mode,
            mx,
            max_age: max_age.min(MAX_AGE),
        })
    }

    /// Name of the mode.
    pub(super) fn mode_name(&self) -> &'static str {
        match self.mode {
            StsMode::Enforce => "enforce",
            StsMode::Testing => "testing",
            StsMode::None => "none",
        }
    }

    /// Lines of the policy, for a report.
    pub(super) fn report_lines(&self) -> Vec<String> {
        let mut lines = vec!["version: STSv1".to_owned(), format!("mode: {}", self.mode_name())];
        lines.extend(self.mx.iter().map(|mx| format!("mx: {mx}")));
        lines.push(format!("max_age: {}", self.max_age));
        lines
    }

    /// Lifetime.
    pub(super) fn lifetime(&self) -> Duration {
        Duration::from_secs(self.max_age)
    }

    /// True if the policy names the exchange: by its name, or by `*.` and all but its first label (RFC 8461 section
    /// 4.1).
    pub(super) fn has_exchange(&self, exchange: &str) -> bool {
        let name = exchange.trim_end_matches('.').to_ascii_lowercase();
        let parent = name.split_once('.').map(|(_, parent)| parent);
        self.mx.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(suffix) => parent == Some(suffix),
            None => *pattern == name,
        })
    }
}

/// Returns the id of the policy that the TXT records of `_mta-sts` announce; `None` unless exactly one of them does
/// (RFC 8461 section 3.1).
pub(super) fn announced_id(records: &[String]) -> Option<String> {
    let mut announcements = records.iter().filter(|text| {
        let version = text.split(';').next().unwrap_or_default();
        version.trim_end() == "v=STSv1"
    });
    let (Some(only), None) = (announcements.next(), announcements.next()) else {
        return None;
    };
    let id = only.split(';').skip(1).find_map(|field| {
        let (key, value) = field.split_once('=')?;
        (key.trim() == "id").then(|| value.trim())
    })?;
    let is_id = (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric());
    is_id.then(|| id.to_owned())
}

/// Reads a pattern: a name, or `*.` and a name.
fn pattern(text: &str) -> Option<String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let is_name = name.len() <= 253 && name.split('.').all(is_label);
    is_name.then(|| text.to_ascii_lowercase())
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_policies() {
        let text = "version: STSv1\r\nmode: enforce\r\nmx: MX1.example.org\r\nmx:*.example.net\r\nodd: 1\r\nmode: none\r\n\r\nmax_age: 604800\r\n";
        let policy = StsPolicy::parse(text).expect("a policy");
        let expected = StsPolicy {
            mode: StsMode::Enforce,
            mx: vec!["mx1.example.org".to_owned(), "*.example.net".to_owned()],
            max_age: 604_800,
        };
        assert_eq!(policy, expected);
        for (name, matches) in [
            ("mx1.example.org", true),
            ("MX1.example.org.", true),
            ("mx2.example.org", false),
            ("a.example.net", true),
            ("a.b.example.net", false),
            ("example.net", false),
        ] {
            assert_eq!(policy.has_exchange(name), matches, "{name}");
        }
        let none = StsPolicy::parse("version: STSv1\nmode: none\nmax_age: 99999999999\n").expect("a policy");
        assert_eq!((none.mode, none.max_age), (StsMode::None, MAX_AGE));
        for wrong in [
            "",
            "mode: enforce\nmx: a.example\nmax_age: 1",
            "version: STSv2\nmode: enforce\nmx: a.example\nmax_age: 1",
            "version: STSv1\nmode: Enforce\nmx: a.example\nmax_age: 1",
            "version: STSv1\nmode: enforce\nmax_age: 1",
            "version: STSv1\nmode: enforce\nmx: a.example\nmax_age: -1",
            "version: STSv1\nmode: enforce\nmx: a.*.example\nmax_age: 1",
            "version: STSv1\nmode: enforce\nmx: \nmax_age: 1",
            "<html>\n",
        ] {
            assert!(StsPolicy::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn reads_the_only_announcement() {
        let id = |records: &[&str]| announced_id(&records.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            id(&["v=STSv1; id=20260101T00;", "other"]).as_deref(),
            Some("20260101T00")
        );
        assert_eq!(id(&["v=STSv1;id=1"]).as_deref(), Some("1"));
        for none in [
            &[][..],
            &["v=STSv1; id=1;", "v=STSv1; id=2;"],
            &["v=STSv10; id=1;"],
            &["v=STSv1;"],
            &["v=STSv1; id=a-b;"],
            &["v=STSv1; id=;"],
            &["id=1; v=STSv1"],
        ] {
            assert_eq!(id(none), None, "{none:?}");
        }
    }
}
