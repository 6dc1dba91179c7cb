//! DWARF sections of a component, which no validator checks.

use crate::component::check_places;

/// Sections by the number that stands before each in the input.
const SECTIONS: [&str; 10] = [
    ".debug_info",
    ".debug_abbrev",
    ".debug_line",
    ".debug_str",
    ".debug_ranges",
    ".debug_rnglists",
    ".debug_line_str",
    ".debug_str_offsets",
    ".debug_addr",
    ".debug_types",
];
/// Length of the only function's body, in bytes.
const BODY: usize = 1024;

/// Resolves the instructions of a component with the sections in `data`: each is a number, two bytes of length, low
/// byte first, and the content. A unit or line program of length 0 at the beginning of a section ends with the section.
pub fn debug_info(data: &[u8]) {
    let component = component(data);
    check_places(&component, component.len());
}

/// Wraps the sections in a core module with one function, and the module in a component.
pub fn component(mut data: &[u8]) -> Vec<u8> {
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    section(&mut module, 1, b"\x01\x60\0\0");
    section(&mut module, 3, b"\x01\0");
    let mut code = vec![1];
    number(&mut code, BODY);
    code.push(0);
    code.resize(code.len() + BODY - 2, 1);
    code.push(0x0b);
    section(&mut module, 10, &code);
    while let [kind, low, high, rest @ ..] = data {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (content, after) = rest.split_at(length);
        let name = SECTIONS[usize::from(*kind) % SECTIONS.len()];
        let mut custom = vec![name.len() as u8];
        custom.extend_from_slice(name.as_bytes());
        custom.extend_from_slice(content);
        if let (".debug_info" | ".debug_line", Some(unit)) = (name, content.len().checked_sub(4))
            && content.starts_with(&[0; 4])
        {
            let at = custom.len() - content.len();
            custom[at..at + 4].copy_from_slice(&(unit as u32).to_le_bytes());
        }
        section(&mut module, 0, &custom);
        data = after;
    }
    let mut component = b"\0asm\x0d\0\x01\0".to_vec();
    section(&mut component, 1, &module);
    component
}

fn section(out: &mut Vec<u8>, id: u8, content: &[u8]) {
    out.push(id);
    number(out, content.len());
    out.extend_from_slice(content);
}

/// Appends a number in LEB128.
fn number(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
