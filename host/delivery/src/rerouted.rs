//! Messages for which a changed configuration means another next hop.

use host_config::DeliveryConfig;
use host_mail::{Mailbox, Timestamp};
use host_spool::{Message, RecipientState, State};

use super::destination::Destination;
use crate::route_origin::RouteOrigin;

/// True if a pending recipient of a queued message has another next hop, TLS level, setting or login under `new` than under
/// `old`. Recipients of this host, whose home the directory names, do not count.
pub fn is_rerouted(message: &Message, old: &DeliveryConfig, new: &DeliveryConfig) -> bool {
    let is_pending = |state: &RecipientState| matches!(state, RecipientState::Pending { .. });
    let pending = message.recipients.iter().filter(|each| is_pending(&each.state));
    // A held message (RFC 4865) is not deferred.
    let hold = message.envelope.hold();
    let is_held = hold.is_some_and(|hold| hold.release(message.received) > Timestamp::now());
    let origin = RouteOrigin::of(message, false);
    !is_held
        && matches!(message.state, State::Queued)
        && pending
            .into_iter()
            .any(|recipient| next_hop(&recipient.address, origin, old) != next_hop(&recipient.address, origin, new))
}

/// Next hops of a recipient with their TLS levels, settings and logins, as text.
fn next_hop(address: &Mailbox, origin: RouteOrigin<'_>, delivery: &DeliveryConfig) -> String {
    let Ok(destination) = Destination::for_remote_address(address, origin, delivery) else {
        return String::new();
    };
    let remotes = match &destination {
        Destination::Remote(remote) => std::slice::from_ref(remote),
        Destination::Alternatives(remotes) => remotes,
        Destination::Maildir(_) | Destination::Held(_) => &[],
    };
    let each = remotes.iter().map(|remote| {
        let (level, login) = (remote.tls_level(delivery), remote.login(delivery));
        format!("{level:?} {login:?} {:?}", remote.settings(delivery))
    });
    format!("{destination} {}", each.collect::<Vec<_>>().join(" "))
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
        old.smart_host = vec![server("old:25")];
        let mut new = old.clone();
        new.routes.push(Route {
            domain: Some("far.example".to_owned()),
            to: vec![server("new:25")],
            ..Route::default()
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
