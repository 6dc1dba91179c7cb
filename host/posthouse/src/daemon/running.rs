//! From the readiness line to the last word: signals, orders and the drain.

use std::future::Future;
use std::io;
use std::time::Duration;

use futures_util::future::Fuse;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};

use super::StartFailed;
use crate::control::Order;
use crate::daemon::services::RunningHost;
use host_config::Problem;
use host_events::Event;
use host_spool::OpenError;

/// After its own limit delivery gets this long to give back what it holds.
const GRACE: Duration = Duration::from_secs(2);
/// How often it is looked whether the last session has ended.
const LOOK: Duration = Duration::from_millis(20);

/// A host that serves.
pub(super) struct Running {
    pub(super) host: RunningHost,
    /// Reads what the last run left; it ends when all is known.
    pub(super) recovering: Fuse<JoinHandle<Result<(), OpenError>>>,
    /// Gives how many messages it gave back.
    pub(super) delivering: JoinHandle<u64>,
    pub(super) accepting: Vec<JoinHandle<()>>,
    pub(super) controlling: JoinHandle<()>,
    /// Of the folder from which policies are loaded; it ends when the host stops.
    pub(super) watching: Option<JoinHandle<()>>,
    /// Turned true once.
    pub(super) stop: watch::Sender<bool>,
    pub(super) signals: Signals,
    pub(super) ordered: mpsc::Receiver<Order>,
}

/// The signals a daemon lives by.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Returns when the process is told to end.
    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What the main loop woke up for.
enum Woken {
    Stop,
    Reload(Option<Order>),
    Ended(Result<u64, JoinError>),
    Recovered(Result<Result<(), OpenError>, JoinError>),
    SpoolLost,
}

impl Running {
    /// Serves until told to stop, then drains.
    pub(super) async fn serve(mut self) -> Result<(), StartFailed> {
        loop {
            let woken = tokio::select! {
                _ = self.signals.terminate.recv() => Woken::Stop,
                _ = self.signals.interrupt.recv() => Woken::Stop,
                _ = self.signals.hang_up.recv() => Woken::Reload(None),
                order = self.ordered.recv() => match order {
                    Some(Order::Stop) | None => Woken::Stop,
                    order => Woken::Reload(order),
                },
                ended = &mut self.delivering => Woken::Ended(ended),
                recovered = &mut self.recovering => Woken::Recovered(recovered),
                () = self.host.spool.lost() => Woken::SpoolLost,
            };
            match woken {
                Woken::Stop => return self.drain().await,
                Woken::Reload(order) => {
                    let done = self.host.reload().await;
                    if let Some(Order::Reload(answer)) = order {
                        // Who asked may have gone; events have told it, too.
                        let _ = answer.send(done);
                    }
                }
                Woken::Ended(Ok(_)) => return self.fail("delivery", "ended by itself").await,
                Woken::Ended(Err(error)) => return self.fail("delivery", &error.to_string()).await,
                Woken::Recovered(Ok(Ok(()))) => {}
                Woken::Recovered(Ok(Err(error))) => return self.fail("spool", &error.to_string()).await,
                Woken::Recovered(Err(error)) => return self.fail("spool", &error.to_string()).await,
                Woken::SpoolLost => {
                    return self
                        .fail("spool", "takes no more writes after an error of its disk")
                        .await;
                }
            }
        }
    }

    /// No new connections; sessions end at their next safe point, deliveries finish or are given
    /// back, within the configured limit or until a second signal.
    async fn drain(mut self) -> Result<(), StartFailed> {
        let limit = self.host.config.load().drain;
        self.host.events.emit(Event::Stopping {
            sessions: self.host.connections.active() as u64,
            deliveries: self.host.spool.counts().claimed,
            limit_seconds: limit.as_secs(),
        });
        let _ = self.stop.send(true);
        let sessions = async {
            while self.host.connections.active() > 0 {
                tokio::time::sleep(LOOK).await;
            }
        };
        let accepting = futures_util::future::join_all(self.accepting.drain(..));
        let delivered = async { (&mut self.delivering).await.unwrap_or(0) };
        let in_hand = async { tokio::join!(accepting, sessions, delivered).2 };
        let gave_up = at_most(limit + GRACE, &mut self.signals, in_hand).await;
        let gave_up = gave_up.unwrap_or_else(|| {
            self.delivering.abort();
            self.host.spool.counts().claimed
        });
        self.controlling.abort();
        if let Some(watching) = self.watching.take() {
            let _ = watching.await;
        }
        self.finish(gave_up).await;
        Ok(())
    }

    /// A stage that ends by itself has a bug, and a spool that cannot be written keeps no outcome:
    /// the host stops, and whoever watches it starts it again with everything that was acknowledged
    /// still in the spool.
    async fn fail(self, part: &str, error: &str) -> Result<(), StartFailed> {
        self.delivering.abort();
        self.host.events.emit(Event::PartFailed {
            part: part.to_owned(),
            error: error.to_owned(),
        });
        let _ = self.stop.send(true);
        self.finish(0).await;
        Err(StartFailed(vec![Problem::new(part, error)]))
    }

    async fn finish(&self, gave_up: u64) {
        // A socket that is not there says more than one that nobody answers; it is replaced anyway.
        let _ = std::fs::remove_file(&self.host.config.load().control);
        self.host.policies.close().await;
        let counts = self.host.spool.counts();
        self.host.policies.end_shadow("the host stops");
        self.host.decisions.close().await;
        self.host.spool.close().await;
        self.host.events.emit(Event::Stopped {
            left_in_spool: counts.queued + counts.failing + counts.quarantined + counts.frozen,
            gave_up,
        });
    }
}

/// The result, unless the time is up or the process is told again to end.
async fn at_most<T>(limit: Duration, signals: &mut Signals, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = tokio::time::sleep(limit) => None,
        () = signals.end() => None,
    }
}
