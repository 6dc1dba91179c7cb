//! Non-delivery reports that never answer automatic mail, such as vacation notes and newsletters.

use posthouse_policy::{
    Audience, Content, Decision, Description, Failure, Host, Ndr, Notice, Plan, Policy, Problem, ReversePath, Rule,
    Settings,
};

const QUIET: Rule = Rule::new("quiet", "automatic mail is not answered");
const SENDER: Rule = Rule::new("sender", "the sender is told");

/// Settings of the policy.
#[derive(serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct QuietNdr {
    /// True for notices to the administrator about automatic mail.
    #[serde(default)]
    tell_administrator: bool,
}

/// Returns the reason for which a message is automatic; `None` for a message from a person.
fn automatic_reason(failure: &Failure) -> Option<String> {
    let ReversePath::Mailbox(sender) = &failure.envelope.sender else {
        return Some("null reverse-path".to_owned());
    };
    let local_part = sender
        .rsplit_once('@')
        .map_or("", |(local_part, _)| local_part)
        .to_lowercase();
    // Addresses that no person reads (RFC 3834 section 2).
    let is_machine = matches!(
        local_part.as_str(),
        "mailer-daemon" | "noreply" | "no-reply" | "listserv" | "majordomo"
    );
    if is_machine || local_part.starts_with("owner-") || local_part.ends_with("-request") {
        return Some(sender.clone());
    }
    let has_value =
        |name: &str, test: &dyn Fn(&str) -> bool| failure.header(name).any(|value| test(&value.trim().to_lowercase()));
    let keyword = |value: &str, word: &str| value.split([';', ' ', '(']).next() == Some(word);
    // Every keyword except `no` marks automatic mail (RFC 3834 section 5).
    if has_value("Auto-Submitted", &|value| !keyword(value, "no")) {
        return Some("Auto-Submitted".to_owned());
    }
    let suppressed = |value: &str| value.split(',').any(|word| matches!(word.trim(), "all" | "ndr" | "dr"));
    if has_value("X-Auto-Response-Suppress", &suppressed) {
        return Some("X-Auto-Response-Suppress".to_owned());
    }
    if has_value("Precedence", &|value| matches!(value, "bulk" | "junk" | "list")) {
        return Some("Precedence".to_owned());
    }
    let is_list = |name: &str| name.get(..5).is_some_and(|begin| begin.eq_ignore_ascii_case("List-"));
    if let Some((name, _)) = failure.headers.iter().find(|(name, _)| is_list(name)) {
        return Some(name.clone());
    }
    failure.automatic.then(|| "as the host sees it".to_owned())
}

impl Policy for QuietNdr {
    fn describe() -> Description {
        posthouse_policy::description!(QUIET, SENDER)
    }

    fn configure(settings: Settings<'_>) -> Result<Self, Vec<Problem>> {
        settings.read()
    }
}

impl Ndr for QuietNdr {
    fn plan(&self, failure: &Failure, _: &Host) -> Decision<Plan> {
        let notice = |to| Notice {
            to,
            content: Content::Headers,
            remark: None,
        };
        match automatic_reason(failure) {
            None => Plan(vec![notice(Audience::Sender)]).because(SENDER.with(&failure.class)),
            Some(reason) if self.tell_administrator => {
                Plan(vec![notice(Audience::Administrator)]).because(QUIET.with(reason))
            }
            Some(reason) => Plan::default().because(QUIET.with(reason)),
        }
    }
}

posthouse_policy::export!(QuietNdr: Ndr; settings = "settings.schema.json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        posthouse_policy::testing::cases::<QuietNdr>("cases.toml");
    }

    #[test]
    fn settings() {
        posthouse_policy::testing::settings_schema("settings.schema.json", schemars::schema_for!(QuietNdr));
    }
}
