//! The interface to policies for listener, session and delivery.

use std::pin::pin;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::decision::{Admission, Answered, Disposition, Failure, NdrFault, Plan, Verdict};
use host_mail::{Client, Content, Envelope, Mailbox, MessageId, ReversePath, SessionId};

/// Answers the questions of a mail server. Every question has an answer: for a fault or an overload the implementation
/// takes the answer from the fault table and sets [`Answered::fault`].
pub trait Decide: Send + Sync {
    /// Decides about a new connection. Called once for each connection, before the banner.
    fn admit<'a>(&'a self, session: SessionId, client: &'a Client) -> BoxFuture<'a, Answered<Admission>>;

    /// Begins the questions of a mail transaction, which has a single client and reverse-path. All questions of the
    /// transaction are answered by the policies that are active now, even if others are loaded before its end.
    fn transaction(&self, session: SessionId) -> Box<dyn Transaction>;

    /// Plans the notifications about a failure. `None` with `fault` set: the policy faulted and [`Self::on_ndr_fault`]
    /// applies. `None` without `fault`: no policy had an opinion and the host sends its standard report.
    fn plan<'a>(&'a self, failure: &'a Failure) -> BoxFuture<'a, Answered<Option<Plan>>>;

    /// Returns the action of the host when [`Self::plan`] faulted.
    fn on_ndr_fault(&self) -> NdrFault;
}

/// The questions of a mail transaction, in the order of the dialogue. Cancel safe: dropping a pending question also
/// drops the transaction's policy instances.
pub trait Transaction: Send {
    /// Decides about the reverse-path of MAIL FROM.
    fn sender<'a>(&'a mut self, client: &'a Client, sender: &'a ReversePath) -> BoxFuture<'a, Answered<Verdict>>;

    /// Decides about a forward-path of RCPT TO.
    fn recipient<'a>(
        &'a mut self,
        client: &'a Client,
        sender: &'a ReversePath,
        recipient: &'a Mailbox,
    ) -> BoxFuture<'a, Answered<Verdict>>;

    /// Decides about the message after the final dot of DATA. The edits in the answer are validated; the caller must
    /// apply all edits.
    fn message<'a>(
        &'a mut self,
        id: MessageId,
        client: &'a Client,
        envelope: &'a Envelope,
        content: Arc<dyn Content>,
    ) -> BoxFuture<'a, Answered<Disposition>>;

    /// Completes when the instances of this transaction are revoked because other work waits for instances; never
    /// completes for a transaction without instances. The caller must then call [`Self::release`].
    fn revoked(&mut self) -> BoxFuture<'_, ()>;

    /// Releases all instances. The next question gets new ones; call and log budgets carry over.
    fn release(&mut self);
}

impl dyn Transaction {
    /// Runs `work`, such as reading the client's next line. If other transactions wait for instances before `work` is
    /// done, the instances are released and `work` continues.
    pub async fn release_while<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        tokio::select! {
            biased;
            output = &mut work => return output,
            () = self.revoked() => {}
        }
        self.release();
        work.await
    }
}
