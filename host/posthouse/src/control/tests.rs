//! The socket itself; what it serves is tested end to end.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
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
async fn where_no_daemon_listens_the_error_says_where_it_was_looked_for() {
    let error = ControlClient::new("/nowhere/control.sock")
        .get::<Status>("/status")
        .await
        .expect_err("nobody");
    assert!(matches!(error, ClientError::NotRunning { .. }));
    assert!(error.to_string().contains("/nowhere/control.sock"), "{error}");
}

#[test]
fn query_values_are_encoded() {
    let pairs = [
        ("a", Some("x&y=%".to_owned())),
        ("b", None),
        ("c", Some("1".to_owned())),
    ];
    assert_eq!(query("/q", &pairs), "/q?a=x%26y%3D%25&c=1");
    assert_eq!(query("/q", &[("a", None)]), "/q");
}
