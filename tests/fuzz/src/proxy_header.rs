//! Headers of the PROXY protocol.

use host_smtp::fuzzing;

/// Longest header: version 2 with 4096 octets of addresses and attributes.
const LONGEST: usize = 16 + 4096;

/// Reads a header. No octet after an accepted header may be read, and no part of an accepted header may be accepted.
pub fn proxy_header(data: &[u8]) {
    let (result, left) = fuzzing::proxy_header(data);
    let read = data.len() - left;
    assert!(read <= LONGEST, "{read} octets read");
    if result.is_ok() {
        let (header, _) = data.split_at(read);
        assert!(header.starts_with(b"PROXY ") || header.starts_with(b"\r\n\r\n\0\r\nQUIT\n"));
        assert_eq!(fuzzing::proxy_header(header), (result, 0));
        for cut in [read / 2, read - 1] {
            assert!(
                fuzzing::proxy_header(&header[..cut]).0.is_err(),
                "{cut} octets of {read}"
            );
        }
    }
}
