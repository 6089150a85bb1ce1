//! Topic names and topic filters: checked once, then trusted by their type.

use std::{
    borrow::Borrow,
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
    sync::Arc,
};

/// Longest topic name or filter in bytes [MQTT-4.7.3-3].
pub const MAX_BYTES: usize = 65_535;

/// Why a text is not a topic name or not a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// [MQTT-4.7.3-1]
    #[error("it is empty")]
    Empty,
    /// [MQTT-4.7.3-2]
    #[error("it contains U+0000")]
    Nul,
    /// [MQTT-4.7.3-3]
    #[error("it is longer than 65535 bytes")]
    TooLong,
    /// [MQTT-3.3.2-2], [MQTT-4.7.0-1]
    #[error("'+' and '#' are not allowed in a topic name")]
    WildcardInName,
    /// [MQTT-4.7.1-1]
    #[error("'#' must be the last level and stand alone in it")]
    HashNotLast,
    /// [MQTT-4.7.1-2]
    #[error("'+' must fill a whole level")]
    PlusNotAlone,
    /// [MQTT-4.8.2-1], [MQTT-4.8.2-2]
    #[error("a shared filter is $share/{{name}}/{{filter}}, its name without '/', '+' and '#'")]
    BadShare,
}

/// A topic a message is published to: not empty, no wildcards, no U+0000. Cheap to clone.
#[derive(Clone, Eq, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

impl PartialEq for TopicName {
    fn eq(&self, other: &Self) -> bool {
        // a publisher's decoder hands out the same text for the same topic
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Hash for TopicName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl TopicName {
    /// Checks `text` and takes a copy.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        Self::check(text)?;
        Ok(TopicName(text.into()))
    }

    /// Whether `text` is a topic name, for those who keep it as text.
    pub fn check(text: &str) -> Result<(), TopicError> {
        check_text(text)?;
        match memchr::memchr2(b'+', b'#', text.as_bytes()) {
            Some(_) => Err(TopicError::WildcardInName),
            None => Ok(()),
        }
    }

    /// Whether the topic is the server's own (`$SYS`, `$reply`, ...): out of reach of leading wildcards.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('$')
    }
}

/// What a subscription asks for: a filter, or a filter shared by a group.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicFilter {
    /// The whole text as the client wrote it; its identity within a session [MQTT-3.8.4-3].
    text: Arc<str>,
    /// Where the part that is matched begins: 0, or behind `$share/name/`.
    from: u32,
}

impl TopicFilter {
    /// Checks `text` and takes a copy.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        check_text(text)?;
        let from = match text.strip_prefix("$share/") {
            None if text == "$share" => return Err(TopicError::BadShare),
            None => 0,
            Some(rest) => {
                let (name, filter) = rest.split_once('/').ok_or(TopicError::BadShare)?;
                if name.is_empty() || name.contains(['+', '#']) || filter.is_empty() {
                    return Err(TopicError::BadShare);
                }
                text.len() - filter.len()
            }
        };
        check_wildcards(&text[from..])?;
        // from is below 65,536, see check_text
        Ok(TopicFilter {
            text: text.into(),
            from: from as u32,
        })
    }

    /// As the client wrote it, `$share/name/` included.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part that is matched against topics.
    pub fn pattern(&self) -> &str {
        &self.text[self.from as usize..]
    }

    /// The group's name, if the filter is shared.
    pub fn share(&self) -> Option<&str> {
        (self.from > 0).then(|| &self.text["$share/".len()..self.from as usize - 1])
    }

    /// Whether the pattern contains `+` or `#`.
    pub fn has_wildcards(&self) -> bool {
        memchr::memchr2(b'+', b'#', self.pattern().as_bytes()).is_some()
    }

    /// Whether a message on `topic` is for this filter.
    pub fn matches(&self, topic: &TopicName) -> bool {
        matches(self.pattern(), topic)
    }
}

/// Whether `pattern` (a checked filter without `$share`) matches `topic` (a checked name).
///
/// Levels are compared byte for byte, without normalisation [MQTT-4.7.3-4]. `#` also matches the parent level.
pub fn matches(pattern: &str, topic: &str) -> bool {
    // [MQTT-4.7.2-1]
    if topic.starts_with('$') && pattern.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in pattern.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// Whether a topic or filter has more than `limit` levels.
#[inline]
pub fn is_deeper(text: &str, limit: usize) -> bool {
    // each level beyond the first costs a byte: most texts need no count
    text.len() >= limit && memchr::memchr_iter(b'/', text.as_bytes()).count() >= limit
}

fn check_text(text: &str) -> Result<(), TopicError> {
    match text {
        "" => Err(TopicError::Empty),
        _ if text.len() > MAX_BYTES => Err(TopicError::TooLong),
        _ if memchr::memchr(0, text.as_bytes()).is_some() => Err(TopicError::Nul),
        _ => Ok(()),
    }
}

fn check_wildcards(pattern: &str) -> Result<(), TopicError> {
    let mut levels = pattern.split('/').peekable();
    while let Some(level) = levels.next() {
        if level.contains('#') && (level != "#" || levels.peek().is_some()) {
            return Err(TopicError::HashNotLast);
        }
        if level.contains('+') && level != "+" {
            return Err(TopicError::PlusNotAlone);
        }
    }
    Ok(())
}

impl Deref for TopicName {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// Whether every topic that `narrow` matches is one that `wide` matches, both patterns without a share name.
pub fn covers(wide: &str, narrow: &str) -> bool {
    // [MQTT-4.7.2-1]
    if wide.starts_with(['#', '+']) && narrow.starts_with('$') {
        return false;
    }
    let (mut wide, mut narrow) = (wide.split('/'), narrow.split('/'));
    loop {
        match (wide.next(), narrow.next()) {
            (Some("#"), _) | (None, None) => return true,
            (_, Some("#")) | (None, _) | (_, None) => return false,
            (Some("+"), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mqtt_4_7_1_wildcards_match_as_the_standard_says() {
        let table = [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/+", "a/b", true),
            ("a/+", "a/", true),
            ("a/+", "a", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "a//b", true),
            ("+/+", "/b", true),
            ("+", "/b", false),
            ("/+", "/b", true),
            ("A/b", "a/b", false),
            ("a/+/c", "a//c", true),
        ];
        for (pattern, topic, expected) in table {
            assert_eq!(matches(pattern, topic), expected, "{pattern} on {topic}");
        }
    }

    #[test]
    fn mqtt_4_7_2_1_leading_wildcards_do_not_match_dollar_topics() {
        assert!(!matches("#", "$SYS/x"));
        assert!(!matches("+/x", "$SYS/x"));
        assert!(matches("$SYS/#", "$SYS/x"));
        assert!(matches("$SYS/+", "$SYS/x"));
    }

    #[test]
    fn mqtt_4_7_filters_that_break_the_rules_are_refused() {
        for text in [
            "",
            "a#",
            "#/a",
            "a/#/b",
            "a+",
            "+a/b",
            "a\0",
            "$share",
            "$share/",
            "$share/g",
            "$share//a",
            "$share/g/",
            "$share/+/a",
            "$share/g/a#",
        ] {
            assert!(TopicFilter::parse(text).is_err(), "{text:?}");
        }
        for text in [
            "#",
            "+",
            "/",
            "a//",
            "+/#",
            "$share/g//",
            "$share/g/#",
            "$SYS/#",
            "$shared/a",
        ] {
            assert!(TopicFilter::parse(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn mqtt_4_8_2_a_shared_filter_splits_into_name_and_pattern() {
        let filter = TopicFilter::parse("$share/g/a/+").unwrap();
        assert_eq!(
            (filter.share(), filter.pattern(), filter.as_str()),
            (Some("g"), "a/+", "$share/g/a/+")
        );
        assert_eq!(TopicFilter::parse("a/+").unwrap().share(), None);
    }

    #[test]
    fn mqtt_4_7_0_1_topic_names_have_no_wildcards() {
        for text in ["", "a/+", "#", "a\0b"] {
            assert!(TopicName::parse(text).is_err(), "{text:?}");
        }
        assert!(TopicName::parse(&"x".repeat(MAX_BYTES)).is_ok());
        assert_eq!(
            TopicName::parse(&"x".repeat(MAX_BYTES + 1)),
            Err(TopicError::TooLong)
        );
    }

    #[test]
    fn a_pattern_covers_what_can_only_match_what_it_matches() {
        for (wide, narrow) in [
            ("#", "a/+/#"),
            ("a/#", "a"),
            ("a/#", "a/#"),
            ("a/+", "a/b"),
            ("+/b", "+/b"),
            ("$SYS/#", "$SYS/+/x"),
            ("a//+", "a//"),
        ] {
            assert!(covers(wide, narrow), "{wide} {narrow}");
        }
        for (wide, narrow) in [
            ("#", "$SYS/#"),
            ("+/x", "$SYS/x"),
            ("a/+", "a/#"),
            ("a/b", "a/+"),
            ("a", "a/b"),
            ("a/b", "a"),
            ("a/+/#", "a"),
        ] {
            assert!(!covers(wide, narrow), "{wide} {narrow}");
        }
    }
}
