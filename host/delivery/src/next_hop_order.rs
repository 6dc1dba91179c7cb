//! Order of several next hops: as configured, or by weight.

use std::hash::{DefaultHasher, Hash, Hasher};

use host_config::DeliveryConfig;
use host_mail::MessageId;

use crate::remote::Remote;

/// Sorts next hops by weighted rendezvous hashing if any of them has a weight; otherwise the order stays. A message has
/// the same order at every attempt, so that its recipients share connections.
pub(super) fn sort_by_weight(remotes: &mut [Remote], message: Option<MessageId>, delivery: &DeliveryConfig) {
    let weight = |remote: &Remote| remote.settings(delivery).and_then(|own| own.weight);
    if remotes.iter().all(|remote| weight(remote).is_none()) {
        return;
    }
    remotes.sort_by_cached_key(|remote| {
        let mut hasher = DefaultHasher::new();
        (message, remote).hash(&mut hasher);
        // Uniform in (0, 1]; the least -ln(x) / weight comes first with a probability in proportion to the weight.
        let uniform = ((hasher.finish() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        let score = -uniform.ln() / f64::from(weight(remote).unwrap_or(1));
        // Non-negative floating-point numbers have the order of their bits.
        score.max(0.0).to_bits()
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::testing;
    use super::*;
    use host_config::{HopKey, HopRate, HopSettings, HopTrust};
    use host_mail::Endpoint;

    fn remote(server: &str) -> Remote {
        Remote::Server {
            protocol: crate::remote::Protocol::Smtp,
            endpoint: server.parse().expect("an endpoint"),
        }
    }

    fn weighted(server: &str, weight: u32) -> Arc<HopSettings> {
        let endpoint: Endpoint = server.parse().expect("an endpoint");
        Arc::new(HopSettings {
            name: None,
            key: HopKey::Server(endpoint),
            tls: None,
            implicit_tls: None,
            trust: HopTrust::System,
            source_addresses: Vec::new(),
            hello: None,
            weight: Some(weight),
            connections: None,
            rate: HopRate::default(),
        })
    }

    #[test]
    fn weights_divide_the_mail_and_keep_the_order_of_a_message() {
        let mut delivery = testing::delivery();
        delivery.hops = vec![weighted("a:25", 3)];
        let mut first = 0;
        for _ in 0..2000 {
            let id = Some(MessageId::generate());
            let mut one = [remote("b:25"), remote("a:25")];
            let mut two = [remote("a:25"), remote("b:25")];
            sort_by_weight(&mut one, id, &delivery);
            sort_by_weight(&mut two, id, &delivery);
            assert_eq!(one, two);
            first += usize::from(one[0] == remote("a:25"));
        }
        // 1500 are expected, with a standard deviation of 19.
        assert!((1300..1700).contains(&first), "{first}");
    }

    #[test]
    fn order_without_weights_is_that_of_the_configuration() {
        let mut remotes = [remote("b:25"), remote("a:25"), remote("c:25")];
        let before = remotes.clone();
        sort_by_weight(&mut remotes, Some(MessageId::generate()), &testing::delivery());
        assert_eq!(remotes, before);
    }
}
