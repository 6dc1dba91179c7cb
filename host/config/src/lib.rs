//! The configuration: a TOML file is read into checked types ([`Config`]). Every problem is reported in a single run,
//! under its key path.

mod address_ranges;
mod certificate_warnings;
mod certificates;
mod checked;
mod defaults;
mod delivery_config;
mod dkim_keys;
mod edit_dkim;
mod environment;
mod key_lines;
mod listener_warnings;
mod next_hop_warnings;
mod pem_file;
mod policy_warnings;
mod private_files;
mod problem;
mod read;
mod read_delivery;
mod read_dkim;
mod read_listeners;
mod read_policies;
mod sasl_mechanism;
mod secret;
mod server_certificates;
mod share;
pub mod toml_reader;
mod values;
mod warnings;

pub use crate::certificate_warnings::certificate_expiry;
pub use crate::certificates::{SelfSigned, make_self_signed, server_config};
pub use crate::dkim_keys::{dkim_key_file, dkim_signers, read_dkim_key};
pub use crate::edit_dkim::{AddedDkimKey, ConfigEditError, EndedDkimKey, edit_dkim_keys};
pub use crate::key_lines::add_lines;
pub use crate::next_hop_warnings::{HopProtocol, hop_warning, is_this_host, servers};
pub use crate::problem::{ConfigError, Problem};
pub use crate::read_dkim::dkim_selector;
pub use checked::{
    AdmitFault, Config, DecisionLogConfig, DkimKey, DnsConfig, Extension, FaultActions, Limits, Listener, ListenerTls,
    LoginLimits, ModuleFaults, OverloadConfig, PolicyEngine, PolicyLimits, PolicyModule, ProbationConfig, RecordMode,
    SpoolDamage, SrsConfig, SubmissionConfig, Timeouts, TlsFiles,
};
pub use delivery_config::{
    DeliveryConfig, HELD_QUEUE, HopKey, HopRate, HopRef, HopSettings, HopTrust, KeyDigest, NextHop, Route, ServerLogin,
    TlsLevel, TlsReportConfig, with_parents,
};
pub use environment::{problems_around, unreadable_components};
pub use host_contract::NdrFault;
pub use private_files::{data_folder_warnings, give_to_service, inspect_data_folder, ownership_problems};
pub use sasl_mechanism::{SaslMechanism, SaslMechanisms};
pub use secret::secret;
pub use server_certificates::{ListenerTlsConfigs, listener_tls_configs};
pub use share::Share;
pub use warnings::warnings_around;

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
