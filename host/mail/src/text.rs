//! Truncation of text.

/// Truncates a text to at most `limit` bytes, at a character boundary.
pub fn cut(mut text: String, limit: usize) -> String {
    text.truncate(text.floor_char_boundary(limit));
    text
}
