//! A policy's life: trying what may come, looking at what was and at what is kept, going back.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{ConnectInfo, Query, State};
use serde::Deserialize;

use super::super::{LoadBody, Rollback};
use super::{Handled, Handles, Peer};
use crate::control::server::policy_routes::{refused, request};
use host_policy::{Activation, Checked, CounterPage, ModuleHistory};

/// Counters of one page at most.
const MAX_PAGE: usize = 1000;
/// Counters of one page if the client does not say.
const PAGE: usize = 100;

/// Whose history.
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

/// Which counters.
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
