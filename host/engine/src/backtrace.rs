//! Where in a policy's own code a fault arose.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::{FrameInfo, WasmBacktrace};

use super::debug_info::{DebugInfo, DebugInfoReader};

/// Frames of one component that are remembered. One that faults everywhere is looked up more often.
const REMEMBERED: usize = 4096;

/// A place in a guest's source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourcePlace {
    /// Demangled name.
    pub function: Option<String>,
    /// `file:line`.
    pub location: Option<String>,
}

/// Finds places of one component. Faults repeat: each instruction is looked up once.
#[derive(Debug)]
pub(super) struct SourceMap {
    debug: DebugInfo,
    /// By offset in the component.
    known: Mutex<HashMap<usize, Arc<Frame>>>,
}

/// A frame stands for several functions when calls were inlined.
#[derive(Debug)]
struct Frame {
    innermost: SourcePlace,
    /// The innermost of the policy's own code.
    own: Option<SourcePlace>,
}

impl SourceMap {
    pub(super) fn of(component: Arc<[u8]>) -> Self {
        Self {
            debug: DebugInfo::of(component),
            known: Mutex::default(),
        }
    }

    /// The innermost frame of the policy's own code; the innermost of all if every frame belongs to a
    /// language's runtime.
    pub(super) fn place(&self, trace: &WasmBacktrace) -> SourcePlace {
        let mut reader = self.debug.reader();
        let mut innermost = None;
        for info in trace.frames() {
            let frame = self.frame(info, &mut reader);
            if let Some(own) = &frame.own {
                return own.clone();
            }
            innermost.get_or_insert(frame);
        }
        innermost.map(|frame| frame.innermost.clone()).unwrap_or_default()
    }

    fn frame(&self, info: &FrameInfo, reader: &mut DebugInfoReader<'_>) -> Arc<Frame> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(offset) = info.module_offset() else {
            return Arc::new(Frame::new(functions(info, reader)));
        };
        if let Some(frame) = known().get(&offset) {
            return Arc::clone(frame);
        }
        // Nobody waits for this lock while debug information is read.
        let frame = Arc::new(Frame::new(functions(info, reader)));
        let mut known = known();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(offset, Arc::clone(&frame));
        frame
    }
}

impl Frame {
    fn new(functions: Vec<SourcePlace>) -> Self {
        Self {
            own: functions.iter().find(|place| !is_machinery(place)).cloned(),
            innermost: functions.into_iter().next().unwrap_or_default(),
        }
    }
}

/// The innermost comes first, and the function that was really called, whose full name the component
/// has, comes last.
fn functions(info: &FrameInfo, reader: &mut DebugInfoReader<'_>) -> Vec<SourcePlace> {
    let symbols = info
        .module_offset()
        .map(|offset| reader.symbols(offset))
        .unwrap_or_default();
    let Some(last) = symbols.len().checked_sub(1) else {
        let function = match info.func_name() {
            Some(name) => demangle(name),
            None => format!("function {}", info.func_index()),
        };
        return vec![SourcePlace {
            function: Some(function),
            location: None,
        }];
    };
    let places = symbols.into_iter().enumerate().map(|(at, symbol)| SourcePlace {
        function: match info.func_name() {
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

/// Without the hash that a compiler appends.
fn demangle(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

fn is_machinery(place: &SourcePlace) -> bool {
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

/// From the crate's folder on, or the last parts of the path.
fn shorten(file: &str) -> String {
    if let Some(at) = file.rfind("/library/") {
        return file[at + 1..].to_owned();
    }
    let parts: Vec<&str> = file.split('/').filter(|part| !part.is_empty()).collect();
    let from = match parts.iter().rposition(|part| *part == "src") {
        Some(src) => src.saturating_sub(1),
        None => parts.len().saturating_sub(3),
    };
    parts[from..].join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_begin_at_the_crate() {
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
    fn the_panic_machinery_is_passed_over() {
        let place = |function: &str, location: &str| SourcePlace {
            function: Some(function.to_owned()),
            location: Some(location.to_owned()),
        };
        assert!(is_machinery(&place(
            "core::option::unwrap_failed",
            "library/core/src/option.rs:1"
        )));
        assert!(is_machinery(&place("plan", "library/core/src/option.rs:1")));
        assert!(!is_machinery(&place("policy::ndr::plan", "policy-wasm/src/ndr.rs:12")));
        assert!(!is_machinery(&place("plan", "policy.c:3")));
    }
}
