//! Events, past and to come.

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

use super::{Handles, Refusal};
use host_events::{Event, EventRecord, Format};
use host_mail::Timestamp;

/// Which events.
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

fn line(record: &EventRecord) -> Result<String, Infallible> {
    Ok(Format::Json.line(record) + "\n")
}

/// A follower that is too slow is told that it missed something.
fn missed_some(BroadcastStreamRecvError::Lagged(count): &BroadcastStreamRecvError) -> EventRecord {
    EventRecord::new(Timestamp::now(), &Event::EventsDropped { count: *count })
}
