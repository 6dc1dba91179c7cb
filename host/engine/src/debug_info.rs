//! The debug information of a component: which places in the source its instructions come from (DWARF 5,
//! and its convention for WebAssembly: addresses count from the beginning of the code section).
//!
//! The engine could look this up, but reads all of it anew for each frame of each backtrace: that is
//! milliseconds a fault, for which the questions of others would wait.

use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;

use addr2line::Context;
use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use wasmparser::{Encoding, Parser, Payload};

/// What is needed to find places; the rest (variables, types' names) is not kept.
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

/// Of all core modules of one component that have any.
#[derive(Debug)]
pub(super) struct DebugInfo {
    component: Arc<[u8]>,
    modules: Vec<CoreModule>,
}

#[derive(Debug, Default)]
struct CoreModule {
    /// Where its code is in the component, in bytes.
    code: Range<usize>,
    /// Where they are in the component.
    sections: Vec<(SectionId, Range<usize>)>,
}

/// One function at an instruction: the one that was called, or one that was inlined there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    /// As the compiler names it, mangled.
    pub(super) function: Option<String>,
    pub(super) file: Option<String>,
    /// From 1 on.
    pub(super) line: Option<u32>,
}

impl DebugInfo {
    /// What there is of it in a component. A component that is damaged does not get as far as here.
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
                // Of the module: nothing is nested in one.
                Ok(Payload::End(_)) => modules.extend(open.take().filter(|module| !module.sections.is_empty())),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        Self { component, modules }
    }

    /// Looks up places, for as long as one backtrace takes.
    pub(super) fn reader(&self) -> DebugInfoReader<'_> {
        DebugInfoReader {
            info: self,
            read: Vec::new(),
        }
    }
}

impl CoreModule {
    /// None if it makes no sense: nobody has validated it.
    fn read<'a>(&self, component: &'a [u8]) -> Option<Context<EndianSlice<'a, LittleEndian>>> {
        let load = |wanted: SectionId| {
            let found = self.sections.iter().find(|(id, _)| *id == wanted);
            let bytes = found.and_then(|(_, range)| component.get(range.clone()));
            Ok::<_, Infallible>(EndianSlice::new(bytes.unwrap_or_default(), LittleEndian))
        };
        let Ok(dwarf) = Dwarf::load(load);
        Context::from_dwarf(dwarf).ok()
    }
}

/// Reads a core module's debug information once, when it is first asked for.
pub(super) struct DebugInfoReader<'a> {
    info: &'a DebugInfo,
    read: Vec<(usize, Option<Context<EndianSlice<'a, LittleEndian>>>)>,
}

impl DebugInfoReader<'_> {
    /// The functions at an instruction `offset` bytes into the component, the innermost first. Empty
    /// if nothing is known about it.
    pub(super) fn symbols(&mut self, offset: usize) -> Vec<Symbol> {
        self.find(offset).unwrap_or_default()
    }

    fn find(&mut self, offset: usize) -> Option<Vec<Symbol>> {
        let modules = self.info.modules.iter();
        let (place, module) = modules.enumerate().find(|(_, module)| module.code.contains(&offset))?;
        let at = match self.read.iter().position(|(known, _)| *known == place) {
            Some(at) => at,
            None => {
                self.read.push((place, module.read(&self.info.component)));
                self.read.len() - 1
            }
        };
        let context = self.read.get(at)?.1.as_ref()?;
        let address = u64::try_from(offset - module.code.start).ok()?;
        let mut frames = context.find_frames(address).skip_all_loads().ok()?;
        let mut symbols = Vec::new();
        while let Ok(Some(frame)) = frames.next() {
            let location = frame.location.as_ref();
            symbols.push(Symbol {
                function: frame
                    .function
                    .as_ref()
                    .and_then(|name| Some(name.raw_name().ok()?.into_owned())),
                file: location.and_then(|location| location.file).map(str::to_owned),
                line: location.and_then(|location| location.line),
            });
        }
        Some(symbols)
    }
}
