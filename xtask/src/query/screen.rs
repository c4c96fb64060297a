//! The screen: colours where a terminal is, its width, times of a zone, and text that cannot move the cursor.

use std::io::{self, Write};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use chrono::{DateTime, Local, SecondsFormat, Utc};
use clap::ValueEnum;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The width where there is no terminal.
const USUAL_WIDTH: usize = 100;
/// Narrower than this nothing can be laid out.
const LEAST_WIDTH: usize = 40;

pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const BOLD: Style = Style::new().bold();
pub(super) const RED: Style = AnsiColor::Red.on_default().bold();
pub(super) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(super) const GREEN: Style = AnsiColor::Green.on_default();
pub(super) const BLUE: Style = AnsiColor::Blue.on_default();
pub(super) const CYAN: Style = AnsiColor::Cyan.on_default();
pub(super) const MAGENTA: Style = AnsiColor::Magenta.on_default();

/// When there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Also into a pipe.
    Always,
    /// None.
    Never,
}

/// The zone of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zone {
    Local,
    Utc,
}

/// Where lines go.
pub(super) struct Screen<'a> {
    out: Box<dyn Write + 'a>,
    pub(super) width: usize,
    pub(super) zone: Zone,
}

impl Screen<'static> {
    /// Standard output.
    pub(super) fn standard(color: Color, width: Option<usize>, zone: Zone) -> Self {
        let choice = match color {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        };
        let stdout = io::stdout();
        let of_terminal = || terminal_size::terminal_size_of(&stdout).map(|(width, _)| usize::from(width.0));
        let width = width.or_else(of_terminal).unwrap_or(USUAL_WIDTH).max(LEAST_WIDTH);
        Self { out: Box::new(AutoStream::new(io::stdout(), choice)), width, zone }
    }
}

impl<'a> Screen<'a> {
    /// `bytes`, without colours.
    #[cfg(test)]
    pub(super) fn plain(bytes: &'a mut Vec<u8>, width: usize) -> Self {
        Self { out: Box::new(anstream::StripStream::new(bytes)), width, zone: Zone::Utc }
    }

    /// # Errors
    /// If the output is gone, which is what `| head` does.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// A value as one line of JSON.
    ///
    /// # Errors
    /// As [`Screen::line`].
    pub(super) fn json(&mut self, value: &impl serde::Serialize) -> io::Result<()> {
        let text = serde_json::to_string(value).map_err(io::Error::other)?;
        // Not by way of the colours: JSON escapes control characters itself.
        self.line(&text)
    }

    /// A time of day and date, to the millisecond.
    pub(super) fn time(&self, unix_nanos: u64) -> String {
        let time = DateTime::<Utc>::from_timestamp_nanos(i64::try_from(unix_nanos).unwrap_or(i64::MAX));
        match self.zone {
            Zone::Utc => time.to_rfc3339_opts(SecondsFormat::Millis, true),
            Zone::Local => time.with_timezone(&Local).to_rfc3339_opts(SecondsFormat::Millis, false),
        }
    }

    /// A time for the foot of a chart whose range is `seconds` long: the day only where there are several.
    pub(super) fn short_time(&self, unix_nanos: u64, seconds: u64) -> String {
        let time = DateTime::<Utc>::from_timestamp_nanos(i64::try_from(unix_nanos).unwrap_or(i64::MAX));
        let form = if seconds >= 86_400 { "%m-%d %H:%M" } else { "%H:%M:%S" };
        match self.zone {
            Zone::Utc => time.format(form).to_string(),
            Zone::Local => time.with_timezone(&Local).format(form).to_string(),
        }
    }
}

/// `text` in a style.
pub(super) fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// `text` on one line, with control characters as their escapes, so that a log line cannot move the cursor or name the window.
pub(super) fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => cleaned.push('⏎'),
            '\t' => cleaned.push(' '),
            control if control.is_control() => cleaned.extend(control.escape_default()),
            // They turn the direction of what follows around.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => cleaned.extend(character.escape_default()),
            other => cleaned.push(other),
        }
    }
    cleaned
}

/// As [`clean`], but line breaks stay, with the next lines indented.
pub(super) fn clean_lines(text: &str) -> String {
    text.trim_end().lines().map(clean).collect::<Vec<_>>().join("\n    ")
}

/// The columns that `text` takes.
pub(super) fn columns(text: &str) -> usize {
    text.width()
}

/// `text` in exactly `width` columns: cut with an ellipsis, or filled up.
pub(super) fn fit(text: &str, width: usize) -> String {
    let cut = cut(text, width);
    let gap = width.saturating_sub(columns(&cut));
    cut + &" ".repeat(gap)
}

/// `text` in at most `width` columns.
pub(super) fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 0;
    for character in text.chars() {
        let next = character.width().unwrap_or(0);
        if used + next + 1 > width {
            break;
        }
        used += next;
        kept.push(character);
    }
    if width > 0 {
        kept.push('…');
    }
    kept
}

/// A length of time with three digits that count.
pub(super) fn duration(nanos: u64) -> String {
    let units = [(1e9, "s"), (1e6, "ms"), (1e3, "µs")];
    let nanos = nanos as f64;
    let (value, unit) = units
        .iter()
        .find(|(size, _)| nanos >= 0.9995 * size)
        .map_or((nanos, "ns"), |(size, unit)| (nanos / size, unit));
    match value {
        minutes if unit == "s" && minutes >= 600.0 => format!("{:.0} min", minutes / 60.0),
        value if value >= 99.95 || unit == "ns" => format!("{value:.0} {unit}"),
        value if value >= 9.995 => format!("{value:.1} {unit}"),
        value => format!("{value:.2} {unit}"),
    }
}

/// Nanoseconds as a [`std::time::Duration`] has them.
pub(super) fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_three_digits() {
        let table = [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (12_345, "12.3 µs"),
            (999_990, "1.00 ms"),
            (123_456_789, "123 ms"),
            (61_000_000_000, "61.0 s"),
            (3_600_000_000_000, "60 min"),
        ];
        for (nanos, text) in table {
            assert_eq!(duration(nanos), text);
        }
    }

    #[test]
    fn what_could_command_the_terminal_is_escaped() {
        assert_eq!(clean("a\u{1b}[2Jb\u{7}\r\u{202e}x\n\ty"), "a\\u{1b}[2Jb\\u{7}\\r\\u{202e}x⏎ y");
        assert_eq!(clean_lines("one\ntwo\u{1b}\n"), "one\n    two\\u{1b}");
    }

    #[test]
    fn wide_characters_are_cut_at_columns() {
        assert_eq!(fit("東京都", 5), "東京…");
        assert_eq!(fit("東京", 5), "東京 ");
        assert_eq!(fit("abc", 2), "a…");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn colours_are_left_out_of_what_is_no_terminal() {
        let mut bytes = Vec::new();
        let mut screen = Screen::plain(&mut bytes, 80);
        screen.line(&styled(RED, "failed")).unwrap();
        assert_eq!(screen.time(1_700_000_000_123_456_789), "2023-11-14T22:13:20.123Z");
        drop(screen);
        assert_eq!(bytes, b"failed\n");
    }
}
