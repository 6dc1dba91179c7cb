//! A lock-free latency histogram with logarithmic buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets for each power of two (a power of two as well): quantiles are at most an eighth too large.
const BUCKETS_PER_OCTAVE: u64 = 8;
const BUCKETS_PER_OCTAVE_LOG: u32 = BUCKETS_PER_OCTAVE.ilog2();
/// Number of buckets, up to 2^28 µs (four and a half minutes). The last bucket takes all longer durations.
const BUCKETS: usize = ((28 - BUCKETS_PER_OCTAVE_LOG as usize) + 1) * BUCKETS_PER_OCTAVE as usize;

/// A histogram of durations in microseconds.
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
    /// Counts a duration.
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(bucket_index(micros)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.longest.fetch_max(micros, Ordering::Relaxed);
    }

    /// Longest duration, in microseconds.
    pub fn longest(&self) -> u64 {
        self.longest.load(Ordering::Relaxed)
    }

    /// Quantile in microseconds: the bound that `thousandths` of all durations do not exceed. `None` without durations.
    pub fn within(&self, thousandths: u64) -> Option<u64> {
        let counts: Vec<u64> = self.buckets.iter().map(|b| b.load(Ordering::Relaxed)).collect();
        let all: u64 = counts.iter().sum();
        let rank = (all * thousandths).div_ceil(1000).max(1);
        let mut seen = 0;
        let reached = counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        reached.map(|bucket| upper_bound(bucket).min(self.longest()))
    }
}

fn bucket_index(micros: u64) -> usize {
    let index = if micros < BUCKETS_PER_OCTAVE {
        micros
    } else {
        let shift = micros.ilog2() - BUCKETS_PER_OCTAVE_LOG;
        u64::from(shift) * BUCKETS_PER_OCTAVE + (micros >> shift)
    };
    usize::try_from(index).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// Largest number of microseconds in a bucket.
fn upper_bound(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    match bucket / BUCKETS_PER_OCTAVE {
        0 => bucket,
        octave => ((BUCKETS_PER_OCTAVE + bucket % BUCKETS_PER_OCTAVE + 1) << (octave - 1)) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_contiguous() {
        for index in 0..BUCKETS - 1 {
            assert_eq!(bucket_index(upper_bound(index)), index);
            assert_eq!(bucket_index(upper_bound(index) + 1), index + 1);
        }
        assert_eq!(bucket_index(u64::MAX), BUCKETS - 1);
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
