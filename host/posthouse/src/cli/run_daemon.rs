//! `posthouse run`.

use std::process::ExitCode;

use super::output::{never_wait_for_stderr, remark};
use super::target::ConfigFile;
use crate::cli::first_run;
use crate::daemon;
use host_config::Config;
use host_events::Format;

/// Exit code after the failure of a part while the host ran (Event 5032).
const PART_FAILED: u8 = 6;

pub async fn run(file: ConfigFile) -> anyhow::Result<ExitCode> {
    never_wait_for_stderr();
    let config = match file.load() {
        Ok(config) => config,
        Err(error) => {
            daemon::print_will_not_start(Format::Text, &error.0);
            return Err(error.into());
        }
    };
    if config.file.is_none() {
        first_run::make_directory(&config)?;
    }
    print_overview(&config);
    match daemon::run(config).await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(failed) if failed.had_started => {
            remark(format!("stopped: {failed}"));
            Ok(ExitCode::from(PART_FAILED))
        }
        Err(failed) => Err(failed.into()),
    }
}

/// Prints the files, folders and listeners of the daemon to stderr.
fn print_overview(config: &Config) {
    let file = config.file.as_ref().map(|file| file.display().to_string());
    remark(format!(
        "configuration  {}",
        file.as_deref().unwrap_or("built-in defaults")
    ));
    remark(format!("data           {}", config.data.display()));
    remark(format!("mailboxes      {}", config.mailboxes.display()));
    remark(format!("directory      {}", config.directory.display()));
    remark(format!("control        {}", config.control.display()));
    remark(format!("administrator  {}", config.administrator));
    for listener in &config.listeners {
        remark(format!("listener       {} on {}", listener.name, listener.address));
    }
}
