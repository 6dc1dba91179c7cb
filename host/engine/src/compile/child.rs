//! What the child does: read a component, compile it into the cache, and be gone.

use std::io::{self, Read};
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::open_cache;
use crate::runtime::engine_config;

/// Nobody waits for a line while a policy is compiled.
const LEAST_PRIORITY: i32 = 19;

/// Compiles the component on `input` into the cache in `folder`, within `memory` bytes of data. The
/// input is the length (8 octets, little-endian) and the component; when it ends after that, whoever
/// wanted the result is gone, and so is this process.
///
/// # Errors
/// Why the component cannot be compiled, in words for its author.
pub fn compile_as_child(folder: &Path, memory: u64, mut input: impl Read + Send + 'static) -> Result<(), String> {
    lower(memory).map_err(|error| format!("limits of the compiler: {error}"))?;
    let bytes = read(&mut input).map_err(|error| format!("the component could not be read: {error}"))?;
    std::thread::Builder::new()
        .name("parent".to_owned())
        .spawn(move || watch(input))
        .map_err(|error| format!("limits of the compiler: {error}"))?;
    let compile = || -> wasmtime::Result<()> {
        // Nothing is instantiated here.
        let engine = Engine::new(&engine_config(0, Some(&open_cache(folder)?)))?;
        Component::from_binary(&engine, &bytes).map(drop)
    };
    compile().map_err(|error| format!("{error:#}"))
}

/// Takes the place at the back of every queue.
fn lower(memory: u64) -> io::Result<()> {
    nice(LEAST_PRIORITY)?;
    // Not on every system: only who the kernel ends first when memory is short.
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
    let whole = input.take(length).read_to_end(&mut bytes)?;
    if u64::try_from(whole).ok() == Some(length) {
        Ok(bytes)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Returns never: the process ends with its parent.
fn watch(mut input: impl Read) {
    let mut more = [0];
    while matches!(input.read(&mut more), Ok(1..)) {}
    std::process::exit(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_read_whole_or_not_at_all() {
        assert_eq!(read(&mut &b"\x03\0\0\0\0\0\0\0abcd"[..]).expect("whole"), b"abc");
        for part in [&b""[..], b"\x03\0\0", b"\x03\0\0\0\0\0\0\0ab"] {
            assert!(read(&mut &part[..]).is_err());
        }
    }
}
