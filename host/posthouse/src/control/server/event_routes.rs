//! The route of events: stored events, then live events for a follower.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, future, stream};
use serde::Deserialize;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use crate::control::server::handles::Handles;
use crate::control::server::refusal::Refusal;
use host_events::{Event, EventRecord, Format};
use host_mail::Timestamp;

/// Query of `GET /events`.
#[derive(Debug, Deserialize)]
pub(super) struct EventsQuery {
    id: Option<u32>,
    last: Option<usize>,
    #[serde(default)]
    follow: bool,
}

pub(super) async fn events(
    State(handles): State<Arc<Handles>>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(EventsQuery { id, last, follow }) = query?;
    let query = host_events::Query { id, last };
    let (log, filter) = (handles.log.clone(), query.clone());
    let (past, receiver) = tokio::task::spawn_blocking(move || log.follow(&filter))
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
                .map(|record| record.unwrap_or_else(|missed| Arc::new(lagged_record(&missed))))
                .filter(move |record| future::ready(query.wants(record)))
                .map(|record| line(&record))
                .take_until(Box::pin(stopped));
            Body::from_stream(past.chain(live))
        }
    };
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

fn line(record: &EventRecord) -> Result<String, Infallible> {
    Ok(Format::Json.line(record) + "\n")
}

/// The record that tells a slow follower how many events were dropped.
fn lagged_record(BroadcastStreamRecvError::Lagged(count): &BroadcastStreamRecvError) -> EventRecord {
    EventRecord::new(Timestamp::now(), &Event::EventsDropped { count: *count })
}
