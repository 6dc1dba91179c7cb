//! The child process: reads a component, compiles the component into the cache and ends.

use std::io::{self, Read};
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::compile::cache::open_cache;
use crate::engine_config::engine_config;

/// Niceness of the child, so that mail is served first while a policy is compiled.
const LOWEST_PRIORITY: i32 = 19;

/// Compiles the component on `input` into the cache in `folder`, within `memory` bytes of data. The input is the length
/// (8 octets, little-endian) followed by the component. End of input after that means that the parent is gone, and ends
/// this process.
///
/// # Errors
/// A text for the policy's author that explains why the component cannot be compiled.
pub fn compile_as_child(folder: &Path, memory: u64, mut input: impl Read + Send + 'static) -> Result<(), String> {
    limit_resources(memory).map_err(|error| format!("limits of the compiler: {error}"))?;
    let bytes = read(&mut input).map_err(|error| format!("the component could not be read: {error}"))?;
    std::thread::Builder::new()
        .name("parent".to_owned())
        .spawn(move || exit_with_parent(input))
        .map_err(|error| format!("limits of the compiler: {error}"))?;
    let compile = || -> wasmtime::Result<()> {
        // Capacity 0: the child instantiates nothing.
        let engine = Engine::new(&engine_config(0, Some(&open_cache(folder)?)))?;
        Component::from_binary(&engine, &bytes).map(drop)
    };
    compile().map_err(|error| format!("{error:#}"))
}

/// Lowers priority and memory limit of this process, and disables core files.
fn limit_resources(memory: u64) -> io::Result<()> {
    nice(LOWEST_PRIORITY)?;
    // Best effort, since not every system has the file: the kernel's OOM killer ends the child first.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    bound(Resource::Data, memory)?;
    bound(Resource::Core, 0)
}

fn bound(resource: Resource, limit: u64) -> io::Result<()> {
    let limit = getrlimit(resource).maximum.map_or(limit, |hard| hard.min(limit));
    setrlimit(
        resource,
        Rlimit {
            current: Some(limit),
            maximum: Some(limit),
        },
    )?;
    Ok(())
}

fn read(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 8];
    input.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    let mut bytes = Vec::new();
    let received = input.take(length).read_to_end(&mut bytes)?;
    if u64::try_from(received).ok() == Some(length) {
        Ok(bytes)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Ends the process when the parent closes the pipe. Never returns.
fn exit_with_parent(mut input: impl Read) {
    let mut discarded = [0];
    while matches!(input.read(&mut discarded), Ok(1..)) {}
    std::process::exit(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_truncated_component() {
        assert_eq!(read(&mut &b"\x03\0\0\0\0\0\0\0abcd"[..]).expect("whole"), b"abc");
        for part in [&b""[..], b"\x03\0\0", b"\x03\0\0\0\0\0\0\0ab"] {
            assert!(read(&mut &part[..]).is_err());
        }
    }
}
