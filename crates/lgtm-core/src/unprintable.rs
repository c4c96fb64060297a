//! Which characters a line of a log must not have as they are. Pure.

/// Whether a reader of lines or a terminal takes this character for more than text: control characters (C0, DEL, C1), the
/// separators of lines and paragraphs, and what changes the direction of text. None of them stands in a line but escaped.
#[must_use]
pub const fn is_unprintable(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_control_characters_and_no_letters_are_unprintable() {
        for character in '\0'..=char::MAX {
            assert!(!character.is_control() || is_unprintable(character), "{character:?}");
            assert!(!character.is_alphanumeric() || !is_unprintable(character), "{character:?}");
        }
    }
}
