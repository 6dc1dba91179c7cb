//! Warnings for which configuration and directory are compared.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;

use host_config::{Config, Listener, Problem, SaslMechanism, is_this_host, servers};
use host_directory::{Directory, FileDirectory};
use host_mail::Endpoint;

/// Maximum time of looking up a name for a warning.
const LOOKUP_TIME: Duration = Duration::from_secs(2);

/// Returns the warnings about a directory and the configuration's keys that depend on it.
pub(super) async fn directory_warnings(config: &Config, directory: &FileDirectory) -> Vec<Problem> {
    let in_directory = directory.warnings(config).into_iter();
    let mut warnings: Vec<Problem> = in_directory.map(|problem| in_file(config, &problem)).collect();
    let mut unused = Vec::new();
    for (index, route) in config.delivery.routes.iter().enumerate() {
        let Some(domain) = &route.domain else {
            continue;
        };
        if directory.is_local_domain(domain).await.unwrap_or(false) {
            let text = format!(
                "{domain} is a domain of the directory, whose accounts have homes: the route is not used; write the server as \
                 the home of each account, or take the domain out of domains"
            );
            unused.push(Problem::new(format!("delivery.route[{index}].domain"), text));
        }
    }
    unused.extend(scram_without_verifiers(config, directory));
    if let Some(srs) = &config.srs
        && !directory.is_local_domain(&srs.domain).await.unwrap_or(true)
    {
        let text = format!(
            "{} is no domain of the directory: reports about forwarded mail would not come back; write a local domain",
            srs.domain
        );
        unused.push(Problem::new("srs.domain", text));
    }
    config.add_lines(&mut unused);
    warnings.append(&mut unused);
    warnings
}

/// Returns a warning for each listener that offers SCRAM though some accounts have no verifier for it.
fn scram_without_verifiers(config: &Config, directory: &FileDirectory) -> Vec<Problem> {
    if directory.has_scram_for_all() {
        return Vec::new();
    }
    let offers = |listener: &Listener| {
        listener
            .mechanisms
            .is_some_and(|set| set.iter().any(SaslMechanism::is_scram))
    };
    let offering = config
        .listeners
        .iter()
        .enumerate()
        .filter(|(_, listener)| offers(listener));
    let warning = |(index, _): (usize, &Listener)| {
        let text = "SCRAM is offered, and fails for accounts without a verifier: posthouse account passwd stores one";
        Problem::new(format!("listener[{index}].auth-mechanisms"), text)
    };
    offering.map(warning).collect()
}

/// Asks the system's resolver for the names of next hops and homes, and returns a warning for each that leads to a
/// listener of this host. A name without an answer is no warning: the resolver may be out of reach.
pub async fn resolved_here(config: &Config, directory: &FileDirectory) -> Vec<Problem> {
    let hops = servers(config)
        .into_iter()
        .map(|(key, server, _)| (key, server.clone(), false));
    let homes = directory
        .home_servers()
        .into_iter()
        .map(|(key, server)| (key, server, true));
    let lookups = hops.chain(homes).map(|(key, server, is_home)| async move {
        let address = resolved_own_address(config, &server).await?;
        let text = format!(
            "{server} is this host itself, by {address}, and mail would go round in circles: write another server"
        );
        let problem = Problem::new(key, text);
        Some(if is_home { in_file(config, &problem) } else { problem })
    });
    let mut found: Vec<Problem> = join_all(lookups).await.into_iter().flatten().collect();
    config.add_lines(&mut found);
    found
}

async fn resolved_own_address(config: &Config, server: &Endpoint) -> Option<SocketAddr> {
    let Endpoint::Tcp(host, port) = server else {
        return None;
    };
    let is_name = host.parse::<std::net::IpAddr>().is_err();
    // A name that is known to be this host's own has its warning already.
    if !is_name || is_this_host(config, host, *port) {
        return None;
    }
    let looked_up = tokio::time::timeout(LOOKUP_TIME, tokio::net::lookup_host((host.as_str(), *port))).await;
    let mut addresses = looked_up.ok()?.ok()?;
    addresses.find(|address| is_this_host(config, &address.ip().to_string(), *port))
}

/// Puts a problem of the directory's file under the key `directory`.
fn in_file(config: &Config, problem: &Problem) -> Problem {
    Problem::new("directory", format!("{}: {problem}", config.directory.display()))
}
