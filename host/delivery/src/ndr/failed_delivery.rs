//! A failed, delayed or reported delivery, with everything that this host knows about it.

use host_config::DeliveryConfig;
use host_directory::Directory;
use host_mail::{Mailbox, Timestamp};
use host_spool::{Failed, Recipient, Success};

use crate::destination::{Destination, Remote};
use crate::route_origin::RouteOrigin;

/// Way to a recipient, as far as it decides what a sender may learn about the next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryPath {
    /// The address is local, or an alias or group stands between the address and the next hop.
    Inside,
    /// A route or the smart host of the configuration.
    ConfiguredHop,
    /// A mail exchange that the DNS names for the domain of the address.
    Exchange,
}

/// A recipient that a report is about, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedDelivery {
    /// Address as the sender wrote it.
    pub written: Mailbox,
    /// Address that the delivery was for: `written`, or a member of the alias or group.
    pub address: Mailbox,
    /// Class and reply. Of a delayed delivery the reply is that of the last attempt; of a success the class is the
    /// action.
    pub why: Failed,
    /// Way to the recipient.
    pub path: DeliveryPath,
    /// Time of the last attempt to deliver; `None` if there was none or the time is not known.
    pub last_attempt: Option<Timestamp>,
}

impl FailedDelivery {
    /// Adds the way to the recipient of a success.
    pub(crate) async fn of_success(
        success: &Success,
        directory: &dyn Directory,
        routing: (RouteOrigin<'_>, &DeliveryConfig),
    ) -> Self {
        let recipient = Recipient {
            original: (success.address.key() != success.written.key()).then(|| success.written.clone()),
            ..Recipient::pending(success.address.clone())
        };
        let why = Failed {
            class: success.action.name().to_owned(),
            reply: success.reply.clone(),
            remote: success.remote.clone(),
        };
        Self::of(&recipient, why, Some(success.at), directory, routing).await
    }

    /// Adds the way to the recipient. While the directory is not available, every address counts as local, which
    /// discloses least.
    pub(crate) async fn of(
        recipient: &Recipient,
        why: Failed,
        last_attempt: Option<Timestamp>,
        directory: &dyn Directory,
        (origin, delivery): (RouteOrigin<'_>, &DeliveryConfig),
    ) -> Self {
        let address = &recipient.address;
        let inside = recipient.original.is_some() || directory.is_local_domain(address.domain()).await.unwrap_or(true);
        let path = match Destination::for_remote_address(address, origin, delivery) {
            _ if inside => DeliveryPath::Inside,
            Ok(Destination::Remote(remote)) if matches!(remote.unnamed(), Remote::Exchanges(_)) => {
                DeliveryPath::Exchange
            }
            Ok(_) | Err(_) => DeliveryPath::ConfiguredHop,
        };
        Self {
            written: recipient.as_written().clone(),
            address: address.clone(),
            why,
            path,
            last_attempt,
        }
    }
}
