//! Routes of a policy's life cycle: check, history, counters, rollback.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{ConnectInfo, Query, State};
use serde::Deserialize;

use crate::control::api::{LoadBody, Rollback};
use crate::control::server::handles::Handles;
use crate::control::server::peer::Peer;
use crate::control::server::policy_routes::{refused, request};
use crate::control::server::refusal::Handled;
use host_policy::{Activation, Checked, CounterPage, ModuleHistory};

/// Maximum number of counters on a page.
const MAX_PAGE: usize = 1000;
/// Default number of counters on a page.
const PAGE: usize = 100;

/// Query of `GET /policies/history`.
#[derive(Debug, Deserialize)]
pub(super) struct HistoryQuery {
    module: Option<String>,
}

pub(super) async fn check(
    State(handles): State<Arc<Handles>>,
    ConnectInfo(Peer(by)): ConnectInfo<Peer>,
    body: Result<Json<LoadBody>, JsonRejection>,
) -> Handled<Checked> {
    let Json(load) = body?;
    let request = request(load, by)?;
    handles.policies.check(request).await.map(Json).map_err(refused)
}

pub(super) async fn history(
    State(handles): State<Arc<Handles>>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Handled<Vec<ModuleHistory>> {
    let Query(HistoryQuery { module }) = query?;
    let history = handles.policies.history(module.as_deref()).await;
    history.map(Json).map_err(refused)
}

/// Query of `GET /policies/counters`.
#[derive(Debug, Deserialize)]
pub(super) struct CountersQuery {
    module: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn counters(
    State(handles): State<Arc<Handles>>,
    query: Result<Query<CountersQuery>, QueryRejection>,
) -> Handled<CounterPage> {
    let Query(CountersQuery { module, after, limit }) = query?;
    let limit = limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let page = handles.policies.counters(module.as_deref(), after.as_deref(), limit);
    page.map(Json).map_err(refused)
}

pub(super) async fn rollback(
    State(handles): State<Arc<Handles>>,
    ConnectInfo(Peer(by)): ConnectInfo<Peer>,
    body: Result<Json<Rollback>, JsonRejection>,
) -> Handled<Activation> {
    let Json(Rollback {
        module,
        generation,
        reason,
    }) = body?;
    let done = handles.policies.roll_back(module, generation, &by, &reason).await;
    done.map(Json).map_err(refused)
}
