//! A watch over the expiry of certificates: an event 30 days, 7 days and 1 day before the end of each, and one at the
//! end, once each, also over restarts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use host_config::{TlsFiles, certificate_expiry};
use host_events::{Condition, Event, Events};
use host_files::{make_private_folder, replace_whole};
use host_mail::Timestamp;

/// Interval between two reviews.
pub(super) const REVIEW_INTERVAL: Duration = Duration::from_secs(3600);
/// Numbers of days before the end at which an event is emitted; 0 is the end itself.
const STEPS: [u64; 4] = [0, 1, 7, 30];
/// Number of days from which on the health is degraded.
const DEGRADED: u64 = 7;
const DAY: u64 = 24 * 3600 * 1000;

/// Events that were emitted, by certificate file.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Told(BTreeMap<PathBuf, ToldStep>);

/// Last event about a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct ToldStep {
    /// End of the certificate, in milliseconds of Unix time: a renewed certificate is another one.
    until: u64,
    /// Number of days of [`STEPS`].
    step: u64,
}

/// A watch over the expiry of certificates.
pub(super) struct CertificateWatch {
    file: PathBuf,
    events: Events,
    told: Mutex<Told>,
}

impl CertificateWatch {
    /// Creates the watch; `data` is the host's data folder.
    pub(super) fn new(data: &Path, events: Events) -> Self {
        let file = data.join("tls/expiry.json");
        // A file that cannot be read repeats an event.
        let told = fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Self {
            file,
            events,
            told: Mutex::new(told.unwrap_or_default()),
        }
    }

    /// Emits the events that are due at `now`, and sets or clears the reason `certificate` of the host's health.
    pub(super) fn review(&self, certificates: &[(String, TlsFiles)], now: Timestamp) {
        let mut told = self.told.lock();
        let mut next = Told::default();
        let mut worst: Option<(Timestamp, &Path)> = None;
        for (_, files) in certificates {
            let file = &files.certificate;
            let Some(until) = certificate_expiry(file) else {
                continue;
            };
            if worst.is_none_or(|(earliest, _)| until.0 < earliest.0) {
                worst = Some((until, file));
            }
            let known = told.0.get(file).copied().filter(|known| known.until == until.0);
            match due(until, now) {
                Some(step) => {
                    if known.is_none_or(|known| step < known.step) {
                        self.emit(file, until, now);
                    }
                    next.0.insert(file.clone(), ToldStep { until: until.0, step });
                }
                None => continue,
            }
        }
        self.set_health(worst, now);
        if *told != next {
            *told = next;
            self.store(&told);
        }
    }

    fn emit(&self, file: &Path, until: Timestamp, now: Timestamp) {
        let file = file.display().to_string();
        let shown = until.to_string();
        self.events.emit(match days_left(until, now) {
            Some(days) => Event::CertificateExpires {
                file,
                until: shown,
                days,
            },
            None => Event::CertificateExpired { file, until: shown },
        });
    }

    fn set_health(&self, worst: Option<(Timestamp, &Path)>, now: Timestamp) {
        let health = self.events.health();
        match worst {
            Some((until, file)) if until.0 <= now.0.saturating_add(DEGRADED * DAY) => {
                let verb = if until.0 <= now.0 { "expired" } else { "expires" };
                let text = format!("{} {verb} on {until}: renew it, then posthouse reload", file.display());
                health.raise("certificate", Condition::Degraded, text);
            }
            _ => health.clear("certificate"),
        }
    }

    fn store(&self, told: &Told) {
        let folder = self.file.parent().unwrap_or(Path::new("/"));
        let text = serde_json::to_vec(told).unwrap_or_default();
        // Without the file an event is repeated after a restart.
        let _ = make_private_folder(folder).and_then(|()| replace_whole(&self.file, &text));
    }
}

/// Returns the number of whole days until the end; `None` after the end.
fn days_left(until: Timestamp, now: Timestamp) -> Option<u64> {
    (until.0 > now.0).then(|| (until.0 - now.0) / DAY)
}

/// Returns the smallest step of [`STEPS`] that has been reached.
fn due(until: Timestamp, now: Timestamp) -> Option<u64> {
    STEPS
        .into_iter()
        .find(|days| until.0 <= now.0.saturating_add(days * DAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_reached_one_after_the_other() {
        let until = Timestamp(100 * DAY);
        for (now, step) in [
            (0, None),
            (69 * DAY, None),
            (70 * DAY, Some(30)),
            (92 * DAY, Some(30)),
            (93 * DAY, Some(7)),
            (99 * DAY, Some(1)),
            (100 * DAY - 1, Some(1)),
            (100 * DAY, Some(0)),
            (200 * DAY, Some(0)),
        ] {
            assert_eq!(due(until, Timestamp(now)), step, "day {}", now / DAY);
        }
    }

    #[test]
    fn each_step_has_one_event_also_over_restarts_and_a_renewed_certificate_begins_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let (events, captured) = Events::capture();
        let made = host_config::make_self_signed(&folder.path().join("own"), "mx.example.org").expect("made");
        let until = certificate_expiry(&made.files.certificate).expect("a certificate");
        let certificates = [("tls".to_owned(), made.files)];
        let at = |watch: &CertificateWatch, days: u64| watch.review(&certificates, Timestamp(until.0 - days * DAY));
        let watch = CertificateWatch::new(folder.path(), events.clone());
        at(&watch, 40);
        assert!(captured.ids().is_empty());
        for days in [30, 29, 8, 7, 2] {
            at(&watch, days);
        }
        assert_eq!(captured.ids(), [5173, 5173]);
        let watch = CertificateWatch::new(folder.path(), events);
        for days in [2, 1, 0, 0] {
            at(&watch, days);
        }
        assert_eq!(captured.ids(), [5173, 5173, 5173, 5174]);
    }
}
