//! What the kernel wrote into a ring, as records: `struct perf_event_header` and what follows it
//! (perf_event_open(2), include/uapi/linux/perf_event.h). The bytes may come from a guest or a
//! file, so nothing in them is believed before it was checked.

use crate::Layout;
use crate::shape::Shape;
use model::{BuildId, Map, Mode, Nanos, Record, Sample, What, u32_at, u64_at};

/// `struct perf_event_header`: type u32, misc u16, size u16 with the header itself.
pub(crate) const HEADER: usize = 8;
/// The page that a path of the kernel's fits in (PATH_MAX).
const LONGEST_PATH: usize = 4096;

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

/// PERF_RECORD_MISC_MMAP_DATA, _COMM_EXEC and _SWITCH_OUT, by the record's type.
const MISC_13: u16 = 1 << 13;
const MISC_MMAP_BUILD_ID: u16 = 1 << 14;
const MISC_CPUMODE: u16 = 7;
const PROT_EXEC: u32 = 4;

/// Bytes that are not what a kernel writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {fault}")]
pub struct Damage {
    /// Where in the bytes the record in question begins.
    pub offset: usize,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The bytes end inside of it: what is missing was never written, or was cut off.
    #[error("a record is truncated")]
    Cut,
    /// It says that it is shorter than its own header; where the next begins is unknown.
    #[error("a record claims {0} bytes, less than its header")]
    Size(u16),
    /// It is too short for its fields.
    #[error("a record of type {0} is too short for its fields")]
    Short(u32),
    /// A sample of an event that was not opened.
    #[error("a sample of an unknown event (number {0})")]
    Event(u64),
}

impl Fault {
    /// Whether what follows the record in question can still be read.
    #[must_use]
    pub fn is_local(self) -> bool {
        matches!(self, Self::Short(_) | Self::Event(_))
    }
}

/// A layout that records cannot be decoded with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// There is no event.
    #[error("no events")]
    Empty,
    /// A field that every sample must have is not asked for.
    #[error("samples have no {0}: record them with it")]
    Lacks(&'static str),
    /// Several events, and no number in a place that they share.
    #[error("samples do not identify their event (PERF_SAMPLE_IDENTIFIER)")]
    Ambiguous,
    /// An event's samples carry no period, and it has no fixed one.
    #[error("event {0} has no period, and neither do its samples")]
    Period(u16),
}

/// An opened event, by the kernel's number.
#[derive(Debug, Clone, Copy)]
struct Known {
    id: u64,
    event: u16,
    shape: usize,
}

/// Decodes rings of one capture.
#[derive(Debug, Clone)]
pub struct Decoder {
    shapes: Vec<Shape>,
    /// By their number.
    known: Vec<Known>,
    /// The fixed period of each event.
    periods: Vec<u64>,
    /// The event, where there is but one: no look-up then.
    only: Option<u16>,
}

impl Decoder {
    /// A decoder of all rings that are laid out so.
    ///
    /// # Errors
    /// Where such samples do not tell what is needed of them.
    pub fn new(layout: &Layout) -> Result<Self, Unfit> {
        Self::of_several(std::slice::from_ref(layout))
    }

    /// A decoder of rings whose events are laid out differently, as perf does where their fields
    /// differ: each layout has the numbers of its own events, and all of the periods.
    ///
    /// # Errors
    /// Where such samples do not tell what is needed of them.
    pub fn of_several(layouts: &[Layout]) -> Result<Self, Unfit> {
        let mut shapes: Vec<Shape> = Vec::new();
        let mut known = Vec::new();
        for layout in layouts {
            let shape = Shape::of(layout.sample_type)?;
            let at = shapes.iter().position(|one| *one == shape).unwrap_or_else(|| {
                shapes.push(shape);
                shapes.len() - 1
            });
            let ids = layout.ids.iter();
            known.extend(ids.map(|(id, event)| Known { id: *id, event: *event, shape: at }));
        }
        let periods = layouts.first().ok_or(Unfit::Empty)?.periods.clone();
        known.sort_unstable_by_key(|one| one.id);
        let only = (periods.len() == 1).then_some(0);
        let identified = |shape: &Shape| shape.is_identified();
        let same = shapes.len() == 1 && (only.is_some() || shapes.iter().all(Shape::has_id));
        if !same && !shapes.iter().all(identified) {
            return Err(Unfit::Ambiguous);
        }
        let unknown =
            |event: u16| periods.get(usize::from(event)).is_none_or(|period| *period == 0);
        let lacks = known.iter().find(|one| {
            unknown(one.event) && shapes.get(one.shape).is_some_and(|shape| !shape.has_period())
        });
        if let Some(one) = lacks {
            return Err(Unfit::Period(one.event));
        }
        // With one event there may be no numbers at all.
        if let (Some(event), [shape]) = (only, shapes.as_slice())
            && unknown(event)
            && !shape.has_period()
        {
            return Err(Unfit::Period(event));
        }
        Ok(Self { shapes, known, periods, only })
    }

    /// The records in these bytes, which begin with a record, in their order. Records that are
    /// of no interest (data mappings, cgroups, what perf's own tools add) are passed over. After
    /// an error that is local ([`Fault::is_local`]) the next record follows, else nothing.
    #[must_use]
    pub fn decode<'a>(&'a self, bytes: &'a [u8]) -> Decode<'a> {
        Decode { decoder: self, bytes, at: 0, last: self.known.first().copied() }
    }

    fn find(&self, id: u64) -> Option<Known> {
        let at = self.known.binary_search_by_key(&id, |one| one.id).ok()?;
        self.known.get(at).copied()
    }
}

/// A record as it is in a ring.
struct Raw<'a> {
    kind: u32,
    misc: u16,
    body: &'a [u8],
}

/// The records in a piece of a ring.
#[derive(Debug, Clone)]
pub struct Decode<'a> {
    decoder: &'a Decoder,
    bytes: &'a [u8],
    at: usize,
    /// The event of the sample before: mostly of the next, too.
    last: Option<Known>,
}

impl Iterator for Decode<'_> {
    type Item = Result<Record, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let offset = self.at;
            let found = self.step()?.and_then(|Raw { kind, misc, body }| match kind {
                SAMPLE => self.sample(misc, body).map(Some),
                _ => self.other(kind, misc, body),
            });
            match found {
                Ok(Some(record)) => return Some(Ok(record)),
                Ok(None) => {}
                Err(fault) => return Some(Err(Damage { offset, fault })),
            }
        }
    }
}

impl<'a> Decode<'a> {
    /// How many bytes are read: where the next record begins.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Appends records until there are `most`, or none is left. One by one they would be copied
    /// more often: samples come in millions.
    ///
    /// # Errors
    /// The first damage: what follows it is as after one that the iterator gives.
    pub fn take_into(&mut self, to: &mut Vec<Record>, most: usize) -> Result<(), Damage> {
        while to.len() < most {
            let offset = self.at;
            let damage = |fault| Damage { offset, fault };
            let Some(found) = self.step() else { break };
            let Raw { kind, misc, body } = found.map_err(damage)?;
            match kind {
                SAMPLE => to.push(self.sample(misc, body).map_err(damage)?),
                _ => to.extend(self.other(kind, misc, body).map_err(damage)?),
            }
        }
        Ok(())
    }

    /// Goes on to the next record.
    #[inline]
    fn step(&mut self) -> Option<Result<Raw<'a>, Fault>> {
        let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        Some(match header(rest) {
            Ok((kind, misc, size)) => {
                self.at += size;
                Ok(Raw { kind, misc, body: rest.get(HEADER..size).unwrap_or_default() })
            }
            Err(fault) => {
                self.at = self.bytes.len();
                Err(fault)
            }
        })
    }
}

/// Type, misc and size of a record, all of which is in `rest`.
#[inline]
fn header(rest: &[u8]) -> Result<(u32, u16, usize), Fault> {
    let word = u64_at(rest, 0).ok_or(Fault::Cut)?;
    let (kind, misc, size) = (word as u32, (word >> 32) as u16, (word >> 48) as u16);
    match usize::from(size) {
        less if less < HEADER => Err(Fault::Size(size)),
        more if more > rest.len() => Err(Fault::Cut),
        size => Ok((kind, misc, size)),
    }
}

impl Decode<'_> {
    #[inline]
    fn sample(&mut self, misc: u16, body: &[u8]) -> Result<Record, Fault> {
        let short = Fault::Short(SAMPLE);
        let mut shape = self.decoder.shapes.first().ok_or(short)?;
        let event = match self.decoder.only {
            Some(event) if self.decoder.shapes.len() == 1 => event,
            _ => {
                // All shapes have it in the same place.
                let id = shape.id(body).ok_or(short)?;
                if self.last.is_none_or(|last| last.id != id) {
                    self.last = self.decoder.find(id);
                }
                let known = self.last.ok_or(Fault::Event(id))?;
                shape = self.decoder.shapes.get(known.shape).ok_or(short)?;
                known.event
            }
        };
        let fields = shape.sample(body).ok_or(short)?;
        let fixed = self.decoder.periods.get(usize::from(event)).copied();
        let sample = Sample {
            event,
            pid: fields.pid,
            tid: fields.tid,
            address: fields.address,
            mode: mode(misc),
            period: fields.period.or(fixed).ok_or(short)?,
        };
        Ok(Record { time: Nanos(fields.time), cpu: fields.cpu, what: What::Sample(sample) })
    }

    fn other(&mut self, kind: u32, misc: u16, body: &[u8]) -> Result<Option<Record>, Fault> {
        if !matches!(kind, MMAP..=FORK | MMAP2 | LOST_SAMPLES | SWITCH_CPU_WIDE) {
            return Ok(None);
        }
        let shape = self.shape(body).ok_or(Fault::Short(kind))?;
        let (fields, trailer) = shape.trailer(body).ok_or(Fault::Short(kind))?;
        let what = what(kind, misc, fields).ok_or(Fault::Short(kind))?;
        let record = |what| Record { time: Nanos(trailer.time), cpu: trailer.cpu, what };
        Ok(what.map(record))
    }

    /// How the trailer of a record is laid out: by the number at its end where that differs. What
    /// perf itself made up has no number, and no time.
    fn shape(&self, body: &[u8]) -> Option<&Shape> {
        let first = self.decoder.shapes.first()?;
        if self.decoder.shapes.len() == 1 {
            return Some(first);
        }
        let id = u64_at(body, body.len().checked_sub(8)?)?;
        let known = self.decoder.find(id);
        Some(known.and_then(|known| self.decoder.shapes.get(known.shape)).unwrap_or(first))
    }
}

/// What a record other than a sample says; outer `None` where it is too short, inner where it is
/// of no interest.
fn what(kind: u32, misc: u16, body: &[u8]) -> Option<Option<What>> {
    let word = |at| u32_at(body, at);
    let long = |at| u64_at(body, at);
    Some(match kind {
        MMAP => map(misc, body, None)?,
        MMAP2 => map(misc, body, Some(word(56)?))?,
        COMM => {
            let name = text(body.get(8..)?, LONGEST_PATH);
            let exec = misc & MISC_13 != 0;
            Some(What::Name { pid: word(0)?, tid: word(4)?, name, exec })
        }
        FORK => Some(What::Fork { pid: word(0)?, parent: word(4)?, tid: word(8)? }),
        EXIT => Some(What::Exit { pid: word(0)?, tid: word(8)? }),
        LOST => Some(What::Lost { count: long(8)? }),
        LOST_SAMPLES => Some(What::Lost { count: long(0)? }),
        THROTTLE | UNTHROTTLE => Some(What::Throttle { on: kind == THROTTLE }),
        // In and out come in pairs: the way out tells who is next.
        SWITCH_CPU_WIDE if misc & MISC_13 != 0 => {
            Some(What::Switch { pid: word(0)?, tid: word(4)? })
        }
        _ => None,
    })
}

/// A mapping that may be executed; its file's name and build id as the kernel told them.
fn map(misc: u16, body: &[u8], protection: Option<u32>) -> Option<Option<What>> {
    let pid = u32_at(body, 0)?;
    let path = body.get(if protection.is_some() { 64 } else { 32 }..)?;
    // The kernel's own (of nobody) are text, whatever the protection that tools wrote for them.
    let executable = protection.is_none_or(|bits| bits & PROT_EXEC != 0 || pid == u32::MAX);
    // What a guest's kernel maps is for its own stream to say.
    let guest = matches!(mode(misc), Mode::GuestKernel | Mode::GuestUser);
    if misc & MISC_13 != 0 || !executable || guest {
        return Some(None);
    }
    let build_id = if protection.is_some() && misc & MISC_MMAP_BUILD_ID != 0 {
        build_id(body.get(32..56)?)
    } else {
        None
    };
    Some(Some(What::Map(Box::new(Map {
        pid,
        tid: u32_at(body, 4)?,
        start: u64_at(body, 8)?,
        length: u64_at(body, 16)?,
        offset: u64_at(body, 24)?,
        build_id: build_id.map(|id| BuildId(id.to_vec())),
        path: text(path, LONGEST_PATH),
    }))))
}

/// The build id in a map's record: its length, three bytes of nothing, and 20 bytes that are zero
/// behind it. Where another session asked for build ids, the kernel lets the flag stand for those
/// who did not, whose bytes are then device, inode and generation (perf_event_mmap_output).
fn build_id(field: &[u8]) -> Option<&[u8]> {
    let (&length, rest) = field.split_first()?;
    let (nothing, rest) = rest.split_at_checked(3)?;
    let (id, behind) = rest.split_at_checked(usize::from(length))?;
    let none = |bytes: &[u8]| bytes.iter().all(|&byte| byte == 0);
    (!id.is_empty() && none(nothing) && none(behind)).then_some(id)
}

/// A string that ends with a zero, or with its field.
fn text(bytes: &[u8], longest: usize) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.get(..end.min(longest)).unwrap_or_default().to_vec()
}

fn mode(misc: u16) -> Mode {
    match misc & MISC_CPUMODE {
        1 => Mode::Kernel,
        2 => Mode::User,
        3 => Mode::Hypervisor,
        4 => Mode::GuestKernel,
        5 => Mode::GuestUser,
        _ => Mode::Unknown,
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
