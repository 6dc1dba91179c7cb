//! The configuration: a file as written is read into refined types ([`Config`]), with every
//! problem reported at once under its key path.

mod checked;
mod defaults;
mod environment;
mod raw;
mod read;
mod secret;
mod share;
mod tls;

pub use checked::{
    AdmitFault, Config, Decisions, Delivery, Dns, FaultActions, Limits, Listener, ListenerTls, Login, ModuleFaults,
    NdrFault, NextHop, Overload, PolicyEngine, PolicyLimits, PolicyModule, Probation, RecordMode, Route, Timeouts,
    TlsFiles,
};
pub use environment::problems_around;
pub use raw::{ConfigError, Problem};
pub use secret::secret;
pub use share::Share;
pub use tls::{make_self_signed, server_config};

#[cfg(test)]
mod tests;
