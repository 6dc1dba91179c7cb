//! Characters of words in address lists.

/// True for `atext` (RFC 5322 section 3.2.3, extended by RFC 6532 section 3.2) and the dot.
pub fn is_word(byte: u8) -> bool {
    WORD[byte as usize]
}

/// [`is_word`] as a table: the loops over it are the bulk of the work.
const WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = byte >= 0x80 || (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$%&'*+-/=?^_`{|}~.";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};
