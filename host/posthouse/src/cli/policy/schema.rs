//! Settings as a policy tells them: a JSON Schema object in the section `posthouse:settings`.

use serde::Serialize;
use serde_json::Value;

/// Objects inside objects that are followed.
const DEPTH: usize = 8;

/// One key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Setting {
    /// Path such as `accept.hosts[].network`.
    pub key: String,
    /// `string`, `list of integer`, `one of "a", "b"`.
    #[serde(rename = "type")]
    pub kind: String,
    /// None if the schema does not say.
    pub default: Option<Value>,
    pub required: bool,
    pub description: String,
}

/// Every key of a schema, outer ones first.
///
/// # Errors
/// It is not a JSON Schema object.
pub fn settings(text: &str) -> Result<Vec<Setting>, String> {
    let schema: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    if !schema.is_object() {
        return Err("not a JSON Schema object".to_owned());
    }
    let mut found = Vec::new();
    properties(&schema, &schema, "", DEPTH, &mut found);
    Ok(found)
}

fn properties(root: &Value, schema: &Value, prefix: &str, depth: usize, found: &mut Vec<Setting>) {
    let (Some(members), Some(depth)) = (schema["properties"].as_object(), depth.checked_sub(1)) else {
        return;
    };
    let is_required = |name: &str| {
        let required = schema["required"].as_array();
        required.is_some_and(|names| names.iter().any(|known| known == name))
    };
    for (name, told) in members {
        let member = resolved(root, told);
        let key = format!("{prefix}{name}");
        found.push(Setting {
            key: key.clone(),
            kind: kind(root, member),
            default: told.get("default").or(member.get("default")).cloned(),
            required: is_required(name),
            description: text(told).or(text(member)).unwrap_or_default(),
        });
        properties(root, member, &format!("{key}."), depth, found);
        // What a list has in it, and what a table has under keys of the operator's choice.
        for (inside, mark) in [("items", "[]"), ("additionalProperties", ".*")] {
            let inside = resolved(root, &member[inside]);
            properties(root, inside, &format!("{key}{mark}."), depth, found);
        }
    }
}

fn text(schema: &Value) -> Option<String> {
    schema["description"].as_str().map(str::to_owned)
}

/// What a reference of the schema to itself stands for, or the schema itself.
fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let pointer = schema["$ref"]
        .as_str()
        .and_then(|reference| reference.strip_prefix('#'));
    pointer.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema)
}

fn kind(root: &Value, schema: &Value) -> String {
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        return format!("one of {}", values.join(", "));
    }
    if let Some(value) = schema.get("const") {
        return value.to_string();
    }
    if let Some(choices) = ["anyOf", "oneOf"].iter().find_map(|key| schema[key].as_array()) {
        let kinds: Vec<String> = choices
            .iter()
            .map(|choice| kind(root, resolved(root, choice)))
            .collect();
        return kinds.join(" or ");
    }
    match &schema["type"] {
        Value::String(name) if name == "array" => match resolved(root, &schema["items"]) {
            Value::Null => "list".to_owned(),
            items => format!("list of {}", kind(root, items)),
        },
        Value::String(name) if name == "object" => match resolved(root, &schema["additionalProperties"]) {
            values @ Value::Object(_) => format!("table of {}", kind(root, values)),
            _ => name.clone(),
        },
        Value::String(name) => name.clone(),
        Value::Array(names) => {
            let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
            names.join(" or ")
        }
        _ => "any".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_with_type_and_default() {
        let schema = r##"{
            "properties": {
                "hours": {"$ref": "#/$defs/hours", "description": "When"},
                "mode": {"enum": ["a", "b"], "default": "a"},
                "networks": {"type": "array", "items": {"type": "string"}},
                "copies": {"anyOf": [{"const": "all"}, {"type": "array"}]},
                "rates": {"type": "object", "additionalProperties": {"$ref": "#/$defs/hours"}},
                "hosts": {"type": "array", "items": {"properties": {"name": {"type": ["string", "null"]}}}}
            },
            "required": ["networks"],
            "$defs": {"hours": {"type": "object", "properties": {"from": {"type": "integer", "default": 8}}}}
        }"##;
        let found = settings(schema).expect("a schema");
        let told: Vec<_> = found
            .iter()
            .map(|setting| {
                format!(
                    "{} {} {:?} {}",
                    setting.key, setting.kind, setting.default, setting.required
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                r#"copies "all" or list None false"#,
                "hosts list of any None false",
                "hosts[].name string or null None false",
                "hours object None false",
                "hours.from integer Some(Number(8)) false",
                r#"mode one of "a", "b" Some(String("a")) false"#,
                "networks list of string None true",
                "rates table of object None false",
                "rates.*.from integer Some(Number(8)) false",
            ]
        );
    }

    #[test]
    fn a_schema_that_contains_itself_ends() {
        let schema = r##"{"properties": {"a": {"$ref": "#"}}}"##;
        assert_eq!(settings(schema).expect("a schema").len(), DEPTH);
        assert!(settings("[]").is_err());
        assert!(settings("{").is_err());
    }
}
