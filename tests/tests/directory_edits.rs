//! Edits of the directory file by `posthouse account`.

use posthouse_tests::{PASSWORD, Site};

fn directory(site: &Site) -> String {
    std::fs::read_to_string(site.path().join("directory.toml")).expect("the directory")
}

#[test]
fn account_add_refuses_an_address_that_another_entry_has() {
    let site = Site::new();
    let before = directory(&site);
    for (address, owner) in [
        ("anna@posthouse.test", "account anna"),
        ("ANNA@Posthouse.TEST", "account anna"),
        ("\"anna\"@posthouse.test", "account anna"),
        ("sales@posthouse.test", "alias of anna@posthouse.test"),
        (
            "team@posthouse.test",
            "group of anna@posthouse.test bert@posthouse.test",
        ),
    ] {
        let arguments = [
            "account",
            "add",
            "dora",
            "--address",
            "dora@posthouse.test",
            "--address",
            address,
        ];
        let refused = site.cli(&[&arguments[..], &["--no-password"]].concat()).failed();
        assert!(refused.contains(owner) && refused.contains("--force"), "{refused}");
        assert_eq!(directory(&site), before, "{address}");
    }
    // The name of an account is a login before the address of another account is.
    let refused = site.cli(&[
        "account",
        "add",
        "bert@posthouse.test",
        "--address",
        "dora@posthouse.test",
        "--no-password",
    ]);
    assert!(refused.failed().contains("account bert"));
    assert_eq!(directory(&site), before);
}

#[test]
fn mail_and_logins_go_on_while_an_address_is_refused_and_force_adds_it() {
    let site = Site::new();
    let daemon = site.start();
    site.cli(&[
        "account",
        "add",
        "dora",
        "--address",
        "anna@posthouse.test",
        "--no-password",
    ])
    .failed();
    daemon.submit(&["anna@posthouse.test"], "still hers");
    site.mailbox("anna").expect("still hers");
    site.cli(&[
        "account",
        "add",
        "dora",
        "--address",
        "anna@posthouse.test",
        "--no-password",
        "--force",
    ])
    .ok();
    assert!(directory(&site).contains("\"dora\""));
    let checked = site.cli(&["check"]);
    assert!(
        checked
            .stderr
            .contains("anna@posthouse.test is ambiguous: account anna, account dora"),
        "{}",
        checked.text()
    );

    // An address with a tag is another address.
    let add = [
        "account",
        "add",
        "emil",
        "--address",
        "bert+lists@posthouse.test",
        "--password-stdin",
    ];
    site.cli_with_input(&add, &format!("{PASSWORD}\n")).ok();
}
