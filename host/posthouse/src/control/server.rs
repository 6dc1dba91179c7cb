//! The server of the control socket: the router, and the routes about the host as a whole.

mod event_routes;
mod handles;
mod lifecycle_routes;
mod peer;
mod policy_routes;
mod queue_routes;
mod record_routes;
mod refusal;
mod rollout_routes;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use tokio::net::UnixListener;
use tokio::sync::oneshot;

use crate::control::api::{Done, Order, Reloaded, Status};
pub use handles::Handles;
use host_events::{Condition, Health};
use peer::Peer;
use refusal::{Handled, Refusal};

/// Maximum size of a request in bytes. The largest is a component in base64 with settings.
const MAX_LOAD: usize = 192 << 20;

/// Serves the socket until dropped, also while the host stops.
pub async fn serve(listener: UnixListener, handles: Handles) {
    let router = Router::new()
        .route("/status", get(status))
        .route("/policies", get(policy_routes::policies).post(policy_routes::load))
        .route("/policies/check", post(lifecycle_routes::check))
        .route("/policies/compiling", get(policy_routes::compiling))
        .route("/policies/history", get(lifecycle_routes::history))
        .route("/policies/counters", get(lifecycle_routes::counters))
        .route("/policies/rollback", post(lifecycle_routes::rollback))
        .route("/policies/setup", get(record_routes::setup))
        .route(
            "/policies/shadow",
            get(record_routes::difference)
                .post(record_routes::shadow)
                .delete(record_routes::end_shadow),
        )
        .route("/records", get(record_routes::records))
        .route("/records/{id}", get(record_routes::record))
        .route(
            "/policies/stage",
            post(rollout_routes::stage).delete(rollout_routes::cancel),
        )
        .route("/policies/promote", post(rollout_routes::promote))
        .route("/events", get(event_routes::events))
        .route("/queue", get(queue_routes::queue))
        .route("/queue/{id}", get(queue_routes::message).delete(queue_routes::delete))
        .route("/queue/{id}/release", post(queue_routes::release))
        .route("/reload", post(reload))
        .route("/stop", post(stop_host))
        .fallback(|| async { Refusal::new(StatusCode::NOT_FOUND, "there is nothing here") })
        .layer(DefaultBodyLimit::max(MAX_LOAD))
        .with_state(Arc::new(handles));
    let service = router.into_make_service_with_connect_info::<Peer>();
    // axum retries accept errors and never returns one.
    let _ = axum::serve(listener, service).await;
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
        health: health(&handles),
        policies: handles.policies.status(),
    })
}

/// Collects the reasons of all parts.
fn health(handles: &Handles) -> Health {
    let mut health = handles.policies.health();
    // Looks at the disk now, since the last message may have come long ago.
    let _ = handles.spool.check();
    handles.events.health().add_to(&mut health);
    if *handles.stop.borrow() {
        let text = "the host is stopping and takes no more mail";
        health.add(Condition::Degraded, format!("stop: {text}"));
    }
    health
}

fn overload(handles: &Handles) -> Vec<String> {
    let mut troubles = handles.connections.troubles();
    if handles.spool.is_behind() {
        troubles.push("accepted messages wait for the disk".to_owned());
    }
    troubles.extend(
        handles
            .spool
            .space_problem()
            .map(|problem| format!("new mail is refused: {problem}")),
    );
    troubles
}

/// Query of `POST /reload`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ReloadQuery {
    #[serde(default)]
    require_now: bool,
}

async fn reload(
    State(handles): State<Arc<Handles>>,
    query: Result<Query<ReloadQuery>, QueryRejection>,
) -> Handled<Reloaded> {
    let Query(ReloadQuery { require_now }) = query?;
    let (answer, answered) = oneshot::channel();
    order(&handles, Order::Reload { require_now, answer }).await?;
    answered.await.map(Json).map_err(|_| stopping())
}

async fn stop_host(State(handles): State<Arc<Handles>>) -> Handled<Done> {
    // A host that is stopping already goes on as it does: this is not the second signal that ends the drain.
    if !*handles.stop.borrow() {
        order(&handles, Order::Stop).await?;
    }
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
