//! Test double of the policies: the behaviour of a configuration without `[[policy]]`.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use host_contract::{
    Admission, AdmissionTerms, Answered, Decide, Disposition, Failure, NdrFault, Plan, Reason, Transaction, Verdict,
};
use host_mail::{Client, Content, Envelope, Mailbox, MessageId, ReversePath, SessionId};

/// Accepts all connections, senders, recipients and messages, and has no opinion about failures.
pub struct NoPolicy;

fn accepted<'a, T: Send + 'a>(answer: T) -> BoxFuture<'a, Answered<T>> {
    Box::pin(async { Answered::by_policy(answer, Reason::host("no-policy")) })
}

impl Decide for NoPolicy {
    fn admit<'a>(&'a self, _: SessionId, _: &'a Client) -> BoxFuture<'a, Answered<Admission>> {
        accepted(Admission::Admit(AdmissionTerms::default()))
    }

    fn transaction(&self, _: SessionId) -> Box<dyn Transaction> {
        Box::new(Self)
    }

    fn plan<'a>(&'a self, _: &'a Failure) -> BoxFuture<'a, Answered<Option<Plan>>> {
        accepted(None)
    }

    fn on_ndr_fault(&self) -> NdrFault {
        NdrFault::StandardReport
    }
}

impl Transaction for NoPolicy {
    fn sender<'a>(&'a mut self, _: &'a Client, _: &'a ReversePath) -> BoxFuture<'a, Answered<Verdict>> {
        accepted(Verdict::Accept)
    }

    fn recipient<'a>(
        &'a mut self,
        _: &'a Client,
        _: &'a ReversePath,
        _: &'a Mailbox,
    ) -> BoxFuture<'a, Answered<Verdict>> {
        accepted(Verdict::Accept)
    }

    fn message<'a>(
        &'a mut self,
        _: MessageId,
        _: &'a Client,
        _: &'a Envelope,
        _: Arc<dyn Content>,
    ) -> BoxFuture<'a, Answered<Disposition>> {
        accepted(Disposition::Accept(Vec::new()))
    }

    fn revoked(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn release(&mut self) {}
}
