//! The contract between a mail server and its policies: questions, decisions and the trait that answers. Listener,
//! session and delivery depend on the contract alone, which is independent of WebAssembly; the policy crate implements
//! [`Decide`].

mod decide;
mod decision;
mod question;

pub use decide::{Decide, Transaction};
pub use decision::{
    Admission, AdmissionTerms, Answered, Audience, Decision, Disposition, Edit, FailedRecipient, Failure, NdrFault,
    Notice, Origin, Plan, Reason, ReturnContent, Verdict,
};
pub use question::{Excerpt, Octets, Question};
