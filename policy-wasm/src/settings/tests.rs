use std::collections::BTreeSet;

use super::*;

fn problems(json: &str) -> Vec<(String, String)> {
    let problems = Settings::parse(json).expect_err(json);
    problems
        .into_iter()
        .map(|problem| (problem.key, problem.text))
        .collect()
}

fn keys(json: &str) -> Vec<String> {
    problems(json).into_iter().map(|(key, _)| key).collect()
}

#[test]
fn empty_object_has_the_defaults() {
    assert_eq!(Settings::parse("{}").unwrap(), Settings::default());
    let settings = Settings::default();
    assert_eq!(settings.accept.from, AcceptFrom::Anyone);
    assert!(!settings.homing.required && settings.homing.match_account);
    assert!(settings.relay.authenticated && settings.relay.clients.is_empty() && settings.relay.to.is_empty());
    assert_eq!(
        settings.ndr.administrator_copies,
        Copies::Of(vec!["ambiguous-address".to_owned()])
    );
}

#[test]
fn reads_every_key() {
    let settings = Settings::parse(
        r#"{
            "accept": {
                "from": "authenticated-and-encrypted",
                "listeners": {"mx": {"from": "anyone", "exempt": ["homing"]}},
                "hosts": [
                    {"network": "127.0.0.2/32", "action": "accept", "exempt": ["authentication", "encryption", "homing", "originator", "relay"]},
                    {"network": "2001:db8::/32", "action": "reject"},
                    {"network": "10.0.0.0/8", "require": ["encryption"]}
                ]
            },
            "homing": {"required": true, "match-account": false},
            "relay": {
                "authenticated": false, "clients": ["10.1.0.0/16"], "listeners": ["internal"], "to": ["@example.net"],
                "never": {"clients": ["10.1.2.3"], "to": ["@*.example.com"]}
            },
            "filter": {"senders": ["@spam.example", "<>"], "action": "discard", "folder": "spam"},
            "ndr": {"administrator-copies": "all", "content": "full"}
        }"#,
    )
    .unwrap();
    assert_eq!(settings.accept.from, AcceptFrom::AuthenticatedAndEncrypted);
    assert_eq!(settings.accept.listeners["mx"].from, Some(AcceptFrom::Anyone));
    let (network, entry) = settings.accept.hosts.find("127.0.0.2".parse().unwrap()).unwrap();
    assert_eq!(network.to_string(), "127.0.0.2/32");
    assert!(matches!(entry, HostEntry::Accept { exempt, .. } if exempt.len() == 5));
    assert!(settings.homing.required && !settings.homing.match_account);
    assert!(!settings.relay.authenticated && settings.relay.never.to.len() == 1);
    assert_eq!(settings.filter.action, FilterAction::Discard);
    assert_eq!(settings.ndr.administrator_copies, Copies::All);
    assert_eq!(settings.ndr.content, Content::Full);
}

#[test]
fn reports_all_problems_with_paths() {
    let json = r#"{
        "acept": {},
        "accept": {
            "from": "nobody",
            "listeners": {"mx": {"exempt": ["everything"], "form": "anyone"}},
            "hosts": [
                {"network": "10.0.0.0/8"},
                {"action": "accept"},
                {"network": "10.0.0.1/8", "exempt": ["homing"]},
                {"network": "10.0.0.0/8", "action": "reject", "exempt": []},
                7,
                {"network": "10.2.0.0/16", "require": ["authentication"], "exempt": ["authentication"]}
            ]
        },
        "homing": {"required": "yes"},
        "relay": {"clients": "10.0.0.0/8", "to": ["example.net", "@example.net"], "never": {"to": [1]}},
        "filter": {"senders": ["x"], "folder": "../etc"},
        "ndr": {"administrator-copies": ["ambigous-address"], "content": "body"}
    }"#;
    let mut found = keys(json);
    found.sort();
    let mut expected = vec![
        "acept",
        "accept.from",
        "accept.listeners.mx.exempt[0]",
        "accept.listeners.mx.form",
        "accept.hosts[1].network",
        "accept.hosts[2].network",
        "accept.hosts[3].exempt",
        "accept.hosts[3].network",
        "accept.hosts[4]",
        "accept.hosts[5].require",
        "homing.required",
        "relay.clients",
        "relay.to[0]",
        "relay.never.to[0]",
        "filter.senders[0]",
        "filter.folder",
        "ndr.administrator-copies[0]",
        "ndr.content",
    ];
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn problems_state_the_expected_values() {
    for (json, key, part) in [
        ("[]", "", "expected an object"),
        ("{", "", "not JSON"),
        (
            r#"{"nrd": {}}"#,
            "nrd",
            "expected one of accept, homing, relay, filter, ndr",
        ),
        (r#"{"accept": 1}"#, "accept", "expected an object"),
        (
            r#"{"accept": {"from": "all"}}"#,
            "accept.from",
            "expected one of `anyone`, `authenticated`",
        ),
        (
            r#"{"accept": {"listeners": []}}"#,
            "accept.listeners",
            "expected an object",
        ),
        (
            r#"{"accept": {"hosts": [{"network": "10.0.0.1/8"}]}}"#,
            "accept.hosts[0].network",
            "10.0.0.0/8?",
        ),
        (
            r#"{"accept": {"hosts": [{}]}}"#,
            "accept.hosts[0].network",
            "is missing",
        ),
        (
            r#"{"ndr": {"administrator-copies": "some"}}"#,
            "ndr.administrator-copies",
            "expected \"all\" or a list",
        ),
        (
            r#"{"ndr": {"administrator-copies": ["x"]}}"#,
            "ndr.administrator-copies[0]",
            "address-not-found, ambiguous-address",
        ),
    ] {
        let found = problems(json);
        assert_eq!(found.len(), 1, "{json}: {found:?}");
        assert_eq!(found[0].0, key, "{json}");
        assert!(found[0].1.contains(part), "{json}: {}", found[0].1);
    }
}

/// Compares the schema in the component, which `posthouse policy explain` shows, with the keys that `parse` reads.
#[test]
fn schema_has_every_key_and_default() {
    let schema: Value = serde_json::from_str(include_str!("../../settings.schema.json")).unwrap();
    let defaults = defaults_of(&schema);
    assert_eq!(Settings::parse(&defaults.to_string()).unwrap(), Settings::default());
    let known = |path: &str| -> BTreeSet<String> {
        let mut object = serde_json::json!({"?": 0});
        for step in path.split('/').rev().filter(|step| !step.is_empty()) {
            object = match step {
                "items" => Value::Array(vec![object]),
                "additionalProperties" => serde_json::json!({"mx": object}),
                "properties" => object,
                key => Value::Object(serde_json::Map::from_iter([(key.to_owned(), object)])),
            };
        }
        let found = problems(&object.to_string());
        let (_, text) = found.iter().find(|(key, _)| key.ends_with('?')).unwrap();
        let (_, keys) = text.split_once("expected one of ").unwrap();
        keys.split(", ").map(str::to_owned).collect()
    };
    for path in [
        "",
        "/properties/accept",
        "/properties/accept/properties/listeners/additionalProperties",
        "/properties/accept/properties/hosts/items",
        "/properties/homing",
        "/properties/relay",
        "/properties/relay/properties/never",
        "/properties/filter",
        "/properties/ndr",
    ] {
        let listed = schema.pointer(path).unwrap()["properties"].as_object().unwrap();
        assert_eq!(listed.keys().cloned().collect::<BTreeSet<_>>(), known(path), "{path}");
    }
}

/// Returns an object of all defaults in a schema.
fn defaults_of(schema: &Value) -> Value {
    let members = schema["properties"].as_object().unwrap().iter();
    let given = members.filter_map(|(key, member)| match member.get("default") {
        Some(default) => Some((key.clone(), default.clone())),
        None => member.get("properties").map(|_| (key.clone(), defaults_of(member))),
    });
    Value::Object(given.collect())
}
