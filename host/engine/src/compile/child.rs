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

/// Time between the signal that a process has used its processor time and the kill.
const GRACE_SECONDS: u64 = 5;

/// Compiles the component on `input` into the cache in `folder`, within `memory` bytes of data and `cpu` seconds of
/// processor time. The input is the length
/// (8 octets, little-endian) followed by the component. End of input after that means that the parent is gone, and ends
/// this process.
///
/// # Errors
/// A text for the policy's author that explains why the component cannot be compiled.
pub fn compile_as_child(
    folder: &Path,
    memory: u64,
    cpu: u64,
    mut input: impl Read + Send + 'static,
) -> Result<(), String> {
    limit_resources(memory, cpu).map_err(|error| format!("limits of the compiler: {error}"))?;
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

/// Lowers priority, memory limit and processor time of this process, and disables core files. SIGXCPU, whose default
/// action is the end of the process, tells the parent which limit was reached.
fn limit_resources(memory: u64, cpu: u64) -> io::Result<()> {
    nice(LOWEST_PRIORITY)?;
    // Best effort, since not every system has the file: the kernel's OOM killer ends the child first.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    bound(Resource::Data, memory, memory)?;
    bound(Resource::Cpu, cpu, cpu.saturating_add(GRACE_SECONDS))?;
    bound(Resource::Core, 0, 0)
}

fn bound(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let allowed = getrlimit(resource).maximum;
    let within = |limit: u64| Some(allowed.map_or(limit, |allowed| allowed.min(limit)));
    let limits = Rlimit {
        current: within(soft),
        maximum: within(hard),
    };
    Ok(setrlimit(resource, limits)?)
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
