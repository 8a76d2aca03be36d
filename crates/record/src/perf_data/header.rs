//! What a perf.data tells of itself: its header, its events and its feature sections
//! (tools/perf/Documentation/perf.data-file-format.txt).
//!
//! The `linux-perf-data` crate reads these, too, but makes room for whatever sizes and counts a
//! file claims, and divides by its `attr_size`: a few bytes end the process. Here no more is read
//! than the file has.

use crate::error::Error;
use crate::head::Environment;
use crate::perf_data::fields::{Fields, until_zero};
use files::failed;
use foldhash::{HashMap, HashMapExt};
use model::BuildId;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

const HEADER: usize = 104;
/// No section but the data is longer, nor are there more events, or numbers of an event.
const MOST: u64 = 1 << 26;
const MOST_EVENTS: usize = 1 << 10;
const SECTION: usize = 16;

/// HEADER_BUILD_ID and so on: numbers of bits, and of sections.
const BUILD_ID: usize = 2;
const HOSTNAME: usize = 3;
const RELEASE: usize = 4;
const VERSION: usize = 5;
const ARCH: usize = 6;
const CPUS: usize = 7;
const CPU: usize = 8;
const COMMAND: usize = 11;
const EVENTS: usize = 12;
const COMPRESSED: usize = 27;

/// perf_event_attr.flags.
const FREQ: u64 = 1 << 10;
const SAMPLE_ID_ALL: u64 = 1 << 18;

/// What a perf.data tells of itself.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) attributes: Vec<Attribute>,
    /// Where its records are.
    pub(super) data: Range<u64>,
    /// Whether perf came to write the header at its end.
    pub(super) finished: bool,
    pub(super) command: Vec<String>,
    pub(super) environment: Environment,
    pub(super) cpus: Option<u32>,
    /// All CPUs that it may have, those that are off included.
    pub(super) available_cpus: Option<u32>,
    /// By path.
    pub(super) build_ids: HashMap<Vec<u8>, BuildId>,
}

/// An event that perf opened.
#[derive(Debug, Clone)]
pub(super) struct Attribute {
    pub(super) name: Option<String>,
    pub(super) kind: u32,
    pub(super) config: u64,
    /// `None` where it varies, as a frequency was asked for.
    pub(super) period: Option<u64>,
    pub(super) sample_type: u64,
    pub(super) ids: Vec<u64>,
}

/// The file, of which no more is read than it has.
struct Source<'a> {
    file: &'a File,
    path: &'a Path,
    length: u64,
}

/// A part of the file.
#[derive(Debug, Clone, Copy)]
struct Section {
    offset: u64,
    size: u64,
}

fn section(fields: &mut Fields<'_>) -> Option<Section> {
    Some(Section { offset: fields.u64()?, size: fields.u64()? })
}

impl Header {
    pub(super) fn read(file: &File, path: &Path) -> Result<Self, Error> {
        let length = file.metadata().map_err(failed("read", path))?.len();
        let source = Source { file, path, length };
        let start = source.read(Section { offset: 0, size: length.min(HEADER as u64) })?;
        source.check_magic(&start)?;
        let mut fields = Fields::of(start.get(16..).unwrap_or_default());
        let cut = || source.wrong("truncated header");
        let attr_size = fields.u64().ok_or_else(cut)?;
        let attributes = section(&mut fields).ok_or_else(cut)?;
        let data = section(&mut fields).ok_or_else(cut)?;
        let features = fields.bytes(48).and_then(|rest| rest.get(16..)).ok_or_else(cut)?;
        let mut header = Self {
            attributes: source.attributes(attributes, attr_size)?,
            finished: data.size > 0,
            data: source.data(data)?,
            command: Vec::new(),
            environment: Environment::default(),
            cpus: None,
            available_cpus: None,
            build_ids: HashMap::new(),
        };
        if header.finished {
            header.read_features(&source, features)?;
        }
        Ok(header)
    }

    /// The sections after the data: for each bit that is set its place, in their order.
    fn read_features(&mut self, source: &Source<'_>, bits: &[u8]) -> Result<(), Error> {
        let set = |bit: &usize| bits.get(bit / 8).is_some_and(|byte| byte >> (bit % 8) & 1 != 0);
        let bits: Vec<usize> = (0..bits.len() * 8).filter(set).collect();
        if bits.contains(&COMPRESSED) {
            return Err(source.wrong("compressed data are not supported: record without -z"));
        }
        let table = Section { offset: self.data.end, size: (bits.len() * SECTION) as u64 };
        let table = source.read(table)?;
        let mut table = Fields::of(&table);
        for bit in bits {
            let Some(section) = section(&mut table) else { break };
            let wanted = [BUILD_ID, HOSTNAME, RELEASE, VERSION, ARCH, CPUS, CPU, COMMAND, EVENTS];
            if wanted.contains(&bit) {
                let bytes = source.read(section)?;
                self.read_feature(bit, Fields::of(&bytes));
            }
        }
        Ok(())
    }

    /// What cannot be understood of a section is unknown.
    fn read_feature(&mut self, bit: usize, mut fields: Fields<'_>) {
        match bit {
            HOSTNAME => self.environment.hostname = fields.string(),
            RELEASE => self.environment.kernel = fields.string(),
            VERSION => {
                self.environment.tool = fields.string().map(|version| format!("perf {version}"));
            }
            ARCH => self.environment.architecture = fields.string(),
            CPU => self.environment.cpu = fields.string(),
            // Available ones come first.
            CPUS => {
                self.available_cpus = fields.u32();
                self.cpus = self.available_cpus.and_then(|_| fields.u32());
            }
            COMMAND => {
                let count = fields.u32().unwrap_or_default();
                let words = (0..count).map_while(|_| fields.string());
                self.command = words.take(MOST_EVENTS).collect();
            }
            EVENTS => self.read_names(fields).unwrap_or_default(),
            _ => self.read_build_ids(fields).unwrap_or_default(),
        }
    }

    /// HEADER_EVENT_DESC: names of the events, in the order of the attributes.
    fn read_names(&mut self, mut fields: Fields<'_>) -> Option<()> {
        let count = fields.u32()?;
        let size = usize::try_from(fields.u32()?).ok()?;
        for attribute in self.attributes.iter_mut().take(usize::try_from(count).ok()?) {
            fields.bytes(size)?;
            let numbers = usize::try_from(fields.u32()?).ok()?;
            attribute.name = fields.string();
            fields.bytes(numbers.checked_mul(8)?)?;
        }
        Some(())
    }

    /// HEADER_BUILD_ID: records of a header, a process, an id of 20 bytes, its length, a path.
    fn read_build_ids(&mut self, mut fields: Fields<'_>) -> Option<()> {
        while !fields.is_empty() {
            let _kind = fields.u32()?;
            let misc = fields.u16()?;
            let size = usize::from(fields.u16()?);
            let mut record = Fields::of(fields.bytes(size.checked_sub(8)?)?);
            let _process = record.u32()?;
            let id = record.bytes(20)?;
            let told = usize::from(*record.bytes(4)?.first()?);
            // PERF_RECORD_MISC_BUILD_ID_SIZE; before that ids were filled up with zeros.
            let length = if misc & 1 << 15 != 0 { told } else { unfilled(id) };
            let path = until_zero(record.bytes(size.checked_sub(36)?)?);
            let id = id.get(..length.min(20)).filter(|id| !id.is_empty());
            if let Some(id) = id {
                self.build_ids.insert(path.to_vec(), BuildId(id.to_vec()));
            }
        }
        Some(())
    }
}

/// The length of an id without the zeros, four by four, that fill it up.
fn unfilled(id: &[u8]) -> usize {
    let filling = id.rchunks(4).take_while(|part| part.iter().all(|byte| *byte == 0));
    id.len() - 4 * filling.count()
}

impl Source<'_> {
    fn wrong(&self, problem: impl Into<String>) -> Error {
        Error::wrong(self.path, problem)
    }

    /// A section, all of which is in the file.
    fn read(&self, section: Section) -> Result<Vec<u8>, Error> {
        let Section { offset, size } = section;
        let end = offset.checked_add(size).filter(|end| *end <= self.length && size <= MOST);
        if end.is_none() {
            let problem = format!("truncated or damaged: {size} bytes at {offset} are missing");
            return Err(self.wrong(problem));
        }
        let mut bytes = vec![0; size as usize];
        self.file.read_exact_at(&mut bytes, offset).map_err(failed("read", self.path))?;
        Ok(bytes)
    }

    fn check_magic(&self, start: &[u8]) -> Result<(), Error> {
        let mut fields = Fields::of(start);
        match (fields.bytes(8), fields.u64()) {
            (Some(b"PERFILE2"), Some(104)) => Ok(()),
            (Some(b"PERFILE2"), Some(16)) => Err(self.wrong(
                "pipe format is not supported: convert it with `perf inject -i FILE -o OTHER`",
            )),
            (Some(b"2ELIFREP"), _) => Err(self.wrong("big-endian data are not supported")),
            _ => Err(self.wrong(
                "not a perf.data file: expected the directory of a recording, or a perf.data file",
            )),
        }
    }

    /// Where the data are. perf writes their size last: where it is 0, they go on to the end.
    fn data(&self, data: Section) -> Result<Range<u64>, Error> {
        let end = match data.size {
            0 => self.length,
            size => data.offset.saturating_add(size),
        };
        if data.offset > self.length || data.offset < HEADER as u64 {
            return Err(self.wrong("damaged: data section out of range"));
        }
        Ok(data.offset..end)
    }

    /// The attributes, each followed by where its numbers are.
    fn attributes(&self, section: Section, attr_size: u64) -> Result<Vec<Attribute>, Error> {
        let damaged = || self.wrong("damaged: invalid events");
        // PERF_ATTR_SIZE_VER0 and the section of numbers, at least.
        let size =
            usize::try_from(attr_size).ok().filter(|size| (64 + SECTION..4096).contains(size));
        let size = size.ok_or_else(damaged)?;
        let bytes = self.read(section)?;
        if bytes.len() < size || bytes.len() / size > MOST_EVENTS {
            return Err(damaged());
        }
        bytes.chunks_exact(size).map(|one| self.attribute(one)).collect()
    }

    fn attribute(&self, bytes: &[u8]) -> Result<Attribute, Error> {
        let damaged = || self.wrong("damaged: invalid events");
        let (attr, numbers) = bytes.split_at(bytes.len() - SECTION);
        let mut fields = Fields::of(attr);
        let kind = fields.u32().ok_or_else(damaged)?;
        let _size = fields.u32();
        let mut next = || fields.u64().ok_or_else(damaged);
        let [config, period, sample_type, _, flags] = [next()?, next()?, next()?, next()?, next()?];
        if flags & SAMPLE_ID_ALL == 0 {
            return Err(self.wrong(
                "records without sample_id_all are not supported: record with a newer perf",
            ));
        }
        let numbers = section(&mut Fields::of(numbers)).ok_or_else(damaged)?;
        let numbers = self.read(numbers)?;
        let mut numbers = Fields::of(&numbers);
        let ids = std::iter::from_fn(|| numbers.u64()).collect();
        let period = (flags & FREQ == 0).then_some(period);
        Ok(Attribute { name: None, kind, config, period, sample_type, ids })
    }
}
