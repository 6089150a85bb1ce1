//! Spans of time and numbers of bytes, as people write them.

use std::time::Duration;

const SPANS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// `None` if it is none, or too large to say.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_number(text)?;
    let (_, millis) = SPANS.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*millis).map(Duration::from_millis)
}

/// In the largest unit that leaves a whole number.
pub fn spell_duration(span: Duration) -> String {
    let millis = span.as_millis() as u64;
    let largest = SPANS
        .iter()
        .rev()
        .find(|(_, unit)| millis.is_multiple_of(*unit));
    match largest {
        Some((name, unit)) if millis > 0 => format!("{}{name}", millis / unit),
        _ => "0s".to_owned(),
    }
}

const SIZES: [(&str, usize); 4] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// `None` if it is none, or too large to say.
pub fn parse_size(text: &str) -> Option<usize> {
    let (number, unit) = split_number(text)?;
    let unit = if unit.is_empty() { "B" } else { unit };
    let (_, bytes) = SIZES.iter().find(|(name, _)| *name == unit)?;
    usize::try_from(number).ok()?.checked_mul(*bytes)
}

/// In the largest unit that leaves a whole number.
pub fn spell_size(bytes: usize) -> String {
    let largest = SIZES
        .iter()
        .rev()
        .find(|(_, unit)| bytes.is_multiple_of(*unit));
    match largest {
        Some((name, unit)) if bytes > 0 => format!("{} {name}", bytes / unit),
        _ => "0 B".to_owned(),
    }
}

/// Digits, and what stands behind them after optional space.
fn split_number(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_spelled_in_the_largest_unit() {
        for (written, millis, spelled) in [
            ("50ms", 50, "50ms"),
            ("10s", 10_000, "10s"),
            ("120 s", 120_000, "2m"),
            ("7d", 604_800_000, "7d"),
            ("0s", 0, "0s"),
        ] {
            let span = parse_duration(written).unwrap();
            assert_eq!(span, Duration::from_millis(millis));
            assert_eq!(spell_duration(span), spelled);
        }
        for wrong in ["", "10", "s", "1.5s", "-1s", "10 sec", "99999999999999999d"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_are_read_with_and_without_unit() {
        for (written, bytes, spelled) in [
            ("1 MiB", 1 << 20, "1 MiB"),
            ("512KiB", 512 << 10, "512 KiB"),
            ("1048576", 1 << 20, "1 MiB"),
            ("1500", 1500, "1500 B"),
            ("0", 0, "0 B"),
        ] {
            assert_eq!(parse_size(written), Some(bytes));
            assert_eq!(spell_size(bytes), spelled);
        }
        for wrong in ["", "1 MB", "1.5 MiB", "-1", "99999999999 GiB", "\u{0661} B"] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
    }
}
