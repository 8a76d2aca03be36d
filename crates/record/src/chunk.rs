//! Chunks: what files of a recording consist of. A chunk is whole or it is not believed.

use crate::error::Cause;
use model::Nanos;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of a chunk's header.
pub(crate) const HEADER: usize = 24;
/// Bytes of a chunk's payload, at most.
pub(crate) const MOST: usize = 1 << 24;
const MAGIC: [u8; 4] = *b"vmc1";

/// What a chunk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Bytes of a ring, whole records, as the kernel wrote them.
    Ring,
    /// A block of records.
    Block,
    /// Nothing follows; how many records there are (u64).
    End,
}

/// A chunk's header: magic, kind (u8), 0 (u8), ring (u16), length of the payload (u32), CRC-32 of
/// the rest of the header and of the payload (u32), time (u64); little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) ring: u16,
    pub(crate) length: u32,
    pub(crate) time: Nanos,
    crc: u32,
}

impl Header {
    /// The header of a payload, which is not longer than [`MOST`].
    pub(crate) fn of(kind: Kind, ring: u16, time: Nanos, payload: &[u8]) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let (magic, rest) = bytes.split_at_mut(4);
        magic.copy_from_slice(&MAGIC);
        let kind = match kind {
            Kind::Ring => 1,
            Kind::Block => 2,
            Kind::End => 3,
        };
        let ring = ring.to_le_bytes();
        let length = (payload.len() as u32).to_le_bytes();
        let time = time.0.to_le_bytes();
        let head = [kind, 0].into_iter().chain(ring).chain(length).chain([0; 4]).chain(time);
        rest.iter_mut().zip(head).for_each(|(to, byte)| *to = byte);
        let crc = checksum(&bytes, payload).to_le_bytes();
        bytes.iter_mut().skip(12).zip(crc).for_each(|(to, byte)| *to = byte);
        bytes
    }

    /// Reads a header; that its payload is whole is for [`read`] to see.
    pub(crate) fn parse(bytes: &[u8; HEADER]) -> Result<Self, Cause> {
        let word = |at: usize| -> u32 {
            let field = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
            field.map_or(0, |field| u32::from_le_bytes(*field))
        };
        let [m0, m1, m2, m3, kind, _, r0, r1, ..] = *bytes;
        let kind = match kind {
            1 => Kind::Ring,
            2 => Kind::Block,
            3 => Kind::End,
            _ => return Err(Cause::Chunk),
        };
        let length = word(8);
        if [m0, m1, m2, m3] != MAGIC || length as usize > MOST {
            return Err(Cause::Chunk);
        }
        let time = Nanos(u64::from(word(16)) | u64::from(word(20)) << 32);
        Ok(Self { kind, ring: u16::from_le_bytes([r0, r1]), length, time, crc: word(12) })
    }
}

/// Of a header, its own place for the checksum apart, and of the payload.
fn checksum(header: &[u8; HEADER], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    let (before, rest) = header.split_at(12);
    hasher.update(before);
    hasher.update(rest.get(4..).unwrap_or_default());
    hasher.update(payload);
    hasher.finalize()
}

/// The header of the chunk at `offset`; `None` at the end of the file, whose length is `length`.
pub(crate) fn header(file: &File, offset: u64, length: u64) -> Result<Option<Header>, Cause> {
    let left = length.saturating_sub(offset);
    if left == 0 {
        return Ok(None);
    }
    if left < HEADER as u64 {
        return Err(Cause::Cut);
    }
    let mut bytes = [0; HEADER];
    file.read_exact_at(&mut bytes, offset).map_err(unreadable)?;
    let header = Header::parse(&bytes)?;
    if u64::from(header.length) > left - HEADER as u64 {
        return Err(Cause::Cut);
    }
    Ok(Some(header))
}

/// The payload of the chunk at `offset`, checked, into `payload`.
pub(crate) fn read(file: &File, offset: u64, payload: &mut Vec<u8>) -> Result<Header, Cause> {
    let mut bytes = [0; HEADER];
    file.read_exact_at(&mut bytes, offset).map_err(unreadable)?;
    let header = Header::parse(&bytes)?;
    payload.resize(header.length as usize, 0);
    file.read_exact_at(payload, offset.saturating_add(HEADER as u64)).map_err(unreadable)?;
    if checksum(&bytes, payload) == header.crc { Ok(header) } else { Err(Cause::Checksum) }
}

fn unreadable(why: io::Error) -> Cause {
    match why.kind() {
        io::ErrorKind::UnexpectedEof => Cause::Cut,
        other => Cause::Io(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn chunk(payload: &[u8]) -> Vec<u8> {
        let header = Header::of(Kind::Ring, 513, Nanos(1 << 40), payload);
        [header.as_slice(), payload].concat()
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn a_chunk_comes_back() {
        let file = file(&chunk(b"payload"));
        let mut payload = Vec::new();
        let header = read(&file, 0, &mut payload).unwrap();
        assert_eq!(payload, b"payload");
        assert_eq!((header.kind, header.ring), (Kind::Ring, 513));
        assert_eq!((header.length, header.time), (7, Nanos(1 << 40)));
        assert_eq!(super::header(&file, 0, 31).unwrap(), Some(header));
        assert_eq!(super::header(&file, 31, 31).unwrap(), None);
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let good = chunk(b"payload");
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&file(&bytes), 0, &mut Vec::new()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_cut_is_seen() {
        let good = chunk(b"payload");
        for length in 1..good.len() {
            let file = file(&good[..length]);
            assert_eq!(header(&file, 0, length as u64), Err(Cause::Cut));
            assert_eq!(read(&file, 0, &mut Vec::new()), Err(Cause::Cut));
        }
    }
}
