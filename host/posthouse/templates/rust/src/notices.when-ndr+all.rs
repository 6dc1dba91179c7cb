//! Notices about undeliverable mail: people are notified, automatic senders are not (RFC 3834).

use posthouse_policy::{Audience, Content, Decision, Failure, Host, Ndr, Notice, Plan, Rule};

use crate::ThisPolicy;

pub const AUTOMATIC: Rule = Rule::new("automatic", "automatic mail is not answered (RFC 3834)");
pub const REPORT: Rule = Rule::new("report", "the sender is told, and the administrator if the settings say so");

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
        if self.administrator {
            notices.push(notice(Audience::Administrator));
        }
        Plan(notices).because(REPORT.alone())
    }
}
