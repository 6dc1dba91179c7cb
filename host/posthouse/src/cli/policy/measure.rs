//! How long a policy takes, and how much it executes.

use std::time::Duration;

use serde::Serialize;

use host_policy::{HarnessSession, Inquiry};

/// Warm calls of one instance before a fresh one takes over: some languages' instances grow.
const CALLS: u32 = 50;

/// In the order a connection meets them.
const STAGES: [&str; 5] = ["admit", "sender", "recipient", "message", "ndr"];

/// Durations of one stage, and the most of everything else.
#[derive(Default)]
struct StageTimes {
    questions: usize,
    fresh: Vec<Duration>,
    warm: Vec<Duration>,
    fuel: u64,
    fuel_to_begin: u64,
    memory: usize,
}

/// The costs of one stage. Durations in microseconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Measured {
    pub stage: &'static str,
    /// Different ones.
    pub questions: usize,
    /// Instance, configure and question.
    pub fresh_p50: f64,
    pub fresh_p99: f64,
    /// The question to an instance that was asked before.
    pub warm_p50: f64,
    pub warm_p99: f64,
    /// Of the dearest question.
    pub fuel: u64,
    /// Of the instance and its configure.
    pub fuel_to_begin: u64,
    /// Bytes of linear memory after the dearest question.
    pub memory: usize,
}

/// Collects.
pub struct Timer {
    rounds: u32,
    stages: [StageTimes; STAGES.len()],
}

impl Timer {
    pub fn new(rounds: u32) -> Self {
        Self {
            rounds,
            stages: Default::default(),
        }
    }

    fn stage(&mut self, inquiry: &Inquiry) -> &mut StageTimes {
        let place = STAGES.iter().position(|stage| *stage == inquiry.stage());
        &mut self.stages[place.unwrap_or_default()]
    }

    /// Asks once, on an engine that counts.
    pub async fn count(&mut self, inquiry: &Inquiry, sitting: &mut HarnessSession<'_>) {
        let reading = sitting.ask(inquiry).await;
        let stage = self.stage(inquiry);
        stage.questions += 1;
        stage.fuel = stage.fuel.max(reading.cost.fuel.unwrap_or_default());
        stage.memory = stage.memory.max(reading.cost.memory);
        let begin = reading.fresh.and_then(|fresh| fresh.fuel).unwrap_or_default();
        stage.fuel_to_begin = stage.fuel_to_begin.max(begin);
    }

    /// Asks as often as there are rounds, fresh and warm.
    ///
    /// # Errors
    /// The policy faulted.
    pub async fn time(&mut self, inquiry: &Inquiry, sitting: &mut HarnessSession<'_>) -> Result<(), String> {
        let rounds = self.rounds;
        let stage = self.stage(inquiry);
        for _ in 0..rounds {
            sitting.rest();
            let reading = sitting.ask(inquiry).await;
            if let Some(fault) = reading.fault {
                return Err(format!("fault {}: {}", fault.class, fault.code));
            }
            let begin = reading.fresh.map_or(Duration::ZERO, |fresh| fresh.duration);
            stage.fresh.push(begin + reading.cost.duration);
        }
        for round in 0..rounds {
            if round % CALLS == 0 {
                sitting.rest();
                sitting.ask(inquiry).await;
            }
            let reading = sitting.ask(inquiry).await;
            if let Some(fault) = reading.fault {
                return Err(format!("fault {} when asked again: {}", fault.class, fault.code));
            }
            stage.warm.push(reading.cost.duration);
        }
        Ok(())
    }

    /// The stages at which anything was asked.
    pub fn measured(mut self) -> Vec<Measured> {
        let stages = STAGES.into_iter().zip(&mut self.stages);
        let measured = stages.filter(|(_, of)| of.questions > 0).map(|(stage, of)| {
            of.fresh.sort_unstable();
            of.warm.sort_unstable();
            Measured {
                stage,
                questions: of.questions,
                fresh_p50: percentile(&of.fresh, 50),
                fresh_p99: percentile(&of.fresh, 99),
                warm_p50: percentile(&of.warm, 50),
                warm_p99: percentile(&of.warm, 99),
                fuel: of.fuel,
                fuel_to_begin: of.fuel_to_begin,
                memory: of.memory,
            }
        });
        measured.collect()
    }
}

/// Of sorted durations, in microseconds: the smallest that is not exceeded by so many of a hundred.
fn percentile(sorted: &[Duration], of_hundred: usize) -> f64 {
    let place = (sorted.len() * of_hundred).div_ceil(100).saturating_sub(1);
    sorted.get(place).map_or(0.0, |duration| duration.as_secs_f64() * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let sorted: Vec<Duration> = (1..=100).map(Duration::from_micros).collect();
        assert!((percentile(&sorted, 50) - 50.0).abs() < 1e-9);
        assert!((percentile(&sorted, 99) - 99.0).abs() < 1e-9);
        assert!((percentile(&sorted[..1], 99) - 1.0).abs() < 1e-9);
        assert!(percentile(&[], 50).abs() < 1e-9);
    }
}
