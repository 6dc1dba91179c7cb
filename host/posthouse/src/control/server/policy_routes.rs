//! Routes that list policies and load one.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::control::api::LoadBody;
use crate::control::server::handles::Handles;
use crate::control::server::peer::Peer;
use crate::control::server::refusal::{Handled, Refusal};
use host_config::Problem;
use host_engine::compile::CompileProgress;
use host_policy::{Activation, LoadRequest, ModuleStatus};

pub(super) async fn policies(State(handles): State<Arc<Handles>>) -> Json<Vec<ModuleStatus>> {
    Json(handles.policies.status())
}

pub(super) async fn compiling(State(handles): State<Arc<Handles>>) -> Json<Option<CompileProgress>> {
    Json(handles.policies.compiling())
}

pub(super) async fn load(
    State(handles): State<Arc<Handles>>,
    ConnectInfo(Peer(by)): ConnectInfo<Peer>,
    body: Result<Json<LoadBody>, JsonRejection>,
) -> Handled<Activation> {
    let Json(load) = body?;
    let request = request(load, by)?;
    handles.policies.load(request).await.map(Json).map_err(refused)
}

/// Converts the body of a load into a request to the policy manager, made by the user `by`.
///
/// # Errors
/// Status 400 if the body has neither code, settings nor a core dump folder, or code that is not base64.
pub(super) fn request(load: LoadBody, by: String) -> Result<LoadRequest, Refusal> {
    if load.code.is_none() && load.settings.is_none() && load.core_dumps.is_none() {
        return Err(Refusal::bad_request("neither code nor settings: nothing to load"));
    }
    Ok(LoadRequest {
        module: load.module,
        code: load.code.map(decode).transpose()?,
        signature: load.signature,
        origin: load.origin,
        settings: load.settings,
        by,
        force: load.force,
        core_dumps: load.core_dumps,
        reason: load.reason,
        watched: false,
    })
}

/// A refusal by the policy manager, with status 422.
pub(super) fn refused(problems: Vec<Problem>) -> Refusal {
    Refusal {
        status: StatusCode::UNPROCESSABLE_ENTITY,
        problems,
    }
}

/// Decodes a component from base64.
///
/// # Errors
/// Status 400 if the text is not base64.
pub(super) fn decode(code: String) -> Result<Vec<u8>, Refusal> {
    STANDARD
        .decode(code)
        .map_err(|error| Refusal::bad_request(format!("code is not base64: {error}")))
}
