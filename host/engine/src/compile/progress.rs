//! The progress of a compilation: processor time that the child has used, and time that it has waited.

use std::fs;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Positions of user and system time in `/proc/PID/stat`, counted after the name of the program (proc(5), fields 14, 15).
const TIMES: [usize; 2] = [11, 12];
/// Unit of the times: Linux counts in hundredths of a second for programs (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// A compilation in progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CompileProgress {
    /// SHA-256 of the component, hexadecimal.
    pub digest: String,
    /// Processor time of the compiler so far, in milliseconds.
    pub cpu_ms: u64,
    /// Time since the compiler was started, in milliseconds.
    pub elapsed_ms: u64,
    /// Processor time that the compiler may use, in seconds.
    pub limit_seconds: u64,
}

/// The compilation that runs now, if any.
#[derive(Debug, Default)]
pub(super) struct CurrentCompilation(Mutex<Option<Started>>);

#[derive(Debug)]
struct Started {
    digest: String,
    process: u32,
    at: Instant,
    limit_seconds: u64,
}

impl CurrentCompilation {
    /// Shows a compilation until the guard is dropped.
    pub(super) fn begin(&self, digest: &str, process: u32, limit_seconds: u64) -> CompilationGuard<'_> {
        *self.0.lock() = Some(Started {
            digest: digest.to_owned(),
            process,
            at: Instant::now(),
            limit_seconds,
        });
        CompilationGuard(self)
    }

    /// Returns the progress; `None` if nothing is compiled in a child.
    pub(super) fn progress(&self) -> Option<CompileProgress> {
        let current = self.0.lock();
        let started = current.as_ref()?;
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Some(CompileProgress {
            digest: started.digest.clone(),
            cpu_ms: millis(cpu_time(started.process)),
            elapsed_ms: millis(started.at.elapsed()),
            limit_seconds: started.limit_seconds,
        })
    }
}

/// Shows a compilation as long as the value lives.
pub(super) struct CompilationGuard<'a>(&'a CurrentCompilation);

impl Drop for CompilationGuard<'_> {
    fn drop(&mut self) {
        *self.0.0.lock() = None;
    }
}

/// Returns the processor time of a process; zero if the process cannot be looked at.
pub(super) fn cpu_time(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    cpu_time_of(&stat)
}

fn cpu_time_of(stat: &str) -> Duration {
    // The name may contain spaces and parentheses.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let ticks = TIMES.iter().filter_map(|index| fields.get(*index)?.parse::<u64>().ok());
    TICK.saturating_mul(ticks.sum::<u64>().try_into().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_processor_time_of_a_process() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 1 0 5 0 0";
        assert_eq!(cpu_time_of(stat), Duration::from_secs(2));
        assert_eq!(cpu_time_of(""), Duration::ZERO);
        assert_eq!(cpu_time(u32::MAX), Duration::ZERO);
    }
}
