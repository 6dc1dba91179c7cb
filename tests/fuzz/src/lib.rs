//! Fuzz targets: a function for each parser of hostile bytes. A target panics if a property of the parser does not hold.
//!
//! `tests/corpus.rs` runs the targets on stable Rust, `fuzz/` with cargo-fuzz. `README.md` describes both.

pub mod address;
pub mod command;
pub mod component;
pub mod config;
pub mod control;
pub mod data_reader;
pub mod debug_info;
pub mod directory;
pub mod header;
pub mod proxy_header;
pub mod record;
pub mod reply;

use host_mail::Reply;

/// A target and the name of its folder below `corpus`.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 12] = [
    ("address", address::address),
    ("command", command::command),
    ("component", component::component),
    ("config", config::config),
    ("control", control::control),
    ("data_reader", data_reader::data_reader),
    ("debug_info", debug_info::debug_info),
    ("directory", directory::directory),
    ("header", header::header),
    ("proxy_header", proxy_header::proxy_header),
    ("record", record::record),
    ("reply", reply::reply),
];

/// Checks that a reply to a client is a permanent refusal in clean lines.
fn check_refusal(reply: &Reply) {
    assert!(reply.is_permanent(), "{reply}");
    check_lines(reply);
}

fn check_lines(reply: &Reply) {
    let clean = |line: &str| !line.contains(char::is_control);
    assert!(reply.text.split('\n').all(clean), "{reply:?}");
}
