//! Patterns in which `*` matches any text and `?` matches any single character.

use std::fmt;

/// A pattern for a line.
#[derive(Debug, Clone)]
pub struct Pattern(String);

impl Pattern {
    /// Creates a pattern.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// True if the pattern matches all of `text`.
    pub fn matches(&self, text: &str) -> bool {
        let pattern: Vec<char> = self.0.chars().collect();
        let text: Vec<char> = text.chars().collect();
        // Backtracking point: the last star, which absorbs another character after each mismatch.
        let (mut p, mut t, mut star) = (0, 0, None);
        while t < text.len() {
            match pattern.get(p) {
                Some('*') => {
                    star = Some((p, t));
                    p += 1;
                }
                Some(c) if *c == '?' || *c == text[t] => (p, t) = (p + 1, t + 1),
                _ => match star {
                    Some((at, from)) => {
                        star = Some((at, from + 1));
                        (p, t) = (at + 1, from + 1);
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|c| *c == '*')
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn matches_stars_and_question_marks() {
        for (pattern, text, fits) in [
            ("250 ok", "250 ok", true),
            ("250 ok", "250 ok!", false),
            ("250*", "250", true),
            ("250 *ok*", "250 2.0.0 it is ok now", true),
            ("5?? *", "554 no", true),
            ("5?? *", "55 no", false),
            ("*a*b", "aab", true),
            ("*a*b", "aba", false),
            ("", "", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), fits, "{pattern} {text}");
        }
    }
}
