//! The driver's state of a mail transaction.

use crate::session::chunked_message::ChunkedMessage;
use crate::session::session_permit::SessionPermit;
use host_contract::Transaction;
use host_spool::ReservedSpace;

/// Policy, permit and space of a mail transaction.
pub(super) struct ActiveTransaction {
    pub(super) policy: Box<dyn Transaction>,
    pub(super) permit: SessionPermit,
    /// Room on the disk for the message, until the draft takes it over.
    pub(super) space: Option<ReservedSpace>,
    /// Message that comes in chunks, from the first chunk on.
    pub(super) chunks: Option<Box<ChunkedMessage>>,
}

impl ActiveTransaction {
    /// Waits for the peer. The transaction may lose its permit and the policy's instances meanwhile.
    pub(super) async fn release_while<T>(&mut self, peer: impl Future<Output = T>) -> T {
        self.permit.release_while(self.policy.release_while(peer)).await
    }
}
