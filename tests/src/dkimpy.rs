//! dkimpy: signs and verifies DKIM in Python, independently of the host.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::binary::run;
use crate::languages::{fetch_with_pip, repository, target};

/// Packages of Python, and all that they need.
const PACKAGES: &str = "dkimpy==1.1.8\ndnspython==2.9.2\nPyNaCl==1.6.2\n";

/// dkimpy, installed.
pub struct Dkimpy {
    python: PathBuf,
}

impl Dkimpy {
    /// Fetches dkimpy into `target/languages/dkimpy`, once. If dkimpy is unavailable, `None` is returned and a line with
    /// SKIPPED is printed.
    ///
    /// # Panics
    /// If `target` cannot be written.
    pub fn find() -> Option<Self> {
        static IS_FETCHED: OnceLock<bool> = OnceLock::new();
        let folder = target().join("languages/dkimpy");
        let is_fetched = *IS_FETCHED.get_or_init(|| {
            fs::create_dir_all(&folder).expect("target can be written");
            fetch_with_pip(&folder, PACKAGES)
        });
        is_fetched.then(|| Self {
            python: folder.join(".venv/bin/python"),
        })
    }

    /// Signs messages with a new key of the domain. Returns the signed messages and the record that publishes the key.
    ///
    /// # Panics
    /// If dkimpy fails.
    pub fn sign(&self, domain: &str, selector: &str, messages: &[Vec<u8>]) -> (Vec<Vec<u8>>, String) {
        let request = json!({"sign": encoded(messages), "domain": domain, "selector": selector});
        let answer = self.ask(&request);
        let signed = answer["signed"].as_array().expect("messages").iter();
        let decode = |text: &Value| STANDARD.decode(text.as_str().expect("text")).expect("base64");
        let record = answer["record"].as_str().expect("a record").to_owned();
        (signed.map(decode).collect(), record)
    }

    /// Verifies messages with the records of the keys by name. Returns the outcomes of each message's signatures, the
    /// topmost first: `pass`, `fail`, or an error.
    ///
    /// # Panics
    /// If dkimpy fails.
    pub fn verify(&self, records: &BTreeMap<String, String>, messages: &[Vec<u8>]) -> Vec<Vec<String>> {
        let mut answer = self.ask(&json!({"verify": encoded(messages), "records": records}));
        serde_json::from_value(answer["verified"].take()).expect("lists of outcomes")
    }

    fn ask(&self, request: &Value) -> Value {
        let script = repository().join("tests/readers/python_dkim.py");
        let output = run(Command::new(&self.python).arg(script), &request.to_string());
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", output.text()))
    }
}

fn encoded(messages: &[Vec<u8>]) -> Vec<String> {
    messages.iter().map(|message| STANDARD.encode(message)).collect()
}
