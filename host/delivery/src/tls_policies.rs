//! Published policies about TLS with the exchanges of domains: the state that all deliveries share.

use std::path::Path;

use host_config::DnsConfig;

use crate::dane::Dane;
use crate::mta_sts::MtaSts;
use crate::tls_reports::TlsReports;

/// Lookups of published policies, with their caches.
pub(super) struct TlsPolicies {
    pub(super) dane: Dane,
    pub(super) mta_sts: MtaSts,
    pub(super) reports: TlsReports,
}

impl TlsPolicies {
    /// Creates the lookups, without I/O. MTA-STS policies and counts for reports are kept in the data folder,
    /// or without one in memory only.
    pub(super) fn new(dns: DnsConfig, data: Option<&Path>) -> Self {
        Self {
            dane: Dane::new(dns),
            mta_sts: MtaSts::new(data.map(|data| data.join("mta-sts"))),
            reports: TlsReports::new(data.map(|data| data.join("tls-reports.json"))),
        }
    }
}
