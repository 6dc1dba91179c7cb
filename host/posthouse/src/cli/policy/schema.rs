//! Settings of a policy, from the JSON Schema object in the custom section `posthouse:settings`.

use serde::Serialize;
use serde_json::Value;

/// Maximum depth of nested objects.
const MAX_DEPTH: usize = 8;

/// A key of the settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Setting {
    /// Path of the key, such as `accept.hosts[].network`.
    pub key: String,
    /// Type in words, such as `string`, `list of integer` or `one of "a", "b"`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Default value, if the schema has one.
    pub default: Option<Value>,
    pub required: bool,
    pub description: String,
}

/// Lists every key of a schema, outer keys first.
///
/// # Errors
/// The text is not a JSON Schema object.
pub fn settings(text: &str) -> Result<Vec<Setting>, String> {
    let schema: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    if !schema.is_object() {
        return Err("not a JSON Schema object".to_owned());
    }
    let mut found = Vec::new();
    properties(&schema, &schema, "", MAX_DEPTH, &mut found);
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
    for (name, property) in members {
        let member = resolved(root, property);
        let key = format!("{prefix}{name}");
        found.push(Setting {
            key: key.clone(),
            kind: kind(root, member),
            default: property.get("default").or(member.get("default")).cloned(),
            required: is_required(name),
            description: text(property).or(text(member)).unwrap_or_default(),
        });
        properties(root, member, &format!("{key}."), depth, found);
        // Items of a list, and values of a table with arbitrary keys.
        for (inside, mark) in [("items", "[]"), ("additionalProperties", ".*")] {
            let inside = resolved(root, &member[inside]);
            properties(root, inside, &format!("{key}{mark}."), depth, found);
        }
    }
}

fn text(schema: &Value) -> Option<String> {
    schema["description"].as_str().map(str::to_owned)
}

/// Follows a `$ref` to a part of the root schema. Returns the schema itself without a reference.
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
    fn lists_keys_with_type_and_default() {
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
        let lines: Vec<_> = found
            .iter()
            .map(|setting| {
                format!(
                    "{} {} {:?} {}",
                    setting.key, setting.kind, setting.default, setting.required
                )
            })
            .collect();
        assert_eq!(
            lines,
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
    fn self_referencing_schema_terminates() {
        let schema = r##"{"properties": {"a": {"$ref": "#"}}}"##;
        assert_eq!(settings(schema).expect("a schema").len(), MAX_DEPTH);
        assert!(settings("[]").is_err());
        assert!(settings("{").is_err());
    }
}
