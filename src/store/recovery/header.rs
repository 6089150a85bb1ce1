//! What a folder holds, as far as the beginnings of its files tell: which segments, of which log, in which format.

use super::OpenError;
use crate::{
    message::Epoch,
    store::{disk::Disk, log::file_name},
};
use std::io;

/// The format that is written. What is older is read.
pub const FORMAT: u16 = 1;

/// Bytes of a segment's header.
pub const HEADER: usize = 64;

const MAGIC: &[u8; 8] = b"TIDEGATE";

/// What stands at the beginning of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Which log.
    pub epoch: Epoch,
    /// What checksums begin with.
    pub secret: u32,
    /// Its number.
    pub segment: u64,
}

impl Header {
    /// As it stands in the file.
    pub fn bytes(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.secret.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.epoch.0);
        bytes[24..32].copy_from_slice(&self.segment.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// What a file begins with: `None` if it is no header, an error if it is one of a later format.
    pub(super) fn read(file: &str, bytes: &[u8]) -> Result<Option<Self>, OpenError> {
        let Some(bytes) = bytes.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let part = |at: usize, len: usize| bytes[at..at + len].iter().rev();
        let number = |at, len| part(at, len).fold(0, |n: u64, byte| n << 8 | u64::from(*byte));
        if &bytes[..8] != MAGIC || u64::from(crc32fast::hash(&bytes[..60])) != number(60, 4) {
            return Ok(None);
        }
        let format = number(8, 2) as u16;
        if format > FORMAT {
            return Err(OpenError::Newer {
                file: file.to_owned(),
                format,
            });
        }
        let mut epoch = [0; 8];
        epoch.copy_from_slice(&bytes[16..24]);
        Ok(Some(Header {
            epoch: Epoch(epoch),
            secret: number(12, 4) as u32,
            segment: number(24, 8),
        }))
    }
}

/// The numbers of the segments in a folder, ascending.
pub fn numbers(disk: &dyn Disk) -> io::Result<Vec<u64>> {
    let names = disk.names()?;
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| name.strip_suffix(".log")?.parse().ok())
        .filter(|number| names.contains(&file_name(*number)))
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

pub(super) fn read_all(disk: &dyn Disk, number: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(&file_name(number))?;
    let mut bytes = vec![0; file.size()? as usize];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

pub(super) fn read_head(disk: &dyn Disk, number: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(&file_name(number))?;
    let mut head = vec![0; HEADER.min(file.size()? as usize)];
    file.read_at(&mut head, 0)?;
    Ok(head)
}

/// Which log a folder holds; `None` if none can be made out.
pub fn identify(disk: &dyn Disk) -> Result<Option<Header>, OpenError> {
    let mut found = None;
    for number in numbers(disk)? {
        let head = read_head(disk, number)?;
        // all of them are looked at: one of a later format must not be passed over
        found = found.or(Header::read(&file_name(number), &head)?);
    }
    Ok(found)
}

/// The newest format that a file of the folder is written in; `None` if none can be made out.
pub fn format(disk: &dyn Disk) -> Result<Option<u16>, OpenError> {
    let mut newest = None;
    for number in numbers(disk)? {
        let head = read_head(disk, number)?;
        if Header::read(&file_name(number), &head)?.is_some() {
            newest = newest.max(Some(u16::from_le_bytes([head[8], head[9]])));
        }
    }
    Ok(newest)
}

/// Whether a crash came before the first record was written: no file has more than a header.
pub fn holds_nothing(disk: &dyn Disk) -> io::Result<bool> {
    for number in numbers(disk)? {
        if disk.open(&file_name(number))?.size()? > HEADER as u64 {
            return Ok(false);
        }
    }
    Ok(true)
}
