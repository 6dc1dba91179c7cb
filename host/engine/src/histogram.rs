//! How long questions take: a histogram that many tasks write at the same time without waiting for
//! each other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Each power of two is divided into so many buckets (a power of two itself): what is read is at
/// most an eighth too large.
const PARTS: u64 = 8;
const PARTS_LOG: u32 = PARTS.ilog2();
/// Up to 2^28 µs, four and a half minutes. What takes longer is counted as that.
const BUCKETS: usize = ((28 - PARTS_LOG as usize) + 1) * PARTS as usize;

/// Durations in microseconds.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    longest: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            longest: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(bucket(micros)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.longest.fetch_max(micros, Ordering::Relaxed);
    }

    /// The longest, in microseconds.
    pub fn longest(&self) -> u64 {
        self.longest.load(Ordering::Relaxed)
    }

    /// Microseconds within which so many thousandths of all stayed; none when nothing was recorded.
    pub fn within(&self, thousandths: u64) -> Option<u64> {
        let counts: Vec<u64> = self.buckets.iter().map(|b| b.load(Ordering::Relaxed)).collect();
        let all: u64 = counts.iter().sum();
        let wanted = (all * thousandths).div_ceil(1000).max(1);
        let mut seen = 0;
        let reached = counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        reached.map(|bucket| last_of(bucket).min(self.longest()))
    }
}

fn bucket(micros: u64) -> usize {
    let index = if micros < PARTS {
        micros
    } else {
        let shift = micros.ilog2() - PARTS_LOG;
        u64::from(shift) * PARTS + (micros >> shift)
    };
    usize::try_from(index).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The largest number of microseconds that a bucket takes.
fn last_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    match bucket / PARTS {
        0 => bucket,
        octave => ((PARTS + bucket % PARTS + 1) << (octave - 1)) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bucket_ends_where_the_next_begins() {
        for index in 0..BUCKETS - 1 {
            assert_eq!(bucket(last_of(index)), index);
            assert_eq!(bucket(last_of(index) + 1), index + 1);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_at_most_an_eighth_too_large() {
        let histogram = Histogram::default();
        assert_eq!(histogram.within(500), None);
        for micros in 1..=10_000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (thousandths, exact) in [(500, 5_000), (990, 9_900), (1000, 10_000)] {
            let found = histogram.within(thousandths).expect("recorded");
            assert!((exact..=exact + exact / 8).contains(&found), "{thousandths}: {found}");
        }
        histogram.record(Duration::from_secs(3600));
        assert_eq!(histogram.longest(), 3_600_000_000);
    }
}
