//! Homing of mail: the listed recipients get no mail.

use posthouse_policy::{Client, Decision, Homing, Host, Reply, ReversePath, Rule, Verdict};

use crate::ThisPolicy;

pub const REFUSE: Rule = Rule::new("refuse", "recipients that get no mail");

impl Homing for ThisPolicy {
    fn recipient(&self, _: &Client, _: &ReversePath, recipient: &str, _: &Host) -> Decision<Verdict> {
        let is_meant = |address: &String| address.eq_ignore_ascii_case(recipient);
        if !self.refuse.iter().any(is_meant) {
            return Decision::pass();
        }
        let reply = Reply::new(550, (5, 7, 1), "This recipient gets no mail");
        Verdict::Reject(reply).because(REFUSE.with(recipient))
    }
}
