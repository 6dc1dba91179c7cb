//! A percentage, written as `10%` or `0.5%`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Number of hundredths of a percent in 100 %.
const WHOLE: u64 = 10_000;

/// A percentage above 0 % and up to 100 %, exact to a hundredth of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Share(u64);

impl Share {
    /// 100 %.
    pub const ALL: Self = Self(WHOLE);

    /// Returns `percent` as a share, clamped to between 0.01 % and 100 %.
    pub const fn percent(percent: u64) -> Self {
        match percent {
            0 => Self(1),
            1..=100 => Self(percent * 100),
            _ => Self::ALL,
        }
    }

    /// True if `part` is at least this share of `whole`.
    pub fn is_reached(self, part: u64, whole: u64) -> bool {
        u128::from(part) * u128::from(WHOLE) >= u128::from(whole) * u128::from(self.0)
    }

    /// Returns the duration of which `part` is this share; saturates.
    pub fn whole_of(self, part: Duration) -> Duration {
        let nanos = part.as_nanos().saturating_mul(u128::from(WHOLE)) / u128::from(self.0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// True if an item with an evenly distributed `number` belongs to the share. The answer depends on the number only,
    /// and an item that belongs to a share belongs to every larger share.
    pub fn takes(self, number: u64) -> bool {
        number % WHOLE < self.0
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let number = text.strip_suffix('%')?.trim_end();
            let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
            let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
            if whole.is_empty() || whole.len() > 3 || fraction.len() > 2 || !digits(whole) || !digits(fraction) {
                return None;
            }
            let hundredths: u64 = format!("{whole}{fraction:0<2}").parse().ok()?;
            (1..=WHOLE).contains(&hundredths).then_some(Self(hundredths))
        };
        parse().ok_or_else(|| "expected a share such as \"10%\" or \"0.5%\", at most \"100%\"".to_owned())
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, part) if part % 10 == 0 => write!(f, "{whole}.{}%", part / 10),
            (whole, part) => write!(f, "{whole}.{part:02}%"),
        }
    }
}

impl TryFrom<String> for Share {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Share> for String {
    fn from(share: Share) -> Self {
        share.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_a_share_as_it_was_written() {
        for text in ["1%", "10%", "100%", "0.5%", "0.01%", "33.33%"] {
            assert_eq!(text.parse::<Share>().expect("a share").to_string(), text);
        }
        for wrong in [
            "", "%", "0%", "100.01%", "101%", "10", "-1%", "1.234%", "+1%", "a%", "1e1%", ".5%",
        ] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn selects_the_stated_share_of_numbers() {
        let taken = |share: Share| (0..WHOLE).filter(|number| share.takes(*number)).count();
        assert_eq!((taken(Share::percent(30)), taken(Share::ALL)), (3_000, 10_000));
        assert_eq!(
            Share::percent(5).whole_of(Duration::from_millis(3)),
            Duration::from_millis(60)
        );
        assert!(Share::percent(10).is_reached(1, 10) && !Share::percent(10).is_reached(1, 11));
    }
}
