//! The Sender Rewriting Scheme (SRS): reverse-paths of forwarded mail that name this host, so that SPF (RFC 7208) passes
//! and reports about the mail come back here, and the way back to the original sender.

use std::path::Path;

use ring::hmac;

use host_config::SrsConfig;
use host_mail::{Mailbox, Timestamp};

/// Characters of base32 (RFC 4648 section 6).
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Characters of the hash in an address: 30 bits.
const HASH_LENGTH: usize = 6;
/// Days for which a rewritten address leads back.
const LIFETIME: u64 = 21;
/// Days after which the timestamp repeats: two characters of base32.
const CYCLE: u64 = 1024;
/// Maximum number of secrets.
const MAX_SECRETS: usize = 8;
/// Least length of a secret, in bytes.
const MIN_SECRET: usize = 16;

/// Rewrites reverse-paths, and reads them back.
pub struct SenderRewriting {
    domain: String,
    /// The first key makes hashes; a hash of any key is accepted.
    keys: Vec<hmac::Key>,
}

impl SenderRewriting {
    /// Reads the secrets.
    ///
    /// # Errors
    /// The file cannot be read, or has no secret of at least 16 bytes in each line.
    pub fn open(config: &SrsConfig) -> Result<Self, String> {
        let secrets = read_secrets(&config.secret_file)?;
        let keys = secrets
            .lines()
            .map(|line| hmac::Key::new(hmac::HMAC_SHA256, line.as_bytes()));
        Ok(Self {
            domain: config.domain.clone(),
            keys: keys.collect(),
        })
    }

    /// Returns the reverse-path for mail of `sender` that this host forwards. `None` if the result would have a local
    /// part that is longer than RFC 5321 section 4.5.3.1.1 allows: such mail keeps its sender.
    pub fn rewrite(&self, sender: &Mailbox, now: Timestamp) -> Option<Mailbox> {
        let (local, domain) = (sender.local_part(), sender.domain());
        let rewritten = match Rewritten::parse(local) {
            // A forwarder before this one has rewritten the sender: reports go to that forwarder directly.
            Some(Rewritten::First { tail }) => self.second(domain, &format!("={tail}"))?,
            Some(Rewritten::Second { forwarder, tail, .. }) => self.second(forwarder, tail)?,
            None => {
                let stamp = stamp(now);
                let hash = self.hash(&[&stamp, domain, local])?;
                format!("SRS0={hash}={stamp}={domain}={local}")
            }
        };
        format!("{rewritten}@{}", self.domain).parse().ok()
    }

    /// Returns the address that a rewritten address leads back to. `None` for any other address, and for one whose hash
    /// is wrong or whose time is over.
    pub fn reverse(&self, address: &Mailbox, now: Timestamp) -> Option<Mailbox> {
        if address.domain() != self.domain {
            return None;
        }
        match Rewritten::parse(address.local_part())? {
            Rewritten::First { tail } => {
                let mut parts = tail.splitn(4, '=');
                let (hash, time, domain, local) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
                let is_right = self.is_hash(hash, &[time, domain, local]) && is_recent(time, now);
                is_right.then(|| format!("{local}@{domain}").parse().ok()).flatten()
            }
            Rewritten::Second { hash, forwarder, tail } => {
                let is_right = self.is_hash(hash, &[forwarder, tail]);
                is_right
                    .then(|| format!("SRS0{tail}@{forwarder}").parse().ok())
                    .flatten()
            }
        }
    }

    /// Returns the local part for a sender that a forwarder has rewritten; `tail` begins with that forwarder's separator.
    fn second(&self, forwarder: &str, tail: &str) -> Option<String> {
        let hash = self.hash(&[forwarder, tail])?;
        Some(format!("SRS1={hash}={forwarder}={tail}"))
    }

    fn hash(&self, parts: &[&str]) -> Option<String> {
        self.keys.first().map(|key| hash(key, parts))
    }

    /// Compares a hash without regard to case, which hosts on the way may change.
    fn is_hash(&self, found: &str, parts: &[&str]) -> bool {
        // The hash is short and of public data: a comparison in constant time would hide nothing.
        self.keys.iter().any(|key| hash(key, parts).eq_ignore_ascii_case(found))
    }
}

/// Reads the file of secrets: a secret in each line, 16 to 1024 bytes.
///
/// # Errors
/// The problem, with the file's name; never the content.
fn read_secrets(file: &Path) -> Result<String, String> {
    let failed = |problem: &str| format!("{}: {problem}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| failed(&error.to_string()))?;
    let is_right = |line: &str| (MIN_SECRET..=1024).contains(&line.len()) && !line.contains(char::is_control);
    if !(1..=MAX_SECRETS).contains(&text.lines().count()) || !text.lines().all(is_right) {
        return Err(failed("expected 1 to 8 lines, each a secret of 16 to 1024 bytes"));
    }
    Ok(text)
}

/// A local part that a forwarder has rewritten, in parts.
enum Rewritten<'a> {
    /// `SRS0`, by the first forwarder.
    First { tail: &'a str },
    /// `SRS1`, by a later forwarder. `tail` begins with the first forwarder's separator.
    Second {
        hash: &'a str,
        forwarder: &'a str,
        tail: &'a str,
    },
}

impl<'a> Rewritten<'a> {
    fn parse(local: &'a str) -> Option<Self> {
        let (tag, rest) = local.split_at_checked(4)?;
        let rest = rest.strip_prefix(['=', '+', '-'])?;
        if tag.eq_ignore_ascii_case("SRS0") {
            return Some(Self::First { tail: rest });
        }
        if !tag.eq_ignore_ascii_case("SRS1") {
            return None;
        }
        let (hash, rest) = rest.split_once('=')?;
        let (forwarder, tail) = rest.split_once('=')?;
        tail.starts_with(['=', '+', '-'])
            .then_some(Self::Second { hash, forwarder, tail })
    }
}

/// Returns the first characters of the hash of the parts, in lower case, each with its length.
fn hash(key: &hmac::Key, parts: &[&str]) -> String {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        let part = part.to_lowercase();
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part.as_bytes());
    }
    let tag = context.sign();
    let octets = tag.as_ref().iter().take(HASH_LENGTH);
    octets
        .map(|octet| char::from(BASE32[usize::from(octet % 32)]))
        .collect()
}

/// Returns the day in two characters.
fn stamp(now: Timestamp) -> String {
    let day = day(now);
    [day / 32, day % 32]
        .iter()
        .filter_map(|digit| BASE32.get(usize::try_from(*digit).ok()?))
        .map(|octet| char::from(*octet))
        .collect()
}

fn day(now: Timestamp) -> u64 {
    now.seconds() / 86_400 % CYCLE
}

fn is_recent(stamp: &str, now: Timestamp) -> bool {
    let digit = |octet: u8| BASE32.iter().position(|other| *other == octet.to_ascii_uppercase());
    let &[high, low] = stamp.as_bytes() else { return false };
    let (Some(high), Some(low)) = (digit(high), digit(low)) else {
        return false;
    };
    let made = (high * 32 + low) as u64;
    (day(now) + CYCLE - made) % CYCLE <= LIFETIME
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;
    const NOW: Timestamp = Timestamp(20_000 * DAY);

    fn scheme(domain: &str, secrets: &[&str]) -> SenderRewriting {
        let key = |secret: &&str| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        SenderRewriting {
            domain: domain.to_owned(),
            keys: secrets.iter().map(key).collect(),
        }
    }

    fn mailbox(text: &str) -> Mailbox {
        text.parse().expect("a mailbox")
    }

    #[test]
    fn rewritten_address_leads_back_for_three_weeks() {
        let srs = scheme("here.example", &["first"]);
        for sender in ["anna@far.example", "a=b+c@far.example", "x@xn--bcher-kva.example"] {
            let rewritten = srs.rewrite(&mailbox(sender), NOW).expect("rewritten");
            assert!(rewritten.as_str().starts_with("SRS0="), "{rewritten}");
            assert_eq!(rewritten.domain(), "here.example");
            for (later, expected) in [(0, true), (LIFETIME, true), (LIFETIME + 1, false), (CYCLE - 1, false)] {
                let back = srs.reverse(&rewritten, Timestamp(NOW.0 + later * DAY));
                assert_eq!(back, expected.then(|| mailbox(sender)), "after {later} days");
            }
            let lower = mailbox(&rewritten.as_str().to_lowercase());
            assert_eq!(srs.reverse(&lower, NOW), Some(mailbox(sender)));
        }
    }

    #[test]
    fn forged_and_foreign_addresses_lead_nowhere() {
        let srs = scheme("here.example", &["first"]);
        let rewritten = srs.rewrite(&mailbox("anna@far.example"), NOW).expect("rewritten");
        for forged in [
            rewritten.as_str().replace("anna", "bert"),
            rewritten.as_str().replace("far.example", "fax.example"),
            rewritten.as_str().replace("@here.example", "@other.example"),
            "SRS0=AAAAAA=AA=far.example=anna@here.example".to_owned(),
            "SRS0=@here.example".to_owned(),
            "SRS0@here.example".to_owned(),
            "SRS1=AAAAAA=b.example==x@here.example".to_owned(),
            "anna@here.example".to_owned(),
        ] {
            assert_eq!(srs.reverse(&mailbox(&forged), NOW), None, "{forged}");
        }
        let other = scheme("here.example", &["second"]);
        assert_eq!(other.reverse(&rewritten, NOW), None);
        let both = scheme("here.example", &["second", "first"]);
        assert_eq!(both.reverse(&rewritten, NOW), Some(mailbox("anna@far.example")));
    }

    #[test]
    fn chain_of_forwarders_leads_back_to_the_first() {
        let (first, second, third) = (
            scheme("b.example", &["b"]),
            scheme("c.example", &["c"]),
            scheme("d.example", &["d"]),
        );
        let by_first = first.rewrite(&mailbox("anna@a.example"), NOW).expect("rewritten");
        let by_second = second.rewrite(&by_first, NOW).expect("rewritten");
        let by_third = third.rewrite(&by_second, NOW).expect("rewritten");
        assert!(by_second.as_str().starts_with("SRS1="), "{by_second}");
        assert!(by_third.as_str().contains("=b.example=="), "{by_third}");
        assert_eq!(second.reverse(&by_second, NOW), Some(by_first.clone()));
        assert_eq!(third.reverse(&by_third, NOW), Some(by_first.clone()));
        assert_eq!(first.reverse(&by_first, NOW), Some(mailbox("anna@a.example")));
    }

    #[test]
    fn address_that_would_be_too_long_is_kept() {
        let srs = scheme("here.example", &["first"]);
        let long = format!("{}@far.example", "x".repeat(60));
        assert_eq!(srs.rewrite(&mailbox(&long), NOW), None);
        let quoted = srs.rewrite(&mailbox("\"a b\"@far.example"), NOW);
        assert_eq!(quoted, None, "quoted local parts have no form");
    }
}
