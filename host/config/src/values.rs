//! Values of configuration keys: text, counts, sizes such as `1MiB`, durations such as `5m`, networks and choices.

use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use toml::Value;

use super::defaults::hostname;

/// Reads a string.
pub fn text(value: &Value) -> Result<String, String> {
    value
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| expected("a string", value))
}

/// Reads `true` or `false`.
pub fn boolean(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| expected("true or false", value))
}

/// Reads a string and parses it as `T`.
pub fn parsed<T: FromStr<Err: Display>>(value: &Value) -> Result<T, String> {
    let text = text(value)?;
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

/// Parses a network or a single address. IPv4-mapped IPv6 addresses are refused, because clients' addresses are always
/// compared in canonical form.
pub fn network(text: &str) -> Result<IpNet, String> {
    let single_address = || text.parse::<IpAddr>().map(IpNet::from);
    let network = text.parse().or_else(|_| single_address());
    let network: IpNet =
        network.map_err(|_| format!("{text:?} is neither an address nor a network such as 192.0.2.0/24"))?;
    match network.addr() {
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => Err(format!("{text:?}: write it as IPv4")),
        _ => Ok(network),
    }
}

/// Returns a reader of whole numbers within `range`.
pub fn count<T: TryFrom<i64> + Display + PartialOrd>(range: RangeInclusive<T>) -> impl Fn(&Value) -> Result<T, String> {
    move |value| {
        value
            .as_integer()
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                expected(
                    &format!("a whole number from {} to {}", range.start(), range.end()),
                    value,
                )
            })
    }
}

/// Returns a reader of keywords: the value of the pair in `choices` whose name is the string.
pub fn choice<T: Copy>(choices: &[(&'static str, T)]) -> impl Fn(&Value) -> Result<T, String> {
    move |value| {
        let found = value
            .as_str()
            .and_then(|word| choices.iter().find(|(name, _)| *name == word));
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<_> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
            expected(&names.join(" or "), value)
        })
    }
}

/// Reads a duration such as `250ms`, `15s`, `15m`, `4h` or `2d`: above zero and at most ten years.
pub fn duration(value: &Value) -> Result<Duration, String> {
    let seconds = |seconds: u64| move |number: u64| number.checked_mul(seconds).map(Duration::from_secs);
    let parse = |text: &str| {
        let (number, unit) = split_unit(text)?;
        match unit {
            "ms" => Some(Duration::from_millis(number)),
            "s" => seconds(1)(number),
            "m" => seconds(60)(number),
            "h" => seconds(3600)(number),
            "d" => seconds(86_400)(number),
            _ => None,
        }
    };
    value
        .as_str()
        .and_then(parse)
        .filter(|duration| !duration.is_zero() && *duration <= MAX_DURATION)
        .ok_or_else(|| expected("a duration such as \"15s\", \"4h\" or \"2d\"", value))
}

/// Reads a duration as [`duration`] does, or `never`, which is `None`.
pub fn duration_or_never(value: &Value) -> Result<Option<Duration>, String> {
    if value.as_str() == Some("never") {
        return Ok(None);
    }
    let read = duration(value).map(Some);
    read.map_err(|_| expected("a duration such as \"15s\", \"4h\" or \"2d\", or \"never\"", value))
}

/// Longest duration: beyond any useful time-out, and short enough that sums of durations do not overflow.
const MAX_DURATION: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Reads a size in bytes: a number, or a string such as `10KiB`, `50MiB` or `2GiB`; at most 1 PiB.
pub fn size(value: &Value) -> Result<u64, String> {
    let parse = |text: &str| {
        let (number, unit) = split_unit(text)?;
        let factor = match unit {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.checked_mul(factor)
    };
    let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
    number
        .or_else(|| value.as_str().and_then(parse))
        .filter(|bytes| *bytes <= 1 << 50)
        .ok_or_else(|| expected("a size such as \"50MiB\"", value))
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
}

/// Returns a reader of paths; relative ones start at `base`.
pub(crate) fn path(base: &Path) -> impl Fn(&Value) -> Result<PathBuf, String> {
    move |value| match text(value)? {
        empty if empty.is_empty() => Err("expected a path".to_owned()),
        path => Ok(base.join(path)),
    }
}

/// Reads a host name or a domain, in canonical form.
pub(crate) fn host_name(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    hostname(&text).ok_or_else(|| match text.trim_start_matches(['@', '*', '.']) {
        name if name.len() < text.len() => {
            format!("{text:?} is not a domain name: write each domain alone, such as {name:?}")
        }
        _ => format!("{text:?} is not a domain name"),
    })
}

/// Reads a name for events and commands: 1 to 64 lower-case letters, digits, hyphens, dots or underscores.
pub(crate) fn identifier(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    let right = (1..=64).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'));
    right
        .then_some(text)
        .ok_or_else(|| "expected 1 to 64 lower-case letters, digits, hyphens, dots or underscores".to_owned())
}

/// Passes a number of bytes that is not above `most`.
pub(crate) fn at_most(most: u64, bytes: u64) -> Result<u64, String> {
    (bytes <= most)
        .then_some(bytes)
        .ok_or_else(|| format!("at most {most} bytes, found {bytes}"))
}

/// Passes a number of bytes that is not below `least`.
pub(crate) fn at_least(least: u64, bytes: u64) -> Result<u64, String> {
    (bytes >= least)
        .then_some(bytes)
        .ok_or_else(|| format!("at least {least} bytes are needed, found {bytes}"))
}

pub(crate) fn expected(what: &str, found: &Value) -> String {
    let found = match found {
        Value::String(text) => format!("{text:?}"),
        Value::Table(_) => "a table".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        other => other.to_string(),
    };
    format!("expected {what}, found {found}")
}
