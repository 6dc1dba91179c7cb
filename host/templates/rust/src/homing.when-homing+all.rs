//! Which recipients get mail.

use posthouse_policy::{Client, Decision, Homing, Host, Reply, ReversePath, Rule, Verdict};

use crate::ThisPolicy;

pub const REFUSE: Rule = Rule::new("refuse", "recipients that get no mail");

impl Homing for ThisPolicy {
    fn recipient(&self, _: &Client, _: &ReversePath, recipient: &str, host: &Host) -> Decision<Verdict> {
        let is_meant = |address: &&String| address.eq_ignore_ascii_case(recipient);
        let Some(address) = self.refuse.iter().find(is_meant) else {
            return Decision::pass();
        };
        host.info(format!("mail for {recipient} was refused"));
        let reply = Reply::new(550, (5, 7, 1), "This recipient gets no mail");
        Verdict::Reject(reply).because(REFUSE.with(address))
    }
}
