//! Deserializers of values that are written as text, and conversion of TOML to JSON.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// Deserializes a time with an offset, or seconds since 1970.
pub(crate) fn time<'de, D: Deserializer<'de>>(input: D) -> Result<Option<u64>, D::Error> {
    let wrong =
        || D::Error::custom("expected a time with its offset, such as 2026-11-23T09:00:00Z, or seconds since 1970");
    let seconds = match toml::Value::deserialize(input)? {
        toml::Value::Integer(seconds) => seconds,
        toml::Value::Datetime(time) => {
            let time: jiff::Timestamp = time.to_string().parse().map_err(|_| wrong())?;
            time.as_second()
        }
        _ => return Err(wrong()),
    };
    u64::try_from(seconds).map(Some).map_err(|_| wrong())
}

/// Deserializes a value that is written as text or as a table.
pub(crate) fn text_or_table<'de, D, T>(input: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + FromStr<Err = String>,
{
    struct Both<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de> + FromStr<Err = String>> Visitor<'de> for Both<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("text or a table")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }
    input.deserialize_any(Both(PhantomData))
}

/// Deserializes a value that is written as text.
pub(crate) fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err = String>>(input: D) -> Result<T, D::Error> {
    struct Text<T>(PhantomData<T>);
    impl<T: FromStr<Err = String>> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("text")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }
    input.deserialize_str(Text(PhantomData))
}

/// Deserializes settings: a TOML table, as JSON.
pub(crate) fn settings<'de, D: Deserializer<'de>>(input: D) -> Result<Option<serde_json::Value>, D::Error> {
    toml::Table::deserialize(input).map(|table| Some(json(toml::Value::Table(table))))
}

/// Converts TOML to the JSON that the host gives to a policy. A date becomes text.
fn json(value: toml::Value) -> serde_json::Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(truth) => truth.into(),
        toml::Value::Datetime(date) => date.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(json).collect(),
        toml::Value::Table(members) => {
            serde_json::Value::Object(members.into_iter().map(|(key, value)| (key, json(value))).collect())
        }
    }
}
