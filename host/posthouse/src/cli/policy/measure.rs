//! Duration, fuel and memory of a policy's questions, by stage.

use std::time::Duration;

use serde::Serialize;

use host_policy::{HarnessSession, LiveQuestion};

/// Warm calls to an instance before a fresh instance replaces it, since instances of some languages grow.
const CALLS_PER_INSTANCE: u32 = 50;

/// Stages in the order of a session.
const STAGES: [&str; 5] = ["admit", "sender", "recipient", "message", "ndr"];

/// Durations of a stage, and the maximum of every other measure.
#[derive(Default)]
struct StageTimes {
    questions: usize,
    fresh: Vec<Duration>,
    warm: Vec<Duration>,
    fuel: u64,
    fuel_to_begin: u64,
    memory: usize,
}

/// Costs of a stage; durations in microseconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Measured {
    pub stage: &'static str,
    /// Number of different questions.
    pub questions: usize,
    /// Median of instantiation, configure and question.
    pub fresh_p50: f64,
    /// 99th percentile of instantiation, configure and question.
    pub fresh_p99: f64,
    /// Median of the question to an instance that has answered before.
    pub warm_p50: f64,
    /// 99th percentile of the question to an instance that has answered before.
    pub warm_p99: f64,
    /// Fuel of the most expensive question.
    pub fuel: u64,
    /// Fuel of instantiation and configure; maximum.
    pub fuel_to_begin: u64,
    /// Linear memory in bytes after a question; maximum.
    pub memory: usize,
}

/// Measures questions and collects the costs by stage.
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

    fn stage(&mut self, question: &LiveQuestion) -> &mut StageTimes {
        let index = STAGES.iter().position(|stage| *stage == question.stage());
        &mut self.stages[index.unwrap_or_default()]
    }

    /// Asks once, on an engine that counts fuel.
    pub async fn count(&mut self, question: &LiveQuestion, session: &mut HarnessSession<'_>) {
        let measurement = session.ask(question).await;
        let stage = self.stage(question);
        stage.questions += 1;
        stage.fuel = stage.fuel.max(measurement.cost.fuel.unwrap_or_default());
        stage.memory = stage.memory.max(measurement.cost.memory);
        let begin = measurement.fresh.and_then(|fresh| fresh.fuel).unwrap_or_default();
        stage.fuel_to_begin = stage.fuel_to_begin.max(begin);
    }

    /// Asks once per round with a fresh instance, and once per round with a warm instance.
    ///
    /// # Errors
    /// The policy faulted.
    pub async fn time(&mut self, question: &LiveQuestion, session: &mut HarnessSession<'_>) -> Result<(), String> {
        let rounds = self.rounds;
        let stage = self.stage(question);
        for _ in 0..rounds {
            session.release();
            let measurement = session.ask(question).await;
            if let Some(fault) = measurement.fault {
                return Err(format!("fault {}: {}", fault.class, fault.code));
            }
            let begin = measurement.fresh.map_or(Duration::ZERO, |fresh| fresh.duration);
            stage.fresh.push(begin + measurement.cost.duration);
        }
        for round in 0..rounds {
            if round % CALLS_PER_INSTANCE == 0 {
                session.release();
                session.ask(question).await;
            }
            let measurement = session.ask(question).await;
            if let Some(fault) = measurement.fault {
                return Err(format!("fault {} when asked again: {}", fault.class, fault.code));
            }
            stage.warm.push(measurement.cost.duration);
        }
        Ok(())
    }

    /// Costs of the stages with at least one question.
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

/// Percentile of sorted durations by the nearest-rank method, in microseconds; 0 without durations.
fn percentile(sorted: &[Duration], of_hundred: usize) -> f64 {
    let index = (sorted.len() * of_hundred).div_ceil(100).saturating_sub(1);
    sorted.get(index).map_or(0.0, |duration| duration.as_secs_f64() * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_values() {
        let sorted: Vec<Duration> = (1..=100).map(Duration::from_micros).collect();
        assert!((percentile(&sorted, 50) - 50.0).abs() < 1e-9);
        assert!((percentile(&sorted, 99) - 99.0).abs() < 1e-9);
        assert!((percentile(&sorted[..1], 99) - 1.0).abs() < 1e-9);
        assert!(percentile(&[], 50).abs() < 1e-9);
    }
}
