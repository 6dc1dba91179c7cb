//! TLS certificates, loaded and checked before the first connection is accepted.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Problem, TlsFiles};

/// Returns the TLS server configuration for a certificate and key. Problems have the key path `tls.certificate`,
/// `tls.key` or `tls`.
pub fn server_config(files: &TlsFiles) -> Result<Arc<rustls::ServerConfig>, Vec<Problem>> {
    let chain = read_chain(&files.certificate);
    let key = read_key(&files.key);
    let (chain, key) = match (chain, key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err([chain.err(), key.err()].into_iter().flatten().collect()),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    config.map(Arc::new).map_err(|error| {
        vec![match error {
            rustls::Error::InconsistentKeys(_) => Problem::new(
                "tls.key",
                format!("does not belong to the certificate {}", files.certificate.display()),
            ),
            rustls::Error::InvalidCertificate(error) => Problem::new(
                "tls.certificate",
                format!("{} is not a usable certificate: {error}", files.certificate.display()),
            ),
            error => Problem::new("tls", error.to_string()),
        }]
    })
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let problem = |text: String| Problem::new("tls.certificate", format!("{}: {text}", path.display()));
    let bytes = fs::read(path).map_err(|error| problem(error.to_string()))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.map_err(|error| problem(format!("is not a certificate in PEM: {error}")))?;
    if chain.is_empty() {
        return Err(problem(
            "is not a certificate: there is no BEGIN CERTIFICATE in it".to_owned(),
        ));
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Problem> {
    let problem = |text: String| Problem::new("tls.key", format!("{}: {text}", path.display()));
    let bytes = fs::read(path).map_err(|error| problem(error.to_string()))?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| problem(format!("is not a private key in PEM: {error}")))
}

/// Makes a self-signed certificate for `hostname` and `localhost` in `folder`, or returns the existing files. A
/// self-signed certificate protects against eavesdroppers, but clients cannot verify the host's identity.
pub fn make_self_signed(folder: &Path, hostname: &str) -> io::Result<TlsFiles> {
    let files = TlsFiles {
        certificate: folder.join("self-signed.pem"),
        key: folder.join("self-signed.key"),
    };
    if files.certificate.exists() && files.key.exists() {
        return Ok(files);
    }
    let mut names = vec![hostname.to_owned()];
    if hostname != "localhost" {
        names.push("localhost".to_owned());
    }
    let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
    fs::create_dir_all(folder)?;
    write_new(&files.key, &made.signing_key.serialize_pem(), 0o600)?;
    write_new(&files.certificate, &made.cert.pem(), 0o644)?;
    Ok(files)
}

fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
