//! Admission of connections: the listed clients are refused.

use posthouse_policy::{Admission, Client, Decision, Exemption, Host, Reply, Rule};

use crate::ThisPolicy;

pub const CLIENT: Rule = Rule::new("client", "clients that are sent away");

impl Exemption for ThisPolicy {
    fn admit(&self, client: &Client, _: &Host) -> Decision<Admission> {
        let Some(address) = client.ip().filter(|address| self.refuse_clients.contains(address)) else {
            return Decision::pass();
        };
        let reply = Reply::new(554, (5, 7, 1), "No mail from this address");
        Admission::Refuse(reply).because(CLIENT.with(address.to_string()))
    }
}
