//! Which configuration, which daemon.

use std::path::PathBuf;

use clap::Args;

use crate::control::ControlClient;
use host_config::{Config, ConfigError};

/// Which configuration.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigFile {
    /// The configuration; without it the built-in defaults hold
    #[arg(long, value_name = "FILE", env = "POSTHOUSE_CONFIG")]
    pub config: Option<PathBuf>,
}

impl ConfigFile {
    /// Reads it.
    pub fn load(&self) -> Result<Config, ConfigError> {
        match &self.config {
            Some(file) => Config::load(file),
            None => Config::builtin(),
        }
    }
}

/// Which daemon, and how to show what it says.
#[derive(Debug, Clone, Default, Args)]
pub struct Daemon {
    /// Configuration of the daemon to talk to
    #[command(flatten)]
    pub config: ConfigFile,
    /// Control socket of the daemon, instead of the configuration's
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl Daemon {
    /// A client of it; nothing is connected yet.
    pub fn client(&self) -> Result<ControlClient, ConfigError> {
        match &self.socket {
            Some(socket) => Ok(ControlClient::new(socket)),
            None => Ok(ControlClient::new(self.config.load()?.control)),
        }
    }
}
