//! `posthouse policy counters`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::output::{self, line};
use crate::cli::target::Daemon;
use crate::control::query;
use host_events::escape;
use host_policy::{CounterPage, CounterStatus};

#[derive(Debug, Args)]
pub struct CountersArgs {
    /// Module of the chain, if there are several
    #[arg(long = "as", value_name = "MODULE")]
    module: Option<String>,
    /// Key after which the list begins
    #[arg(long, value_name = "KEY")]
    after: Option<String>,
    /// Maximum number of counters
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    daemon: Daemon,
}

pub async fn run(options: CountersArgs) -> anyhow::Result<ExitCode> {
    let target = query(
        "/policies/counters",
        &[
            ("module", options.module),
            ("after", options.after),
            ("limit", Some(options.limit.to_string())),
        ],
    );
    let page: CounterPage = options.daemon.client()?.get(&target).await?;
    if options.daemon.json {
        output::json(&page)?;
    } else {
        show(&page)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(page: &CounterPage) -> std::io::Result<()> {
    let row = |counter: &CounterStatus| {
        vec![
            escape(&counter.key),
            counter.value.to_string(),
            counter.ends.to_string(),
        ]
    };
    let rows: Vec<_> = page.counters.iter().map(row).collect();
    if !rows.is_empty() {
        output::table(&["key", "value", "ends"], &rows)?;
    }
    line(format!("{} of {} counters", page.running, page.limit))?;
    match &page.next {
        Some(next) => line(format!("there are more: --after '{}'", escape(next))),
        None => Ok(()),
    }
}
