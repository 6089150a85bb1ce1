//! Checked readers and writers of the wire's basic types (section 1.5).

use super::{
    PacketId,
    error::{DecodeError, Malformed, ProtocolFault},
};

/// The largest Variable Byte Integer, and so the largest Remaining Length.
pub const MAX_VARINT: usize = 268_435_455;

/// Most bytes of a text or of binary data: their length has two bytes.
pub const MAX_FIELD: usize = 65_535;

/// Takes field after field from the front of a slice; never reads beyond it.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader of all of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// Whether everything is read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next `count` bytes.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Everything that is left.
    pub fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// A reader of the next `count` bytes alone.
    pub fn part(&mut self, count: usize) -> Result<Reader<'a>, Malformed> {
        self.take(count).map(Reader::new)
    }

    /// A Byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        let (&first, rest) = self.rest.split_first().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(first)
    }

    /// A Two Byte Integer.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// A Four Byte Integer.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// A Variable Byte Integer.
    pub fn varint(&mut self) -> Result<u32, Malformed> {
        let (value, digits) = parse_varint(self.rest)?.ok_or(Malformed::Truncated)?;
        self.rest = &self.rest[digits..];
        Ok(value)
    }

    /// Binary Data.
    #[inline]
    pub fn binary(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// A UTF-8 Encoded String.
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        self.binary().and_then(check_text)
    }

    /// A Packet Identifier [MQTT-2.2.1-3].
    #[inline]
    pub fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        PacketId::new(self.u16()?).ok_or_else(|| ProtocolFault::PacketIdZero.into())
    }

    /// Ends reading: whatever is left does not belong there.
    pub fn finish(self) -> Result<(), Malformed> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(Malformed::TrailingBytes)
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*array)
    }
}

/// The content of a UTF-8 Encoded String. A leading U+FEFF is content as well [MQTT-1.5.4-3].
pub fn check_text(bytes: &[u8]) -> Result<&str, Malformed> {
    // refuses surrogates and overlong forms too [MQTT-1.5.4-1]
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed::IllFormedUtf8)?;
    if memchr::memchr(0, bytes).is_some() {
        return Err(Malformed::NulInText); // [MQTT-1.5.4-2]
    }
    Ok(text)
}

/// The Variable Byte Integer in front of `bytes` and how many bytes it takes; `None` if it goes on behind them.
#[inline]
pub fn parse_varint(bytes: &[u8]) -> Result<Option<(u32, usize)>, Malformed> {
    if let Some(&byte) = bytes.first()
        && byte < 0x80
    {
        return Ok(Some((byte.into(), 1)));
    }
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * at);
        if byte < 0x80 {
            return if byte == 0 && at > 0 {
                Err(Malformed::VarintNotMinimal) // [MQTT-1.5.5-1]
            } else {
                Ok(Some((value, at + 1)))
            };
        }
    }
    if bytes.len() < 4 {
        Ok(None)
    } else {
        Err(Malformed::VarintTooLong)
    }
}

/// How many bytes `value` takes as a Variable Byte Integer.
#[inline]
pub fn varint_len(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Appends a Variable Byte Integer in its shortest form [MQTT-1.5.5-1]. Callers keep `value` within [`MAX_VARINT`].
#[inline]
pub fn put_varint(out: &mut Vec<u8>, value: usize) {
    let (digits, count) = varint_digits(value);
    out.extend_from_slice(&digits[..count]);
}

/// Appends a Two Byte Integer.
pub fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a Four Byte Integer.
pub fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends Binary Data; what its length cannot say is cut off.
pub fn put_binary(out: &mut Vec<u8>, data: &[u8]) {
    let data = &data[..data.len().min(MAX_FIELD)];
    put_u16(out, data.len() as u16);
    out.extend_from_slice(data);
}

/// Appends a UTF-8 Encoded String; what its length cannot say is cut off between two characters.
pub fn put_text(out: &mut Vec<u8>, text: &str) {
    put_binary(out, &text.as_bytes()[..text_len(text)]);
}

/// How many bytes of `text` fit into a UTF-8 Encoded String.
#[inline]
pub fn text_len(text: &str) -> usize {
    text.floor_char_boundary(MAX_FIELD)
}

/// Appends what `write` appends, with its length in front as a Variable Byte Integer.
pub fn put_sized(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.push(0);
    write(out);
    let (digits, count) = varint_digits(out.len() - at - 1);
    // nearly always one digit, so the content rarely moves
    out[at] = digits[0];
    if count > 1 {
        out.splice(at + 1..at + 1, digits[1..count].iter().copied());
    }
}

/// Appends a packet: `first` byte, Remaining Length, and what `body` appends.
pub fn put_packet(out: &mut Vec<u8>, first: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(first);
    put_sized(out, body);
}

fn varint_digits(value: usize) -> ([u8; 4], usize) {
    debug_assert!(value <= MAX_VARINT);
    let count = varint_len(value);
    let mut digits = [0; 4];
    for (at, digit) in digits.iter_mut().take(count).enumerate() {
        let more = if at + 1 < count { 0x80 } else { 0 };
        *digit = (value >> (7 * at)) as u8 & 0x7F | more;
    }
    (digits, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mqtt_1_5_5_varints_are_read_and_written_at_every_border() {
        let table: [(usize, &[u8]); 8] = [
            (0, &[0]),
            (127, &[0x7F]),
            (128, &[0x80, 1]),
            (16_383, &[0xFF, 0x7F]),
            (16_384, &[0x80, 0x80, 1]),
            (2_097_151, &[0xFF, 0xFF, 0x7F]),
            (2_097_152, &[0x80, 0x80, 0x80, 1]),
            (MAX_VARINT, &[0xFF, 0xFF, 0xFF, 0x7F]),
        ];
        for (value, bytes) in table {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!((out.as_slice(), varint_len(value)), (bytes, bytes.len()));
            assert_eq!(Reader::new(bytes).varint(), Ok(value as u32));
        }
        assert_eq!(
            Reader::new(&[0x80; 4]).varint(),
            Err(Malformed::VarintTooLong)
        );
        assert_eq!(parse_varint(&[0x80; 3]), Ok(None));
    }

    #[test]
    fn mqtt_1_5_5_1_a_longer_form_than_needed_is_malformed() {
        for bytes in [&[0x80, 0][..], &[0xFF, 0x80, 0], &[0x81, 0x80, 0x80, 0]] {
            assert_eq!(
                Reader::new(bytes).varint(),
                Err(Malformed::VarintNotMinimal)
            );
        }
    }

    #[test]
    fn mqtt_1_5_4_texts_are_utf8_without_nul() {
        for bad in [
            &b"\xED\xA0\x80"[..],
            b"\xC0\x80",
            b"a\xFF",
            b"\xE2\x82",
            b"\xF4\x90\x80\x80",
        ] {
            assert_eq!(check_text(bad), Err(Malformed::IllFormedUtf8), "{bad:?}");
        }
        assert_eq!(check_text(b"a\0"), Err(Malformed::NulInText));
        // [MQTT-1.5.4-3]
        assert_eq!(check_text(b"\xEF\xBB\xBFa"), Ok("\u{FEFF}a"));
    }

    #[test]
    fn fields_that_reach_beyond_the_end_are_refused() {
        assert_eq!(
            Reader::new(&[0, 3, b'a', b'b']).text(),
            Err(Malformed::Truncated)
        );
        assert_eq!(Reader::new(&[0]).u16(), Err(Malformed::Truncated));
        assert_eq!(Reader::new(&[0, 0, 0]).u32(), Err(Malformed::Truncated));
        assert_eq!(Reader::new(&[]).u8(), Err(Malformed::Truncated));
        assert_eq!(Reader::new(&[1]).finish(), Err(Malformed::TrailingBytes));
    }

    #[test]
    fn a_length_in_front_grows_with_its_content() {
        for size in [0, 127, 128, 20_000] {
            let mut out = b"before".to_vec();
            put_sized(&mut out, |out| out.extend(std::iter::repeat_n(b'x', size)));
            let mut reader = Reader::new(&out[6..]);
            assert_eq!(reader.varint(), Ok(size as u32));
            assert!(reader.remaining() == size && reader.take_rest().iter().all(|&b| b == b'x'));
        }
    }

    #[test]
    fn a_text_too_long_for_its_length_is_cut_between_characters() {
        let mut out = Vec::new();
        put_text(&mut out, &"€".repeat(30_000));
        assert_eq!(out[..2], 65_535u16.to_be_bytes());
        out.clear();
        put_text(&mut out, &format!("a{}", "€".repeat(30_000)));
        assert_eq!(Reader::new(&out).text().map(str::len), Ok(65_533));
    }
}
