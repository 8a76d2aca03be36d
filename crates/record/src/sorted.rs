//! Compact files: blocks in the order of time, and an end that says how many records there are.

use crate::block::{Block, Builder};
use crate::chunk::{self, Header, Kind};
use crate::error::{Cause, Damage};
use model::{Nanos, Record};
use std::fs::File;
use std::io::{self, Write};

/// All records of a compact file, in their order.
#[derive(Debug)]
pub(crate) struct Sorted {
    file: File,
    name: String,
    length: u64,
    /// Where the block that is read begins, and where the next chunk does.
    offset: u64,
    next: u64,
    block: Option<Block>,
    payload: Vec<u8>,
    read: u64,
    ended: bool,
}

impl Sorted {
    pub(crate) fn new(file: File, name: &str) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self {
            file,
            name: name.to_owned(),
            length,
            offset: 0,
            next: 0,
            block: None,
            payload: Vec::new(),
            read: 0,
            ended: false,
        })
    }

    fn damage(&self, cause: Cause) -> Damage {
        Damage { file: self.name.clone(), offset: self.offset, read: self.read, cause }
    }

    /// Opens the next block, or ends.
    fn go_on(&mut self) -> Result<(), Cause> {
        self.offset = self.next;
        // Until the header is known to be good there is no way on.
        self.ended = true;
        let header = chunk::header(&self.file, self.offset, self.length)?.ok_or(Cause::Endless)?;
        self.next = self.offset + chunk::HEADER as u64 + u64::from(header.length);
        self.ended = header.kind == Kind::End;
        let header = chunk::read(&self.file, self.offset, &mut self.payload)?;
        match header.kind {
            Kind::Block => {
                self.block = Some(Block::open(&self.payload).map_err(|_| Cause::Columns)?);
                Ok(())
            }
            Kind::Ring => Err(Cause::Chunk),
            Kind::End => Ok(()),
        }
    }
}

impl Iterator for Sorted {
    type Item = Result<Record, Damage>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(block) = &mut self.block {
                match block.next() {
                    Some(Ok(record)) => {
                        self.read += 1;
                        return Some(Ok(record));
                    }
                    Some(Err(_)) => return Some(Err(self.damage(Cause::Columns))),
                    None => self.block = None,
                }
            }
            if self.ended {
                return None;
            }
            if let Err(cause) = self.go_on() {
                return Some(Err(self.damage(cause)));
            }
        }
    }
}

/// Writes a compact file.
pub(crate) struct Compact<W: Write> {
    to: W,
    builder: Builder,
    count: u64,
    last: Nanos,
}

impl<W: Write> Compact<W> {
    pub(crate) fn new(to: W) -> Self {
        Self { to, builder: Builder::default(), count: 0, last: Nanos::ZERO }
    }

    pub(crate) fn push(&mut self, record: &Record) -> io::Result<()> {
        self.builder.push(record);
        self.count += 1;
        self.last = record.time;
        if self.builder.is_full() { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let block = self.builder.finish();
        self.chunk(Kind::Block, &block)
    }

    fn chunk(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        self.to.write_all(&Header::of(kind, 0, self.last, payload))?;
        self.to.write_all(payload)
    }

    /// Writes what is left, and the end.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        if !self.builder.is_empty() {
            self.flush()?;
        }
        let count = self.count.to_le_bytes();
        self.chunk(Kind::End, &count)?;
        self.to.flush()?;
        Ok(self.to)
    }
}
