//! Decide: the one thing that listener, session and delivery know of policies.

use std::pin::pin;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::decision::{Admission, Answered, Disposition, Failure, NdrFault, Plan, Verdict};
use host_mail::{Client, Content, Envelope, Mailbox, MessageId, ReversePath, SessionId};

/// Answers the questions of a mail server. Every question has an answer: what a fault or an overload means is decided
/// by the fault table behind this trait, and `Answered::fault` tells the two apart.
pub trait Decide: Send + Sync {
    /// Decides about a new connection. Asked once for each.
    fn admit<'a>(&'a self, session: SessionId, client: &'a Client) -> BoxFuture<'a, Answered<Admission>>;

    /// Begins the questions of one mail transaction, of one client and one reverse-path. All of them are answered by the
    /// policies that are active now, whatever is loaded meanwhile.
    fn transaction(&self, session: SessionId) -> Box<dyn Transaction>;

    /// Plans who is told about a failure. `None` with `fault` set: the policy faulted, and [`Self::on_ndr_fault`] says what
    /// follows. `None` without it: no policy had an opinion, and the host's standard report is the plan.
    fn plan<'a>(&'a self, failure: &'a Failure) -> BoxFuture<'a, Answered<Option<Plan>>>;

    /// Returns what the host does when a plan faulted.
    fn on_ndr_fault(&self) -> NdrFault;
}

/// The questions of one mail transaction, in the order of the dialogue. Cancel safe: a question that is dropped half-way
/// ends the transaction's instances with it.
pub trait Transaction: Send {
    /// MAIL FROM.
    fn sender<'a>(&'a mut self, client: &'a Client, sender: &'a ReversePath) -> BoxFuture<'a, Answered<Verdict>>;

    /// RCPT TO.
    fn recipient<'a>(
        &'a mut self,
        client: &'a Client,
        sender: &'a ReversePath,
        recipient: &'a Mailbox,
    ) -> BoxFuture<'a, Answered<Verdict>>;

    /// After the final dot. Edits are checked; applying them is the caller's.
    fn message<'a>(
        &'a mut self,
        id: MessageId,
        client: &'a Client,
        envelope: &'a Envelope,
        content: Arc<dyn Content>,
    ) -> BoxFuture<'a, Answered<Disposition>>;

    /// Completes when other work waits for the instances that this transaction holds; never if it holds none.
    fn revoked(&mut self) -> BoxFuture<'_, ()>;

    /// Releases all instances. The next question gets new ones; call and log budgets carry over.
    fn release(&mut self);
}

impl dyn Transaction {
    /// Waits for `work`, such as the client's next line. While it takes its time and other transactions wait, the
    /// instances are released and `work` continues without them.
    pub async fn release_while<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = self.revoked() => {}
        }
        self.release();
        work.await
    }
}
