//! A policy's life: trying what may come, looking at what was, going back to it.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{ConnectInfo, Query, State};
use serde::Deserialize;

use super::super::{Load, Rollback};
use super::policies::{refused, request};
use super::{Handled, Handles, Peer};
use crate::policy::{Activation, Checked, ModuleHistory};

/// Whose history.
#[derive(Debug, Deserialize)]
pub(super) struct HistoryQuery {
    module: Option<String>,
}

pub(super) async fn check(
    State(handles): State<Arc<Handles>>,
    ConnectInfo(Peer(by)): ConnectInfo<Peer>,
    body: Result<Json<Load>, JsonRejection>,
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
