//! Reports about deliveries of which the sender wants to learn (`NOTIFY=SUCCESS`, RFC 3461 section 5.2).

use std::sync::Arc;

use host_mail::Content;
use host_spool::{Draft, Message, PutError};

use crate::delivery_services::{DeliveryServices, Settings};
use crate::ndr::{FailedDelivery, NdrService};
use crate::route_origin::RouteOrigin;

/// Reports deliveries of which the sender wants to learn.
pub(super) struct SuccessReporter<'a> {
    pub(super) ndr: &'a NdrService,
    pub(super) services: &'a DeliveryServices,
    pub(super) settings: Settings<'a>,
}

impl SuccessReporter<'_> {
    /// Takes the deliveries out of the record and writes the report, to settle together with the record.
    pub(super) async fn tell(
        &self,
        record: &mut Message,
        content: Arc<dyn Content>,
    ) -> Result<Vec<(Draft, Message)>, PutError> {
        if record.successes.is_empty() {
            return Ok(Vec::new());
        }
        let directory = &*self.services.directory;
        let routing = (RouteOrigin::of(record, false), self.settings.delivery);
        let mut delivered = Vec::with_capacity(record.successes.len());
        for success in &record.successes {
            delivered.push(FailedDelivery::of_success(success, directory, routing).await);
        }
        let report = self.ndr.succeeded(record, content, &delivered).await?;
        record.successes.clear();
        Ok(report.into_iter().collect())
    }
}
