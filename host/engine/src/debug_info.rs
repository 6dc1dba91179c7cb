//! DWARF debug information of a component: resolves instructions to source locations (DWARF 5 and its convention for
//! WebAssembly, by which addresses count from the beginning of the code section).
//!
//! The engine can resolve locations too, but reads all debug information again for each frame of each backtrace. That
//! takes milliseconds for every fault, and delays other sessions' questions.

mod dwarf_budget;

use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;

use addr2line::Context;
use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use wasmparser::{Encoding, Parser, Payload};

/// Sections needed to resolve locations. Other sections (variables, names of types) are not kept.
const SECTIONS: [SectionId; 10] = [
    SectionId::DebugAbbrev,
    SectionId::DebugAddr,
    SectionId::DebugInfo,
    SectionId::DebugLine,
    SectionId::DebugLineStr,
    SectionId::DebugRanges,
    SectionId::DebugRngLists,
    SectionId::DebugStr,
    SectionId::DebugStrOffsets,
    SectionId::DebugTypes,
];

/// Longest name or path that is kept of a symbol, in bytes. A component can state the same long text for every function.
const MAX_TEXT: usize = 16 << 10;

/// Debug information of a component: an index of all core modules that carry DWARF sections.
#[derive(Debug)]
pub(super) struct DebugInfo {
    component: Arc<[u8]>,
    modules: Vec<CoreModule>,
}

#[derive(Debug, Default)]
struct CoreModule {
    /// Byte range of the code section in the component.
    code: Range<usize>,
    /// Byte ranges of debug sections in the component.
    sections: Vec<(SectionId, Range<usize>)>,
}

/// A function at an instruction: either called or inlined there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    /// Mangled name.
    pub(super) function: Option<String>,
    pub(super) file: Option<String>,
    /// Line number, from 1.
    pub(super) line: Option<u32>,
}

impl DebugInfo {
    /// Indexes the debug sections of a component, which was validated before. Stops at the first parse error. Skips a
    /// module whose sections would take too much memory or stack to read.
    pub(super) fn of(component: Arc<[u8]>) -> Self {
        let mut modules = Vec::new();
        let mut open: Option<CoreModule> = None;
        for payload in Parser::new(0).parse_all(&component) {
            match payload {
                Ok(Payload::Version {
                    encoding: Encoding::Module,
                    ..
                }) => open = Some(CoreModule::default()),
                Ok(Payload::CodeSectionStart { range, .. }) => {
                    if let Some(module) = &mut open {
                        module.code = range;
                    }
                }
                Ok(Payload::CustomSection(section)) => {
                    let id = SECTIONS.into_iter().find(|id| id.name() == section.name());
                    if let (Some(module), Some(id)) = (&mut open, id) {
                        let start = section.data_offset();
                        module.sections.push((id, start..start + section.data().len()));
                    }
                }
                // Ends the module, since nothing is nested in a core module.
                Ok(Payload::End(_)) => {
                    let is_useful = |module: &CoreModule| {
                        !module.sections.is_empty() && dwarf_budget::is_bounded(&module.dwarf(&component))
                    };
                    modules.extend(open.take().filter(is_useful));
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        Self { component, modules }
    }

    /// Makes a reader for one backtrace.
    pub(super) fn reader(&self) -> DebugInfoReader<'_> {
        DebugInfoReader {
            info: self,
            contexts: Vec::new(),
        }
    }
}

impl CoreModule {
    fn dwarf<'a>(&self, component: &'a [u8]) -> Dwarf<EndianSlice<'a, LittleEndian>> {
        let load = |section: SectionId| {
            let found = self.sections.iter().find(|(id, _)| *id == section);
            let bytes = found.and_then(|(_, range)| component.get(range.clone()));
            Ok::<_, Infallible>(EndianSlice::new(bytes.unwrap_or_default(), LittleEndian))
        };
        let Ok(dwarf) = Dwarf::load(load);
        dwarf
    }

    /// Parses the sections; `None` if they are malformed, since DWARF is never validated.
    fn read<'a>(&self, component: &'a [u8]) -> Option<Context<EndianSlice<'a, LittleEndian>>> {
        Context::from_dwarf(self.dwarf(component)).ok()
    }
}

/// Resolves instructions; parses each core module's debug information once, on first use.
pub(super) struct DebugInfoReader<'a> {
    info: &'a DebugInfo,
    /// Parsed sections by index of the core module.
    contexts: Vec<(usize, Option<Context<EndianSlice<'a, LittleEndian>>>)>,
}

impl DebugInfoReader<'_> {
    /// Functions at the instruction `offset` bytes into the component, innermost first. Empty without debug
    /// information.
    pub(super) fn symbols(&mut self, offset: usize) -> Vec<Symbol> {
        self.find(offset).unwrap_or_default()
    }

    fn find(&mut self, offset: usize) -> Option<Vec<Symbol>> {
        let modules = self.info.modules.iter();
        let (index, module) = modules.enumerate().find(|(_, module)| module.code.contains(&offset))?;
        let at = match self.contexts.iter().position(|(parsed, _)| *parsed == index) {
            Some(at) => at,
            None => {
                self.contexts.push((index, module.read(&self.info.component)));
                self.contexts.len() - 1
            }
        };
        let context = self.contexts.get(at)?.1.as_ref()?;
        let address = u64::try_from(offset - module.code.start).ok()?;
        let mut frames = context.find_frames(address).skip_all_loads().ok()?;
        let mut symbols = Vec::new();
        while let Ok(Some(frame)) = frames.next() {
            let location = frame.location.as_ref();
            symbols.push(Symbol {
                function: frame.function.as_ref().and_then(|name| {
                    let name = name.raw_name().ok()?;
                    (name.len() <= MAX_TEXT).then(|| name.into_owned())
                }),
                file: location
                    .and_then(|location| location.file)
                    .filter(|file| file.len() <= MAX_TEXT)
                    .map(str::to_owned),
                line: location.and_then(|location| location.line),
            });
        }
        Some(symbols)
    }
}
