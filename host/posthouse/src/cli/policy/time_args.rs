//! Parsers of times, durations and shares on the command line.

use std::time::Duration;

use host_config::toml_reader;
use host_mail::Timestamp;

/// Parses a duration such as `250ms`, `15s`, `15m`, `4h` or `2d`.
pub fn span(text: &str) -> Result<Duration, String> {
    toml_reader::duration(&toml::Value::String(text.to_owned()))
}

/// Parses a point in time: an age such as `2h`, or a time of RFC 3339.
pub fn point(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = span(text) {
        let ago = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        return Ok(Timestamp(Timestamp::now().0.saturating_sub(ago)));
    }
    let time: jiff::Timestamp = text
        .parse()
        .map_err(|_| "expected how long ago, such as \"2h\", or a time such as \"2026-03-01T12:00:00Z\"".to_owned())?;
    Ok(Timestamp(u64::try_from(time.as_millisecond()).unwrap_or(0)))
}

/// Parses a share such as `10%` or `0.1`, above 0 and up to 1.
pub fn share(text: &str) -> Result<f64, String> {
    let number = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse(),
    };
    number
        .ok()
        .filter(|share| *share > 0.0 && *share <= 1.0)
        .ok_or_else(|| "expected a share such as \"10%\" or \"0.1\"".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_age_or_date() {
        assert_eq!(point("1970-01-01T00:00:01Z"), Ok(Timestamp(1000)));
        let hour_ago = point("1h").expect("an age");
        assert!(hour_ago < Timestamp::now() && hour_ago.until(Timestamp::now()) < Duration::from_secs(3700));
        for bad in ["", "yesterday", "5", "-1h"] {
            assert!(point(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn parses_share() {
        assert_eq!(share("10%"), Ok(0.1));
        assert_eq!(share("0.25"), Ok(0.25));
        assert_eq!(share("100%"), Ok(1.0));
        for bad in ["0", "0%", "101%", "10", "-5%", "NaN", "a tenth"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }
}
