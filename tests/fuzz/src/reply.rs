//! Replies of remotes.

use host_delivery::fuzzing::replies;

use crate::check_lines;

/// Longest text of a reply, in bytes: what is kept, and the separators of 128 lines.
const MAX_TEXT: usize = 8 * 1024 + 128;

/// Reads all replies of a dialogue. Each is bounded, clean, and reads the same after being written.
pub fn reply(data: &[u8]) {
    let (read, _) = replies(data);
    for reply in &read {
        check_lines(reply);
        assert!((200..600).contains(&reply.code));
        assert!(reply.text.len() <= MAX_TEXT, "{} bytes", reply.text.len());
        // Replacement characters are longer than the bytes in their place: a line may have grown beyond the limit.
        if reply.text.split('\n').all(|line| line.len() < 2000) {
            let mut written = Vec::new();
            reply.write_to(&mut written);
            assert_eq!(replies(&written).0, std::slice::from_ref(reply));
        }
    }
}
