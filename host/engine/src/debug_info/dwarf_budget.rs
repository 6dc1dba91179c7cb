//! Bound of the work that DWARF sections cause. No validator checks the sections, and the reader of `addr2line` trusts
//! their author: it recurses into nested entries, and a section of some kilobytes can refer to the same ranges, files or
//! abbreviations so often that reading takes gigabytes.

use addr2line::gimli::{self, Dwarf, EndianSlice, LittleEndian, Reader as _, Section as _, Unit};

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// Maximum nesting of entries. Inlined calls of real programs are nested some dozen levels deep.
const MAX_DEPTH: isize = 256;
/// Maximum memory that the sections of a module take when read, in bytes, as a rough upper estimate.
const MAX_MEMORY: usize = 256 << 20;
/// Memory of a compilation unit.
const UNIT: usize = 1024;
/// Memory of a byte of abbreviations.
const ABBREVIATION: usize = 32;
/// Memory of a byte of a line program.
const LINE: usize = 48;
/// Memory of a byte of a line program's header.
const LINE_HEADER: usize = 128;
/// Memory of a function, called or inlined.
const FUNCTION: usize = 128;
/// Memory of a range of addresses.
const RANGE: usize = 80;

/// True if the sections can be read with little stack and memory.
pub(super) fn is_bounded(dwarf: &Dwarf<Slice<'_>>) -> bool {
    DwarfBudget { rest: MAX_MEMORY }.spend(dwarf).is_some()
}

/// Memory that is left, in bytes. `None` of a method is the end of the budget. Malformed parts cost nothing more: the
/// reader stops there, too.
struct DwarfBudget {
    rest: usize,
}

impl DwarfBudget {
    fn charge(&mut self, count: usize, bytes: usize) -> Option<()> {
        self.rest = self.rest.checked_sub(count.checked_mul(bytes)?)?;
        Some(())
    }

    fn spend(&mut self, dwarf: &Dwarf<Slice<'_>>) -> Option<()> {
        let mut units = dwarf.units();
        while let Ok(Some(header)) = units.next() {
            self.charge(1, UNIT)?;
            let abbreviations = dwarf.debug_abbrev.reader().get(header.debug_abbrev_offset().0..);
            self.charge(abbreviations.map_or(0, length_of_abbreviations), ABBREVIATION)?;
            if let Ok(unit) = dwarf.unit(header) {
                self.spend_on_lines(dwarf, &unit)?;
                self.spend_on_entries(dwarf, &unit)?;
            }
        }
        Some(())
    }

    fn spend_on_lines<'a>(&mut self, dwarf: &Dwarf<Slice<'a>>, unit: &Unit<Slice<'a>>) -> Option<()> {
        let Some(program) = &unit.line_program else {
            return Some(());
        };
        let header = program.header();
        self.charge(header.header_length(), LINE_HEADER)?;
        self.charge(header.raw_program_buf().len(), LINE)?;
        let folder = unit.comp_dir.map_or(0, |folder| folder.len());
        let length = |value| dwarf.attr_string(unit, value).map_or(0, |text| text.len());
        for file in header.file_names() {
            // The path of a file is put together from folder, directory and name.
            self.charge(folder + length(file.path_name()), 1)?;
            self.charge(file.directory(header).map_or(0, length), 1)?;
        }
        Some(())
    }

    fn spend_on_entries<'a>(&mut self, dwarf: &Dwarf<Slice<'a>>, unit: &Unit<Slice<'a>>) -> Option<()> {
        let Ok(mut entries) = unit.entries_raw(None) else {
            return Some(());
        };
        while !entries.is_empty() {
            if entries.next_depth() > MAX_DEPTH {
                return None;
            }
            let abbreviation = match entries.read_abbreviation() {
                Ok(Some(abbreviation)) => abbreviation,
                Ok(None) => continue,
                Err(_) => return Some(()),
            };
            let is_function = matches!(
                abbreviation.tag(),
                gimli::DW_TAG_subprogram | gimli::DW_TAG_inlined_subroutine
            );
            self.charge(usize::from(is_function), FUNCTION)?;
            self.charge(1 + abbreviation.attributes().len(), 1)?;
            for attribute in abbreviation.attributes() {
                let Ok(attribute) = entries.read_attribute(*attribute) else {
                    return Some(());
                };
                match attribute.name() {
                    gimli::DW_AT_ranges => {
                        let Ok(Some(offset)) = dwarf.attr_ranges_offset(unit, attribute.value()) else {
                            continue;
                        };
                        let Ok(mut ranges) = dwarf.raw_ranges(unit, offset) else {
                            continue;
                        };
                        while let Ok(Some(_)) = ranges.next() {
                            self.charge(1, RANGE)?;
                        }
                    }
                    // Takes no memory, but time: the end of a name is searched each time.
                    gimli::DW_AT_name | gimli::DW_AT_linkage_name if is_function => {
                        let name = dwarf.attr_string(unit, attribute.value());
                        self.charge(name.map_or(0, |name| name.len()), 1)?;
                    }
                    _ => {}
                }
            }
        }
        Some(())
    }
}

/// Returns the length of the table of abbreviations at the beginning of `bytes` (DWARF 5 section 7.5.3).
fn length_of_abbreviations(bytes: &[u8]) -> usize {
    let mut rest = EndianSlice::new(bytes, LittleEndian);
    let mut read = || -> gimli::Result<()> {
        while !rest.is_empty() && rest.read_uleb128()? != 0 {
            let _tag = rest.read_uleb128()?;
            let _children = rest.read_u8()?;
            while let (name, form) = (rest.read_uleb128()?, rest.read_uleb128()?)
                && (name, form) != (0, 0)
            {
                if form == u64::from(gimli::DW_FORM_implicit_const.0) {
                    rest.read_sleb128()?;
                }
            }
        }
        Ok(())
    };
    // A malformed table is read up to the defect.
    let _ = read();
    bytes.len() - rest.len()
}

#[cfg(test)]
mod tests {
    use crate::debug_info::{DebugInfo, Symbol};

    /// Abbreviations 1 to 4: a unit, a function with a name, an inlined call, and a function with ranges.
    const ABBREVIATIONS: &[u8] = &[
        1, 0x11, 1, 0x11, 0x01, 0x12, 0x06, 0, 0, // unit: low and high address
        2, 0x2e, 1, 0x03, 0x08, 0x11, 0x01, 0x12, 0x06, 0, 0, // subprogram: name, low and high address
        3, 0x1d, 1, 0x11, 0x01, 0x12, 0x06, 0, 0, // inlined subroutine: low and high address
        4, 0x2e, 0, 0x55, 0x17, 0, 0, // subprogram: ranges
        0,
    ];
    /// Low address 0 and high address 100.
    const ALL: [u8; 8] = [0, 0, 0, 0, 100, 0, 0, 0];

    fn section(out: &mut Vec<u8>, id: u8, content: &[u8]) {
        let mut length = content.len();
        out.push(id);
        while length >= 0x80 {
            out.push(length as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend_from_slice(content);
    }

    /// Resolves an instruction of a component with the entries and ranges in DWARF 4.
    fn symbols(entries: &[u8], ranges: &[u8]) -> Vec<Symbol> {
        let unit = [&[4, 0, 0, 0, 0, 0, 4, 1][..], &ALL, entries, &[0]].concat();
        let info = [&(unit.len() as u32).to_le_bytes()[..], &unit].concat();
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        let body = [&[1, 120, 0][..], &[1; 118], &[0x0b]].concat();
        section(&mut module, 3, &[1, 0]);
        section(&mut module, 10, &body);
        for (name, content) in [
            (".debug_abbrev", ABBREVIATIONS),
            (".debug_info", &info),
            (".debug_ranges", ranges),
        ] {
            section(
                &mut module,
                0,
                &[&[name.len() as u8], name.as_bytes(), content].concat(),
            );
        }
        let mut component = b"\0asm\x0d\0\x01\0".to_vec();
        section(&mut component, 1, &module);
        let code = component.windows(3).position(|window| window == [1, 120, 0]);
        let info = DebugInfo::of(component.into());
        info.reader().symbols(code.expect("the body") + 50)
    }

    /// Resolves an instruction of the function `f` within `depth` inlined calls.
    fn nested(depth: usize) -> Vec<Symbol> {
        let call = [&[3][..], &ALL].concat();
        let entries = [&b"\x02f\0"[..], &ALL, &call.repeat(depth), &vec![0; depth + 1]].concat();
        symbols(&entries, &[])
    }

    #[test]
    fn resolves_inlined_calls_to_a_bounded_depth() {
        let shallow = nested(50);
        assert_eq!(shallow.len(), 51);
        assert_eq!(shallow[50].function.as_deref(), Some("f"));
        assert_eq!(nested(300), []);
        // Without a bound, the reader overflows the stack of any thread.
        assert_eq!(nested(100_000), []);
    }

    #[test]
    fn refuses_ranges_that_are_shared_too_often() {
        let range = [98, 0, 0, 0, 99, 0, 0, 0];
        let ranges = |count| [range.repeat(count), vec![0; 8]].concat();
        let functions = |count| [&b"\x02f\0"[..], &ALL, &[0], &[4, 0, 0, 0, 0].repeat(count)].concat();
        assert_eq!(symbols(&functions(10), &ranges(10)).len(), 1);
        // 400 million ranges, some ten gigabytes.
        assert_eq!(symbols(&functions(20_000), &ranges(20_000)), []);
    }
}
