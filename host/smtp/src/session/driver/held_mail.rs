//! ETRN (RFC 1985): a next hop asks for the mail that waits for it.

use super::Driver;
use crate::session::replies;
use host_events::Event;
use host_mail::{Reply, canonical_domain};

impl Driver {
    /// Releases the mail of the routes that wait for the node, towards their configured next hops. A node is the domain
    /// of a route, or with `@` the domain and those below.
    pub(super) fn start_queue(&self, node: &str) -> Reply {
        let (name, with_subdomains) = match node.strip_prefix('@') {
            Some(name) => (name, true),
            None => (node, false),
        };
        let Some(name) = canonical_domain(name) else {
            return replies::syntax("ETRN domain");
        };
        let below = format!(".{name}");
        let routes = self.context.config.delivery.routes.iter().filter(|route| {
            let is_meant = |domain: &String| *domain == name || (with_subdomains && domain.ends_with(&below));
            route.etrn && route.domain.as_ref().is_some_and(is_meant)
        });
        let mut is_known = false;
        let mut messages = 0;
        for route in routes {
            is_known = true;
            messages += self.context.spool.release_waiting(&route.held_queue());
        }
        if !is_known {
            return replies::node_not_allowed();
        }
        self.context.events.emit(Event::QueueStarted {
            session: self.peer.session.to_string(),
            client: self.peer.address.clone(),
            node: name.to_string(),
            messages: messages as u64,
        });
        replies::queue_started(&name, messages)
    }
}
