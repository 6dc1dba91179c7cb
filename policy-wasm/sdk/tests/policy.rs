//! Tests of a policy with the SDK, as an author writes tests.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use posthouse_policy::testing::{host, message};
use posthouse_policy::{
    Client, Decision, Description, Disposition, Edit, Envelope, Failure, Homing, Host, Message, Ndr, Plan, Policy,
    Problem, Reply, ReversePath, Rule, Settings,
};

const STAMP: Rule = Rule::new("stamp", "messages are stamped");

#[derive(Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Stamp {
    value: String,
    #[serde(default)]
    networks: Vec<u8>,
    #[serde(default)]
    reply: Option<Reply>,
}

impl Policy for Stamp {
    fn describe() -> Description {
        posthouse_policy::description!(STAMP)
    }

    fn configure(settings: Settings<'_>) -> Result<Self, Vec<Problem>> {
        settings.read()
    }
}

impl Homing for Stamp {
    fn message(&self, _: &Client, _: &Envelope, message: &Message<'_>, host: &Host) -> Decision<Disposition> {
        let subject = message.header("Subject").concat();
        host.info(format!("{subject} at {}", host.now()));
        let edit = Edit::AddHeader("X-Stamp".to_owned(), self.value.clone());
        Disposition::Accept(vec![edit]).because(STAMP.with(subject))
    }
}

impl Ndr for Stamp {
    fn plan(&self, failure: &Failure, _: &Host) -> Decision<Plan> {
        // The mistake of 1999: an exempt host has no identity.
        let account = &failure.identity.as_ref().expect("somebody submitted it").account;
        Plan::default().because(STAMP.with(account))
    }
}

posthouse_policy::export!(Stamp: Homing, Ndr);

fn problems(json: &str) -> Vec<String> {
    let problems = Stamp::configure(Settings::new(json)).expect_err(json);
    problems
        .into_iter()
        .map(|problem| format!("{}: {}", problem.key, problem.text))
        .collect()
}

#[test]
fn settings_problems_name_their_keys() {
    let found = problems(r#"{"value": 1, "networks": [1, 999], "reply": "250 2.0.0 fine", "volue": ""}"#);
    let keys: Vec<&str> = found.iter().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(keys.len(), 4, "{found:?}");
    for key in ["value", "networks[1]", "reply", "volue"] {
        assert!(keys.contains(&key), "{found:?}");
    }
    assert_eq!(problems("{}"), [": missing field `value`"]);
    assert!(problems("{")[0].contains("not JSON"));
    assert_eq!(problems("[]").len(), 1);
}

#[test]
fn policy_answers_without_a_host() {
    let policy = Stamp::configure(Settings::new(r#"{"value": "yes"}"#)).unwrap();
    let host = host().now(7).build();
    let text = message("Subject: Hi\n\nHello\n");
    let envelope = Envelope {
        sender: ReversePath::Null,
        recipients: vec![],
    };
    let decision = policy.message(&Client::at("192.0.2.1"), &envelope, &Message::from(&text), &host);
    assert!(matches!(decision.answer, Disposition::Accept(edits) if edits.len() == 1));
    assert_eq!(host.logged()[0].text, "Hi at 7");
}

fn run(text: &str) -> std::thread::Result<()> {
    let folder = std::env::temp_dir().join(format!("posthouse-cases-{}-{:p}", std::process::id(), text));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("cases.toml");
    std::fs::write(&file, text).unwrap();
    let result = std::panic::catch_unwind(|| posthouse_policy::testing::cases::<Stamp>(&file));
    std::fs::remove_dir_all(&folder).unwrap();
    result
}

const CASES: &str = r#"
settings = { value = "yes" }

[[case]]
name = "stamped"
sender = "<>"
recipient = "anna@example.org"
message = "Subject: Hi\n\nHello\n"
expect.message = { decision = "accept", rule = "stamp", entry = "Hi", edits = ["add-header X-Stamp: yes"] }
expect.log = ["Hi at"]

[[case]]
name = "nobody submitted it"
failure = { class = "x", sender = "<>", failed = ["a@b.example: 550 5.1.1 No"] }
expect.ndr = { decision = "fault panic", text = "somebody submitted it" }
"#;

#[test]
fn runs_cases_and_reports_a_panic_as_a_fault() {
    assert!(run(CASES).is_ok());
}

#[test]
fn mismatch_is_reported_with_file_and_line() {
    let wrong = CASES.replace("entry = \"Hi\"", "entry = \"Ho\"");
    let panic = run(&wrong).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(
        text.contains("cases.toml:4: stamped: expect.message.entry: expected Ho, found Hi"),
        "{text}"
    );
}
