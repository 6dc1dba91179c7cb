//! Routes of recorded decisions and of the shadow.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::StreamExt as _;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::control::api::ShadowBody;
use crate::control::server::handles::Handles;
use crate::control::server::peer::Peer;
use crate::control::server::policy_routes::decode;
use crate::control::server::refusal::{Handled, Refusal};
use host_mail::{RecordId, Timestamp};
use host_policy::Wanted;
use host_policy::{LoadRequest, ModuleSetup, ShadowReport, ShadowRequest};

/// Query of `GET /records`; `since` is in milliseconds since 1970.
#[derive(Debug, Deserialize)]
pub(super) struct RecordsQuery {
    since: Option<u64>,
    last: Option<usize>,
    module: Option<String>,
}

/// Streams the matching records, one JSON object a line. A read error ends the stream early.
pub(super) async fn records(
    State(handles): State<Arc<Handles>>,
    query: Result<Query<RecordsQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(RecordsQuery { since, last, module }) = query?;
    let filter = Wanted {
        since: since.map(Timestamp),
        last,
        module,
    };
    let (lines, sent) = mpsc::channel::<Result<Bytes, std::io::Error>>(16);
    let decisions = handles.decisions.clone();
    tokio::task::spawn_blocking(move || {
        let read = decisions.read(&filter, |record| {
            let line = [&record[..], b"\n"].concat();
            lines.blocking_send(Ok(line.into())).is_ok()
        });
        if let Err(error) = read {
            // The error breaks off the answer, so that the client notices the missing rest.
            let _ = lines.blocking_send(Err(std::io::Error::other(error)));
        }
    });
    let mut stop = handles.stop.clone();
    let stopped = async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let body = Body::from_stream(ReceiverStream::new(sent).take_until(Box::pin(stopped)));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

pub(super) async fn record(State(handles): State<Arc<Handles>>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let id: RecordId = id.parse().map_err(Refusal::bad_request)?;
    let decisions = handles.decisions.clone();
    let found = tokio::task::spawn_blocking(move || decisions.record(id))
        .await
        .map_err(Refusal::internal)??;
    let bytes = found.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, format!("there is no record {id}")))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], bytes).into_response())
}

/// Query of `GET /policies/setup`.
#[derive(Debug, Deserialize)]
pub(super) struct SetupQuery {
    module: Option<String>,
}

pub(super) async fn setup(
    State(handles): State<Arc<Handles>>,
    query: Result<Query<SetupQuery>, QueryRejection>,
) -> Handled<ModuleSetup> {
    let Query(SetupQuery { module }) = query?;
    handles
        .policies
        .setup(module.as_deref())
        .map(Json)
        .map_err(unprocessable)
}

pub(super) async fn shadow(
    State(handles): State<Arc<Handles>>,
    ConnectInfo(Peer(by)): ConnectInfo<Peer>,
    body: Result<Json<ShadowBody>, JsonRejection>,
) -> Handled<ShadowReport> {
    let Json(shadow) = body?;
    if shadow.code.is_none() && shadow.settings.is_none() {
        return Err(Refusal::bad_request("neither code nor settings: nothing to try"));
    }
    let request = ShadowRequest {
        candidate: LoadRequest {
            module: shadow.module,
            code: shadow.code.map(decode).transpose()?,
            origin: shadow.origin,
            settings: shadow.settings,
            signature: shadow.signature,
            by,
            ..LoadRequest::default()
        },
        share: shadow.share,
        lasts: Duration::from_secs(shadow.seconds),
    };
    handles.policies.shadow(request).await.map(Json).map_err(unprocessable)
}

pub(super) async fn difference(State(handles): State<Arc<Handles>>) -> Handled<ShadowReport> {
    let report = handles.policies.shadow_report();
    report.map(Json).ok_or_else(no_shadow)
}

pub(super) async fn end_shadow(
    State(handles): State<Arc<Handles>>,
    ConnectInfo(Peer(by)): ConnectInfo<Peer>,
) -> Handled<ShadowReport> {
    let report = handles.policies.end_shadow(&format!("stopped by {by}"));
    report.map(Json).ok_or_else(no_shadow)
}

fn no_shadow() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "there is no shadow; posthouse policy shadow starts one",
    )
}

fn unprocessable(problems: Vec<host_config::Problem>) -> Refusal {
    Refusal {
        status: StatusCode::UNPROCESSABLE_ENTITY,
        problems,
    }
}
