//! Exhaustive exploration of interleavings, for model tests of code built on futures. A dependency of tests only.
//!
//! A scenario consists of actors: futures that the explorer polls by hand, on a runtime of its own with paused time.
//! Each step of a run polls a woken actor, cancels an actor, or advances the time by a tick, which also runs spawned
//! tasks. The explorer runs the scenario once for each possible sequence of steps (stateless model checking). An
//! interleaving changes only where a future waits: races within a poll are for `loom`.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// Ticks after the last actor has ended, before the final check: spawned tasks end meanwhile.
const FINAL_TICKS: usize = 3;
/// Turns of the runtime in a tick, enough for tasks that wake each other.
const TURNS_PER_TICK: usize = 4;

/// Bounds of an exploration.
#[derive(Debug, Clone)]
pub struct Exploration {
    /// Time that passes in a tick.
    pub tick: Duration,
    /// Ticks of a run that may precede the step of a woken actor. Further ticks pass only while no actor is woken.
    pub early_ticks: usize,
    /// Actors that may be cancelled in a run, of those that [`Scenario::spawn_cancellable`] added.
    pub cancellations: usize,
    /// Steps within which every actor must end.
    pub max_steps: usize,
}

/// Actors and checks of a run.
#[derive(Default)]
pub struct Scenario {
    choices: Choices,
    actors: Vec<Actor>,
    after_step: Option<Box<dyn FnMut()>>,
    at_end: Option<Box<dyn FnOnce()>>,
}

/// Decisions of a run. A clone shares the decisions.
#[derive(Clone, Default)]
pub struct Choices(Rc<RefCell<Path>>);

/// A path through the tree of decisions.
#[derive(Default)]
struct Path {
    decisions: Vec<ModelDecision>,
    /// Number of decisions that the current run has made.
    depth: usize,
    /// Steps of the current run, for the report of a failure.
    steps: Vec<String>,
}

struct ModelDecision {
    chosen: usize,
    alternatives: usize,
}

struct Actor {
    /// `None` once the actor has ended or was cancelled.
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    woken: Arc<WakeFlag>,
    is_cancellable: bool,
    is_started: bool,
}

struct WakeFlag(AtomicBool);

#[derive(Debug, Clone, Copy)]
enum ModelStep {
    Poll(usize),
    Cancel(usize),
    Tick,
}

impl Exploration {
    /// Runs the scenario that `setup` creates once for each interleaving, and returns the number of runs.
    ///
    /// # Panics
    /// Panics if an actor or a check panics, or if an actor has not ended after `max_steps`. The steps of the failed
    /// run are printed.
    pub fn explore(&self, setup: impl Fn(&mut Scenario)) -> usize {
        let choices = Choices::default();
        let mut runs = 0;
        loop {
            runs += 1;
            let report = ReportOnPanic(&choices);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .expect("a runtime");
            runtime.block_on(tokio::task::unconstrained(async {
                let mut scenario = Scenario {
                    choices: choices.clone(),
                    ..Scenario::default()
                };
                setup(&mut scenario);
                self.run(&mut scenario).await;
            }));
            drop(report);
            if !choices.advance() {
                return runs;
            }
        }
    }

    async fn run(&self, scenario: &mut Scenario) {
        let (mut early_ticks, mut cancellations) = (self.early_ticks, self.cancellations);
        for _ in 0..self.max_steps {
            if scenario.actors.iter().all(Actor::is_done) {
                for _ in 0..FINAL_TICKS {
                    self.pass_tick().await;
                }
                if let Some(check) = scenario.at_end.take() {
                    check();
                }
                return;
            }
            let mut steps = scenario.steps(cancellations > 0);
            let is_any_woken = steps.iter().any(|step| matches!(step, ModelStep::Poll(_)));
            if !is_any_woken || early_ticks > 0 {
                steps.push(ModelStep::Tick);
            }
            let step = steps[scenario.choices.choose(steps.len())];
            scenario.choices.0.borrow_mut().steps.push(format!("{step:?}"));
            match step {
                ModelStep::Poll(actor) => scenario.actors[actor].poll(),
                ModelStep::Cancel(actor) => {
                    cancellations -= 1;
                    scenario.actors[actor].future = None;
                }
                ModelStep::Tick => {
                    early_ticks -= usize::from(is_any_woken);
                    self.pass_tick().await;
                }
            }
            if let Some(check) = &mut scenario.after_step {
                check();
            }
        }
        panic!("an actor has not ended after {} steps", self.max_steps);
    }

    async fn pass_tick(&self) {
        tokio::time::advance(self.tick).await;
        for _ in 0..TURNS_PER_TICK {
            tokio::task::yield_now().await;
        }
    }
}

impl Scenario {
    /// Returns the decisions of the run, for actors that decide between outcomes.
    pub fn choices(&self) -> Choices {
        self.choices.clone()
    }

    /// Adds an actor.
    pub fn spawn(&mut self, future: impl Future<Output = ()> + 'static) {
        self.actors.push(Actor {
            future: Some(Box::pin(future)),
            woken: Arc::new(WakeFlag(AtomicBool::new(true))),
            is_cancellable: false,
            is_started: false,
        });
    }

    /// Adds an actor that may be cancelled wherever the future waits.
    pub fn spawn_cancellable(&mut self, future: impl Future<Output = ()> + 'static) {
        self.spawn(future);
        if let Some(actor) = self.actors.last_mut() {
            actor.is_cancellable = true;
        }
    }

    /// Sets the check that runs after each step.
    pub fn after_step(&mut self, check: impl FnMut() + 'static) {
        self.after_step = Some(Box::new(check));
    }

    /// Sets the check that runs once all actors have ended.
    pub fn at_end(&mut self, check: impl FnOnce() + 'static) {
        self.at_end = Some(Box::new(check));
    }

    /// Returns the possible steps, without the tick.
    fn steps(&self, may_cancel: bool) -> Vec<ModelStep> {
        let actors = || self.actors.iter().enumerate().filter(|(_, actor)| !actor.is_done());
        let woken = actors().filter(|(_, actor)| actor.woken.0.load(Ordering::Acquire));
        let cancellable = actors().filter(|(_, actor)| may_cancel && actor.is_cancellable && actor.is_started);
        woken
            .map(|(index, _)| ModelStep::Poll(index))
            .chain(cancellable.map(|(index, _)| ModelStep::Cancel(index)))
            .collect()
    }
}

impl Choices {
    /// Returns a number below `alternatives`, which must be at least 1. Each number is returned in some run.
    pub fn choose(&self, alternatives: usize) -> usize {
        let mut path = self.0.borrow_mut();
        let depth = path.depth;
        path.depth += 1;
        if let Some(decision) = path.decisions.get(depth) {
            assert_eq!(
                decision.alternatives, alternatives,
                "a scenario must be deterministic apart from its choices"
            );
            return decision.chosen;
        }
        path.decisions.push(ModelDecision {
            chosen: 0,
            alternatives,
        });
        0
    }

    /// Moves on to the next path, in depth-first order. Returns false after the last path.
    fn advance(&self) -> bool {
        let mut path = self.0.borrow_mut();
        path.depth = 0;
        path.steps.clear();
        while let Some(last) = path.decisions.last_mut() {
            last.chosen += 1;
            if last.chosen < last.alternatives {
                return true;
            }
            path.decisions.pop();
        }
        false
    }
}

impl Actor {
    fn is_done(&self) -> bool {
        self.future.is_none()
    }

    fn poll(&mut self) {
        self.is_started = true;
        self.woken.0.store(false, Ordering::Release);
        let waker = Waker::from(Arc::clone(&self.woken));
        let mut context = Context::from_waker(&waker);
        let polled = self.future.as_mut().map(|future| future.as_mut().poll(&mut context));
        if polled.is_some_and(|polled| polled.is_ready()) {
            self.future = None;
        }
    }
}

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// Prints the steps of the current run if dropped by a panic.
struct ReportOnPanic<'a>(&'a Choices);

impl Drop for ReportOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(path) = self.0.0.try_borrow()
        {
            let chosen: Vec<_> = path.decisions.iter().map(|decision| decision.chosen).collect();
            eprintln!("failed run: {} (choices {chosen:?})", path.steps.join(", "));
        }
    }
}

/// Lets any other actor take steps before the caller continues.
pub async fn pause() {
    let mut is_first = true;
    std::future::poll_fn(|context| {
        if std::mem::take(&mut is_first) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const BOUNDS: Exploration = Exploration {
        tick: Duration::from_secs(1),
        early_ticks: 0,
        cancellations: 0,
        max_steps: 20,
    };

    #[test]
    fn explores_every_order_of_steps_once() {
        let orders = Rc::new(RefCell::new(Vec::new()));
        let runs = BOUNDS.explore(|scenario| {
            let order = Rc::new(RefCell::new(String::new()));
            for name in ['a', 'b'] {
                let order = order.clone();
                scenario.spawn(async move {
                    order.borrow_mut().push(name);
                    pause().await;
                    order.borrow_mut().push(name);
                });
            }
            let orders = orders.clone();
            scenario.at_end(move || orders.borrow_mut().push(order.take()));
        });
        let distinct: BTreeSet<String> = orders.take().into_iter().collect();
        let expected = ["aabb", "abab", "abba", "baab", "baba", "bbaa"].map(str::to_owned);
        assert_eq!((runs, distinct), (6, expected.into()));
    }

    #[test]
    fn passes_time_only_while_all_actors_wait_unless_early_ticks_are_allowed() {
        for (early_ticks, expected) in [(0, vec![2]), (1, vec![2, 3])] {
            let bounds = Exploration { early_ticks, ..BOUNDS };
            let elapsed = Rc::new(RefCell::new(BTreeSet::new()));
            bounds.explore(|scenario| {
                let elapsed = elapsed.clone();
                scenario.spawn(async move {
                    let began = tokio::time::Instant::now();
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    elapsed.borrow_mut().insert(began.elapsed().as_secs());
                });
            });
            assert_eq!(elapsed.take().into_iter().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn cancels_an_actor_wherever_its_future_waits() {
        let bounds = Exploration {
            cancellations: 1,
            ..BOUNDS
        };
        let reached = Rc::new(RefCell::new(Vec::new()));
        bounds.explore(|scenario| {
            let progress = Rc::new(RefCell::new(0));
            let written = progress.clone();
            scenario.spawn_cancellable(async move {
                for _ in 0..2 {
                    pause().await;
                    *written.borrow_mut() += 1;
                }
            });
            let reached = reached.clone();
            scenario.at_end(move || reached.borrow_mut().push(progress.take()));
        });
        assert_eq!(reached.take(), [2, 1, 0]);
    }

    #[test]
    #[should_panic(expected = "an actor has not ended after 20 steps")]
    fn panics_if_an_actor_is_stuck() {
        BOUNDS.explore(|scenario| scenario.spawn(std::future::pending()));
    }
}
