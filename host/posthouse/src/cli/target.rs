//! Arguments that choose the configuration and the daemon.

use std::path::PathBuf;

use clap::Args;

use crate::control::ControlClient;
use host_config::{Config, ConfigError};

/// The argument `--config`.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigFile {
    /// Configuration file; without it the built-in defaults apply
    #[arg(long, value_name = "FILE", env = "POSTHOUSE_CONFIG")]
    pub config: Option<PathBuf>,
}

impl ConfigFile {
    /// Loads the configuration, or the built-in defaults.
    ///
    /// # Errors
    /// All problems of the file.
    pub fn load(&self) -> Result<Config, ConfigError> {
        match &self.config {
            Some(file) => Config::load(file),
            None => Config::builtin(),
        }
    }
}

/// Arguments of commands that talk to a daemon.
#[derive(Debug, Clone, Default, Args)]
pub struct Daemon {
    /// Configuration of the daemon
    #[command(flatten)]
    pub config: ConfigFile,
    /// Control socket of the daemon, instead of the configured one
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl Daemon {
    /// Makes a client of the daemon without connecting.
    ///
    /// # Errors
    /// The configuration, which names the socket, could not be loaded.
    pub fn client(&self) -> Result<ControlClient, ConfigError> {
        match &self.socket {
            Some(socket) => Ok(ControlClient::new(socket)),
            None => Ok(ControlClient::new(self.config.load()?.control)),
        }
    }
}
