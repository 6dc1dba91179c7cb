//! Routes of the queue: the messages in the spool.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;

use crate::control::api::{Done, QueueItem, QueuePage, SetAsideReason};
use crate::control::server::handles::Handles;
use crate::control::server::peer::Peer;
use crate::control::server::refusal::{Handled, Refusal};
use host_events::Event;
use host_mail::{HeaderBlock, MessageId};
use host_spool::{ListFilter, Listed, SetAsideMessage, Spool};

/// State of the messages that were set aside.
const SET_ASIDE: &str = "set-aside";
/// Maximum number of messages on a page of the queue.
const MAX_PAGE: usize = 1000;
/// Default number of messages on a page of the queue.
const PAGE: usize = 100;

/// Query of `GET /queue`.
#[derive(Debug, Deserialize)]
pub(super) struct QueueQuery {
    state: Option<String>,
    after: Option<MessageId>,
    limit: Option<usize>,
}

pub(super) async fn queue(
    State(handles): State<Arc<Handles>>,
    query: Result<Query<QueueQuery>, QueryRejection>,
) -> Handled<QueuePage> {
    const STATES: [&str; 5] = ["queued", "failing", "quarantined", "frozen", SET_ASIDE];
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
    if state.as_deref() == Some(SET_ASIDE) {
        let set_aside = blocking(&handles, move |spool| spool.list_set_aside(after, limit)).await??;
        return Ok(Json(QueuePage {
            messages: Vec::new(),
            waiting: BTreeMap::new(),
            next: set_aside
                .last()
                .filter(|_| set_aside.len() == limit)
                .map(|last| last.id),
            set_aside,
        }));
    }
    let all = state.is_none() && after.is_none();
    let filter = ListFilter { state, after, limit };
    let Listed { messages, next } = blocking(&handles, move |spool| spool.list(&filter)).await??;
    let set_aside = match all {
        true => blocking(&handles, move |spool| spool.list_set_aside(None, limit)).await??,
        false => Vec::new(),
    };
    let waiting = messages.iter().filter_map(|message| {
        let destination = handles.spool.waits_for(message.id)?;
        Some((message.id, destination.to_string()))
    });
    let waiting = waiting.collect();
    Ok(Json(QueuePage {
        messages,
        set_aside,
        waiting,
        next,
    }))
}

pub(super) async fn message(State(handles): State<Arc<Handles>>, Path(id): Path<String>) -> Handled<QueueItem> {
    let id = message_id(&id)?;
    let read = move |spool: Spool| -> Result<Option<QueueItem>, Refusal> {
        if let Some(SetAsideMessage {
            message, at, reason, ..
        }) = spool.set_aside(id)?
        {
            return Ok(Some(QueueItem {
                message,
                set_aside: Some(SetAsideReason { at, reason }),
                waits_for: None,
                header: String::new(),
            }));
        }
        let Some((message, content)) = spool.get(id)? else {
            return Ok(None);
        };
        let header = HeaderBlock::read(content.as_ref()).map_err(Refusal::internal)?;
        let header = String::from_utf8_lossy(header.as_bytes()).into_owned();
        let waits_for = spool.waits_for(id).map(|destination| destination.to_string());
        Ok(Some(QueueItem {
            message: Some(message),
            set_aside: None,
            waits_for,
            header,
        }))
    };
    blocking(&handles, read).await??.map(Json).ok_or_else(|| no_message(id))
}

pub(super) async fn release(
    State(handles): State<Arc<Handles>>,
    ConnectInfo(Peer(by)): ConnectInfo<Peer>,
    Path(id): Path<String>,
) -> Handled<Done> {
    let id = message_id(&id)?;
    let waited_for = handles.spool.waits_for(id);
    let found = handles.spool.release(id).await?;
    let mut answer = changed(&handles, found, id, "released", by)?;
    answer.0.done.push_str(&match waited_for {
        Some(destination) => format!(": tried now, and no longer when {destination} is back"),
        None => ": tried now".to_owned(),
    });
    Ok(answer)
}

pub(super) async fn delete(
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

/// Runs `read` on a blocking thread, since reading the spool may wait for the disk.
async fn blocking<T: Send + 'static>(
    handles: &Handles,
    read: impl FnOnce(Spool) -> T + Send + 'static,
) -> Result<T, Refusal> {
    let spool = handles.spool.clone();
    tokio::task::spawn_blocking(move || read(spool))
        .await
        .map_err(Refusal::internal)
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
