//! The main loop of the running daemon: signals, commands of the control socket, failures of parts, and the drain.

use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;

use futures_util::future::Fuse;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Interval;

use crate::control::{Order, Reloaded};
use crate::daemon::exit_backstop::exit_after;
use crate::daemon::services::RunningHost;
use crate::daemon::signals::Signals;
use crate::daemon::start_failed::StartFailed;
use host_events::Event;
use host_spool::OpenError;

/// Time beyond the drain limit in which delivery returns its claimed messages to the spool.
const GRACE: Duration = Duration::from_secs(2);
/// Time for the end of a stop after the drain; beyond it the process exits.
const FINISH_LIMIT: Duration = Duration::from_secs(20);
/// Interval at which the drain checks for open sessions.
const POLL: Duration = Duration::from_millis(20);

/// The running host with its tasks.
pub(super) struct Running {
    pub(super) host: RunningHost,
    /// Reads the messages that the last run left in the spool, then ends.
    pub(super) recovery_task: Fuse<JoinHandle<Result<(), OpenError>>>,
    /// Delivery. The result is the number of messages that were returned to the spool unfinished.
    pub(super) delivery_task: JoinHandle<u64>,
    /// Accept loops, one task for each listener.
    pub(super) listener_tasks: Vec<JoinHandle<()>>,
    /// Server of the control socket.
    pub(super) control_task: JoinHandle<()>,
    /// Watcher of the folder from which policies are loaded, if one is configured. Ends when the host stops.
    pub(super) policy_watch_task: Option<JoinHandle<()>>,
    /// Tells every part to stop. Turns true once.
    pub(super) stop: watch::Sender<bool>,
    pub(super) signals: Signals,
    /// Commands of the control socket.
    pub(super) orders: mpsc::Receiver<Order>,
    /// Ticks at the start and then every hour.
    pub(super) certificate_review: Interval,
    /// Commands that arrived during a reload, in order.
    pub(super) waiting: VecDeque<Order>,
}

/// An occurrence that wakes the main loop.
enum WakeUp {
    Stop,
    Reload(Option<Order>),
    DeliveryEnded(Result<u64, JoinError>),
    Recovered(Result<Result<(), OpenError>, JoinError>),
    SpoolLost(String),
    ReviewCertificates,
}

impl Running {
    /// Serves until a signal or the control socket stops the host, then drains.
    ///
    /// # Errors
    /// A part of the host failed.
    pub(super) async fn serve(mut self) -> Result<(), StartFailed> {
        loop {
            let wake_up = self.next_wake_up().await;
            match wake_up {
                WakeUp::Stop => return self.drain().await,
                WakeUp::Reload(order) => {
                    let (require_now, answer) = match order {
                        Some(Order::Reload { require_now, answer }) => (require_now, Some(answer)),
                        _ => (false, None),
                    };
                    let Some(reloaded) = self.reload_unless_stopped(require_now).await else {
                        return self.drain().await;
                    };
                    if let Some(answer) = answer {
                        // The client may have disconnected; events report the result, too.
                        let _ = answer.send(reloaded);
                    }
                }
                WakeUp::DeliveryEnded(Ok(_)) => return self.fail("delivery", "ended by itself").await,
                WakeUp::DeliveryEnded(Err(error)) => return self.fail("delivery", &error.to_string()).await,
                WakeUp::Recovered(Ok(Ok(()))) => {}
                WakeUp::ReviewCertificates => self.host.review_certificates(),
                WakeUp::Recovered(Ok(Err(error))) => return self.fail("spool", &error.to_string()).await,
                WakeUp::Recovered(Err(error)) => return self.fail("spool", &error.to_string()).await,
                WakeUp::SpoolLost(error) => {
                    let error = format!("takes no more writes after an error of its disk: {error}");
                    return self.fail("spool", &error).await;
                }
            }
        }
    }

    async fn next_wake_up(&mut self) -> WakeUp {
        if let Some(order) = self.waiting.pop_front() {
            return WakeUp::Reload(Some(order));
        }
        tokio::select! {
            _ = self.signals.terminate.recv() => WakeUp::Stop,
            _ = self.signals.interrupt.recv() => WakeUp::Stop,
            _ = self.signals.hang_up.recv() => WakeUp::Reload(None),
            order = self.orders.recv() => match order {
                Some(Order::Stop) | None => WakeUp::Stop,
                order => WakeUp::Reload(order),
            },
            ended = &mut self.delivery_task => WakeUp::DeliveryEnded(ended),
            recovered = &mut self.recovery_task => WakeUp::Recovered(recovered),
            error = self.host.spool.lost() => WakeUp::SpoolLost(error),
            _ = self.certificate_review.tick() => WakeUp::ReviewCertificates,
        }
    }

    /// Reloads. `None` if the host is to stop meanwhile: a reload may compile a policy for minutes, and is given up.
    async fn reload_unless_stopped(&mut self, require_now: bool) -> Option<Reloaded> {
        let mut reload = std::pin::pin!(self.host.reload(require_now));
        loop {
            tokio::select! {
                reloaded = &mut reload => return Some(reloaded),
                _ = self.signals.terminate.recv() => return None,
                _ = self.signals.interrupt.recv() => return None,
                order = self.orders.recv() => match order {
                    Some(Order::Stop) | None => return None,
                    Some(order) => self.waiting.push_back(order),
                },
            }
        }
    }

    /// Drains the host: accepts no new connections, lets sessions end at a safe point, and lets deliveries finish or
    /// return messages to the spool. Ends at the configured limit or at a second signal.
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
                tokio::time::sleep(POLL).await;
            }
        };
        let listeners = futures_util::future::join_all(self.listener_tasks.drain(..));
        let delivered = async { (&mut self.delivery_task).await.unwrap_or(0) };
        let drained = async { tokio::join!(listeners, sessions, delivered).2 };
        // The control socket answers to the end; a reload that is ordered now is refused.
        let refuse_orders = async {
            while self.orders.recv().await.is_some() {}
            std::future::pending().await
        };
        let drained = async {
            tokio::select! {
                gave_up = drained => gave_up,
                () = refuse_orders => 0,
            }
        };
        let gave_up = within(limit + GRACE, &mut self.signals, drained).await;
        let gave_up = gave_up.unwrap_or_else(|| {
            self.delivery_task.abort();
            self.host.spool.counts().claimed
        });
        self.control_task.abort();
        if let Some(task) = self.policy_watch_task.take() {
            let _ = task.await;
        }
        self.finish(gave_up).await;
        Ok(())
    }

    /// Stops the host after the failure of a part: a stage that ended early has a bug, and a spool that cannot be
    /// written cannot keep the outcome of a delivery. Acknowledged mail stays in the spool until the service manager
    /// restarts the host.
    async fn fail(self, part: &str, error: &str) -> Result<(), StartFailed> {
        self.delivery_task.abort();
        self.host.events.emit(Event::PartFailed {
            part: part.to_owned(),
            error: error.to_owned(),
        });
        let _ = self.stop.send(true);
        self.finish(0).await;
        Err(StartFailed::of_part(part, error))
    }

    async fn finish(&self, gave_up: u64) {
        exit_after(FINISH_LIMIT);
        // Clients report a missing socket more clearly than a dead one. The next start would replace a dead socket.
        let _ = std::fs::remove_file(&self.host.config.load().control);
        self.host.policies.close().await;
        let counts = self.host.spool.counts();
        self.host.policies.end_shadow("the host stops");
        self.host.decisions.close().await;
        let logins = self.host.logins.clone();
        // Without room on the disk the counts of the last save stay.
        let _ = tokio::task::spawn_blocking(move || logins.save()).await;
        self.host.spool.close().await;
        self.host.events.emit(Event::Stopped {
            left_in_spool: counts.queued + counts.failing + counts.quarantined + counts.frozen,
            gave_up,
        });
    }
}

/// Runs `work` for at most `limit`. Returns `None` at the limit or at a termination signal, and drops `work`.
async fn within<T>(limit: Duration, signals: &mut Signals, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = tokio::time::sleep(limit) => None,
        () = signals.terminated() => None,
    }
}
