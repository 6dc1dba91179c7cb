//! Comparison of the documents' quotations with the sources.

use crate::settings::Settings;

const MANUAL: &str = include_str!("../../docs/reference/default-policy.md");
const GUIDE: &str = include_str!("../../docs/guide/policy-guide.md");
const FIRST_POLICY: &str = include_str!("../examples/first-policy/src/lib.rs");

/// Returns the fenced blocks of a language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let opening = format!("```{language}\n");
    let parts = text.split(opening.as_str()).skip(1);
    parts.map(|part| part.split("```").next().unwrap_or_default()).collect()
}

#[test]
fn manual_configurations_are_valid_and_the_first_equals_the_defaults() {
    let blocks = blocks(MANUAL, "toml");
    assert_eq!(blocks.len(), 4);
    for (index, block) in blocks.into_iter().enumerate() {
        let config: serde_json::Value = toml::from_str(block).expect(block);
        let settings = Settings::parse(&config["policy"][0]["settings"].to_string()).expect(block);
        assert_eq!(settings == Settings::default(), index == 0, "{block}");
    }
}

#[test]
fn manual_lists_every_rule() {
    for rule in crate::rule_names::all() {
        let quoted = format!("`{}`", rule.name);
        assert!(MANUAL.contains(&quoted), "{quoted}");
    }
}

#[test]
fn guide_quotes_match_the_first_policy() {
    let blocks = blocks(GUIDE, "rust");
    assert!(blocks.len() >= 4);
    for block in blocks {
        assert!(FIRST_POLICY.contains(block), "{block}");
    }
}
