//! Origin of a message, which routes depend on besides the recipient's domain.

use host_config::{DeliveryConfig, Route, with_parents};
use host_mail::{MessageId, ReversePath};
use host_spool::Message;

/// Properties of a message that conditions of routes compare.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RouteOrigin<'a> {
    /// Message; decides about the next hop among several with weights.
    pub(super) message: Option<MessageId>,
    /// Domain of the reverse-path; `None` for the null reverse-path.
    pub(super) sender_domain: Option<&'a str>,
    /// Account that submitted the message.
    pub(super) account: Option<&'a str>,
    /// Listener that accepted the message; `None` for this host's own messages.
    pub(super) listener: Option<&'a str>,
    /// True for a message that an operator has released: no route holds the message.
    pub(super) is_forced: bool,
}

impl<'a> RouteOrigin<'a> {
    /// Returns the origin of a message.
    pub(super) fn of(message: &'a Message, is_forced: bool) -> Self {
        let client = message.client.as_ref();
        Self {
            message: Some(message.id),
            sender_domain: match &message.envelope.sender {
                ReversePath::Mailbox(sender) => Some(sender.domain()),
                ReversePath::Null => None,
            },
            account: client
                .and_then(|client| client.identity.as_ref())
                .map(|identity| identity.account.as_str()),
            listener: client.map(|client| client.listener.as_str()),
            is_forced,
        }
    }

    /// Returns the route for a recipient's domain. Of several whose conditions hold, the one with the nearest domain
    /// applies, then the one with the nearest domain of the sender, then the one with more of the other conditions,
    /// then the first.
    pub(super) fn route<'b>(&self, domain: &str, delivery: &'b DeliveryConfig) -> Option<&'b Route> {
        let mut best: Option<(Specificity, &Route)> = None;
        for route in &delivery.routes {
            if let Some(found) = self.match_of(route, domain)
                && best.as_ref().is_none_or(|(other, _)| found > *other)
            {
                best = Some((found, route));
            }
        }
        best.map(|(_, route)| route)
    }

    /// Specificity of a route for this message; `None` if a condition does not hold.
    fn match_of(&self, route: &Route, domain: &str) -> Option<Specificity> {
        let others = [(&route.account, self.account), (&route.listener, self.listener)];
        let is_met =
            |(wanted, found): &(&Option<String>, Option<&str>)| wanted.is_none() || wanted.as_deref() == *found;
        if !others.iter().all(is_met) {
            return None;
        }
        Some(Specificity {
            domain: labels_of_match(route.domain.as_deref(), Some(domain))?,
            sender_domain: labels_of_match(route.sender_domain.as_deref(), self.sender_domain)?,
            others: others.iter().filter(|(wanted, _)| wanted.is_some()).count(),
        })
    }
}

/// Rank of a route among those that apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Specificity {
    /// Labels of the recipient's domain in the condition.
    domain: usize,
    sender_domain: usize,
    others: usize,
}

/// Number of labels in the condition `wanted` if `found` is that domain or below it; 0 without a condition, and `None`
/// if the condition does not hold.
fn labels_of_match(wanted: Option<&str>, found: Option<&str>) -> Option<usize> {
    let Some(wanted) = wanted else {
        return Some(0);
    };
    let is_below = with_parents(found?).any(|name| name == wanted);
    is_below.then(|| wanted.split('.').count())
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn route(domain: &str, sender: &str, account: &str, listener: &str) -> Route {
        let condition = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Route {
            domain: condition(domain),
            sender_domain: condition(sender),
            account: condition(account),
            listener: condition(listener),
            ..Route::default()
        }
    }

    #[test]
    fn most_specific_route_applies() {
        let mut delivery = testing::delivery();
        delivery.routes = vec![
            route("", "here.example", "", ""),
            route("", "", "anna", ""),
            route("", "", "anna", "submission"),
            route("", "news.here.example", "", ""),
            route("far.example", "", "", ""),
            route("far.example", "", "anna", ""),
            route("", "", "", "inside"),
        ];
        for (domain, sender, account, listener, expected) in [
            ("x.example", "here.example", "", "", Some(0)),
            ("x.example", "sub.here.example", "", "", Some(0)),
            ("x.example", "a.news.here.example", "", "", Some(3)),
            ("x.example", "", "", "smtp", None),
            ("x.example", "", "", "inside", Some(6)),
            ("x.example", "", "anna", "smtp", Some(1)),
            ("x.example", "", "anna", "submission", Some(2)),
            ("x.example", "here.example", "anna", "submission", Some(0)),
            ("mx.far.example", "here.example", "", "", Some(4)),
            ("far.example", "here.example", "anna", "submission", Some(5)),
        ] {
            let set = |text: &'static str| (!text.is_empty()).then_some(text);
            let origin = RouteOrigin {
                sender_domain: set(sender),
                account: set(account),
                listener: set(listener),
                ..RouteOrigin::default()
            };
            let found = origin.route(domain, &delivery);
            let expected = expected.map(|index: usize| &delivery.routes[index]);
            assert_eq!(found, expected, "{domain} {sender} {account} {listener}");
        }
    }
}
