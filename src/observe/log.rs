//! Log lines on standard error: how they look, how hostile text is kept from forging them, how many refusals are told.

use crate::metrics::Refusal;
use std::{
    fmt::{self, Write as _},
    io::{self, IsTerminal},
    time::Duration,
};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// `[log]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Config {
    /// The least important line that is still written.
    pub level: Level,
    /// How a line is laid out.
    pub format: Format,
}

/// How important a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Something that was promised does not hold.
    Error,
    /// Something an operator should look at.
    Warn,
    /// One line per connect, disconnect and refusal.
    #[default]
    Info,
    /// For finding faults.
    Debug,
    /// Everything.
    Trace,
}

/// How a line is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => LevelFilter::ERROR,
            Level::Warn => LevelFilter::WARN,
            Level::Info => LevelFilter::INFO,
            Level::Debug => LevelFilter::DEBUG,
            Level::Trace => LevelFilter::TRACE,
        }
    }
}

/// What is written at all. The libraries below speak of warnings and errors alone: what else they have to say is what
/// passes through them, byte by byte, and there are passwords and tokens in it.
fn wanted(level: LevelFilter) -> Targets {
    Targets::new()
        .with_target("tidegate", level)
        .with_default(level.min(LevelFilter::WARN))
}

/// Sends this process's log lines to standard error. The first call counts; later ones change nothing.
pub fn start(config: Config) {
    let level = LevelFilter::from(config.level);
    let lines = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_target(false);
    // an error means that lines already go somewhere, as in a test that started two gateways
    let _already_started = match config.format {
        Format::Text => lines
            .with_ansi(std::io::stderr().is_terminal())
            .finish()
            .with(wanted(level))
            .try_init(),
        Format::Json => lines
            .with_writer(|| JsonLines(std::io::stderr()))
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .finish()
            .with(wanted(level))
            .try_init(),
    }
    .is_err();
}

/// Writes lines of JSON without characters that move a cursor or turn the direction of writing: JSON itself lets them
/// stand as they are, and they stand nowhere but in its strings.
struct JsonLines<W>(W);

impl<W: io::Write> io::Write for JsonLines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = std::str::from_utf8(line).unwrap_or_default();
        let moves = |c: char| {
            c != '\n' && (c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || reorders(c))
        };
        match text.contains(moves) {
            false => self.0.write_all(line)?,
            true => {
                let escaped = text.chars().fold(String::new(), |mut escaped, c| {
                    match moves(c) {
                        true => escaped.push_str(&format!("\\u{:04x}", u32::from(c))),
                        false => escaped.push(c),
                    }
                    escaped
                });
                self.0.write_all(escaped.as_bytes())?;
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Text that somebody else chose, made safe for a line of text: `tracing::info!(client = %Escaped(id), …)`.
///
/// Quoted, with everything escaped that could end the line, move a terminal's cursor, turn the direction of
/// writing, or close the quotes. Long text is cut.
#[derive(Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

/// Characters of foreign text that a line may hold.
const SHOWN: usize = 256;

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        let mut rest = self.0.chars();
        for c in rest.by_ref().take(SHOWN) {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if reorders(c) => write!(f, "{}", c.escape_unicode())?,
                // covers controls, line separators and what has no visible shape
                c => fmt::Display::fmt(&Shape(c), f)?,
            }
        }
        f.write_char('"')?;
        match rest.count() {
            0 => Ok(()),
            more => write!(f, "… and {more} more"),
        }
    }
}

impl fmt::Debug for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One character, escaped unless it is printable; a single quote needs no escape inside double ones.
struct Shape(char);

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            '\'' => f.write_char('\''),
            c => c.escape_debug().try_for_each(|part| f.write_char(part)),
        }
    }
}

/// Bidirectional marks and invisible joiners.
fn reorders(c: char) -> bool {
    matches!(c, '\u{061C}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

/// Lines about refusals of one kind that are written in a [`WINDOW`].
const LINES: u64 = 10;

/// How long refusals of one kind are counted together.
const WINDOW: Duration = Duration::from_secs(10);

/// Keeps refusals from flooding the log: some lines of each kind, then a count.
///
/// Holds no clock: `now` is the time since any fixed moment.
#[derive(Debug, Default)]
pub struct Refusals {
    kinds: [Window; Refusal::ALL.len()],
}

#[derive(Debug, Default, Clone, Copy)]
struct Window {
    began: Option<Duration>,
    seen: u64,
}

/// Whether a refusal gets a line of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// It does.
    Write,
    /// It does, and before it goes a line that says how many did not in the window that just ended.
    WriteAfter(Hidden),
    /// It is only counted.
    Hide,
}

/// Refusals that got no line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hidden {
    /// Of this kind.
    pub why: Refusal,
    /// How many.
    pub count: u64,
}

impl fmt::Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "… and {} more refused ({}) in {} s",
            self.count,
            self.why.name(),
            WINDOW.as_secs()
        )
    }
}

impl Refusals {
    /// Something was refused.
    pub fn refused(&mut self, why: Refusal, now: Duration) -> Line {
        let hidden = self.close(why, now);
        let window = &mut self.kinds[why as usize];
        window.began.get_or_insert(now);
        window.seen += 1;
        match hidden {
            Some(hidden) => Line::WriteAfter(hidden),
            None if window.seen <= LINES => Line::Write,
            None => Line::Hide,
        }
    }

    /// Ends windows that are over, so that a flood that stopped is told too; to be asked now and then.
    pub fn over(&mut self, now: Duration) -> Vec<Hidden> {
        Refusal::ALL
            .into_iter()
            .filter_map(|why| self.close(why, now))
            .collect()
    }

    fn close(&mut self, why: Refusal, now: Duration) -> Option<Hidden> {
        let window = &mut self.kinds[why as usize];
        if now.saturating_sub(window.began?) < WINDOW {
            return None;
        }
        let count = window.seen.saturating_sub(LINES);
        *window = Window::default();
        (count > 0).then_some(Hidden { why, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_json_moves_nothing_and_says_the_same() {
        use std::io::Write;
        let client = "a\u{85}\u{7f}\u{202e}\u{2028}ü\\\n\"";
        let line = format!("{}\n", serde_json::json!({ "client": client }));
        let mut out = JsonLines(Vec::new());
        out.write_all(line.as_bytes()).unwrap();
        let out = String::from_utf8(out.0).unwrap();
        assert!(
            !out.trim_end()
                .contains(|c: char| c.is_control() || reorders(c)),
            "{out:?}"
        );
        let read: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(read["client"], client);
    }

    #[test]
    fn foreign_text_cannot_end_its_line_or_its_quotes() {
        for (text, line) in [
            ("sensor-1", r#""sensor-1""#),
            ("it's café 家", r#""it's café 家""#),
            ("a\nINFO forged", r#""a\nINFO forged""#),
            ("a\r\u{1b}[2Jb", r#""a\r\u{1b}[2Jb""#),
            ("say \"hi\" \\", r#""say \"hi\" \\""#),
            ("\u{85}\u{2028}\u{9b}", r#""\u{85}\u{2028}\u{9b}""#),
            ("\u{202e}gnp.exe", r#""\u{202e}gnp.exe""#),
            ("", r#""""#),
        ] {
            assert_eq!(Escaped(text).to_string(), line);
            assert_eq!(format!("{:?}", Escaped(text)), line);
        }
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let line = Escaped(&"é".repeat(1000)).to_string();
        assert_eq!(line, format!("\"{}\"… and 744 more", "é".repeat(256)));
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_flood_gets_ten_lines_and_then_a_count() {
        let mut refusals = Refusals::default();
        let lines: Vec<_> = (0..25)
            .map(|_| refusals.refused(Refusal::Topic, at(5)))
            .collect();
        assert!(lines[..10].iter().all(|line| *line == Line::Write));
        assert!(lines[10..].iter().all(|line| *line == Line::Hide));
        assert_eq!(refusals.over(at(14)), []);
        let hidden = Hidden {
            why: Refusal::Topic,
            count: 15,
        };
        assert_eq!(refusals.over(at(15)), [hidden]);
        assert_eq!(refusals.over(at(16)), []);
        assert_eq!(hidden.to_string(), "… and 15 more refused (topic) in 10 s");
    }

    #[test]
    fn the_next_window_begins_with_the_count_of_the_last() {
        let mut refusals = Refusals::default();
        for _ in 0..12 {
            refusals.refused(Refusal::Busy, at(0));
        }
        let hidden = Hidden {
            why: Refusal::Busy,
            count: 2,
        };
        assert_eq!(
            refusals.refused(Refusal::Busy, at(10)),
            Line::WriteAfter(hidden)
        );
        assert_eq!(refusals.refused(Refusal::Busy, at(10)), Line::Write);
    }

    #[test]
    fn kinds_do_not_hide_each_other() {
        let mut refusals = Refusals::default();
        for _ in 0..50 {
            refusals.refused(Refusal::Malformed, at(0));
        }
        assert_eq!(refusals.refused(Refusal::Quota, at(0)), Line::Write);
    }
}
