//! Messages for which a changed configuration means another next hop.

use host_config::DeliveryConfig;
use host_mail::{Mailbox, Timestamp};
use host_spool::{Message, RecipientState, State};

use super::destination::{Destination, Remote};
use crate::outgoing_delivery::tls_level;

/// True if a pending recipient of a queued message has another next hop, TLS level or login under `new` than under
/// `old`. Recipients of this host, whose home the directory names, do not count.
pub fn is_rerouted(message: &Message, old: &DeliveryConfig, new: &DeliveryConfig) -> bool {
    let is_pending = |state: &RecipientState| matches!(state, RecipientState::Pending { .. });
    let pending = message.recipients.iter().filter(|each| is_pending(&each.state));
    // A held message (RFC 4865) is not deferred.
    let hold = message.envelope.hold();
    let is_held = hold.is_some_and(|hold| hold.release(message.received) > Timestamp::now());
    !is_held
        && matches!(message.state, State::Queued)
        && pending
            .into_iter()
            .any(|recipient| next_hop(&recipient.address, old) != next_hop(&recipient.address, new))
}

/// Next hop, TLS level and login of a recipient, as text.
fn next_hop(address: &Mailbox, delivery: &DeliveryConfig) -> String {
    let Ok(Destination::Remote(remote)) = Destination::for_remote_address(address, delivery) else {
        return String::new();
    };
    let login = match &remote {
        Remote::Server { endpoint, .. } => delivery.logins.iter().find(|login| login.server == *endpoint),
        Remote::Exchanges(_) => None,
    };
    format!("{remote} {:?} {login:?}", tls_level(delivery, &remote, login.is_some()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{delivery, message};
    use super::*;
    use host_config::{NextHop, Route};

    #[test]
    fn compares_the_next_hops_of_pending_recipients() {
        let server = |text: &str| NextHop::Server(text.parse().expect("an endpoint"));
        let mut old = delivery();
        old.smart_host = Some(server("old:25"));
        let mut new = old.clone();
        new.routes.push(Route {
            domain: "far.example".to_owned(),
            to: server("new:25"),
            lmtp: false,
            tls: None,
            etrn: false,
        });
        assert!(is_rerouted(&message(&["x@far.example"]), &old, &new));
        assert!(!is_rerouted(&message(&["x@other.example"]), &old, &new));
        assert!(!is_rerouted(&message(&["x@far.example"]), &old, &old));
        let mut delivered = message(&["x@far.example"]);
        delivered.recipients[0].state = RecipientState::Delivered {
            at: host_mail::Timestamp(1),
        };
        assert!(!is_rerouted(&delivered, &old, &new));
    }
}
