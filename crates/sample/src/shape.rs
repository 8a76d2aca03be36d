//! Where the fields of samples, and of the trailers (`struct sample_id`) of other records, are.

use crate::Unfit;
use model::{u32_at, u64_at};

const IP: u64 = 1 << 0;
const TID: u64 = 1 << 1;
const TIME: u64 = 1 << 2;
const ADDR: u64 = 1 << 3;
const ID: u64 = 1 << 6;
const CPU: u64 = 1 << 7;
const PERIOD: u64 = 1 << 8;
const STREAM_ID: u64 = 1 << 9;
const IDENTIFIER: u64 = 1 << 16;

/// The CPU of a record that does not tell it, as perf itself has it (-1).
const NO_CPU: u32 = u32::MAX;

/// Places of fields, in bytes: of a sample from its body's begin, of a trailer from its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    id: Option<usize>,
    identified: bool,
    ip: usize,
    tid: usize,
    time: usize,
    cpu: Option<usize>,
    period: Option<usize>,
    /// Bytes in which all of these are.
    least: usize,
    trailer_time: usize,
    trailer_cpu: Option<usize>,
    /// Bytes of a trailer.
    trailer: usize,
}

/// What is read of a sample.
pub(crate) struct Fields {
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) address: u64,
    pub(crate) time: u64,
    pub(crate) cpu: u32,
    pub(crate) period: Option<u64>,
}

/// What is read of a trailer.
pub(crate) struct Trailer {
    pub(crate) time: u64,
    pub(crate) cpu: u32,
}

impl Shape {
    /// The places that a `sample_type` means.
    pub(crate) fn of(sample_type: u64) -> Result<Self, Unfit> {
        let has = |bit: u64| sample_type & bit != 0;
        // Every field is of eight bytes; these come first, in this order, and before any whose
        // length varies.
        let order = [IDENTIFIER, IP, TID, TIME, ADDR, ID, STREAM_ID, CPU, PERIOD];
        let place = |order: &[u64], bit: u64| {
            let before = order.iter().take_while(|one| **one != bit);
            has(bit).then(|| 8 * before.filter(|one| has(**one)).count())
        };
        let trail = [TID, TIME, ID, STREAM_ID, CPU, IDENTIFIER];
        let bytes = |order: &[u64]| 8 * order.iter().filter(|one| has(**one)).count();
        Ok(Self {
            id: place(&order, IDENTIFIER).or_else(|| place(&order, ID)),
            identified: has(IDENTIFIER),
            ip: place(&order, IP).ok_or(Unfit::Lacks("address (PERF_SAMPLE_IP)"))?,
            tid: place(&order, TID).ok_or(Unfit::Lacks("thread (PERF_SAMPLE_TID)"))?,
            time: place(&order, TIME).ok_or(Unfit::Lacks("time (PERF_SAMPLE_TIME)"))?,
            cpu: place(&order, CPU),
            period: place(&order, PERIOD),
            least: bytes(&order),
            trailer_time: place(&trail, TIME).ok_or(Unfit::Lacks("time (PERF_SAMPLE_TIME)"))?,
            trailer_cpu: place(&trail, CPU),
            trailer: bytes(&trail),
        })
    }

    /// Whether its number comes first (PERF_SAMPLE_IDENTIFIER), where all shapes have it.
    pub(crate) fn is_identified(&self) -> bool {
        self.identified
    }

    /// Whether samples tell their event's number.
    pub(crate) fn has_id(&self) -> bool {
        self.id.is_some()
    }

    /// Whether samples tell their period.
    pub(crate) fn has_period(&self) -> bool {
        self.period.is_some()
    }

    /// The number of a sample's event.
    pub(crate) fn id(&self, body: &[u8]) -> Option<u64> {
        u64_at(body, self.id?)
    }

    /// A sample's fields; `None` where it is too short for them.
    #[inline]
    pub(crate) fn sample(&self, body: &[u8]) -> Option<Fields> {
        let body = body.get(..self.least)?;
        let thread = u64_at(body, self.tid)?;
        Some(Fields {
            pid: thread as u32,
            tid: (thread >> 32) as u32,
            address: u64_at(body, self.ip)?,
            time: u64_at(body, self.time)?,
            cpu: self.cpu.map_or(Some(NO_CPU), |at| u32_at(body, at))?,
            period: self.period.map_or(Some(None), |at| u64_at(body, at).map(Some))?,
        })
    }

    /// The fields of another record, and its trailer.
    pub(crate) fn trailer<'a>(&self, body: &'a [u8]) -> Option<(&'a [u8], Trailer)> {
        let (fields, trailer) = body.split_at_checked(body.len().checked_sub(self.trailer)?)?;
        let time = u64_at(trailer, self.trailer_time)?;
        let cpu = self.trailer_cpu.map_or(Some(NO_CPU), |at| u32_at(trailer, at))?;
        Some((fields, Trailer { time, cpu }))
    }
}
