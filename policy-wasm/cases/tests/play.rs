//! Tests of the order of questions, of comparison, and of updates.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use posthouse_cases::{
    Answer, Because, CaseFile, Decision, Edit, Notice, Outcome, Play, Problem, Question, Reply, Terms, update,
};

fn answer(decision: Decision) -> Answer {
    let because = Because {
        rule: "rule".to_owned(),
        entry: Some("entry".to_owned()),
    };
    Answer { decision, because }
}

fn reject() -> Decision {
    Decision::Reject("550 5.7.1 This recipient gets no mail".parse::<Reply>().unwrap())
}

/// Answers as a small policy: exempts every client from authentication, refuses recipients that begin with `no`, adds a
/// header field to messages, and sends notices to the administrator.
fn decide(question: &Question<'_>) -> Answer {
    answer(match question {
        Question::Admit { client } if client.address == "10.0.0.1" => {
            Decision::Refuse("521 5.7.1 Go away".parse().unwrap())
        }
        Question::Admit { client } => {
            assert!(client.identity.is_none() && client.helo.is_none(), "{client:?}");
            Decision::Admit(Terms {
                authentication: Some(false),
                exemptions: vec!["homing".to_owned()],
                ..Terms::default()
            })
        }
        Question::Sender { client, .. } => {
            assert!(client.exemptions.is_some());
            Decision::Pass
        }
        Question::Recipient { recipient, .. } if recipient.starts_with("no") => reject(),
        Question::Recipient { .. } => Decision::Pass,
        Question::Message { recipients, .. } => {
            assert!(recipients.iter().all(|recipient| !recipient.starts_with("no")));
            Decision::Accept(vec![Edit::AddHeader {
                name: "X-Seen".to_owned(),
                value: "yes".to_owned(),
            }])
        }
        Question::Plan { .. } => Decision::Tell(vec![Notice {
            to: posthouse_cases::Audience::Administrator,
            content: posthouse_cases::Content::Headers,
            remark: Some("Look at this.".to_owned()),
        }]),
    })
}

fn outcomes(file: &CaseFile) -> Vec<Outcome> {
    let play = |case| {
        let mut play = Play::new(case);
        while let Some(question) = play.question() {
            play.answer(Some(decide(&question)));
        }
        play.outcome()
    };
    file.cases.iter().map(play).collect()
}

fn mismatches(text: &str) -> Vec<String> {
    let file = CaseFile::parse(text, "cases.toml").expect(text);
    let outcomes = outcomes(&file);
    let pairs = file.cases.iter().zip(&outcomes);
    pairs
        .flat_map(|(case, outcome)| case.compare(outcome))
        .map(|mismatch| mismatch.to_string())
        .collect()
}

#[test]
fn a_refusal_ends_the_questions_of_a_case() {
    let text = r#"
[[case]]
name = "refused at once"
client = { address = "10.0.0.1" }
sender = "a@b.example"
expect.admit = "refuse 521"

[[case]]
name = "one recipient of two"
client = { identity = "anna", helo = "x" }
sender = "a@b.example"
recipients = ["no@b.example", "yes@b.example"]
message = "Subject: x\n\ny\n"
failure = { class = "x", sender = "a@b.example", failed = ["c@d.example: 550 5.1.1 No"] }
expect.recipients = { "no@b.example" = "reject 550", "yes@b.example" = "pass" }

[[case]]
name = "no recipient"
sender = "a@b.example"
recipient = "no@b.example"
message = "x"
expect.recipient = "reject"

[[case]]
name = "after the banner"
client = { exemptions = [] }
sender = "a@b.example"
expect.sender = "pass"
"#;
    assert_eq!(mismatches(text), [""; 0]);
    let file = CaseFile::parse(text, "cases.toml").unwrap();
    let answered: Vec<(bool, bool, usize, bool, bool)> = outcomes(&file)
        .iter()
        .map(|o| {
            (
                o.admit.is_some(),
                o.sender.is_some(),
                o.recipients.len(),
                o.message.is_some(),
                o.ndr.is_some(),
            )
        })
        .collect();
    let expected = [
        (true, false, 0, false, false),
        (true, true, 2, true, true),
        (true, true, 1, false, false),
        (false, true, 0, false, false),
    ];
    assert_eq!(answered, expected);
}

const CASE: &str = "[[case]]\nname = \"a\"\nsender = \"a@b.example\"\nrecipient = \"no@b.example\"\n";

#[test]
fn expected_words_match_as_a_prefix_of_whole_words() {
    for words in [
        "reject",
        "reject 550",
        "reject 550 5.7.1",
        "reject 550 5.7.1 This recipient gets no mail",
    ] {
        assert_eq!(mismatches(&format!("{CASE}expect.recipient = \"{words}\"\n")), [""; 0]);
    }
    for words in ["pass", "reject 551", "reject 550 5.7.1 This recip"] {
        let found = mismatches(&format!("{CASE}expect.recipient = \"{words}\"\n"));
        let expected = format!(
            "expect.recipient: expected {words}, found reject 550 5.7.1 This recipient gets no mail, because rule (entry)"
        );
        assert_eq!(found, [expected]);
    }
}

#[test]
fn compares_every_detail() {
    let text = format!(
        "{CASE}expect.recipient = {{ rule = \"other\", entry = \"\", text = \"gets mail\" }}
expect.admit = {{ authentication = true, encryption = true, exemptions = [\"relay\"] }}
expect.log = [\"hello\"]
expect.problems = [\"a.b\"]

[[case]]
name = \"b\"
sender = \"<>\"
recipient = \"yes@b.example\"
message = \"x\"
failure = {{ class = \"x\", sender = \"a@b.example\", failed = [\"c@d.example: 550 5.1.1 No\"] }}
expect.message = {{ decision = \"accept\", edits = [] }}
expect.ndr = {{ decision = \"tell sender\", remarks = [\"See\"] }}

[[case]]
name = \"c\"
"
    );
    let found: Vec<String> = mismatches(&text)
        .iter()
        .map(|line| line.split(": ").next().unwrap_or_default().to_owned())
        .collect();
    let expected = [
        "expect.problems",
        "expect.admit.authentication",
        "expect.admit.encryption",
        "expect.admit.exemptions",
        "expect.recipient.rule",
        "expect.recipient.entry",
        "expect.recipient.text",
        "expect.log",
        "expect.message.edits",
        "expect.ndr",
        "expect.ndr.remarks",
        "expect",
    ];
    assert_eq!(found, expected);
}

#[test]
fn an_expectation_of_a_question_that_was_not_asked_is_a_mismatch() {
    let text =
        "[[case]]\nname = \"a\"\nclient = { address = \"10.0.0.1\" }\nsender = \"<>\"\nexpect.sender = \"pass\"\n";
    assert_eq!(
        mismatches(text),
        ["expect.sender: expected pass, found nothing: this was not asked"]
    );
}

#[test]
fn update_replaces_expectations_that_were_not_met_and_keeps_the_rest() {
    let text = r#"# A file of mine.
[[case]]
name = "as it is" # good
sender = "a@b.example"
recipient = "no@b.example"
expect.recipient = "reject 550" # enough

[[case]]
name = "wrong"
sender = "a@b.example"
recipients = ["no@b.example", "yes@b.example"]
message = "x"

[case.expect]
# Why it is so.
admit = { exemptions = ["relay"], rule = "old" }
recipients = { "no@b.example" = "pass" } # really?
message = { decision = "accept", edits = [] }

[[case]]
name = "new"
sender = "a@b.example"
recipients = ["no@b.example", "yes@b.example"]

[[case]]
name = "newer"
client = { exemptions = [] }
sender = "a@b.example"
"#;
    let file = CaseFile::parse(text, "cases.toml").unwrap();
    let updated = update(text, &file.cases, &outcomes(&file)).unwrap();
    let expected = text
        .replace("exemptions = [\"relay\"], rule = \"old\"", "exemptions = [\"homing\"], rule = \"rule\"")
        .replace("= \"pass\" }", "= \"reject 550 5.7.1 This recipient gets no mail\" }")
        .replace("edits = []", "edits = [\"add-header X-Seen: yes\"]")
        .replace(
            "\"yes@b.example\"]\n\n[[case]]\nname = \"newer\"",
            "\"yes@b.example\"]\nexpect.admit = { decision = \"admit\", rule = \"rule\", entry = \"entry\", authentication = false, exemptions = [\"homing\"] }\nexpect.recipients = { \"no@b.example\" = { decision = \"reject 550 5.7.1 This recipient gets no mail\", rule = \"rule\", entry = \"entry\" } }\n\n[[case]]\nname = \"newer\"",
        )
        + "expect.sender = \"pass\"\n";
    assert_eq!(updated, expected);
    assert_eq!(mismatches(&updated), [""; 0]);
}

#[test]
fn compares_problems_by_key() {
    let text = "[[case]]\nname = \"a\"\nexpect.problems = [\"b\", \"a\"]\n";
    let file = CaseFile::parse(text, "cases.toml").unwrap();
    let problem = |key: &str| Problem {
        key: key.to_owned(),
        text: "is wrong".to_owned(),
    };
    let outcome = Outcome {
        problems: vec![problem("a"), problem("b")],
        ..Outcome::default()
    };
    assert!(file.cases[0].compare(&outcome).is_empty());
    let other = Outcome {
        problems: vec![problem("c")],
        ..Outcome::default()
    };
    assert_eq!(file.cases[0].compare(&other).len(), 1);
    let updated = update(text, &file.cases, &[other]).unwrap();
    assert!(updated.contains("expect.problems = [\"c\"]"), "{updated}");
}
