//! A block: some thousand records as compressed columns, readable on its own.
//!
//! Records that agree in kind, event, mode, CPU and thread share an entry of the block's table of
//! contexts, and samples share one of its addresses, so that a sample takes a place in each and
//! the difference of its time from the one that is expected (docs/recording.md).

use crate::column::{Malformed, Reader, Writer};
use foldhash::HashMap;
use model::{BuildId, Map, Mode, Nanos, Record, Sample, What};

/// Records of a block.
pub(crate) const FULL: usize = 1 << 14;
/// A block whose names and paths take so much is full, too.
const FULL_NAMES: usize = 1 << 20;
/// No block takes more when it is unpacked.
const MOST: usize = 1 << 24;

const SAMPLE: u8 = 0;
const MAP: u8 = 1;
const NAME: u8 = 2;
const FORK: u8 = 3;
const EXIT: u8 = 4;
const SWITCH: u8 = 5;
const LOST: u8 = 6;
const THROTTLE: u8 = 7;

const MODES: [Mode; 6] =
    [Mode::Unknown, Mode::Kernel, Mode::User, Mode::Hypervisor, Mode::GuestKernel, Mode::GuestUser];

/// What many records of a block share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Context {
    kind: u8,
    mode: u8,
    event: u16,
    cpu: u32,
    pid: u32,
    tid: u32,
}

impl Context {
    fn of(record: &Record) -> Self {
        let (kind, pid, tid) = match &record.what {
            What::Sample(sample) => (SAMPLE, sample.pid, sample.tid),
            What::Map(map) => (MAP, map.pid, map.tid),
            What::Name { pid, tid, .. } => (NAME, *pid, *tid),
            What::Fork { pid, tid, .. } => (FORK, *pid, *tid),
            What::Exit { pid, tid } => (EXIT, *pid, *tid),
            What::Switch { pid, tid } => (SWITCH, *pid, *tid),
            What::Lost { .. } => (LOST, 0, 0),
            What::Throttle { .. } => (THROTTLE, 0, 0),
        };
        let (mode, event) = match &record.what {
            What::Sample(sample) => (mode_number(sample.mode), sample.event),
            _ => (0, 0),
        };
        Self { kind, mode, event, cpu: record.cpu, pid, tid }
    }
}

fn mode_number(mode: Mode) -> u8 {
    match mode {
        Mode::Unknown => 0,
        Mode::Kernel => 1,
        Mode::User => 2,
        Mode::Hypervisor => 3,
        Mode::GuestKernel => 4,
        Mode::GuestUser => 5,
    }
}

/// Where the next time of a CPU is expected: as far from the last as that was from its own last.
#[derive(Debug, Clone, Copy, Default)]
struct Lane {
    last: u64,
    step: u64,
}

impl Lane {
    fn expected(self) -> u64 {
        self.last.wrapping_add(self.step)
    }

    fn go_to(&mut self, time: u64) {
        self.step = time.wrapping_sub(self.last);
        self.last = time;
    }
}

/// The lanes of contexts: samples of a CPU come evenly, other records do not.
#[derive(Debug, Default)]
struct Lanes {
    known: HashMap<(u32, bool), usize>,
    lanes: Vec<Lane>,
}

impl Lanes {
    fn of(&mut self, context: &Context) -> usize {
        let next = self.lanes.len();
        let lane = *self.known.entry((context.cpu, context.kind == SAMPLE)).or_insert(next);
        if lane == next {
            self.lanes.push(Lane::default());
        }
        lane
    }
}

/// CPUs whose last context is at hand, by the lowest bits of their numbers.
const RECENT: usize = 16;

/// Gathers records for a block.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    count: usize,
    contexts: HashMap<Context, (u64, usize)>,
    /// A CPU goes on as it did, mostly.
    recent: [Option<(Context, u64, usize)>; RECENT],
    table: Writer,
    lanes: Lanes,
    /// By event.
    periods: Vec<u64>,
    /// Each address once, in the order in which they came, and where.
    addresses: Vec<u64>,
    known: HashMap<u64, u32>,
    /// Of each sample, which address.
    met: Vec<u32>,
    places: Writer,
    times: Writer,
    changes: Writer,
    rest: Writer,
}

impl Builder {
    pub(crate) fn push(&mut self, record: &Record) {
        let (place, lane) = self.place(&Context::of(record));
        self.places.number(place);
        if let Some(lane) = self.lanes.lanes.get_mut(lane) {
            self.times.difference(record.time.0.wrapping_sub(lane.expected()));
            lane.go_to(record.time.0);
        }
        match &record.what {
            What::Sample(sample) => self.push_sample(sample),
            other => self.push_rest(other),
        }
        self.count += 1;
    }

    /// A context's place in the table, and its lane.
    fn place(&mut self, context: &Context) -> (u64, usize) {
        let recent = context.cpu as usize % RECENT;
        if let Some(Some((last, place, lane))) = self.recent.get(recent)
            && last == context
        {
            return (*place, *lane);
        }
        let next = self.contexts.len() as u64;
        let (place, lane) = match self.contexts.get(context) {
            Some(known) => *known,
            None => {
                let lane = self.lanes.of(context);
                self.contexts.insert(*context, (next, lane));
                self.enter(context);
                (next, lane)
            }
        };
        if let Some(recent) = self.recent.get_mut(recent) {
            *recent = Some((*context, place, lane));
        }
        (place, lane)
    }

    fn push_sample(&mut self, sample: &Sample) {
        let next = self.addresses.len() as u32;
        let met = *self.known.entry(sample.address).or_insert(next);
        if met == next {
            self.addresses.push(sample.address);
        }
        self.met.push(met);
        let event = usize::from(sample.event);
        if self.periods.len() <= event {
            self.periods.resize(event + 1, 0);
        }
        if let Some(before) = self.periods.get_mut(event) {
            self.changes.difference(sample.period.wrapping_sub(*before));
            *before = sample.period;
        }
    }

    fn enter(&mut self, context: &Context) {
        for number in [context.kind.into(), context.mode.into(), context.event.into()] {
            self.table.number(number);
        }
        for number in [context.cpu, context.pid, context.tid] {
            self.table.number(number.into());
        }
    }

    fn push_rest(&mut self, what: &What) {
        match what {
            What::Map(map) => {
                self.rest.number(map.start);
                self.rest.number(map.length);
                self.rest.number(map.offset);
                self.rest.number(u64::from(map.build_id.is_some()));
                if let Some(id) = &map.build_id {
                    self.rest.text(&id.0);
                }
                self.rest.text(&map.path);
            }
            What::Name { name, exec, .. } => {
                self.rest.number(u64::from(*exec));
                self.rest.text(name);
            }
            What::Fork { parent, .. } => self.rest.number(u64::from(*parent)),
            What::Lost { count } => self.rest.number(*count),
            What::Throttle { on } => self.rest.number(u64::from(*on)),
            What::Sample(_) | What::Exit { .. } | What::Switch { .. } => {}
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn is_full(&self) -> bool {
        self.count >= FULL || self.rest.bytes.len() >= FULL_NAMES
    }

    /// The block: its unpacked length (u32), then its columns, each after its length, compressed
    /// by LZ4. The builder is empty then.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let full = std::mem::take(self);
        let mut sorted: Vec<(u64, u32)> = full.addresses.iter().copied().zip(0..).collect();
        sorted.sort_unstable();
        let mut addresses = Writer::default();
        let mut before = 0;
        let mut places = vec![0; sorted.len()];
        for (index, (address, met)) in (0..).zip(sorted) {
            addresses.number(address - before);
            before = address;
            if let Some(place) = places.get_mut(met as usize) {
                *place = index;
            }
        }
        let mut indices = Writer::default();
        for met in &full.met {
            indices.number(places.get(*met as usize).copied().unwrap_or_default());
        }
        let mut columns = Writer::default();
        columns.number(full.count as u64);
        for column in [
            &full.table,
            &full.places,
            &full.times,
            &addresses,
            &indices,
            &full.changes,
            &full.rest,
        ] {
            columns.text(&column.bytes);
        }
        lz4_flex::block::compress_prepend_size(&columns.bytes)
    }
}

/// The records of a block, in their order.
#[derive(Debug)]
pub(crate) struct Block {
    bytes: Vec<u8>,
    left: usize,
    /// With their lanes.
    contexts: Vec<(Context, usize)>,
    lanes: Vec<Lane>,
    periods: Vec<u64>,
    addresses: Vec<u64>,
    places: Reader,
    times: Reader,
    indices: Reader,
    changes: Reader,
    rest: Reader,
}

impl Block {
    /// Unpacks a block.
    pub(crate) fn open(packed: &[u8]) -> Result<Self, Malformed> {
        let (length, packed) = packed.split_first_chunk::<4>().ok_or(Malformed)?;
        let length = u32::from_le_bytes(*length) as usize;
        // LZ4 makes at most 255 bytes of one.
        if length > MOST || length / 256 > packed.len() {
            return Err(Malformed);
        }
        let bytes = lz4_flex::block::decompress(packed, length).map_err(|_| Malformed)?;
        let mut all = Reader::of(&bytes);
        let left: usize = all.narrow(&bytes)?;
        let mut columns = [Reader::default(); 7];
        for column in &mut columns {
            let length = all.narrow(&bytes)?;
            *column = all.part(length)?;
        }
        let [table, places, times, addresses, indices, changes, rest] = columns;
        // Every record takes a byte of these at least.
        if left > places.left() || left > times.left() {
            return Err(Malformed);
        }
        let mut lanes = Lanes::default();
        let contexts = contexts(table, &bytes, &mut lanes)?;
        let addresses = sorted(addresses, &bytes)?;
        let events = contexts.iter().map(|(context, _)| usize::from(context.event) + 1).max();
        let periods = vec![0; events.unwrap_or_default()];
        Ok(Self {
            left,
            contexts,
            lanes: lanes.lanes,
            periods,
            addresses,
            places,
            times,
            indices,
            changes,
            rest,
            bytes,
        })
    }

    fn record(&mut self) -> Result<Record, Malformed> {
        let bytes = self.bytes.as_slice();
        let place: usize = self.places.narrow(bytes)?;
        let (context, lane) = *self.contexts.get(place).ok_or(Malformed)?;
        let lane = self.lanes.get_mut(lane).ok_or(Malformed)?;
        let time = lane.expected().wrapping_add(self.times.difference(bytes)?);
        lane.go_to(time);
        let what = if context.kind == SAMPLE {
            let index: usize = self.indices.narrow(bytes)?;
            let period = self.periods.get_mut(usize::from(context.event)).ok_or(Malformed)?;
            *period = period.wrapping_add(self.changes.difference(bytes)?);
            What::Sample(Sample {
                event: context.event,
                pid: context.pid,
                tid: context.tid,
                address: *self.addresses.get(index).ok_or(Malformed)?,
                mode: *MODES.get(usize::from(context.mode)).ok_or(Malformed)?,
                period: *period,
            })
        } else {
            other(&context, &mut self.rest, bytes)?
        };
        Ok(Record { time: Nanos(time), cpu: context.cpu, what })
    }
}

impl Iterator for Block {
    type Item = Result<Record, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let record = self.record();
        if record.is_err() {
            self.left = 0;
        }
        Some(record)
    }
}

fn contexts(
    mut table: Reader,
    bytes: &[u8],
    lanes: &mut Lanes,
) -> Result<Vec<(Context, usize)>, Malformed> {
    let mut contexts = Vec::new();
    while table.left() > 0 {
        let context = Context {
            kind: table.narrow(bytes)?,
            mode: table.narrow(bytes)?,
            event: table.narrow(bytes)?,
            cpu: table.narrow(bytes)?,
            pid: table.narrow(bytes)?,
            tid: table.narrow(bytes)?,
        };
        let lane = lanes.of(&context);
        contexts.push((context, lane));
    }
    Ok(contexts)
}

fn sorted(mut column: Reader, bytes: &[u8]) -> Result<Vec<u64>, Malformed> {
    let mut addresses = Vec::new();
    let mut before = 0_u64;
    while column.left() > 0 {
        before = before.checked_add(column.number(bytes)?).ok_or(Malformed)?;
        addresses.push(before);
    }
    Ok(addresses)
}

/// What a record that is no sample says.
fn other(context: &Context, rest: &mut Reader, bytes: &[u8]) -> Result<What, Malformed> {
    let Context { pid, tid, .. } = *context;
    Ok(match context.kind {
        MAP => {
            let (start, length) = (rest.number(bytes)?, rest.number(bytes)?);
            let offset = rest.number(bytes)?;
            let build_id = match rest.number(bytes)? {
                0 => None,
                _ => Some(BuildId(rest.text(bytes)?.to_vec())),
            };
            let path = rest.text(bytes)?.to_vec();
            What::Map(Box::new(Map { pid, tid, start, length, offset, build_id, path }))
        }
        NAME => {
            let exec = rest.number(bytes)? != 0;
            What::Name { pid, tid, exec, name: rest.text(bytes)?.to_vec() }
        }
        FORK => What::Fork { pid, tid, parent: rest.narrow(bytes)? },
        EXIT => What::Exit { pid, tid },
        SWITCH => What::Switch { pid, tid },
        LOST => What::Lost { count: rest.number(bytes)? },
        THROTTLE => What::Throttle { on: rest.number(bytes)? != 0 },
        _ => return Err(Malformed),
    })
}

#[cfg(test)]
#[path = "block_tests.rs"]
mod tests;
