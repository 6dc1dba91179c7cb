//! Keys of DKIM, loaded and checked before the first message is signed.

use std::collections::HashMap;
use std::path::Path;

use super::{Config, DkimKey, Problem};
use crate::pem_file::PemFile;
use crate::private_files::exposed;
use host_dkim::{DomainSigner, KeyError, SignedFields, Signers, SigningKey, record_name};
use host_mail::Timestamp;

/// Start of the line before the key that names the record of the key, as `posthouse dkim` writes it.
const RECORD_LINE: &str = "# DKIM key of ";
/// Maximum number of keys of a domain that have not ended: two algorithms, each with a key and its successor.
const MAX_KEYS: usize = 4;

/// Returns the text of a key's file: a line that names the record, and the key.
pub fn dkim_key_file(selector: &str, domain: &str, pem: &str) -> String {
    format!("{RECORD_LINE}{}\n{pem}", record_name(selector, domain))
}

/// Reads a key from its file.
///
/// # Errors
/// The file cannot be read or has no key that may sign, or names another record than that of the key.
pub fn read_dkim_key(key: &DkimKey) -> Result<SigningKey, String> {
    let file = &key.key;
    let pem = PemFile::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    if pem.contains("BEGIN ENCRYPTED PRIVATE KEY") || pem.contains("Proc-Type: 4,ENCRYPTED") {
        let text = "is encrypted, and the host cannot ask for its password: decrypt it with openssl pkey";
        return Err(format!("{}: {text}", file.display()));
    }
    let expected = record_name(&key.selector, &key.domain);
    let text = String::from_utf8_lossy(pem.text());
    let named = text.lines().find_map(|line| line.strip_prefix(RECORD_LINE));
    if let Some(named) = named.map(str::trim)
        && named != expected
    {
        return Err(format!("{}: is the key of {named}, not of {expected}", file.display()));
    }
    SigningKey::from_pem(pem.text()).map_err(|error: KeyError| format!("{}: {error}", file.display()))
}

/// Returns the signers of all keys. Problems have the key paths `dkim[INDEX].key` and `dkim[INDEX].domain`.
///
/// # Errors
/// Every key that is not usable.
pub fn dkim_signers(config: &Config) -> Result<Signers, Vec<Problem>> {
    let (mut signers, mut problems) = (Vec::new(), Vec::new());
    let now = Timestamp::now();
    let mut files: HashMap<&Path, usize> = HashMap::new();
    let mut of_domain: HashMap<&str, usize> = HashMap::new();
    for (index, key) in config.dkim.iter().enumerate() {
        let mut problem = |name: &str, text: String| problems.push(Problem::new(format!("dkim[{index}].{name}"), text));
        if key.not_after.is_none_or(|end| now < end) {
            let count = of_domain.entry(key.domain.as_str()).or_default();
            *count += 1;
            if *count == MAX_KEYS + 1 {
                let text = format!(
                    "{} has more than {MAX_KEYS} keys, and each signs: remove one",
                    key.domain
                );
                problem("domain", text);
            }
        }
        if let Some(other) = files.insert(key.key.as_path(), index) {
            let text = format!(
                "{} is the key of dkim[{other}] already: make a key of its own",
                key.key.display()
            );
            problem("key", text);
            continue;
        }
        if let Some(text) = exposed(config, &key.key) {
            problem("key", text);
            continue;
        }
        match read_dkim_key(key) {
            Ok(signing_key) => signers.push(DomainSigner {
                domain: key.domain.clone(),
                selector: key.selector.clone(),
                key: signing_key,
                fields: SignedFields::new(key.headers.clone(), key.oversign.clone()),
                mail: key.mail,
                not_before: key.not_before,
                not_after: key.not_after,
            }),
            Err(text) => problem("key", text),
        }
    }
    if problems.is_empty() {
        Ok(Signers::new(signers))
    } else {
        Err(problems)
    }
}
