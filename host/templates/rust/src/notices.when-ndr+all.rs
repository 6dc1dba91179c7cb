//! Who hears about a failure.

use posthouse_policy::{Audience, Content, Decision, Failure, Host, Ndr, Notice, Plan, Rule};

use crate::ThisPolicy;

pub const AUTOMATIC: Rule = Rule::new("automatic", "nobody hears about automatic mail (RFC 3834)");
pub const SENDER: Rule = Rule::new("sender", "who sent it hears about it");

impl Ndr for ThisPolicy {
    fn plan(&self, failure: &Failure, _: &Host) -> Decision<Plan> {
        if failure.automatic {
            return Plan::default().because(AUTOMATIC.alone());
        }
        let notice = |to| Notice {
            to,
            content: Content::Headers,
            remark: None,
        };
        let mut notices = vec![notice(Audience::Sender)];
        if self.tell_administrator {
            notices.push(notice(Audience::Administrator));
        }
        Plan(notices).because(SENDER.with(&failure.class))
    }
}
