//! Parts that several records have.

use super::Unreadable;
use crate::mqtt::primitive::{Reader, put_text};

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

pub fn read_many<T>(
    reader: &mut Reader<'_>,
    read: impl Fn(&mut Reader<'_>) -> Result<T, Unreadable>,
) -> Result<Vec<T>, Unreadable> {
    let count = reader.u32()?;
    (0..count).map(|_| read(reader)).collect()
}
