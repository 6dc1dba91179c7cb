//! Properties of the values of a configuration file over generated text.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use toml::Value;

use crate::Share;
use crate::toml_reader::{Problems, TableReader, duration, network, parse, size};

const TEN_YEARS: u128 = 10 * 365 * 86_400_000;
const PEBIBYTE: u128 = 1 << 50;

fn value(text: impl Into<String>) -> Value {
    Value::String(text.into())
}

/// Generates numbers of every magnitude, and numbers beyond `u64`.
fn number() -> impl Strategy<Value = u128> {
    prop_oneof![
        any::<u64>().prop_map(u128::from),
        (any::<u64>(), 0..64_u32).prop_map(|(number, shift)| u128::from(number >> shift)),
        (0..=u128::from(u64::MAX)).prop_map(|number| number << 10),
    ]
}

/// Generates the text of a document that is close to TOML.
fn nearly_toml() -> impl Strategy<Value = String> {
    let piece = select(vec![
        "a",
        "b",
        "1",
        ".",
        "=",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        ",",
        "\"",
        "'",
        "\"\"\"",
        "\n",
        " ",
        "#",
        "\\u00e9",
        "é",
        "true",
        "1979-05-27",
        "0x",
        "nan",
        "\u{0}",
    ]);
    prop_oneof![vec(piece, 0..40).prop_map(|pieces| pieces.concat()), any::<String>()]
}

proptest! {
    #[test]
    fn duration_is_the_number_in_its_unit_or_refused(
        number in number(),
        unit in select(vec![("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000_u128)]),
        gap in " {0,2}",
    ) {
        let (name, factor) = unit;
        let millis = number.saturating_mul(factor);
        let expected = (1..=TEN_YEARS).contains(&millis).then(|| Duration::from_millis(millis as u64));
        prop_assert_eq!(duration(&value(format!("{number}{gap}{name}"))).ok(), expected);
    }

    #[test]
    fn size_is_the_number_in_its_unit_or_refused(
        number in number(),
        unit in select(vec![("B", 0), ("KiB", 10), ("MiB", 20), ("GiB", 30)]),
        gap in " {0,2}",
    ) {
        let (name, shift) = unit;
        let bytes = number.saturating_mul(1 << shift);
        let expected = (bytes <= PEBIBYTE).then_some(bytes as u64);
        prop_assert_eq!(size(&value(format!("{number}{gap}{name}"))).ok(), expected);
    }

    #[test]
    fn size_in_bytes_is_the_number_or_refused(number in any::<i64>(), shift in 0..64_u32) {
        let number = number >> shift;
        let expected = u64::try_from(number).ok().filter(|bytes| u128::from(*bytes) <= PEBIBYTE);
        prop_assert_eq!(size(&Value::Integer(number)).ok(), expected);
    }

    #[test]
    fn displayed_size_and_duration_parse_to_the_same(bytes in 0..=PEBIBYTE as u64, millis in 1..=TEN_YEARS as u64) {
        let time = Duration::from_millis(millis);
        prop_assert_eq!(size(&value(format!("{bytes}B"))), Ok(bytes));
        prop_assert_eq!(duration(&value(format!("{}ms", time.as_millis()))), Ok(time));
    }

    #[test]
    fn share_round_trips_through_display(hundredths in 1..=10_000_u64) {
        let share: Share = format!("{}.{:02}%", hundredths / 100, hundredths % 100).parse().expect("a share");
        prop_assert_eq!(share.to_string().parse(), Ok(share));
        prop_assert!(share.is_reached(hundredths, 10_000) && !share.is_reached(hundredths - 1, 10_000));
    }

    #[test]
    fn any_text_is_a_value_or_a_problem(text in prop_oneof!["[0-9]{0,30}[.+ -]?[a-zA-Zé%]{0,4}", any::<String>()]) {
        let value = value(text.clone());
        if let Ok(time) = duration(&value) {
            prop_assert!(time > Duration::ZERO && time.as_millis() <= TEN_YEARS);
        }
        if let Ok(bytes) = size(&value) {
            prop_assert!(u128::from(bytes) <= PEBIBYTE);
        }
        if let Ok(share) = text.parse::<Share>() {
            prop_assert_eq!(share.to_string().parse(), Ok(share));
        }
        if let Ok(network) = network(&text) {
            prop_assert_eq!(crate::toml_reader::network(&network.to_string()), Ok(network));
        }
    }

    #[test]
    fn any_document_is_a_table_or_a_problem_with_its_line(text in nearly_toml()) {
        match parse(&text) {
            Ok(table) => {
                let problems = Problems::default();
                drop(TableReader::new(&table, &problems));
                prop_assert_eq!(problems.into_inner().len(), table.len());
            }
            Err(problem) => prop_assert!(!problem.text.is_empty()),
        }
    }
}
