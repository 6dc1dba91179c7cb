//! Recipients that accept mail from outside only in office hours; at other times the sending host gets a temporary
//! refusal.

use posthouse_policy::{
    Client, Decision, Description, Homing, Host, Policy, Problem, Reply, ReversePath, Rule, Settings, Verdict,
};

const HOURS: Rule = Rule::new("office-hours", "recipients that get mail only at certain hours");

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Settings of the policy.
#[derive(serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct OfficeHours {
    /// Addresses, in any case.
    recipients: Vec<String>,
    /// Days of the week, `mon` to `sun`.
    #[serde(default = "working_days")]
    days: Vec<String>,
    /// First hour of the day, 0 to 23.
    from: u8,
    /// First hour after the end, 1 to 24.
    until: u8,
    /// Offset of the office's local time from UTC, in minutes east.
    #[serde(default)]
    offset_minutes: i32,
}

fn working_days() -> Vec<String> {
    DAYS[..5].iter().map(|&day| day.to_owned()).collect()
}

impl OfficeHours {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.from >= self.until || self.until > 24 {
            problems.push(Problem::new("until", "expected an hour after from, at most 24"));
        }
        if !(-14 * 60..=14 * 60).contains(&self.offset_minutes) {
            problems.push(Problem::new("offset-minutes", "expected -840 to 840"));
        }
        for (index, day) in self.days.iter().enumerate() {
            if !DAYS.contains(&day.as_str()) {
                let text = format!("{day:?} is no day, expected one of {}", DAYS.join(", "));
                problems.push(Problem::new(format!("days[{index}]"), text));
            }
        }
        problems
    }

    /// Returns true if the office is open, and the local time as text.
    fn is_open(&self, now: u64) -> (bool, String) {
        let local = i64::try_from(now)
            .unwrap_or(i64::MAX)
            .saturating_add(i64::from(self.offset_minutes) * 60);
        // 1970 began on a Thursday.
        let day = DAYS[usize::try_from((local.div_euclid(86_400) + 3).rem_euclid(7)).unwrap_or(0)];
        let minute = local.rem_euclid(86_400) / 60;
        let hour = minute / 60;
        let open = self.days.iter().any(|listed| listed == day)
            && (i64::from(self.from)..i64::from(self.until)).contains(&hour);
        (open, format!("{day} {hour:02}:{:02}", minute % 60))
    }
}

impl Policy for OfficeHours {
    fn describe() -> Description {
        posthouse_policy::description!(HOURS)
    }

    fn configure(settings: Settings<'_>) -> Result<Self, Vec<Problem>> {
        let hours: Self = settings.read()?;
        let problems = hours.problems();
        if problems.is_empty() { Ok(hours) } else { Err(problems) }
    }
}

impl Homing for OfficeHours {
    fn recipient(&self, client: &Client, _: &ReversePath, recipient: &str, host: &Host) -> Decision<Verdict> {
        let listed = self
            .recipients
            .iter()
            .any(|address| address.eq_ignore_ascii_case(recipient));
        if !listed || client.identity.is_some() {
            return Decision::pass();
        }
        match self.is_open(host.now()) {
            (true, _) => Decision::pass(),
            (false, time) => {
                let reply = Reply::new(
                    450,
                    (4, 7, 1),
                    "This address takes mail in office hours, try again then",
                );
                Verdict::Defer(reply).because(HOURS.with(time))
            }
        }
    }
}

posthouse_policy::export!(OfficeHours: Homing; settings = "settings.schema.json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        posthouse_policy::testing::cases::<OfficeHours>("cases.toml");
    }

    #[test]
    fn settings() {
        posthouse_policy::testing::settings_schema("settings.schema.json", schemars::schema_for!(OfficeHours));
    }
}
