//! Rings as they were appended, merged by time.
//!
//! The records of one ring are nearly in order: an interrupt between the taking of a time and of
//! a place in the ring swaps neighbours. So each ring is read with a small lead in which it is
//! sorted, and all rings are merged: memory is a chunk and some records for each.

use crate::block::Block;
use crate::chunk::{self, Kind};
use crate::error::{Cause, Damage};
use model::{Nanos, Record};
use sample::Decoder;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::fs::File;

/// Records of a ring that are decoded at once.
const BATCH: usize = 512;
/// Records of a ring that are held back: no record comes so many places late.
const LEAD: usize = 64;
/// Bytes of chunks that are decoded at once where that gives more than the lead: a record may have a
/// path of some KB, and there may be hundreds of rings.
const MOST_DECODED: usize = 64 << 10;

/// All records of a file of rings, in the order of their times.
#[derive(Debug)]
pub(crate) struct Merge {
    file: File,
    name: String,
    /// None where the stream has no rings, only blocks.
    decoder: Option<Decoder>,
    runs: Vec<Run>,
    /// The next time of every run but the current.
    heap: BinaryHeap<Reverse<(Nanos, usize)>>,
    current: Option<usize>,
    damages: VecDeque<(u64, Cause)>,
    /// What ends the file too early; told at the end.
    tail: Option<(u64, Cause)>,
    read: u64,
}

impl Merge {
    pub(crate) fn new(file: File, name: &str, decoder: Option<Decoder>) -> Self {
        let mut rings: BTreeMap<u16, VecDeque<u64>> = BTreeMap::new();
        let tail = index(&file, |ring, offset| rings.entry(ring).or_default().push_back(offset));
        let runs = rings.into_values().map(Run::new).collect();
        let mut merge = Self {
            file,
            name: name.to_owned(),
            decoder,
            runs,
            heap: BinaryHeap::new(),
            current: None,
            damages: VecDeque::new(),
            tail,
            read: 0,
        };
        for at in 0..merge.runs.len() {
            if let Some(time) = merge.time(at) {
                merge.heap.push(Reverse((time, at)));
            }
        }
        merge
    }

    /// The time of a run's next record.
    fn time(&mut self, at: usize) -> Option<Nanos> {
        let run = self.runs.get_mut(at)?;
        if run.ready.is_empty() {
            run.fill(&self.file, self.decoder.as_ref(), &mut self.damages);
        }
        run.ready.front().map(|record| record.time)
    }

    /// The run with the next record: mostly that of the record before.
    fn turn(&mut self) -> Option<usize> {
        if let Some(at) = self.current.take()
            && let Some(time) = self.time(at)
        {
            let Some(mut first) = self.heap.peek_mut().filter(|first| first.0 < (time, at)) else {
                return Some(at);
            };
            // The one takes the place of the other.
            let Reverse((_, turn)) = std::mem::replace(&mut *first, Reverse((time, at)));
            return Some(turn);
        }
        self.heap.pop().map(|Reverse((_, at))| at)
    }

    fn damage(&self, (offset, cause): (u64, Cause)) -> Damage {
        Damage { file: self.name.clone(), offset, read: self.read, cause }
    }
}

impl Iterator for Merge {
    type Item = Result<Record, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(damage) = self.damages.pop_front() {
            return Some(Err(self.damage(damage)));
        }
        self.current = self.turn();
        let record = self.current.and_then(|at| self.runs.get_mut(at)?.ready.pop_front());
        match record {
            Some(record) => {
                self.read += 1;
                Some(Ok(record))
            }
            None => {
                let last = self.damages.pop_front().or_else(|| self.tail.take())?;
                Some(Err(self.damage(last)))
            }
        }
    }
}

impl Merge {
    /// Shows all records that are left, in the order of their times, and the damage. They are not
    /// moved, which millions of them feel.
    pub(crate) fn each(mut self, mut show: impl FnMut(Result<&Record, Damage>)) {
        while let Some(at) = self.turn() {
            while let Some(damage) = self.damages.pop_front() {
                show(Err(self.damage(damage)));
            }
            let next = self.heap.peek().map(|Reverse(next)| *next);
            let Some(run) = self.runs.get_mut(at) else { break };
            while let Some(record) = run.ready.front()
                && next.is_none_or(|next| (record.time, at) <= next)
            {
                show(Ok(record));
                self.read += 1;
                run.ready.pop_front();
            }
            self.current = Some(at);
        }
        while let Some(last) = self.damages.pop_front().or_else(|| self.tail.take()) {
            show(Err(self.damage(last)));
        }
    }
}

/// Goes over the headers of all chunks; what ends the file too early.
fn index(file: &File, mut chunk: impl FnMut(u16, u64)) -> Option<(u64, Cause)> {
    let length = match file.metadata() {
        Ok(metadata) => metadata.len(),
        Err(why) => return Some((0, Cause::Io(why.kind()))),
    };
    let mut offset = 0;
    loop {
        match chunk::header(file, offset, length) {
            Ok(Some(header)) => {
                chunk(header.ring, offset);
                offset += chunk::HEADER as u64 + u64::from(header.length);
            }
            Ok(None) => return None,
            Err(cause) => return Some((offset, cause)),
        }
    }
}

/// The chunks of one ring.
#[derive(Debug)]
struct Run {
    /// Where those that are still to be read begin.
    chunks: VecDeque<u64>,
    source: Source,
    /// The offset, and the payload, of the chunk that is read.
    offset: u64,
    payload: Vec<u8>,
    /// What later records may still come before.
    held: Vec<Record>,
    /// In order.
    ready: VecDeque<Record>,
}

/// Where the next record of a ring comes from.
#[derive(Debug)]
enum Source {
    /// The next chunk.
    Next,
    /// Bytes of a ring, from here on.
    Ring(usize),
    /// A block.
    Block(Box<Block>),
    /// Nothing is left.
    End,
}

impl Run {
    fn new(chunks: VecDeque<u64>) -> Self {
        Self {
            chunks,
            source: Source::Next,
            offset: 0,
            payload: Vec::new(),
            held: Vec::new(),
            ready: VecDeque::new(),
        }
    }

    /// Makes records ready, if there are more.
    fn fill(
        &mut self,
        file: &File,
        decoder: Option<&Decoder>,
        damages: &mut VecDeque<(u64, Cause)>,
    ) {
        let mut decoded = 0;
        while self.held.len() < BATCH
            && (decoded < MOST_DECODED || self.held.len() <= LEAD)
            && !matches!(self.source, Source::End)
        {
            let opens = matches!(self.source, Source::Next);
            if let Err(damage) = self.step(file, decoder) {
                damages.push_back(damage);
            }
            if opens {
                decoded += self.payload.len();
            }
        }
        // Sorting takes memory, which most rings do not need.
        if !self.held.is_sorted_by_key(|record| record.time) {
            self.held.sort_by_key(|record| record.time);
        }
        let lead = if matches!(self.source, Source::End) { 0 } else { LEAD };
        let ready = self.held.len().saturating_sub(lead);
        self.ready.extend(self.held.drain(..ready));
    }

    /// Goes to the next chunk, or takes records of this one.
    fn step(&mut self, file: &File, decoder: Option<&Decoder>) -> Result<(), (u64, Cause)> {
        match &mut self.source {
            Source::Next => self.open(file),
            Source::Ring(at) => {
                let bytes = self.payload.get(*at..).unwrap_or_default();
                let Some(mut decode) = decoder.map(|decoder| decoder.decode(bytes)) else {
                    self.source = Source::Next;
                    return Err((self.offset, Cause::Chunk));
                };
                let begin = *at;
                let found = decode.take_into(&mut self.held, BATCH);
                self.source = match decode.offset() {
                    end if end >= bytes.len() => Source::Next,
                    end => Source::Ring(begin + end),
                };
                let place = self.offset + (chunk::HEADER + begin) as u64;
                found.map_err(|bad| (place + bad.offset as u64, Cause::Ring(bad.fault)))
            }
            Source::Block(block) => {
                let before = self.held.len();
                let found = take(block, &mut self.held);
                if found.is_err() || self.held.len() == before {
                    self.source = Source::Next;
                }
                found.map_err(|_| (self.offset, Cause::Columns))
            }
            Source::End => Ok(()),
        }
    }

    fn open(&mut self, file: &File) -> Result<(), (u64, Cause)> {
        let Some(offset) = self.chunks.pop_front() else {
            self.source = Source::End;
            return Ok(());
        };
        self.offset = offset;
        let header = chunk::read(file, offset, &mut self.payload).map_err(|why| (offset, why))?;
        match header.kind {
            Kind::Ring => self.source = Source::Ring(0),
            Kind::Block => {
                let block = Block::open(&self.payload).map_err(|_| (offset, Cause::Columns))?;
                self.source = Source::Block(Box::new(block));
            }
            Kind::End => {}
        }
        Ok(())
    }
}

/// Moves records until there are enough, none is left, or one is bad.
fn take<E>(
    from: &mut impl Iterator<Item = Result<Record, E>>,
    to: &mut Vec<Record>,
) -> Result<(), E> {
    while to.len() < BATCH {
        match from.next() {
            Some(record) => to.push(record?),
            None => break,
        }
    }
    Ok(())
}
