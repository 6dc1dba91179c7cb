//! The origin of a question, by which faults of a generation on trial are counted: what a single client or account causes
//! decides no trial.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::evaluate::prepared_question::LiveQuestion;
use host_contract::Question;

/// Prefix of a client's network in IPv4: a site or a customer of a provider.
const IPV4_PREFIX: u8 = 24;
/// Prefix of a client's network in IPv6: what providers assign to a site at most (RFC 6177 section 2).
const IPV6_PREFIX: u8 = 48;

/// The origin of a question.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum FaultOrigin {
    /// An authenticated account, independent of its clients.
    Account(String),
    /// The network of a client without an account.
    Network(IpNet),
    /// The host itself, about its own mail.
    Host,
}

impl FaultOrigin {
    /// Returns the origin of a question.
    pub(crate) fn of(question: &LiveQuestion) -> Self {
        let (identity, address) = match question {
            Question::Admit { client }
            | Question::Sender { client, .. }
            | Question::Recipient { client, .. }
            | Question::Message { client, .. } => (&client.identity, Some(client.address)),
            Question::Plan { failure } => (&failure.identity, failure.client_address),
        };
        match (identity, address) {
            (Some(identity), _) => Self::Account(identity.account.clone()),
            (None, Some(address)) => Self::network(address),
            (None, None) => Self::Host,
        }
    }

    /// Returns the network of a client's address.
    pub(crate) fn network(address: IpAddr) -> Self {
        let prefix = match address {
            IpAddr::V4(_) => IPV4_PREFIX,
            IpAddr::V6(_) => IPV6_PREFIX,
        };
        Self::Network(IpNet::new_assert(address, prefix).trunc())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str) -> FaultOrigin {
        FaultOrigin::network(address.parse().expect("an address"))
    }

    #[test]
    fn clients_of_a_network_are_one_origin() {
        assert_eq!(network("192.0.2.1"), network("192.0.2.254"));
        assert_ne!(network("192.0.2.1"), network("192.0.3.1"));
        assert_eq!(network("2001:db8:1:2::3"), network("2001:db8:1:ffff::1"));
        assert_ne!(network("2001:db8:1::1"), network("2001:db8:2::1"));
    }
}
