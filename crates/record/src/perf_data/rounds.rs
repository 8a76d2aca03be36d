//! The records of a perf.data, in the order of time.
//!
//! perf goes round over its rings; after each round it says so, and that means: what is older than
//! the newest record of the round before is all there. So no more than two rounds are held.

use super::doubts::Doubts;
use crate::error::{Cause, Damage};
use foldhash::HashMap;
use model::{BuildId, Nanos, Record, What};
use sample::Decoder;
use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Bytes that are read at once; any record is shorter.
const PIECE: usize = 1 << 20;
/// Records that are held, at most: a file may have no rounds.
const MOST: usize = 1 << 20;
const HEADER: usize = 8;

/// From here on types are not the kernel's, and not decoded.
const SAMPLES_END: u32 = 32;
/// PERF_RECORD_FINISHED_ROUND, _AUXTRACE, _COMPRESSED and _COMPRESSED2 (tools/perf/util/event.h).
const FINISHED_ROUND: u32 = 68;
const AUXTRACE: u32 = 71;
const COMPRESSED: [u32; 2] = [81, 83];

/// The records of a perf.data.
#[derive(Debug)]
pub(crate) struct Rounds {
    file: File,
    name: String,
    decoder: Decoder,
    build_ids: HashMap<Vec<u8>, BuildId>,
    doubts: Doubts,
    /// What of the file's data is not in the buffer yet.
    left: Range<u64>,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are done with.
    done: usize,
    /// Of the first byte after them.
    offset: u64,
    /// The newest time, and what it was when the round before ended.
    newest: Nanos,
    settled: Nanos,
    /// Until when records were made ready: later rounds have none that are older.
    released: Nanos,
    /// Records that were read; of them from `next` to `ready` are in order and given away.
    held: Vec<Record>,
    next: usize,
    ready: usize,
    damages: VecDeque<(u64, Cause)>,
    read: u64,
    ended: bool,
}

/// What a part of the buffer ends with.
enum Stop {
    /// It goes on in the file.
    Buffer,
    Round,
    /// So many bytes that are no records.
    Skip(u64),
    Bad(Cause),
    /// A record of a type that is not decoded, and its bytes.
    Kind(u32, usize),
}

/// In the place of a record that was given away.
const TAKEN: Record = Record { time: Nanos::ZERO, cpu: 0, what: What::Exit { pid: 0, tid: 0 } };

impl Rounds {
    pub(super) fn new(
        file: File,
        name: String,
        data: Range<u64>,
        decoder: Decoder,
        build_ids: HashMap<Vec<u8>, BuildId>,
        doubts: Doubts,
    ) -> Self {
        Self {
            file,
            name,
            decoder,
            build_ids,
            doubts,
            offset: data.start,
            left: data,
            buffer: Vec::new(),
            done: 0,
            newest: Nanos::ZERO,
            settled: Nanos::ZERO,
            released: Nanos::ZERO,
            held: Vec::new(),
            next: 0,
            ready: 0,
            damages: VecDeque::new(),
            read: 0,
            ended: false,
        }
    }

    fn damage(&self, (offset, cause): (u64, Cause)) -> Damage {
        Damage { file: self.name.clone(), offset, read: self.read, cause }
    }

    /// Reads on until records are ready, or to the end.
    fn fill(&mut self) {
        while self.next == self.ready && !self.ended {
            if let Err(cause) = self.load() {
                self.end(Some(cause));
                return;
            }
            let (length, after, stop) = self.part();
            self.decode(length);
            self.done += after;
            self.offset += after as u64;
            match stop {
                Stop::Buffer if self.left.is_empty() => {
                    let cut = !self.rest().is_empty();
                    self.end(cut.then_some(Cause::Cut));
                }
                Stop::Buffer if self.held.len() >= MOST => self.release_half(),
                Stop::Buffer => {}
                Stop::Round => {
                    self.release(self.settled);
                    self.released = self.settled;
                    self.settled = self.newest;
                }
                Stop::Skip(bytes) => self.skip(bytes),
                Stop::Bad(cause @ Cause::Compressed) => {
                    self.damages.push_back((self.offset, cause));
                }
                Stop::Kind(kind, size) => {
                    let cause = self.doubts.about_kind(kind);
                    self.damages.extend(cause.map(|cause| (self.offset, cause)));
                    self.done += size;
                    self.offset += size as u64;
                }
                Stop::Bad(cause) => self.end(Some(cause)),
            }
        }
    }

    /// What of the buffer is not done with.
    fn rest(&self) -> &[u8] {
        self.buffer.get(self.done..).unwrap_or_default()
    }

    /// Fills the buffer up from the file.
    fn load(&mut self) -> Result<(), Cause> {
        if self.rest().len() >= usize::from(u16::MAX) || self.left.is_empty() {
            return Ok(());
        }
        self.buffer.drain(..self.done);
        self.done = 0;
        let before = self.buffer.len();
        let want = (self.left.end - self.left.start).min(PIECE as u64) as usize;
        self.buffer.resize(before + want, 0);
        let to = self.buffer.get_mut(before..).unwrap_or_default();
        let got = loop {
            match self.file.read_at(to, self.left.start) {
                Err(why) if why.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other.map_err(|why| Cause::Io(why.kind())),
            }
        };
        let got = got.inspect_err(|_| self.buffer.truncate(before))?;
        self.buffer.truncate(before + got);
        self.left.start += got as u64;
        if got == 0 {
            // The file ends before its data do.
            self.left.end = self.left.start;
            return if before == 0 { Err(Cause::Cut) } else { Ok(()) };
        }
        Ok(())
    }

    /// How many of the buffer's bytes are records to decode, how many there are with what follows
    /// them, and what that is.
    fn part(&self) -> (usize, usize, Stop) {
        let (bytes, mut at) = (self.rest(), 0);
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let Some((head, body)) = rest.split_first_chunk::<HEADER>() else {
                return (at, at, Stop::Buffer);
            };
            let word = u64::from_le_bytes(*head);
            let (kind, size) = (word as u32, (word >> 48) as usize);
            if size < HEADER {
                let fault = sample::Fault::Size(size as u16);
                return (at, at, Stop::Bad(Cause::Ring(fault)));
            }
            if size > rest.len() {
                return (at, at, Stop::Buffer);
            }
            match kind {
                FINISHED_ROUND => return (at, at + size, Stop::Round),
                AUXTRACE => {
                    let bytes = body.first_chunk().map_or(0, |field| u64::from_le_bytes(*field));
                    return (at, at + size, Stop::Skip(bytes));
                }
                kind if COMPRESSED.contains(&kind) => {
                    return (at, at + size, Stop::Bad(Cause::Compressed));
                }
                kind if kind == 0 || kind >= SAMPLES_END => {
                    return (at, at, Stop::Kind(kind, size));
                }
                _ => at += size,
            }
        }
    }

    /// Decodes the first so many bytes of the buffer.
    fn decode(&mut self, length: usize) {
        let bytes = self.buffer.get(self.done..self.done + length).unwrap_or_default();
        let (mut decode, before) = (self.decoder.decode(bytes), self.held.len());
        while let Err(bad) = decode.take_into(&mut self.held, usize::MAX) {
            let offset = self.offset + bad.offset as u64;
            self.damages.push_back((offset, Cause::Ring(bad.fault)));
        }
        for record in self.held.iter_mut().skip(before) {
            self.newest = self.newest.max(record.time);
            let cause = self.doubts.about(record, self.released);
            self.damages.extend(cause.map(|cause| (self.offset, cause)));
            if let What::Map(map) = &mut record.what
                && map.build_id.is_none()
            {
                map.build_id = build_id(&self.build_ids, &map.path);
            }
        }
    }

    /// Passes over bytes, in the buffer and in the file.
    fn skip(&mut self, bytes: u64) {
        let buffered = bytes.min(self.rest().len() as u64);
        self.done += buffered as usize;
        self.left.start = self.left.start.saturating_add(bytes - buffered).min(self.left.end);
        self.offset = self.left.start - self.rest().len() as u64;
    }

    /// Makes all records ready that are not newer than this.
    fn release(&mut self, until: Nanos) {
        self.sort();
        self.ready = self.held.partition_point(|record| record.time <= until);
    }

    fn release_half(&mut self) {
        self.sort();
        self.ready = self.held.len() / 2;
    }

    /// Orders what is held, and forgets what was given away.
    fn sort(&mut self) {
        self.held.drain(..self.next);
        self.next = 0;
        if !self.held.is_sorted_by_key(|record| record.time) {
            self.held.sort_by_key(|record| record.time);
        }
    }

    /// Appends records that are ready, until there are `most` or something has to be read.
    pub(crate) fn take_ready(&mut self, to: &mut Vec<Record>, most: usize) {
        let from = self.next;
        self.next = self.ready.min(from + most.saturating_sub(to.len()));
        let ready = self.held.get_mut(from..self.next).unwrap_or_default().iter_mut();
        to.extend(ready.map(|record| std::mem::replace(record, TAKEN)));
        self.read += (self.next - from) as u64;
    }

    /// Gives away the next record.
    fn take(&mut self) -> Option<Record> {
        let place = self.held.get_mut(self.next).filter(|_| self.next < self.ready)?;
        self.next += 1;
        Some(std::mem::replace(place, TAKEN))
    }

    fn end(&mut self, cause: Option<Cause>) {
        self.ended = true;
        self.damages.extend(cause.map(|cause| (self.offset, cause)));
        self.release(Nanos(u64::MAX));
    }
}

/// The kernel's own map has the name of the symbol that it was placed by.
fn build_id(known: &HashMap<Vec<u8>, BuildId>, path: &[u8]) -> Option<BuildId> {
    let kernel = b"[kernel.kallsyms]";
    let path = if path.starts_with(kernel) { kernel } else { path };
    known.get(path).cloned()
}

impl Iterator for Rounds {
    type Item = Result<Record, Damage>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.ready {
            self.fill();
        }
        if let Some(record) = self.take() {
            self.read += 1;
            return Some(Ok(record));
        }
        // Where it broke is told after what was read.
        let damage = self.damages.pop_front()?;
        Some(Err(self.damage(damage)))
    }
}
