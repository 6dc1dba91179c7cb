//! Header blocks and their fields.

use host_mail::{HeaderBlock, InMemory, hop_count, redirected};

/// Reads the header of a message. Fields must be disjoint parts of the block in order, and unfold to bounded lines.
pub fn header(data: &[u8]) {
    let block = HeaderBlock::read(&InMemory(data.to_vec().into())).expect("in memory");
    let bytes = block.as_bytes();
    assert!(data.starts_with(bytes));
    let rest = &data[bytes.len()..];
    assert!(
        rest.is_empty() || rest.starts_with(b"\r\n"),
        "the block ends at the empty line"
    );
    let start = bytes.as_ptr() as usize;
    let mut end = start;
    for field in block.fields() {
        let (name, value) = (field.name.as_ptr() as usize, field.value.as_ptr() as usize);
        assert!(end <= name && name + field.name.len() < value, "fields overlap");
        end = value + field.value.len();
        assert!(field.name.iter().all(u8::is_ascii_graphic));
        for limit in [0, 1, 5, 78, usize::MAX] {
            let line = field.unfolded(limit);
            assert!(limit >= line.len() && !line.contains(['\r', '\n']), "{line:?}");
        }
        let name = std::str::from_utf8(field.name).expect("ASCII");
        assert!(block.named(name).any(|named| named == field));
    }
    assert!(end <= start + bytes.len());
    let _ = hop_count(&block);
    let _ = redirected(&block, "mx.example.org");
}
