//! The configuration: a file as written ([`raw`]), then checked into refined types ([`Config`]),
//! with every problem reported at once under its key path.

mod checked;
mod raw;

pub use checked::{
    AdmitFault, Config, Delivery, FaultActions, Limits, Listener, ListenerTls, NdrFault, PolicyEngine, PolicyLimits,
    PolicyModule, Route, Timeouts, TlsFiles,
};
pub use raw::{ConfigError, Problem};
