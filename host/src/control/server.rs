//! The daemon's end of the socket.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::body::Body;
use axum::extract::connect_info::Connected;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt, future, stream};
use serde::Deserialize;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use super::{Done, Failure, ListenerStatus, Load, Order, QueueItem, QueuePage, Reloaded, Status};
use crate::config::{Config, Problem};
use crate::event::{self, Event, EventLog, Events, Format, Record};
use crate::listener::Admittance;
use crate::mail::{HeaderBlock, MessageId, Timestamp};
use crate::policy::{Activation, LoadRequest, ModuleStatus, Policies};
use crate::spool::{ListFilter, PutError, Spool};

/// Largest request, in bytes: a component in base64 and its settings.
const MAX_LOAD: usize = 192 << 20;
/// Messages of one page of the queue at most.
const MAX_PAGE: usize = 1000;
/// Messages of one page if the client does not say.
const PAGE: usize = 100;

/// Everything the socket shows or moves.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct Handles {
    pub config: Arc<ArcSwap<Config>>,
    pub listeners: Vec<ListenerStatus>,
    pub admittance: Admittance,
    pub policies: Policies,
    pub spool: Spool,
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
        .route("/policies", get(policies).post(load))
        .route("/events", get(events))
        .route("/queue", get(queue))
        .route("/queue/{id}", get(message).delete(delete))
        .route("/queue/{id}/release", post(release))
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
        let failure = Failure {
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
        sessions: handles.admittance.active(),
        spool,
        policies: handles.policies.status(),
    })
}

async fn policies(State(handles): State<Arc<Handles>>) -> Json<Vec<ModuleStatus>> {
    Json(handles.policies.status())
}

async fn load(
    State(handles): State<Arc<Handles>>,
    ConnectInfo(Peer(by)): ConnectInfo<Peer>,
    body: Result<Json<Load>, JsonRejection>,
) -> Handled<Activation> {
    let Json(load) = body?;
    if load.code.is_none() && load.settings.is_none() {
        return Err(Refusal::bad_request("neither code nor settings: nothing to load"));
    }
    let decode = |code: String| {
        STANDARD
            .decode(code)
            .map_err(|error| Refusal::bad_request(format!("code is not base64: {error}")))
    };
    let request = LoadRequest {
        module: load.module,
        code: load.code.map(decode).transpose()?,
        origin: load.origin,
        settings: load.settings,
        by,
    };
    handles
        .policies
        .load(request)
        .await
        .map(Json)
        .map_err(|problems| Refusal {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            problems,
        })
}

/// Which events.
#[derive(Debug, Deserialize)]
struct EventsQuery {
    id: Option<u32>,
    last: Option<usize>,
    #[serde(default)]
    follow: bool,
}

async fn events(
    State(handles): State<Arc<Handles>>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(EventsQuery { id, last, follow }) = query?;
    let query = event::Query { id, last };
    let (log, wanted) = (handles.log.clone(), query.clone());
    let (past, receiver) = tokio::task::spawn_blocking(move || log.follow(&wanted))
        .await
        .map_err(Refusal::internal)?
        .map_err(Refusal::internal)?;
    let past = stream::iter(past.into_iter().map(|record| line(&record)));
    let body = match receiver.filter(|_| follow) {
        None => Body::from_stream(past),
        Some(receiver) => {
            let mut stop = handles.stop.clone();
            let stopped = async move {
                let _ = stop.wait_for(|stop| *stop).await;
            };
            let live = BroadcastStream::new(receiver)
                .map(|record| record.unwrap_or_else(|missed| Arc::new(missed_some(&missed))))
                .filter(move |record| future::ready(query.wants(record)))
                .map(|record| line(&record))
                .take_until(Box::pin(stopped));
            Body::from_stream(past.chain(live))
        }
    };
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

fn line(record: &Record) -> Result<String, Infallible> {
    Ok(Format::Json.line(record) + "\n")
}

/// A follower that is too slow is told that it missed something.
fn missed_some(BroadcastStreamRecvError::Lagged(count): &BroadcastStreamRecvError) -> Record {
    Record::new(Timestamp::now(), &Event::EventsDropped { count: *count })
}

/// Which messages.
#[derive(Debug, Deserialize)]
struct QueueQuery {
    state: Option<String>,
    after: Option<MessageId>,
    limit: Option<usize>,
}

async fn queue(
    State(handles): State<Arc<Handles>>,
    query: Result<Query<QueueQuery>, QueryRejection>,
) -> Handled<QueuePage> {
    const STATES: [&str; 4] = ["queued", "failing", "quarantined", "frozen"];
    let Query(QueueQuery { state, after, limit }) = query?;
    if let Some(state) = &state
        && !STATES.contains(&state.as_str())
    {
        return Err(Refusal::bad_request(format!(
            "no state {state:?}; there are {}",
            STATES.join(", ")
        )));
    }
    let limit = limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let filter = ListFilter { state, after, limit };
    let messages = blocking(&handles, move |spool| spool.list(&filter)).await??;
    let next = messages.last().map(|last| last.id).filter(|_| messages.len() == limit);
    Ok(Json(QueuePage { messages, next }))
}

async fn message(State(handles): State<Arc<Handles>>, Path(id): Path<String>) -> Handled<QueueItem> {
    let id = message_id(&id)?;
    let read = move |spool: Spool| -> Result<Option<QueueItem>, Refusal> {
        let Some((message, content)) = spool.get(id)? else {
            return Ok(None);
        };
        let header = HeaderBlock::read(content.as_ref()).map_err(Refusal::internal)?;
        let header = String::from_utf8_lossy(header.as_bytes()).into_owned();
        Ok(Some(QueueItem { message, header }))
    };
    blocking(&handles, read).await??.map(Json).ok_or_else(|| no_message(id))
}

async fn release(
    State(handles): State<Arc<Handles>>,
    ConnectInfo(Peer(by)): ConnectInfo<Peer>,
    Path(id): Path<String>,
) -> Handled<Done> {
    let id = message_id(&id)?;
    let found = handles.spool.release(id).await?;
    changed(&handles, found, id, "released", by)
}

async fn delete(
    State(handles): State<Arc<Handles>>,
    ConnectInfo(Peer(by)): ConnectInfo<Peer>,
    Path(id): Path<String>,
) -> Handled<Done> {
    let id = message_id(&id)?;
    let found = handles.spool.delete(id).await?;
    changed(&handles, found, id, "deleted", by)
}

fn changed(handles: &Handles, found: bool, id: MessageId, action: &str, by: String) -> Handled<Done> {
    if !found {
        return Err(no_message(id));
    }
    handles.events.emit(Event::QueueChanged {
        message: id.to_string(),
        action: action.to_owned(),
        by,
    });
    Ok(Json(Done {
        done: format!("{id} {action}"),
    }))
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

fn message_id(text: &str) -> Result<MessageId, Refusal> {
    text.parse().map_err(Refusal::bad_request)
}

fn no_message(id: MessageId) -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        format!("there is no message {id}, or it is being worked on"),
    )
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
