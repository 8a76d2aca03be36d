//! The data area: records of a cache line each, which lead to one another.

use super::draw::{Draw, Zipf};
use super::function::RECORD;
use super::generate::RECORDS;
use crate::Error;
use memmap2::MmapMut;

/// How much the popularity of records falls over the area.
const POPULARITY: u64 = 13;

/// Records whose first word is the offset of the next one.
#[derive(Debug)]
pub(super) struct Data {
    records: MmapMut,
    popularity: Zipf,
}

impl Data {
    /// `bytes` of records, all written.
    pub(super) fn new(seed: u64, bytes: u64) -> Result<Self, Error> {
        let what = || format!("cannot allocate {bytes} bytes of data");
        let length = usize::try_from(bytes).map_err(|_| Error::Plan(what()))?;
        let mut records = MmapMut::map_anon(length).map_err(Error::io(what()))?;
        let count = bytes / RECORD;
        let popularity = Zipf::new(count, POPULARITY);
        let mut draw = Draw::new(seed, RECORDS);
        for (index, record) in records.chunks_exact_mut(RECORD as usize).enumerate() {
            // Most lead to a neighbour, as what is allocated together is used together.
            let next = if draw.chance(200) {
                (index as u64 + draw.between(1, 4)) % count
            } else {
                popularity.rank(&mut draw)
            };
            record[..8].copy_from_slice(&(next * RECORD).to_le_bytes());
            for word in record[8..].chunks_exact_mut(8) {
                word.copy_from_slice(&draw.bits().to_le_bytes());
            }
        }
        Ok(Self { records, popularity })
    }

    /// The offset of a record, a popular one more often.
    pub(super) fn record(&self, draw: &mut Draw) -> u64 {
        self.popularity.rank(draw) * RECORD
    }

    /// Where the area begins.
    pub(super) fn start(&mut self) -> *mut u8 {
        self.records.as_mut_ptr()
    }
}
