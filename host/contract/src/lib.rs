//! What a mail server asks a policy, and what it gets for an answer. Nothing here knows that policies are WebAssembly:
//! listener, session and delivery depend on this crate, the engine stands behind [`Decide`].

mod decide;
mod decision;
mod question;

pub use decide::{Decide, Transaction};
pub use decision::{
    Admission, AdmissionTerms, Answered, Audience, Decision, Disposition, Edit, FailedRecipient, Failure, NdrFault,
    Notice, Origin, Plan, Reason, ReturnContent, Verdict,
};
pub use question::{Excerpt, Octets, Question};
