//! An agent samples its machine for a controller, or tells it names alone, while a connection
//! lasts.

use crate::scratch::PIECE;
use model::{Event, Record, What};
use sample::{Capture, Layout, Scope, Wanted, Word};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_bytes::ByteBuf;
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// What an agent is to say of its machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sampling {
    /// Names, maps and switches: the host samples it (mode A).
    Names,
    /// Samples of these events too (mode B), as `NAME` or `NAME:PERIOD`.
    Itself(#[serde(deserialize_with = "limited::<_, _, MAX_EVENTS>")] Vec<String>),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    /// The events, as they are counted.
    pub events: Vec<Event>,
    /// How the rings' bytes are to be read.
    pub layout: Layout,
    /// CPUs that are sampled.
    pub cpus: u32,
    /// What was given up.
    pub notes: Vec<String>,
}

/// What the rings held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// Whole records of a ring, by its number.
    #[serde(deserialize_with = "limited::<_, _, MAX_PIECES>")]
    pub pieces: Vec<(u16, ByteBuf)>,
    /// There is more, which did not fit.
    pub more: bool,
}

/// A file of the machine that tells what addresses are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SymbolFile {
    /// The kernel's symbols, /proc/kallsyms.
    Kallsyms,
    /// A program or library: an ELF file, or nothing is given.
    Binary(PathBuf),
}

impl Drained {
    /// Whether there is more data although this message had room for it: such an agent could be asked for
    /// ever.
    #[must_use]
    pub fn is_stingy(&self) -> bool {
        let size: usize = self.pieces.iter().map(|(_, bytes)| bytes.len()).sum();
        self.more && self.pieces.len() < MAX_PIECES && size < MOST_DRAINED / 2
    }
}

/// Maximum number of events.
const MAX_EVENTS: usize = 64;
/// Maximum number of bytes of rings in one message; a piece is a ring's at most ([`Wanted::RING`]).
pub(crate) const MOST_DRAINED: usize = 2 << 20;
/// Maximum number of pieces in one message.
const MAX_PIECES: usize = 4 << 10;
/// Bytes of names that cross in one message, or a little more.
pub(crate) const MOST_NAMES: usize = 1 << 20;
/// Maximum number of names in one message: each counts for 64 bytes at least.
pub(crate) const MAX_NAMES: usize = MOST_NAMES / 64 + 1;

/// A list of at most `MAX` elements: the bytes of a message bound those of a list only loosely.
pub(crate) fn limited<'de, D, T, const MAX: usize>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Limited<T, const MAX: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Limited<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MAX} elements")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut found = Vec::new();
            while let Some(one) = list.next_element()? {
                if found.len() >= MAX {
                    return Err(A::Error::invalid_length(found.len() + 1, &self));
                }
                found.push(one);
            }
            Ok(found)
        }
    }

    from.deserialize_seq(Limited::<T, MAX>(PhantomData))
}
/// The largest file that is given.
const LARGEST_FILE: u64 = 1 << 30;
/// How an ELF file begins.
const ELF: &[u8] = b"\x7fELF";

/// A capture for one connection.
pub(crate) struct Sampler {
    capture: Capture,
    /// What was there before; read once.
    existing: Vec<Record>,
}

impl Sampler {
    /// Begins.
    pub(crate) fn start(what: &Sampling) -> Result<(Self, Opened), String> {
        let words: Vec<Word> = match what {
            Sampling::Names => Vec::new(),
            Sampling::Itself(words) => {
                words.iter().map(|word| word.parse()).collect::<Result<_, _>>()?
            }
        };
        let switches = words.is_empty();
        let wanted = Wanted { events: words, scope: Scope::Machine, switches, ring: Wanted::RING };
        let capture = Capture::open(&wanted).map_err(|error| error.to_string())?;
        // Names are told from the opening on: what comes into being while these are looked up is
        // told twice, nothing never; and looking them up is in no sample.
        let existing = sample::existing("/".as_ref());
        capture.enable(true).map_err(|error| error.to_string())?;
        let opened = Opened {
            events: capture.events(),
            layout: capture.layout(),
            cpus: capture.cpus(),
            notes: capture.notes().to_vec(),
        };
        Ok((Self { capture, existing }, opened))
    }

    /// Names from one of them on, and how many there are in all.
    pub(crate) fn existing(&self, from: usize) -> (Vec<Record>, usize) {
        let mut left = MOST_NAMES;
        let some = self.existing.iter().skip(from).take_while(|record| {
            let fits = left > 0;
            left = left.saturating_sub(weight(record));
            fits
        });
        (some.cloned().collect(), self.existing.len())
    }

    /// What came since the last time.
    pub(crate) fn drain(&mut self) -> Result<Drained, String> {
        let (mut pieces, mut size) = (Vec::new(), 0);
        let drained = self.capture.drain(|ring, first, second| {
            let is_full = size + first.len() + second.len() > MOST_DRAINED;
            if size > 0 && (is_full || pieces.len() >= MAX_PIECES) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            size += first.len() + second.len();
            pieces.push((ring, ByteBuf::from([first, second].concat())));
            Ok(())
        });
        match drained {
            Ok(()) => Ok(Drained { pieces, more: false }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Ok(Drained { pieces, more: true })
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Stops; the rings keep what they have. The events, with the part of the time that each was
    /// counted.
    pub(crate) fn stop(&self) -> Result<Vec<Event>, String> {
        self.capture.enable(false).map_err(|error| error.to_string())?;
        Ok(self.capture.events())
    }
}

/// What a record counts for in bytes, in messages and in memory.
pub(crate) fn weight(record: &Record) -> usize {
    64 + match &record.what {
        What::Map(map) => map.path.len(),
        What::Name { name, .. } => name.len(),
        _ => 0,
    }
}

/// What a file holds, as far as its size and CRC-32 say so: enough to know a program again, and no
/// proof of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Checksum {
    /// Its size in bytes.
    pub bytes: u64,
    /// Its CRC-32 (IEEE 802.3).
    pub crc32: u32,
}

impl Checksum {
    /// Of these contents.
    #[must_use]
    pub fn of(contents: &[u8]) -> Self {
        Self { bytes: contents.len() as u64, crc32: crc32fast::hash(contents) }
    }
}

/// The checksum of a whole file that tells what addresses are.
pub(crate) fn checksum(file: &SymbolFile) -> Result<Checksum, String> {
    let (mut hasher, mut offset) = (crc32fast::Hasher::new(), 0);
    loop {
        let (bytes, _) = read(file, offset)?;
        hasher.update(&bytes);
        offset += bytes.len() as u64;
        if bytes.len() < PIECE {
            return Ok(Checksum { bytes: offset, crc32: hasher.finalize() });
        }
    }
}

/// A piece of a file that tells what addresses are; with it, how many bytes the file has, as far
/// as that is known.
pub(crate) fn read(file: &SymbolFile, offset: u64) -> Result<(Vec<u8>, u64), String> {
    let path = match file {
        SymbolFile::Kallsyms => "/proc/kallsyms".into(),
        SymbolFile::Binary(path) => path.clone(),
    };
    read_piece(&path, offset, matches!(file, SymbolFile::Binary(_)))
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn read_piece(path: &Path, offset: u64, elf: bool) -> io::Result<(Vec<u8>, u64)> {
    let mut file = files::open(path)?;
    if elf {
        let mut start = [0; ELF.len()];
        file.read_exact(&mut start)?;
        if start != ELF {
            return Err(io::Error::other("not a program or library"));
        }
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.by_ref().take(PIECE as u64).read_to_end(&mut bytes)?;
    let here = offset + bytes.len() as u64;
    // /proc's files have no length before they are read.
    let size = file.metadata()?.len().max(if bytes.len() < PIECE { here } else { here + 1 });
    if size > LARGEST_FILE {
        return Err(io::Error::other("too large"));
    }
    Ok((bytes, size))
}
