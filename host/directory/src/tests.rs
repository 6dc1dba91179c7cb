//! Tests of the directory's public interface.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use host_events::Events;

const FILE: &str = r#"
# Who is who.
domains = ["Example.org", "example.net"]

[[account]]
name = "Anna"      # keeps this
addresses = ["anna@example.org", "A.Nna@example.net"]
send-as = ["sales@example.org", "@shop.example"]

[[account]]
name = "bert"
addresses = ["bert@example.org", "twice@example.org"]
home = "lmtp:/run/lmtp.sock"

[[account]]
name = "carl"
addresses = ["carl@example.org", "twice@example.org"]
home = "smtp:mail.inside.example:25"

[[alias]]
address = "info@example.org"
to = ["anna@example.org"]

[[group]]
address = "sales@example.org"
members = ["anna@example.org", "outside@elsewhere.example"]
"#;

fn mailbox(text: &str) -> Mailbox {
    text.parse().expect("mailbox")
}

fn open(dir: &Path, text: &str) -> Result<FileDirectory, Vec<host_config::toml_reader::Problem>> {
    let path = dir.join("directory.toml");
    fs::write(&path, text).expect("writes");
    FileDirectory::open(path, "/mail", mailbox("anna@example.org"))
}

fn problems(text: &str) -> Vec<String> {
    let dir = tempfile::tempdir().expect("folder");
    let found = open(dir.path(), text).err().expect("problems");
    found.iter().map(ToString::to_string).collect()
}

async fn meanings_of(directory: &FileDirectory, address: &str) -> Vec<String> {
    let found = directory.lookup(&mailbox(address)).await.expect("lookup");
    found.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn finds_each_meaning_of_an_address() {
    let dir = tempfile::tempdir().expect("folder");
    let directory = open(dir.path(), FILE).expect("right");
    assert_eq!(meanings_of(&directory, "ANNA@Example.ORG").await, ["account anna"]);
    assert_eq!(meanings_of(&directory, "\"anna\"@example.org").await, ["account anna"]);
    assert_eq!(meanings_of(&directory, "a.nna@example.net").await, ["account anna"]);
    assert_eq!(meanings_of(&directory, "anna+news@example.org").await, ["account anna"]);
    assert_eq!(
        meanings_of(&directory, "info@example.org").await,
        ["alias of anna@example.org"]
    );
    assert_eq!(
        meanings_of(&directory, "twice@example.org").await,
        ["account bert", "account carl"]
    );
    assert!(meanings_of(&directory, "nobody@example.org").await.is_empty());
    assert!(meanings_of(&directory, "+x@example.org").await.is_empty());
    let config = host_config::Config::builtin().expect("right");
    let ambiguous = directory
        .warnings(&config)
        .into_iter()
        .filter(|warning| warning.text.contains("is ambiguous"));
    assert_eq!(ambiguous.count(), 1);
}

#[tokio::test]
async fn reads_local_and_remote_homes() {
    let dir = tempfile::tempdir().expect("folder");
    let directory = open(dir.path(), FILE).expect("right");
    let homes: Vec<_> = directory.accounts().into_iter().map(|a| a.home).collect();
    assert_eq!(
        homes,
        [
            Home::Maildir("/mail/anna".into()),
            Home::Lmtp(Endpoint::Unix("/run/lmtp.sock".into())),
            Home::Smtp(Endpoint::Tcp("mail.inside.example".into(), 25)),
        ]
    );
}

#[tokio::test]
async fn postmaster_at_every_local_domain_is_the_administrator() {
    let dir = tempfile::tempdir().expect("folder");
    let directory = open(dir.path(), FILE).expect("right").with_hostname("MX.example.com");
    for address in [
        "postmaster@example.org",
        "PostMaster@example.net",
        "postmaster@mx.example.com",
    ] {
        assert_eq!(
            meanings_of(&directory, address).await,
            ["alias of anna@example.org"],
            "{address}"
        );
    }
    assert!(meanings_of(&directory, "postmaster@elsewhere.example").await.is_empty());
    assert!(directory.is_local_domain("mx.EXAMPLE.com").await.expect("answer"));
    assert!(!directory.is_local_domain("elsewhere.example").await.expect("answer"));
}

#[tokio::test]
async fn administrator_at_postmaster_is_not_an_alias_of_itself() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("d.toml");
    fs::write(&path, "domains = ['a.example']").expect("writes");
    let directory = FileDirectory::open(path, "/mail", mailbox("postmaster@a.example")).expect("right");
    assert!(meanings_of(&directory, "postmaster@a.example").await.is_empty());
}

#[tokio::test]
async fn account_may_send_as_its_own_and_granted_addresses_only() {
    let dir = tempfile::tempdir().expect("folder");
    let directory = open(dir.path(), FILE).expect("right");
    for (account, address, may) in [
        ("anna", "anna@example.org", true),
        ("Anna", "Anna+x@Example.org", true),
        ("anna", "sales@example.org", true),
        ("anna", "whoever@shop.example", true),
        ("anna", "info@example.org", false),
        ("anna", "bert@example.org", false),
        ("anna", "anna@elsewhere.example", false),
        ("bert", "sales@example.org", false),
        ("nobody", "anna@example.org", false),
    ] {
        let answer = directory.may_send_as(account, &mailbox(address)).await.expect("answer");
        assert_eq!(answer, may, "{account} {address}");
    }
}

#[tokio::test]
async fn finds_direct_and_nested_members_of_a_group() {
    let text = format!(
        r#"{FILE}
[[group]]
address = "all@example.org"
members = ["Sales@Example.ORG", "bert@example.org", "round@example.org"]

[[group]]
address = "round@example.org"
members = ["all@example.org", "carl@example.org"]
"#
    );
    let dir = tempfile::tempdir().expect("folder");
    let directory = open(dir.path(), &text).expect("opens");
    for (group, address, expected) in [
        ("sales@example.org", "anna@example.org", true),
        ("SALES@example.org", "ANNA@example.org", true),
        ("sales@example.org", "anna+tag@example.org", true),
        // An account is a member by each of its addresses.
        ("sales@example.org", "A.Nna@example.net", true),
        ("sales@example.org", "outside@elsewhere.example", true),
        ("sales@example.org", "bert@example.org", false),
        ("all@example.org", "anna@example.org", true),
        ("all@example.org", "carl@example.org", true),
        ("round@example.org", "bert@example.org", true),
        // Groups in a cycle are members of each other; a stranger is a member of neither group.
        ("all@example.org", "all@example.org", true),
        ("all@example.org", "dora@example.org", false),
        ("sales@example.org", "sales@example.org", false),
        ("info@example.org", "anna@example.org", false),
        ("nobody@example.org", "anna@example.org", false),
    ] {
        let answer = directory.is_member(&mailbox(group), &mailbox(address)).await;
        assert_eq!(answer.expect("an answer"), expected, "{address} in {group}");
    }
}

fn login<'a>(user: &'a str, password: &'a str) -> Login<'a> {
    Login {
        user,
        password,
        network: [192, 0, 2, 1].into(),
        known: false,
    }
}

#[tokio::test]
async fn counts_failed_logins_of_an_account_under_its_name() {
    let dir = tempfile::tempdir().expect("folder");
    let directory = open(dir.path(), FILE).expect("right");
    for (user, name) in [("ANNA", "anna"), ("Anna@Example.org", "anna"), ("Nobody@x", "nobody@x")] {
        assert_eq!(directory.login_name(user).await, name);
    }
}

#[tokio::test]
async fn authenticates_by_account_name_or_own_address() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("directory.toml");
    let directory = open(dir.path(), FILE).expect("right");
    set_password(&path, "ANNA", "tea").expect("changed");
    directory.reload().expect("right");
    for (user, password, account) in [
        ("anna", "tea", Some("anna")),
        ("Anna@Example.org", "tea", Some("anna")),
        ("anna", "tea", Some("anna")),
        ("anna", "coffee", None),
        ("anna", "", None),
        ("bert", "", None),
        ("twice@example.org", "tea", None),
        ("info@example.org", "tea", None),
        ("nobody", "tea", None),
    ] {
        let answer = directory.authenticate(login(user, password)).await.expect("answer");
        assert_eq!(answer.as_deref(), account, "{user} {password}");
    }
    set_password(&path, "anna", "coffee").expect("changed");
    directory.reload().expect("right");
    assert_eq!(
        directory.authenticate(login("anna", "tea")).await.expect("answer"),
        None
    );
    assert!(
        directory
            .authenticate(login("anna", "coffee"))
            .await
            .expect("answer")
            .is_some()
    );
}

#[test]
fn edits_preserve_all_other_content() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("directory.toml");
    open(dir.path(), FILE).expect("right");
    set_password(&path, "anna", "tea").expect("changed");
    let account = NewAccount {
        name: "dora".into(),
        password: Some("milk".into()),
        addresses: vec!["dora@example.org".into()],
        ..NewAccount::default()
    };
    add_account(&path, &account).expect("added");
    set_password(&path, "dora", "water").expect("changed");

    let text = fs::read_to_string(&path).expect("reads");
    assert!(
        text.contains("# Who is who.") && text.contains("# keeps this"),
        "{text}"
    );
    let names: Vec<_> = FileDirectory::open(&path, "/mail", mailbox("anna@example.org"))
        .expect("right")
        .accounts()
        .into_iter()
        .filter(|account| account.may_log_in)
        .map(|account| account.name)
        .collect();
    assert_eq!(names, ["anna", "dora"]);
}

#[test]
fn refuses_an_edit_that_would_make_the_file_invalid() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("directory.toml");
    open(dir.path(), FILE).expect("right");
    let account = |name: &str, address: &str| NewAccount {
        name: name.into(),
        addresses: vec![address.into()],
        ..NewAccount::default()
    };
    for (name, address) in [
        ("anna", "new@example.org"),
        ("../../etc", "new@example.org"),
        ("new", "new@elsewhere.example"),
        ("new\"\n[[alias]]", "new@example.org"),
    ] {
        assert!(add_account(&path, &account(name, address)).is_err(), "{name} {address}");
    }
    assert!(matches!(
        set_password(&path, "nobody", "x"),
        Err(EditError::NoAccount(_))
    ));
    assert_eq!(fs::read_to_string(&path).expect("reads"), FILE);
}

#[test]
fn reports_every_problem_under_its_key() {
    let text = r#"
domains = ["example.org", "bad domain"]
colour = "red"
[[account]]
name = "../anna"
password = "secret"
addresses = ["anna@example.org", "anna", "anna@other.example"]
home = "lmtp:nowhere"
[[account]]
addresses = "x@example.org"
[[alias]]
address = "a@example.org"
"#;
    let keys: Vec<_> = problems(text)
        .iter()
        .map(|problem| problem.split(": ").nth(1).unwrap_or_default().to_owned())
        .collect();
    assert_eq!(
        keys,
        [
            "domains[1]",
            "account[0].name",
            "account[0].password",
            "account[0].addresses[1]",
            "account[0].addresses",
            "account[0].home",
            "account[1].name",
            "account[1].addresses",
            "alias[0].to",
            "colour",
        ]
    );
    assert_eq!(problems("domains = ").len(), 1);
}

#[tokio::test]
async fn invalid_file_leaves_the_last_valid_table_in_force_with_an_event() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("directory.toml");
    let (events, captured) = Events::capture();
    let directory = open(dir.path(), FILE).expect("right").with_events(events);
    assert_eq!(captured.ids(), [10000]);
    fs::write(&path, "domains = 5").expect("writes");
    assert!(directory.reload().is_err());
    assert_eq!(meanings_of(&directory, "anna@example.org").await, ["account anna"]);
    fs::remove_file(&path).expect("removes");
    assert!(directory.reload().is_err());
    assert_eq!(meanings_of(&directory, "anna@example.org").await, ["account anna"]);
    assert_eq!(captured.ids(), [10000, 5020, 5020]);
}

#[tokio::test]
async fn lookup_detects_a_changed_file() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("directory.toml");
    let directory = open(dir.path(), FILE).expect("right");
    fs::write(&path, FILE.replace("bert@example.org", "bertha@example.org")).expect("writes");
    let deadline = Instant::now() + Duration::from_secs(30);
    while meanings_of(&directory, "bertha@example.org").await.is_empty() {
        assert!(Instant::now() < deadline, "the change was never seen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(meanings_of(&directory, "bert@example.org").await.is_empty());
}

#[tokio::test]
async fn reads_a_hundred_thousand_accounts() {
    use std::fmt::Write;
    let mut text = "domains = ['example.org']\n".to_owned();
    for n in 0..100_000 {
        let _ = write!(text, "[[account]]\nname = 'u{n}'\naddresses = ['u{n}@example.org']\n");
    }
    let dir = tempfile::tempdir().expect("folder");
    let directory = open(dir.path(), &text).expect("right");
    assert_eq!(meanings_of(&directory, "u99999@example.org").await, ["account u99999"]);
}
