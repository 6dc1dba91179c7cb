//! The signal that stops listeners and sessions.

use tokio::sync::watch;

/// Returns when the host stops: `stop` turned true, or its sender was dropped. Cancel safe.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
