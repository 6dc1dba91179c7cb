//! Source locations of faults: resolves a WebAssembly backtrace to a function and line of the policy's own code.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use wasmtime::{FrameInfo, WasmBacktrace};

use super::debug_info::{DebugInfo, DebugInfoReader, Symbol};
use host_mail::cut;

/// Maximum number of resolved frames that are cached for a component. A full cache is cleared.
const MAX_FRAMES: usize = 4096;
/// Maximum length of a function's name and of a file's path, in bytes. Both are what the component states.
const MAX_TEXT: usize = 500;

/// A location in a guest's source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourcePlace {
    /// Demangled name.
    pub function: Option<String>,
    /// `file:line`.
    pub location: Option<String>,
}

/// Resolves backtraces of a component. Faults repeat, so resolved frames are cached by instruction.
#[derive(Debug)]
pub(super) struct SourceMap {
    debug: DebugInfo,
    /// Resolved frames by offset in the component.
    frames: Mutex<HashMap<usize, Arc<Frame>>>,
}

/// A resolved frame; stands for several functions if calls were inlined.
#[derive(Debug)]
struct Frame {
    innermost: SourcePlace,
    /// The innermost function of the policy's own code.
    policy_code: Option<SourcePlace>,
}

impl SourceMap {
    pub(super) fn of(component: Arc<[u8]>) -> Self {
        Self {
            debug: DebugInfo::of(component),
            frames: Mutex::default(),
        }
    }

    /// Location of the innermost frame of the policy's own code, or of the innermost frame if all frames belong to a
    /// language's runtime.
    pub(super) fn place(&self, trace: &WasmBacktrace) -> SourcePlace {
        let mut reader = self.debug.reader();
        let mut innermost = None;
        for info in trace.frames() {
            let frame = self.frame(info, &mut reader);
            if let Some(place) = &frame.policy_code {
                return place.clone();
            }
            innermost.get_or_insert(frame);
        }
        innermost.map(|frame| frame.innermost.clone()).unwrap_or_default()
    }

    fn frame(&self, info: &FrameInfo, reader: &mut DebugInfoReader<'_>) -> Arc<Frame> {
        let Some(offset) = info.module_offset() else {
            return Arc::new(Frame::new(functions(info, reader)));
        };
        if let Some(frame) = self.frames.lock().get(&offset) {
            return Arc::clone(frame);
        }
        // The lock is not held while debug information is read.
        let frame = Arc::new(Frame::new(functions(info, reader)));
        let mut frames = self.frames.lock();
        if frames.len() >= MAX_FRAMES {
            frames.clear();
        }
        frames.insert(offset, Arc::clone(&frame));
        frame
    }
}

impl Frame {
    fn new(functions: Vec<SourcePlace>) -> Self {
        Self {
            policy_code: functions.iter().find(|place| !is_runtime_code(place)).cloned(),
            innermost: functions.into_iter().next().unwrap_or_default(),
        }
    }
}

/// Functions of a frame, innermost first. The last function is the one that was called and not inlined; the component's
/// name section has its full name.
fn functions(info: &FrameInfo, reader: &mut DebugInfoReader<'_>) -> Vec<SourcePlace> {
    let symbols = info
        .module_offset()
        .map(|offset| reader.symbols(offset))
        .unwrap_or_default();
    if symbols.is_empty() {
        let function = match info.func_name() {
            Some(name) => demangle(name),
            None => format!("function {}", info.func_index()),
        };
        return vec![SourcePlace {
            function: Some(function),
            location: None,
        }];
    }
    places(symbols, info.func_name())
}

/// Describes the functions at an instruction. `name` is the full name of the last function.
pub(super) fn places(symbols: Vec<Symbol>, name: Option<&str>) -> Vec<SourcePlace> {
    let last = symbols.len().saturating_sub(1);
    let places = symbols.into_iter().enumerate().map(|(at, symbol)| SourcePlace {
        function: match name {
            Some(name) if at == last => Some(demangle(name)),
            name => symbol.function.as_deref().or(name).map(demangle),
        },
        location: symbol.file.map(|file| match symbol.line {
            Some(line) => format!("{}:{line}", shorten(&file)),
            None => shorten(&file),
        }),
    });
    places.collect()
}

/// Demangles a name, drops the hash that a compiler appends, and cuts the name to [`MAX_TEXT`].
fn demangle(name: &str) -> String {
    cut(format!("{:#}", rustc_demangle::demangle(name)), MAX_TEXT)
}

/// True for code of a language's runtime: panic handling, allocation and the standard library.
fn is_runtime_code(place: &SourcePlace) -> bool {
    const FUNCTIONS: &[&str] = &[
        "std::",
        "core::",
        "alloc::",
        "<std::",
        "<core::",
        "<alloc::",
        "rust_",
        "__rust",
        "__rg_",
        "__rdl_",
        "abort",
        "_abort",
        "wit_bindgen::",
        "panic_abort::",
    ];
    const FILES: &[&str] = &[
        "library/std/",
        "library/core/",
        "library/alloc/",
        "library/panic_abort/",
    ];
    let function = place.function.as_deref().unwrap_or_default();
    let file = place.location.as_deref().unwrap_or_default();
    FUNCTIONS.iter().any(|start| function.starts_with(start))
        || FILES.iter().any(|part| file.contains(part))
        || (place.function.is_none() && place.location.is_none())
}

/// Shortens a path: from the crate's folder on, or to the last three parts, and to [`MAX_TEXT`].
fn shorten(file: &str) -> String {
    if let Some(at) = file.rfind("/library/") {
        return cut(file[at + 1..].to_owned(), MAX_TEXT);
    }
    let parts: Vec<&str> = file.split('/').filter(|part| !part.is_empty()).collect();
    let from = match parts.iter().rposition(|part| *part == "src") {
        Some(src) => src.saturating_sub(1),
        None => parts.len().saturating_sub(3),
    };
    cut(parts[from..].join("/"), MAX_TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortens_paths_to_the_crate() {
        assert_eq!(
            shorten("/home/a/policy-wasm/src/ndr/plan.rs"),
            "policy-wasm/src/ndr/plan.rs"
        );
        assert_eq!(
            shorten("/c/registry/src/index-1/mail-parser-0.11/src/lib.rs"),
            "mail-parser-0.11/src/lib.rs"
        );
        assert_eq!(
            shorten("/rustc/abc/library/core/src/option.rs"),
            "library/core/src/option.rs"
        );
        assert_eq!(shorten("policy.c"), "policy.c");
        assert_eq!(shorten("/a/b/c/d.py"), "b/c/d.py");
        assert_eq!(shorten("src/lib.rs"), "src/lib.rs");
    }

    #[test]
    fn cuts_names_and_paths() {
        let long = "é".repeat(10_000);
        let symbol = Symbol {
            function: Some(long.clone()),
            file: Some(format!("/{long}/library/{long}")),
            line: Some(u32::MAX),
        };
        let found = places(vec![symbol], None);
        assert_eq!(found[0].function.as_deref().map(str::len), Some(MAX_TEXT));
        let location = found[0].location.as_deref().expect("a location");
        assert!(location.starts_with("library/é") && location.ends_with("é:4294967295"));
        assert!(location.len() <= MAX_TEXT + ":4294967295".len());
    }

    #[test]
    fn skips_panic_machinery() {
        let place = |function: &str, location: &str| SourcePlace {
            function: Some(function.to_owned()),
            location: Some(location.to_owned()),
        };
        assert!(is_runtime_code(&place(
            "core::option::unwrap_failed",
            "library/core/src/option.rs:1"
        )));
        assert!(is_runtime_code(&place("plan", "library/core/src/option.rs:1")));
        assert!(!is_runtime_code(&place(
            "policy::ndr::plan",
            "policy-wasm/src/ndr.rs:12"
        )));
        assert!(!is_runtime_code(&place("plan", "policy.c:3")));
    }
}
