//! Progress on stderr while the daemon compiles a component for a command.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use crate::cli::output::remark;
use crate::control::ControlClient;
use host_engine::compile::CompileProgress;

/// Time after which a compilation is reported, and interval of further reports.
const REPORT_EVERY: Duration = Duration::from_secs(3);

/// Awaits the answer to a request that makes the daemon compile, and reports the compilation meanwhile.
pub async fn with_progress<T>(client: &ControlClient, answer: impl Future<Output = T>) -> T {
    let report = async || -> Infallible {
        loop {
            tokio::time::sleep(REPORT_EVERY).await;
            // A failure of this request says nothing about the other, whose answer is still to come.
            if let Ok(Some(progress)) = client.get::<Option<CompileProgress>>("/policies/compiling").await {
                remark(describe(&progress));
            }
        }
    };
    tokio::select! {
        answer = answer => answer,
        never = report() => match never {},
    }
}

fn describe(progress: &CompileProgress) -> String {
    let seconds = |millis: u64| Duration::from_millis(millis).as_secs();
    format!(
        "compiling for {} s: {} s of processor time, of at most {} s",
        seconds(progress.elapsed_ms),
        seconds(progress.cpu_ms),
        progress.limit_seconds
    )
}
