//! Tests of the socket file and the client. The routes are tested end to end in `tests/`.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[tokio::test]
async fn replaces_stale_socket_but_not_live_one() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("control.sock");
    let first = bind(&path).expect("binds");
    assert_eq!(
        std::fs::metadata(&path).expect("socket").permissions().mode() & 0o777,
        0o660
    );
    assert_eq!(bind(&path).expect_err("in use").kind(), std::io::ErrorKind::AddrInUse);
    drop(first);
    assert!(path.exists());
    bind(&path).expect("replaces");
    assert_eq!(std::fs::read_dir(dir.path()).expect("folder").count(), 1);
}

#[tokio::test]
async fn not_running_error_names_socket() {
    let error = ControlClient::new("/nowhere/control.sock")
        .get::<Status>("/status")
        .await
        .expect_err("nobody");
    assert!(matches!(error, ClientError::NotRunning { .. }));
    assert!(error.to_string().contains("/nowhere/control.sock"), "{error}");
}

#[test]
fn percent_encodes_query_values() {
    let pairs = [
        ("a", Some("x&y=%".to_owned())),
        ("b", None),
        ("c", Some("1".to_owned())),
    ];
    assert_eq!(query("/q", &pairs), "/q?a=x%26y%3D%25&c=1");
    assert_eq!(query("/q", &[("a", None)]), "/q");
}
