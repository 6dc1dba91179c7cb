//! Routes of a staged candidate: stage, promote, cancel.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, State};

use crate::control::api::{Promote, StageBody};
use crate::control::server::handles::Handles;
use crate::control::server::peer::Peer;
use crate::control::server::policy_routes::{refused, request};
use crate::control::server::refusal::{Handled, Refusal};
use host_config::toml_reader::duration;
use host_config::{Problem, Share};
use host_policy::{Activation, StageRequest, Staged};

/// Default duration of a stage.
const HOUR: Duration = Duration::from_secs(60 * 60);

pub(super) async fn stage(
    State(handles): State<Arc<Handles>>,
    ConnectInfo(Peer(by)): ConnectInfo<Peer>,
    body: Result<Json<StageBody>, JsonRejection>,
) -> Handled<Staged> {
    let Json(stage) = body?;
    if stage.share.is_none() && stage.clients.is_empty() {
        return Err(Refusal::bad_request(
            "neither a share nor clients: use load for everybody",
        ));
    }
    let lasts = match stage.lasts {
        None => HOUR,
        Some(text) => duration(&text.into()).map_err(|text| refused(vec![Problem::new("lasts", text)]))?,
    };
    let request = StageRequest {
        load: request(stage.load, by)?,
        share: stage.share.unwrap_or(Share::ALL),
        clients: stage.clients,
        lasts,
        reason: stage.reason,
    };
    let staged = handles.policies.stage(request).await;
    staged.map(Json).map_err(refused)
}

pub(super) async fn promote(
    State(handles): State<Arc<Handles>>,
    ConnectInfo(Peer(by)): ConnectInfo<Peer>,
    body: Result<Json<Promote>, JsonRejection>,
) -> Handled<Activation> {
    let Json(promote) = body?;
    let promoted = handles.policies.promote(&by, promote.force).await;
    promoted.map(Json).map_err(refused)
}

pub(super) async fn cancel(
    State(handles): State<Arc<Handles>>,
    ConnectInfo(Peer(by)): ConnectInfo<Peer>,
) -> Handled<Staged> {
    handles.policies.cancel(&by).await.map(Json).map_err(refused)
}
