//! Code shared by the load generators.

use std::time::Duration;

use serde_json::{Value, json};

/// Returns a message with a header, a body of `size` bytes in lines of 78 bytes, and the final dot.
pub fn message(size: usize) -> Vec<u8> {
    let mut message = b"From: <source@bench.test>\r\nTo: <target@example.org>\r\nSubject: load\r\n\r\n".to_vec();
    let line = [&[b'x'; 76][..], b"\r\n"].concat();
    for _ in 0..size / line.len() {
        message.extend_from_slice(&line);
    }
    message.resize(message.len() + size % line.len(), b'x');
    message.extend_from_slice(b"\r\n.\r\n");
    message
}

/// Summarises latencies in milliseconds: 50th and 99th percentile, and maximum. Sorts `taken`.
pub fn latency(taken: &mut [Duration]) -> Value {
    taken.sort_unstable();
    let at = |share: f64| {
        let index = (taken.len() as f64 * share) as usize;
        let latency = taken.get(index.min(taken.len().saturating_sub(1)));
        latency.map(|latency| latency.as_secs_f64() * 1000.0)
    };
    json!({ "p50": at(0.5), "p99": at(0.99), "max": at(1.0) })
}
