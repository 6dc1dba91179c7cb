//! The daemon's end of the socket.

mod event_routes;
mod lifecycle_routes;
mod policy_routes;
mod queue_routes;
mod record_routes;
mod rollout_routes;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::connect_info::Connected;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use axum::{Json, Router};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot, watch};

use super::{ApiFailure, Done, ListenerStatus, Order, Reloaded, Status};
use host_config::{Config, Problem};
use host_events::{EventLog, Events};
use host_mail::Timestamp;
use host_policy::DecisionLog;
use host_policy::Policies;
use host_smtp::listener::ConnectionLimiter;
use host_spool::{PutError, Spool};

/// Largest request, in bytes: a component in base64 and its settings.
const MAX_LOAD: usize = 192 << 20;

/// Everything the socket shows or moves.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct Handles {
    pub config: Arc<ArcSwap<Config>>,
    pub listeners: Vec<ListenerStatus>,
    pub connections: ConnectionLimiter,
    pub policies: Policies,
    pub spool: Spool,
    pub decisions: DecisionLog,
    pub events: Events,
    pub log: EventLog,
    /// To the daemon's main loop.
    pub orders: mpsc::Sender<Order>,
    pub started: Timestamp,
    /// Turns true when the host stops; ends streams.
    pub stop: watch::Receiver<bool>,
}

type Handled<T> = Result<Json<T>, Refusal>;

/// Serves the socket until `handles.stop` turns true.
pub async fn serve(listener: UnixListener, handles: Handles) {
    let mut stop = handles.stop.clone();
    let router = Router::new()
        .route("/status", get(status))
        .route(
            "/policies",
            get(crate::control::server::policy_routes::policies).post(crate::control::server::policy_routes::load),
        )
        .route("/policies/check", post(crate::control::server::lifecycle_routes::check))
        .route(
            "/policies/history",
            get(crate::control::server::lifecycle_routes::history),
        )
        .route(
            "/policies/counters",
            get(crate::control::server::lifecycle_routes::counters),
        )
        .route(
            "/policies/rollback",
            post(crate::control::server::lifecycle_routes::rollback),
        )
        .route("/policies/setup", get(crate::control::server::record_routes::setup))
        .route(
            "/policies/shadow",
            get(crate::control::server::record_routes::difference)
                .post(crate::control::server::record_routes::shadow)
                .delete(crate::control::server::record_routes::end_shadow),
        )
        .route("/records", get(crate::control::server::record_routes::records))
        .route("/records/{id}", get(crate::control::server::record_routes::record))
        .route(
            "/policies/stage",
            post(crate::control::server::rollout_routes::stage).delete(crate::control::server::rollout_routes::cancel),
        )
        .route(
            "/policies/promote",
            post(crate::control::server::rollout_routes::promote),
        )
        .route("/events", get(crate::control::server::event_routes::events))
        .route("/queue", get(crate::control::server::queue_routes::queue))
        .route(
            "/queue/{id}",
            get(crate::control::server::queue_routes::message).delete(crate::control::server::queue_routes::delete),
        )
        .route(
            "/queue/{id}/release",
            post(crate::control::server::queue_routes::release),
        )
        .route("/reload", post(reload))
        .route("/stop", post(stop_host))
        .fallback(|| async { Refusal::new(StatusCode::NOT_FOUND, "there is nothing here") })
        .layer(DefaultBodyLimit::max(MAX_LOAD))
        .with_state(Arc::new(handles));
    let service = router.into_make_service_with_connect_info::<Peer>();
    let served = axum::serve(listener, service).with_graceful_shutdown(async move {
        // A sender that is gone means the host has stopped, too.
        let _ = stop.wait_for(|stop| *stop).await;
    });
    // It ends without error: accept errors are retried.
    let _ = served.await;
}

/// Who is at the other end, as the kernel says.
#[derive(Debug, Clone)]
struct Peer(String);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(match stream.io().peer_cred() {
            Ok(peer) => format!("uid {}", peer.uid()),
            Err(_) => "unknown".to_owned(),
        })
    }
}

/// A request that was not met.
struct Refusal {
    status: StatusCode,
    problems: Vec<Problem>,
}

impl Refusal {
    fn new(status: StatusCode, text: impl ToString) -> Self {
        Self {
            status,
            problems: vec![Problem::new("", text.to_string())],
        }
    }

    fn bad_request(text: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    fn internal(error: impl ToString) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let failure = ApiFailure {
            problems: self.problems,
        };
        (self.status, Json(failure)).into_response()
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<PutError> for Refusal {
    fn from(error: PutError) -> Self {
        Self::internal(error)
    }
}

async fn status(State(handles): State<Arc<Handles>>) -> Json<Status> {
    let config = handles.config.load_full();
    let counts = serde_json::to_value(handles.spool.counts()).unwrap_or_default();
    let spool: BTreeMap<String, u64> = serde_json::from_value(counts).unwrap_or_default();
    Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        hostname: config.hostname.clone(),
        started: handles.started,
        config: config.file.clone(),
        data: config.data.clone(),
        listeners: handles.listeners.clone(),
        sessions: handles.connections.active(),
        sessions_limit: handles.connections.sessions(),
        overload: overload(&handles),
        spool,
        counting: !handles.spool.is_recovered(),
        health: handles.policies.health(),
        policies: handles.policies.status(),
    })
}

fn overload(handles: &Handles) -> Vec<String> {
    let mut troubles = handles.connections.troubles();
    if handles.spool.is_behind() {
        troubles.push("accepted messages wait for the disk".to_owned());
    }
    troubles
}

async fn reload(State(handles): State<Arc<Handles>>) -> Handled<Reloaded> {
    let (answer, answered) = oneshot::channel();
    order(&handles, Order::Reload(answer)).await?;
    answered.await.map(Json).map_err(|_| stopping())
}

async fn stop_host(State(handles): State<Arc<Handles>>) -> Handled<Done> {
    order(&handles, Order::Stop).await?;
    Ok(Json(Done {
        done: "stopping".to_owned(),
    }))
}

async fn order(handles: &Handles, order: Order) -> Result<(), Refusal> {
    handles.orders.send(order).await.map_err(|_| stopping())
}

fn stopping() -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the host is stopping")
}

/// Reading the spool may wait for the disk.
async fn blocking<T: Send + 'static>(
    handles: &Handles,
    read: impl FnOnce(Spool) -> T + Send + 'static,
) -> Result<T, Refusal> {
    let spool = handles.spool.clone();
    tokio::task::spawn_blocking(move || read(spool))
        .await
        .map_err(Refusal::internal)
}
