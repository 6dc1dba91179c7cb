//! Bodies of the control socket, as the daemon and the command line read them.

use posthouse::control::{
    ApiFailure, Done, LoadBody, Promote, QueueItem, QueuePage, Reloaded, Rollback, ShadowBody, StageBody, Status,
};

/// Reads the input as each body. A body that was read must be written and read without a change.
pub fn control(data: &[u8]) {
    check_bodies(data);
}

/// Checks `data` as [`control`] does, and returns the number of bodies that it was read as.
pub fn check_bodies(data: &[u8]) -> usize {
    let mut bodies = 0;
    macro_rules! check {
        ($($body:ty),*) => {$(
            if let Ok(body) = serde_json::from_slice::<$body>(data) {
                let written = serde_json::to_value(&body).expect("JSON");
                let read: $body = serde_json::from_value(written.clone()).expect("the same body");
                assert_eq!(serde_json::to_value(&read).expect("JSON"), written);
                bodies += 1;
            }
        )*};
    }
    check!(LoadBody, ShadowBody, Rollback, StageBody, Promote);
    check!(Status, QueuePage, QueueItem, Reloaded, Done, ApiFailure);
    bodies
}
