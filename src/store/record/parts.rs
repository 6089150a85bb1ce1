//! Parts that several records have.

use super::Unreadable;
use crate::mqtt::primitive::{Reader, put_text, put_u32};

pub fn read_if<T>(
    there: bool,
    read: impl FnOnce() -> Result<T, Unreadable>,
) -> Result<Option<T>, Unreadable> {
    if there { read().map(Some) } else { Ok(None) }
}

pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub fn read_u64(reader: &mut Reader<'_>) -> Result<u64, Unreadable> {
    Ok(u64::from(reader.u32()?) << 32 | u64::from(reader.u32()?))
}

pub fn put_optional(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(text.is_some().into());
    if let Some(text) = text {
        put_text(out, text);
    }
}

pub fn read_optional<T: for<'a> From<&'a str>>(
    reader: &mut Reader<'_>,
) -> Result<Option<T>, Unreadable> {
    let there = reader.u8()? != 0;
    read_if(there, || Ok(T::from(reader.text()?)))
}

/// Texts of a token, which has some kilobytes.
pub fn put_texts(out: &mut Vec<u8>, texts: &[impl AsRef<str>]) {
    put_u32(out, texts.len() as u32);
    texts.iter().for_each(|text| put_text(out, text.as_ref()));
}

pub fn read_texts<T: for<'a> From<&'a str>>(reader: &mut Reader<'_>) -> Result<Vec<T>, Unreadable> {
    read_many(reader, |reader| Ok(T::from(reader.text()?)))
}

pub fn read_many<T>(
    reader: &mut Reader<'_>,
    read: impl Fn(&mut Reader<'_>) -> Result<T, Unreadable>,
) -> Result<Vec<T>, Unreadable> {
    let count = reader.u32()?;
    (0..count).map(|_| read(reader)).collect()
}
