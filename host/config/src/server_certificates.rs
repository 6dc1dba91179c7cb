//! Choice of the certificate for a handshake, and the TLS configuration of each listener.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SignatureScheme};
use webpki::EndEntityCert;

use super::{Config, Listener, ListenerTls, Problem, TlsFiles};
use crate::certificates::certified_key;
use crate::pem_file::PemFile;

/// TLS configuration of each listener that uses TLS, by name.
pub type ListenerTlsConfigs = HashMap<String, Arc<ServerConfig>>;

/// Loads the certificates, the first of which is the default, and returns the configuration of each listener. Problems
/// have the key path of the table that the certificate stands in.
pub fn listener_tls_configs(
    config: &Config,
    certificates: &[(String, TlsFiles)],
) -> Result<ListenerTlsConfigs, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut served = Vec::new();
    for (key, files) in certificates {
        match certified_key(key, files) {
            Ok(certified) => served.push(ServedCertificate::new(certified)),
            Err(found) => problems.extend(found),
        }
    }
    let resolver = Arc::new(CertificateResolver { served });
    let shared = server_config(resolver.clone(), None);
    let mut configs = HashMap::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        if listener.tls == ListenerTls::Off {
            continue;
        }
        let made = match &listener.client_ca {
            None => shared.clone(),
            Some(_) => client_verifier(listener)
                .map_err(|text| Problem::new(format!("listener[{index}].client-ca"), text))
                .and_then(|verifier| server_config(resolver.clone(), Some(verifier))),
        };
        match made {
            Ok(made) => drop(configs.insert(listener.name.clone(), made)),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        Ok(configs)
    } else {
        Err(problems)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn server_config(
    resolver: Arc<CertificateResolver>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<Arc<ServerConfig>, Problem> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Problem::new("tls", error.to_string()))?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(builder.with_cert_resolver(resolver)))
}

/// Returns a verifier of the certificates that clients may show, by the authorities in the listener's `client-ca`.
fn client_verifier(listener: &Listener) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let path = listener.client_ca.as_deref().unwrap_or(std::path::Path::new(""));
    let said = |text: String| format!("{}: {text}", path.display());
    let authorities = PemFile::read(path)
        .map_err(|error| said(error.to_string()))?
        .certificates()
        .map_err(|error| said(format!("is not a certificate in PEM: {error}")))?;
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|error| said(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(said(
            "is not a certificate: there is no BEGIN CERTIFICATE in it".to_owned(),
        ));
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| said(error.to_string()))
}

/// A certificate with the names that it is for.
#[derive(Debug)]
struct ServedCertificate {
    certified: Arc<CertifiedKey>,
    /// DNS names in lower case; `*.example.org` stands for one label more.
    names: Vec<String>,
}

impl ServedCertificate {
    fn new(certified: Arc<CertifiedKey>) -> Self {
        let leaf = certified.cert.first();
        let names = leaf.and_then(|leaf| EndEntityCert::try_from(leaf).ok());
        let names = names.map(|leaf| leaf.valid_dns_names().map(str::to_lowercase).collect());
        Self {
            certified,
            names: names.unwrap_or_default(),
        }
    }

    /// True if the certificate is for the name, which is in lower case (RFC 9525 section 6.3).
    fn is_for(&self, name: &str) -> bool {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|own| match own.strip_prefix("*.") {
            Some(of) => Some(of) == parent,
            None => own == name,
        })
    }
}

/// A chooser of certificates: by the name that the client asks for (SNI, RFC 6066 section 3), then by the algorithms that
/// the client can verify, then by the order of the configuration.
#[derive(Debug)]
struct CertificateResolver {
    served: Vec<ServedCertificate>,
}

impl CertificateResolver {
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let name = name.map(str::to_lowercase);
        let fits = |served: &&ServedCertificate| served.certified.key.choose_scheme(schemes).is_some();
        let mut usable = self.served.iter().filter(fits).peekable();
        let first = usable.peek().map(|served| Arc::clone(&served.certified));
        let named = name.and_then(|name| usable.find(|served| served.is_for(&name)));
        named.map(|served| Arc::clone(&served.certified)).or(first)
    }
}

impl ResolvesServerCert for CertificateResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(names: &[&str]) -> ServedCertificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("made");
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let certified = CertifiedKey::from_der(vec![made.cert.der().clone()], key, &provider()).expect("usable");
        ServedCertificate::new(Arc::new(certified))
    }

    #[test]
    fn chooses_by_name_and_falls_back_to_the_first() {
        let served = vec![served(&["mx.example.org"]), served(&["a.example", "*.b.example"])];
        let keys: Vec<_> = served.iter().map(|served| served.certified.clone()).collect();
        let resolver = CertificateResolver { served };
        let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256];
        for (name, index) in [
            (None, 0),
            (Some("mx.example.org"), 0),
            (Some("a.example"), 1),
            (Some("A.Example"), 1),
            (Some("x.b.example"), 1),
            (Some("b.example"), 0),
            (Some("x.y.b.example"), 0),
            (Some("elsewhere.example"), 0),
        ] {
            let chosen = resolver.choose(name, &schemes).expect("a certificate");
            assert!(Arc::ptr_eq(&chosen, &keys[index]), "{name:?}");
        }
        assert!(resolver.choose(None, &[SignatureScheme::RSA_PSS_SHA256]).is_none());
    }
}
