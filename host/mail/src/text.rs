//! Text within bounds.

/// At most `limit` bytes of a text, cut between characters.
pub fn cut(mut text: String, limit: usize) -> String {
    text.truncate(text.floor_char_boundary(limit));
    text
}
