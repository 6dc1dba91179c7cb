//! TLS certificates, loaded and checked before the first connection is accepted.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::{Problem, TlsFiles};
use crate::pem_file::PemFile;
use host_files::{make_private_folder, replace_whole};

/// Returns the TLS server configuration for a certificate and key. Problems have the key path `tls.certificate`,
/// `tls.key` or `tls`.
pub fn server_config(files: &TlsFiles) -> Result<Arc<rustls::ServerConfig>, Vec<Problem>> {
    let certified = certified_key("tls", files)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| vec![Problem::new("tls", error.to_string())])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    Ok(Arc::new(config))
}

/// Loads a certificate with its key. Problems have the key paths `TABLE.certificate` and `TABLE.key`, or `TABLE`.
pub(super) fn certified_key(table: &str, files: &TlsFiles) -> Result<Arc<CertifiedKey>, Vec<Problem>> {
    let at = |key: &str| format!("{table}.{key}");
    let chain = read_chain(&files.certificate).map_err(|text| Problem::new(at("certificate"), text));
    let key = read_key(&files.key).map_err(|text| Problem::new(at("key"), text));
    let (chain, key) = match (chain, key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err([chain.err(), key.err()].into_iter().flatten().collect()),
    };
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider)
        .map(Arc::new)
        .map_err(|error| {
            vec![match error {
                rustls::Error::InconsistentKeys(_) => Problem::new(
                    at("key"),
                    format!(
                        "does not belong to the certificate {}: name the key of the first certificate in that file",
                        files.certificate.display()
                    ),
                ),
                rustls::Error::InvalidCertificate(error) => Problem::new(
                    at("certificate"),
                    format!("{} is not a usable certificate: {error}", files.certificate.display()),
                ),
                error => Problem::new(table, error.to_string()),
            }]
        })
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let problem = |text: String| format!("{}: {text}", path.display());
    let pem = PemFile::read(path).map_err(|error| problem(error.to_string()))?;
    let chain = pem
        .certificates()
        .map_err(|error| problem(format!("is not a certificate in PEM: {error}")))?;
    if chain.is_empty() {
        return Err(problem(
            "is not a certificate: there is no BEGIN CERTIFICATE in it".to_owned(),
        ));
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let problem = |text: String| format!("{}: {text}", path.display());
    let pem = PemFile::read(path).map_err(|error| problem(error.to_string()))?;
    if pem.contains("BEGIN ENCRYPTED PRIVATE KEY") || pem.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(problem(
            "is encrypted, and the host cannot ask for its password: decrypt it with openssl pkey".to_owned(),
        ));
    }
    PrivateKeyDer::from_pem_slice(pem.text()).map_err(|error| problem(format!("is not a private key in PEM: {error}")))
}

/// A self-signed certificate in the data folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfSigned {
    /// Files of certificate and key.
    pub files: TlsFiles,
    /// Problem of the files that were there before and had to be made again.
    pub made_again: Option<String>,
}

/// Makes a self-signed certificate for `hostname` and `localhost` in `folder`, or returns the existing files if they
/// can be used. A self-signed certificate protects against eavesdroppers, but clients cannot verify the host's identity.
///
/// # Errors
/// I/O errors, also of files that exist and cannot be read.
pub fn make_self_signed(folder: &Path, hostname: &str) -> io::Result<SelfSigned> {
    let files = TlsFiles {
        certificate: folder.join("self-signed.pem"),
        key: folder.join("self-signed.key"),
    };
    let exists = |path: &Path| match fs::read(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
    };
    let made_again = match (exists(&files.certificate)?, exists(&files.key)?) {
        (false, false) => None,
        _ => match server_config(&files) {
            Ok(_) => {
                return Ok(SelfSigned {
                    files,
                    made_again: None,
                });
            }
            Err(problems) => problems.into_iter().next().map(|problem| problem.text),
        },
    };
    let mut names = vec![hostname.to_owned()];
    if hostname != "localhost" {
        names.push("localhost".to_owned());
    }
    let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
    make_private_folder(folder)?;
    replace_whole(&files.key, made.signing_key.serialize_pem().as_bytes())?;
    replace_whole(&files.certificate, made.cert.pem().as_bytes())?;
    Ok(SelfSigned { files, made_again })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_a_self_signed_certificate_and_replaces_one_that_cannot_be_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("tls");
        let first = make_self_signed(&folder, "mx.example.org").expect("made");
        assert_eq!(first.made_again, None);
        let read = |first: &SelfSigned| fs::read(&first.files.certificate).expect("there");
        let pem = read(&first);
        let kept = make_self_signed(&folder, "mx.example.org").expect("kept");
        assert_eq!((read(&kept), kept.made_again), (pem.clone(), None));
        for (path, content) in [
            (&first.files.certificate, Vec::new()),
            (&first.files.certificate, pem[..pem.len() / 2].to_vec()),
            (&first.files.key, b"no key".to_vec()),
        ] {
            fs::write(path, content).expect("damaged");
            let again = make_self_signed(&folder, "mx.example.org").expect("made again");
            assert!(again.made_again.is_some());
            assert!(server_config(&again.files).is_ok());
        }
        fs::remove_file(&first.files.key).expect("removed");
        let again = make_self_signed(&folder, "mx.example.org").expect("made again");
        assert!(again.made_again.expect("a reason").contains("self-signed.key"));
        assert!(server_config(&first.files).is_ok());
    }

    #[test]
    fn reads_a_chain_whose_blocks_are_joined_without_a_line_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = make_self_signed(folder.path(), "mx.example.org").expect("made");
        let pem = fs::read_to_string(&made.files.certificate).expect("there");
        let chain = folder.path().join("chain.pem");
        fs::write(&chain, format!("{}{pem}", pem.trim_end())).expect("written");
        assert_eq!(read_chain(&chain).expect("a chain").len(), 2);
    }

    #[test]
    fn says_that_a_key_is_encrypted() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = folder.path().join("key.pem");
        fs::write(&key, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n").expect("written");
        let problem = read_key(&key).expect_err("refused");
        assert!(problem.contains("is encrypted"), "{problem}");
    }
}
