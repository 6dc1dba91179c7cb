//! Time limits and holds that a client gives with MAIL (RFC 2852, RFC 4865).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// The BY parameter of MAIL (RFC 2852 section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DeliverBy {
    /// Time for the delivery in seconds from the acceptance of the message; negative if it is over already.
    pub seconds: i64,
    /// Action at the end of that time.
    pub mode: DeliverByMode,
    /// True if each relay is to report that the message was passed on.
    #[serde(default)]
    pub trace: bool,
}

/// Action of a host when the time for a delivery is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeliverByMode {
    /// The sender is told of the delay, and the delivery goes on.
    #[serde(rename = "N")]
    Notify,
    /// The message is returned.
    #[serde(rename = "R")]
    Return,
}

impl DeliverBy {
    /// Parses the value of BY: up to 9 digits with an optional sign, `;`, `N` or `R`, and an optional `T`.
    pub fn parse(value: &str) -> Option<Self> {
        let (time, mode) = value.split_once(';')?;
        let digits = time.strip_prefix(['+', '-']).unwrap_or(time);
        if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let seconds = time.parse().ok()?;
        let (mode, trace) = match mode.to_ascii_uppercase().as_str() {
            "N" => (DeliverByMode::Notify, false),
            "NT" => (DeliverByMode::Notify, true),
            "R" => (DeliverByMode::Return, false),
            "RT" => (DeliverByMode::Return, true),
            _ => return None,
        };
        // RFC 2852 section 4: a message that is to be returned needs time for its delivery.
        (mode == DeliverByMode::Notify || seconds > 0).then_some(Self { seconds, mode, trace })
    }

    /// End of the time for a message that was accepted at `accepted`.
    pub fn deadline(self, accepted: Timestamp) -> Timestamp {
        let time = Duration::from_secs(self.seconds.unsigned_abs());
        match self.seconds < 0 {
            true => Timestamp(accepted.0.saturating_sub(time.as_millis() as u64)),
            false => accepted.after(time),
        }
    }

    /// Value of BY for the next hop, with the seconds from `now` to the end of the time.
    pub fn parameter(self, accepted: Timestamp, now: Timestamp) -> String {
        let deadline = self.deadline(accepted);
        let seconds = match deadline >= now {
            true => now.until(deadline).as_secs() as i64,
            false => -(deadline.until(now).as_secs() as i64),
        };
        let mode = match self.mode {
            DeliverByMode::Notify => "N",
            DeliverByMode::Return => "R",
        };
        let seconds = seconds.clamp(-999_999_999, 999_999_999);
        format!("{seconds};{mode}{}", if self.trace { "T" } else { "" })
    }
}

/// HOLDFOR or HOLDUNTIL of MAIL (RFC 4865 section 4): the message is not delivered before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryHold {
    /// Seconds from the acceptance of the message.
    For(u64),
    /// Time.
    Until(Timestamp),
}

impl DeliveryHold {
    /// Parses the value of HOLDFOR: 1 to 9 digits.
    pub fn parse_for(value: &str) -> Option<Self> {
        let digits = (1..=9).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| value.parse().ok().map(Self::For)).flatten()
    }

    /// Parses the value of HOLDUNTIL: a time of RFC 3339.
    pub fn parse_until(value: &str) -> Option<Self> {
        value.parse().ok().map(Self::Until)
    }

    /// Time of the release of a message that was accepted at `accepted`.
    pub fn release(self, accepted: Timestamp) -> Timestamp {
        match self {
            Self::For(seconds) => accepted.after(Duration::from_secs(seconds)),
            Self::Until(time) => time.max(accepted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_deliver_by_and_counts_down() {
        let by = DeliverBy::parse("120;rt").expect("valid");
        assert_eq!((by.seconds, by.mode, by.trace), (120, DeliverByMode::Return, true));
        assert_eq!(by.parameter(Timestamp(1000), Timestamp(31_000)), "90;RT");
        let late = DeliverBy::parse("-5;N").expect("valid");
        assert_eq!(late.parameter(Timestamp(60_000), Timestamp(61_000)), "-6;N");
        for bad in [
            "",
            "5",
            "5;",
            "5;X",
            ";R",
            "0;R",
            "-1;R",
            "1234567890;N",
            "+-1;N",
            "5;RR",
            "5;R;T",
        ] {
            assert_eq!(DeliverBy::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn reads_holds() {
        assert_eq!(
            DeliveryHold::parse_for("60").map(|hold| hold.release(Timestamp(1))),
            Some(Timestamp(60_001))
        );
        let until = DeliveryHold::parse_until("1970-01-01T00:01:00Z").expect("valid");
        assert_eq!(until.release(Timestamp(1)), Timestamp(60_000));
        assert_eq!(until.release(Timestamp(70_000)), Timestamp(70_000));
        for bad in ["", "-1", "+1", "1234567890", "1s"] {
            assert_eq!(DeliveryHold::parse_for(bad), None, "{bad:?}");
        }
        assert_eq!(DeliveryHold::parse_until("tomorrow"), None);
    }
}
