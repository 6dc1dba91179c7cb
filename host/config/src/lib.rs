//! The configuration: a TOML file is read into checked types ([`Config`]). Every problem is reported in a single run,
//! under its key path.

mod certificates;
mod checked;
mod defaults;
mod environment;
mod problem;
mod read;
mod secret;
mod share;
pub mod toml_reader;
mod values;

pub use crate::certificates::{make_self_signed, server_config};
pub use crate::problem::{ConfigError, Problem};
pub use checked::{
    AdmitFault, Config, DecisionLogConfig, DeliveryConfig, DnsConfig, FaultActions, Limits, Listener, ListenerTls,
    ModuleFaults, NextHop, OverloadConfig, PolicyEngine, PolicyLimits, PolicyModule, ProbationConfig, RecordMode,
    Route, ServerLogin, Timeouts, TlsFiles,
};
pub use environment::{problems_around, unreadable_components};
pub use host_contract::NdrFault;
pub use secret::secret;
pub use share::Share;

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
