//! How much PromQL one query may be: its parser and what walks the parsed query call themselves for each level, and a stack that
//! is too small for that ends the process. Pure.

/// Levels of brackets.
const MOST_LEVELS: usize = 64;
/// Names, numbers and operators: without brackets a query is no deeper than it has operators.
const MOST_PARTS: usize = 500;

/// Whether the query is small enough; the error is for the client.
pub(crate) fn check(query: &str) -> Result<(), String> {
    let (mut levels, mut parts) = (0_usize, 0_usize);
    let mut in_word = false;
    let mut characters = query.chars();
    while let Some(character) = characters.next() {
        let is_word = character.is_alphanumeric() || matches!(character, '_' | ':' | '.');
        let begins_word = is_word && !in_word;
        in_word = is_word;
        match character {
            quote @ ('"' | '\'' | '`') => skip_text(&mut characters, quote),
            '(' | '[' | '{' => levels += 1,
            ')' | ']' | '}' => levels = levels.saturating_sub(1),
            character if begins_word || (!is_word && !character.is_whitespace()) => parts += 1,
            _ => {}
        }
        if levels > MOST_LEVELS {
            return Err(format!("the query has more than {MOST_LEVELS} levels of brackets"));
        }
        if parts > MOST_PARTS {
            return Err(format!("the query has more than {MOST_PARTS} names, numbers and operators"));
        }
    }
    Ok(())
}

/// Up to the end of a text in quotes.
fn skip_text(characters: &mut std::str::Chars<'_>, quote: char) {
    while let Some(character) = characters.next() {
        if character == quote {
            return;
        }
        if character == '\\' && quote != '`' {
            characters.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_queries_are_within_the_bounds_and_towers_are_not() {
        let usual = r#"histogram_quantile(0.99, sum by (le) (rate({__name__=~"(((((a|b)))))", x="\"("}[5m]))) > 0.5 or vector(1)"#;
        check(usual).unwrap();
        check(&format!("a{{b=\"{}\"}}", "(".repeat(10_000))).unwrap();
        for tower in ["(", "sum(", "a[5m:", "-", "a+", "a or "] {
            assert!(check(&tower.repeat(1000)).is_err(), "{tower}");
        }
    }
}
