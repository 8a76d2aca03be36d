//! Records as the kernel writes them (perf_event_open(2), MMAP layout), by the capture's layout.

use crate::Layout;
use model::{BuildId, Map, Mode, Nanos, Record, Sample, What};
use std::collections::HashMap;

/// Bytes that are no record: the rest of the piece cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no record at byte {at}: {why}")]
pub struct Damage {
    /// Where in the bytes.
    pub at: usize,
    /// What is wrong.
    pub why: &'static str,
}

// enum perf_event_type.
const MMAP: u32 = 1;
const LOST: u32 = 2;
const COMM: u32 = 3;
const EXIT: u32 = 4;
const THROTTLE: u32 = 5;
const UNTHROTTLE: u32 = 6;
const FORK: u32 = 7;
const SAMPLE: u32 = 9;
const MMAP2: u32 = 10;
const LOST_SAMPLES: u32 = 13;
const SWITCH_CPU_WIDE: u32 = 15;

// header.misc
const COMM_EXEC: u16 = 1 << 13;
const SWITCH_OUT: u16 = 1 << 13;
const MAP_DATA: u16 = 1 << 13;
const MAP_BUILD_ID: u16 = 1 << 14;

const IP: u64 = 1;
const TID: u64 = 1 << 1;
const TIME: u64 = 1 << 2;
const ADDR: u64 = 1 << 3;
const ID: u64 = 1 << 6;
const CPU: u64 = 1 << 7;
const PERIOD: u64 = 1 << 8;
const STREAM_ID: u64 = 1 << 9;
const IDENTIFIER: u64 = 1 << 16;

/// Decodes the records of a piece of a ring.
pub struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
    fields: u64,
    events: HashMap<u64, u16>,
    periods: &'a [u64],
}

/// Reads numbers one after the other.
#[derive(Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn u64(&mut self) -> Option<u64> {
        let (word, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*word))
    }

    fn u32(&mut self) -> Option<u32> {
        let (word, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*word))
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// The bytes before the first zero.
    fn text(self) -> &'a [u8] {
        self.0.split(|&byte| byte == 0).next().unwrap_or_default()
    }
}

impl<'a> Records<'a> {
    /// The records of whole pieces of one ring, in its order.
    #[must_use]
    pub fn new(layout: &'a Layout, bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            fields: layout.sample_type,
            events: layout.ids.iter().copied().collect(),
            periods: &layout.periods,
        }
    }

    /// The next pieces, decoded by the same layout.
    #[must_use]
    pub fn with_bytes(self, bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, ..self }
    }

    /// Reads one record; `None` for one of a kind that says nothing here.
    fn read(&self, kind: u32, misc: u16, body: &[u8]) -> Result<Option<Record>, &'static str> {
        if kind == SAMPLE {
            return self.sample(misc, body).map(Some).ok_or("a sample is cut short");
        }
        let known = matches!(
            kind,
            MMAP | MMAP2
                | COMM
                | FORK
                | EXIT
                | LOST
                | LOST_SAMPLES
                | THROTTLE
                | UNTHROTTLE
                | SWITCH_CPU_WIDE
        );
        if !known {
            return Ok(None);
        }
        let trailer = self.trailer_size();
        let (body, trailer) = body
            .len()
            .checked_sub(trailer)
            .and_then(|at| body.split_at_checked(at))
            .ok_or("a record is cut short")?;
        let (time, cpu) = self.trailer(trailer).ok_or("a record's trailer is cut short")?;
        let what = what(kind, misc, Cursor(body)).ok_or("a record is cut short")?;
        Ok(what.map(|what| Record { time, cpu, what }))
    }

    fn sample(&self, misc: u16, body: &[u8]) -> Option<Record> {
        let mut body = Cursor(body);
        let has = |field| self.fields & field != 0;
        let id = if has(IDENTIFIER) { body.u64()? } else { 0 };
        let address = if has(IP) { body.u64()? } else { 0 };
        let (pid, tid) = if has(TID) { (body.u32()?, body.u32()?) } else { (0, 0) };
        let time = if has(TIME) { body.u64()? } else { 0 };
        for field in [ADDR, ID, STREAM_ID] {
            if has(field) {
                body.u64()?;
            }
        }
        let cpu = if has(CPU) { body.u64()? as u32 } else { 0 };
        let event = self.events.get(&id).copied().unwrap_or(0);
        let period = match has(PERIOD) {
            true => body.u64()?,
            false => self.periods.get(usize::from(event)).copied().unwrap_or(1),
        };
        let sample = Sample { event, pid, tid, address, mode: mode(misc), period };
        Some(Record { time: Nanos(time), cpu, what: What::Sample(sample) })
    }

    /// Bytes of the sample_id that ends every other record.
    fn trailer_size(&self) -> usize {
        let fields = [TID, TIME, ID, STREAM_ID, CPU, IDENTIFIER];
        8 * fields.iter().filter(|field| self.fields & **field != 0).count()
    }

    fn trailer(&self, bytes: &[u8]) -> Option<(Nanos, u32)> {
        let mut body = Cursor(bytes);
        let has = |field| self.fields & field != 0;
        if has(TID) {
            body.u64()?;
        }
        let time = if has(TIME) { body.u64()? } else { 0 };
        for field in [ID, STREAM_ID] {
            if has(field) {
                body.u64()?;
            }
        }
        let cpu = if has(CPU) { body.u64()? as u32 } else { 0 };
        Some((Nanos(time), cpu))
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.bytes.get(self.at..)?;
            if rest.is_empty() {
                return None;
            }
            let at = self.at;
            let mut broken = |why| {
                self.at = self.bytes.len();
                Some(Err(Damage { at, why }))
            };
            let Some((header, _)) = rest.split_first_chunk::<8>() else {
                return broken("a header is cut short");
            };
            let word = u64::from_le_bytes(*header);
            let (kind, misc, size) = (word as u32, (word >> 32) as u16, (word >> 48) as usize);
            if size < 8 {
                return broken("its size is less than its header's");
            }
            let Some(body) = rest.get(8..size) else { return broken("it is cut short") };
            match self.read(kind, misc, body) {
                Ok(record) => {
                    self.at += size;
                    if let Some(record) = record {
                        return Some(Ok(record));
                    }
                }
                Err(why) => {
                    // Its size is known: what follows can be read.
                    self.at += size;
                    return Some(Err(Damage { at, why }));
                }
            }
        }
    }
}

fn mode(misc: u16) -> Mode {
    match misc & 7 {
        1 => Mode::Kernel,
        2 => Mode::User,
        3 => Mode::Hypervisor,
        4 => Mode::GuestKernel,
        5 => Mode::GuestUser,
        _ => Mode::Unknown,
    }
}

/// `None` inside for what is left out: maps of data, switches in.
fn what(kind: u32, misc: u16, mut body: Cursor<'_>) -> Option<Option<What>> {
    Some(Some(match kind {
        MMAP | MMAP2 if misc & MAP_DATA != 0 => return Some(None),
        MMAP | MMAP2 => What::Map(map(kind, misc, body)?),
        COMM => {
            let (pid, tid) = (body.u32()?, body.u32()?);
            What::Name { pid, tid, name: body.text().to_vec(), exec: misc & COMM_EXEC != 0 }
        }
        FORK | EXIT => {
            let (pid, parent, tid) = (body.u32()?, body.u32()?, body.u32()?);
            if kind == FORK { What::Fork { pid, tid, parent } } else { What::Exit { pid, tid } }
        }
        LOST => {
            body.u64()?;
            What::Lost { count: body.u64()? }
        }
        LOST_SAMPLES => What::Lost { count: body.u64()? },
        THROTTLE | UNTHROTTLE => What::Throttle { on: kind == THROTTLE },
        // The one that goes on says itself whom it follows: half of the records tell all.
        _ if misc & SWITCH_OUT == 0 => return Some(None),
        _ => What::Switch { pid: body.u32()?, tid: body.u32()? },
    }))
}

fn map(kind: u32, misc: u16, mut body: Cursor<'_>) -> Option<Map> {
    let (pid, tid) = (body.u32()?, body.u32()?);
    let (start, length, offset) = (body.u64()?, body.u64()?, body.u64()?);
    let mut build_id = None;
    if kind == MMAP2 {
        // Device and inode, or the build id's size and bytes; protection and flags.
        let place = body.take(24)?;
        body.take(8)?;
        if misc & MAP_BUILD_ID != 0 {
            let size = usize::from(*place.first()?).min(20);
            build_id = Some(BuildId(place.get(4..4 + size)?.to_vec()));
        }
    }
    Some(Map { pid, tid, start, length, offset, build_id, path: body.text().to_vec() })
}
