//! The host's certificates: choice by name and algorithm, replacement while sessions go on, the watch over their end, and
//! client certificates.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use posthouse_tests::{Daemon, Output, PASSWORD, Site, run, tool};

/// Certificates made by openssl in the folder of a site.
struct Certificates<'a> {
    site: &'a Site,
    openssl: PathBuf,
}

impl Certificates<'_> {
    fn openssl(&self, arguments: &[&str]) {
        let mut command = Command::new(&self.openssl);
        run(command.current_dir(self.site.path()).args(arguments), "").ok();
    }

    /// Makes the self-signed certificate `NAME.pem` with the key `NAME.key`.
    fn make(&self, file: &str, name: &str, algorithm: &[&str], days: &str) {
        let (pem, key) = (format!("{file}.pem"), format!("{file}.key"));
        let subject = format!("/CN={name}");
        let alternative = format!("subjectAltName=DNS:{name}");
        let mut arguments = vec!["req", "-x509", "-nodes", "-newkey"];
        arguments.extend_from_slice(algorithm);
        arguments.extend([
            "-keyout",
            &key,
            "-out",
            &pem,
            "-days",
            days,
            "-subj",
            &subject,
            "-addext",
            &alternative,
        ]);
        self.openssl(&arguments);
        make_private(&self.site.path().join(key));
    }
}

const ECDSA: [&str; 3] = ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
const RSA: [&str; 1] = ["rsa:2048"];

fn make_private(key: &Path) {
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).expect("a file of the test");
}

/// Returns what openssl tells about a handshake with the listener `smtps`.
fn handshake(openssl: &Path, daemon: &Daemon, arguments: &[&str]) -> String {
    let address = daemon.address("smtps").to_string();
    let mut command = Command::new(openssl);
    command
        .args(["s_client", "-brief", "-connect", &address])
        .args(arguments);
    let Output { stdout, stderr, .. } = run(&mut command, "");
    format!("{stdout}{stderr}")
}

#[test]
fn chooses_the_certificate_by_name_and_by_algorithm() {
    let Some(openssl) = tool("openssl") else { return };
    let mut site = Site::new();
    let made = Certificates {
        site: &site,
        openssl: openssl.clone(),
    };
    made.make("ecdsa", "mx.posthouse.test", &ECDSA, "400");
    made.make("rsa", "mx.posthouse.test", &RSA, "400");
    made.make("other", "*.other.example", &ECDSA, "400");
    site.set("tls.certificate", "ecdsa.pem").set("tls.key", "ecdsa.key");
    site.add("[[tls.additional]]\ncertificate = 'rsa.pem'\nkey = 'rsa.key'\n[[tls.additional]]\ncertificate = 'other.pem'\nkey = 'other.key'");
    site.cli(&["check"]).ok();
    let daemon = site.start();
    let all = "ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256";
    for (name, algorithms, subject, signature) in [
        ("mx.posthouse.test", all, "CN = mx.posthouse.test", "ECDSA"),
        (
            "mx.posthouse.test",
            "rsa_pss_rsae_sha256",
            "CN = mx.posthouse.test",
            "RSA-PSS",
        ),
        ("mail.other.example", all, "CN = *.other.example", "ECDSA"),
        ("MAIL.Other.Example", all, "CN = *.other.example", "ECDSA"),
        ("elsewhere.example", all, "CN = mx.posthouse.test", "ECDSA"),
    ] {
        let told = handshake(&openssl, &daemon, &["-servername", name, "-sigalgs", algorithms]);
        assert!(told.contains(&format!("Peer certificate: {subject}")), "{name}: {told}");
        assert!(told.contains(&format!("Signature type: {signature}")), "{name}: {told}");
    }
}

#[test]
fn reload_serves_another_certificate_and_sessions_go_on() {
    let Some(openssl) = tool("openssl") else { return };
    let mut site = Site::new();
    Certificates {
        site: &site,
        openssl: openssl.clone(),
    }
    .make("one", "one.example", &ECDSA, "400");
    site.set("tls.certificate", "one.pem").set("tls.key", "one.key");
    let daemon = site.start();
    let mut client = daemon.connect();
    client.login("anna", PASSWORD);
    assert!(handshake(&openssl, &daemon, &[]).contains("CN = one.example"));
    Certificates {
        site: &site,
        openssl: openssl.clone(),
    }
    .make("one", "two.example", &RSA, "400");
    site.cli(&["reload"]).ok();
    assert!(handshake(&openssl, &daemon, &[]).contains("CN = two.example"));
    assert_eq!(
        client
            .submit(
                "anna@posthouse.test",
                &["bert@posthouse.test"],
                "Subject: still here\n\nHello\n"
            )
            .code,
        250
    );
    // A certificate that cannot be used leaves the old one in force.
    site.file("one.pem", "nothing");
    let refused = site.cli(&["reload"]).text();
    assert!(refused.contains("tls.certificate"), "{refused}");
    assert!(handshake(&openssl, &daemon, &[]).contains("CN = two.example"));
}

#[test]
fn tells_of_a_certificate_that_expires_once_for_each_step() {
    let Some(openssl) = tool("openssl") else { return };
    let mut site = Site::new();
    let make = |site: &Site, days: &str| {
        Certificates {
            site,
            openssl: openssl.clone(),
        }
        .make("short", "mx.posthouse.test", &ECDSA, days);
    };
    make(&site, "20");
    site.set("tls.certificate", "short.pem").set("tls.key", "short.key");
    let checked = site.cli(&["check"]).text();
    assert!(
        checked.contains("tls.certificate: ") && checked.contains("in 19 days"),
        "{checked}"
    );
    let daemon = site.start();
    let told = daemon.events().take(5173);
    assert_eq!(told.text("days"), "19");
    assert!(told.text("file").ends_with("short.pem"));
    site.cli(&["reload"]).ok();
    daemon.stop();

    let daemon = site.start();
    site.cli(&["reload"]).ok();
    assert_eq!(daemon.events().all(5173).len(), 0, "told before the restart");
    let status = site.cli(&["status"]).text();
    assert!(!status.contains("certificate:"), "{status}");
    make(&site, "5");
    site.cli(&["reload"]).ok();
    assert_eq!(daemon.events().take(5173).text("days"), "4");
    let status = site.cli(&["status"]).text();
    assert!(
        status.contains("certificate: ") && status.contains("short.pem expires on"),
        "{status}"
    );
    make(&site, "400");
    site.cli(&["reload"]).ok();
    let status = site.cli(&["status"]).text();
    assert!(!status.contains("short.pem"), "{status}");
}

#[test]
fn client_certificates_log_in_by_external() {
    let (Some(openssl), Some(python)) = (tool("openssl"), tool("python3")) else {
        return;
    };
    let mut site = Site::new();
    let made = Certificates {
        site: &site,
        openssl: openssl.clone(),
    };
    let authority = |name: &str| {
        let (pem, key) = (format!("{name}.pem"), format!("{name}.key"));
        let mut arguments = vec!["req", "-x509", "-nodes", "-newkey"];
        arguments.extend(ECDSA);
        arguments.extend(["-keyout", &key, "-out", &pem, "-days", "400", "-subj", "/CN=authority"]);
        made.openssl(&arguments);
    };
    authority("ca");
    authority("foreign");
    let client = |name: &str, authority: &str, subject: &str, alternative: &str| {
        let (request, key, pem) = (format!("{name}.csr"), format!("{name}.key"), format!("{name}.pem"));
        let mut arguments = vec!["req", "-nodes", "-newkey"];
        arguments.extend(ECDSA);
        arguments.extend(["-keyout", &key, "-out", &request, "-subj", subject]);
        made.openssl(&arguments);
        site.file(
            "extensions",
            format!("extendedKeyUsage=clientAuth\nsubjectAltName={alternative}\n"),
        );
        let (ca, ca_key) = (format!("{authority}.pem"), format!("{authority}.key"));
        made.openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-out",
            &pem,
            "-days",
            "300",
            "-extfile",
            "extensions",
        ]);
    };
    client("anna", "ca", "/O=Example/CN=Anna A.", "email:anna@posthouse.test");
    client("bert", "ca", "/O=Example/CN=bert", "DNS:laptop.example");
    client("none", "ca", "/O=Example/CN=stranger", "DNS:laptop.example");
    client("forged", "foreign", "/O=Example/CN=bert", "email:anna@posthouse.test");
    site.set("listener.client-ca", "ca.pem");
    site.cli(&["check"]).ok();
    let daemon = site.start();
    let script = "
import smtplib, ssl, sys
port, certificate, asked = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = ssl._create_unverified_context()
if certificate:
    context.load_cert_chain(certificate + '.pem', certificate + '.key')
try:
    client = smtplib.SMTP('127.0.0.1', port)
    client.starttls(context=context)
    client.ehlo()
    print('offer', client.esmtp_features.get('auth'))
    import base64
    print(*client.docmd('AUTH', 'EXTERNAL ' + (base64.b64encode(asked.encode()).decode() or '=')))
except (ssl.SSLError, smtplib.SMTPServerDisconnected, ConnectionError) as error:
    print('no handshake', error)
";
    let port = daemon.address("smtp").port().to_string();
    let log_in = |certificate: &str, asked: &str| {
        let mut command = Command::new(&python);
        command
            .current_dir(site.path())
            .args(["-c", script, &port, certificate, asked]);
        run(&mut command, "").ok()
    };
    for (certificate, asked, code, account) in [
        ("anna", "", "235", "anna"),
        ("anna", "anna@posthouse.test", "235", "anna"),
        ("bert", "", "235", "bert"),
        ("anna", "bert", "535", "bert"),
        ("none", "", "535", ""),
    ] {
        let told = log_in(certificate, asked);
        assert!(told.contains("EXTERNAL"), "{told}");
        assert!(told.contains(&format!("\n{code} ")), "{certificate} {asked}: {told}");
        if code == "535" {
            let failed = daemon.events().take(4183);
            assert_eq!(
                (failed.text("mechanism"), failed.text("account")),
                ("EXTERNAL".to_owned(), account.to_owned())
            );
        }
    }
    let told = log_in("", "anna");
    assert!(
        told.contains("offer  PLAIN LOGIN\n") && told.contains("\n504 "),
        "{told}"
    );
    let told = log_in("forged", "");
    assert!(told.contains("no handshake"), "{told}");
}
