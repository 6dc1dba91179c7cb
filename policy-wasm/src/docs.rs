//! What the documentation quotes is what there is.

use crate::settings::Settings;

const MANUAL: &str = include_str!("../../docs/default-policy.md");
const GUIDE: &str = include_str!("../../docs/policy-guide.md");
const FIRST_POLICY: &str = include_str!("../examples/first-policy/src/lib.rs");

/// Fenced blocks of one language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let opening = format!("```{language}\n");
    let parts = text.split(opening.as_str()).skip(1);
    parts.map(|part| part.split("```").next().unwrap_or_default()).collect()
}

#[test]
fn every_configuration_in_the_manual_is_valid_and_the_first_is_the_defaults() {
    let blocks = blocks(MANUAL, "toml");
    assert_eq!(blocks.len(), 3);
    for (index, block) in blocks.into_iter().enumerate() {
        let config: serde_json::Value = toml::from_str(block).expect(block);
        let settings = Settings::parse(&config["policy"][0]["settings"].to_string()).expect(block);
        assert_eq!(settings == Settings::default(), index == 0, "{block}");
    }
}

#[test]
fn the_manual_has_every_rule() {
    for rule in crate::rule::all() {
        let quoted = format!("`{}`", rule.name);
        assert!(MANUAL.contains(&quoted), "{quoted}");
    }
}

#[test]
fn the_guide_quotes_the_example() {
    let blocks = blocks(GUIDE, "rust");
    assert!(blocks.len() >= 4);
    for block in blocks {
        assert!(FIRST_POLICY.contains(block), "{block}");
    }
}
