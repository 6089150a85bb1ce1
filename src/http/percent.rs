//! Percent-encoding, strict both ways. Frameworks decode leniently; a topic must arrive as exactly the bytes meant.

use std::{borrow::Cow, fmt::Write};

/// Why an encoded text has no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// `%` without two hexadecimal digits.
    #[error("'%' is not followed by two hexadecimal digits; a literal '%' is written %25")]
    StrayPercent,
    /// The decoded bytes are ill-formed.
    #[error("it is not UTF-8")]
    NotUtf8,
}

/// What a raw `+` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plus {
    /// Itself: paths.
    Literal,
    /// A space: query values.
    Space,
    /// A wildcard where it fills a whole topic level, else a space: topics and filters in queries. Unambiguous,
    /// since a longer level may not contain `+`, and right for hand-written and for form-encoded URLs.
    Level,
}

/// Decodes `raw` once.
pub fn decode(raw: &str, plus: Plus) -> Result<Cow<'_, str>, Fault> {
    let encoded = match plus {
        Plus::Literal => memchr::memchr(b'%', raw.as_bytes()),
        Plus::Space | Plus::Level => memchr::memchr2(b'%', b'+', raw.as_bytes()),
    };
    match encoded {
        None => Ok(Cow::Borrowed(raw)),
        Some(_) => decode_bytes(raw.as_bytes(), plus).map(Cow::Owned),
    }
}

fn decode_bytes(raw: &[u8], plus: Plus) -> Result<String, Fault> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut raw_pluses = Vec::new();
    let mut at = 0;
    while at < raw.len() {
        match raw[at] {
            b'%' => {
                let digit =
                    |offset: usize| raw.get(at + offset).and_then(|b| (*b as char).to_digit(16));
                let (Some(high), Some(low)) = (digit(1), digit(2)) else {
                    return Err(Fault::StrayPercent);
                };
                decoded.push((high * 16 + low) as u8);
                at += 2;
            }
            b'+' if plus != Plus::Literal => {
                raw_pluses.push(decoded.len());
                decoded.push(b' ');
            }
            byte => decoded.push(byte),
        }
        at += 1;
    }
    if plus == Plus::Level {
        for at in raw_pluses {
            let begins = at == 0 || decoded[at - 1] == b'/';
            let ends = decoded.get(at + 1).is_none_or(|next| *next == b'/');
            if begins && ends {
                decoded[at] = b'+';
            }
        }
    }
    String::from_utf8(decoded).map_err(|_| Fault::NotUtf8)
}

/// Encodes every byte that is neither an ASCII letter or digit nor in `kept`, for header values.
pub fn encode(text: &str, kept: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte) {
            encoded.push(byte as char);
        } else {
            // writing to a String cannot fail
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_plus_is_a_wildcard_only_as_a_whole_level() {
        let table = [
            ("s/+/t", "s/+/t"),
            ("+", "+"),
            ("+/x", "+/x"),
            ("s%2F+%2Ft", "s/+/t"),
            ("living+room/%2B", "living room/+"),
            ("a/+b", "a/ b"),
            ("a/++", "a/  "),
            ("a/%20/b", "a/ /b"),
            ("a%2Bb", "a+b"),
            ("$share/g/+", "$share/g/+"),
        ];
        for (raw, expected) in table {
            assert_eq!(decode(raw, Plus::Level).as_deref(), Ok(expected), "{raw}");
        }
        assert_eq!(decode("a+b", Plus::Literal).as_deref(), Ok("a+b"));
        assert_eq!(decode("+", Plus::Space).as_deref(), Ok(" "));
    }

    #[test]
    fn ill_formed_input_is_refused_never_repaired() {
        for raw in ["%", "%2", "%zz", "a%G0", "%+1"] {
            assert_eq!(
                decode(raw, Plus::Literal),
                Err(Fault::StrayPercent),
                "{raw}"
            );
        }
        // a lone byte, a surrogate half, an overlong form
        for raw in ["%FF", "%ED%A0%80", "%C0%AF"] {
            assert_eq!(decode(raw, Plus::Literal), Err(Fault::NotUtf8), "{raw}");
        }
    }

    #[test]
    fn decoding_happens_once() {
        assert_eq!(decode("a%252Fb", Plus::Literal).as_deref(), Ok("a%2Fb"));
    }

    #[test]
    fn encoding_is_undone_by_decoding() {
        let text = "a b/ü%,=\r\n";
        assert_eq!(encode(text, "/"), "a%20b/%C3%BC%25%2C%3D%0D%0A");
        assert_eq!(
            decode(&encode(text, "/"), Plus::Literal).as_deref(),
            Ok(text)
        );
    }
}
