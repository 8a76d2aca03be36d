//! Which functions there are: their places, sizes, levels, and who calls whom.

use super::draw::{Draw, Zipf};
use super::function::{RECORD, Surroundings, entry, function};

/// Depth of calls: a function calls only those of later levels.
const LEVELS: usize = 6;
/// Functions begin at multiples of this, as compilers align them.
const ALIGN: u64 = 16;
/// Bytes at the start for the way in.
pub(super) const ENTRY: u64 = 64;
/// Where fixed addresses may lie: what a 32-bit displacement reaches.
const STATIC_REACH: u64 = 1 << 30;
/// How much the popularity falls: of functions that are called, and of fixed addresses.
const CALLED: u64 = 15;
const FIXED: u64 = 13;

/// The streams of draws of a seed.
pub(super) const LAYOUT: u64 = 0;
pub(super) const SCRIPT: u64 = 1;
pub(super) const RECORDS: u64 = 2;
const FUNCTIONS: u64 = 16;

/// The functions of a text, before their code is written.
#[derive(Debug)]
pub(super) struct Functions {
    seed: u64,
    data: u64,
    statics: Zipf,
    functions: Vec<Function>,
    /// The functions of each level, the popular first.
    levels: Vec<(Vec<u32>, Zipf)>,
}

#[derive(Debug, Clone, Copy)]
struct Function {
    start: u64,
    size: u64,
    level: usize,
}

impl Functions {
    /// As many as fill `text` bytes, for a data area of `data` bytes.
    pub(super) fn plan(seed: u64, text: u64, data: u64) -> Self {
        let mut draw = Draw::new(seed, LAYOUT);
        let mut functions = Vec::new();
        let mut start = ENTRY;
        loop {
            let size = size(&mut draw);
            if start + size > text {
                break;
            }
            // Each level gets some even of the smallest text.
            let level = match functions.len() {
                few if few < LEVELS => few,
                _ => draw.below(LEVELS as u64) as usize,
            };
            functions.push(Function { start, size, level });
            start += size;
        }
        let mut levels = vec![Vec::new(); LEVELS];
        for (index, function) in functions.iter().enumerate() {
            levels[function.level].push(index as u32);
        }
        let levels = levels
            .into_iter()
            .map(|mut members| {
                shuffle(&mut draw, &mut members);
                let popularity = Zipf::new(members.len() as u64, CALLED);
                (members, popularity)
            })
            .collect();
        let statics = Zipf::new(data.min(STATIC_REACH) / RECORD, FIXED);
        Self { seed, data, statics, functions, levels }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.functions.len() as u64
    }

    /// Writes the code of all, and the way in at the start.
    pub(super) fn write(&self, text: &mut [u8]) {
        let entry = entry();
        text[..entry.len()].copy_from_slice(&entry);
        for (index, function) in self.functions.iter().enumerate() {
            let from = function.start as usize;
            let to = from + function.size as usize;
            text[from..to].copy_from_slice(&self.code(index));
        }
    }

    /// Where a function of the first level begins, a popular one more often.
    pub(super) fn first(&self, draw: &mut Draw) -> u64 {
        self.at_level(0, draw).start
    }

    fn code(&self, index: usize) -> Vec<u8> {
        let Function { start, size, level } = self.functions[index];
        let mut draw = Draw::new(self.seed, FUNCTIONS + index as u64);
        let callees: Vec<i64> = (0..if level + 1 < LEVELS { 6 } else { 0 })
            .map(|_| {
                // Mostly the next level, so that a call goes deep.
                let later = if draw.chance(192) { 1 } else { draw.between(1, LEVELS as u64) };
                let level = (level + later as usize).min(LEVELS - 1);
                self.at_level(level, &mut draw).start as i64 - start as i64
            })
            .collect();
        let around = Surroundings { callees: &callees, data: self.data, statics: &self.statics };
        function(&mut draw, size as usize, &around)
    }

    fn at_level(&self, level: usize, draw: &mut Draw) -> Function {
        let (members, popularity) = &self.levels[level];
        self.functions[members[popularity.rank(draw) as usize] as usize]
    }
}

/// Bytes of a function: log-normal about 450, from 128 to 4096.
fn size(draw: &mut Draw) -> u64 {
    // Twelve uniform draws make a normal one; 256 is an octave.
    let sum: u64 = (0..12).map(|_| draw.below(256)).sum();
    let exponent = (8 * 256 + 200 + sum).saturating_sub(12 * 128);
    let (octave, part) = (exponent / 256, exponent % 256);
    let size = (1_u64 << octave.min(12)) * (256 + part) / 256;
    size.clamp(128, 4096).next_multiple_of(ALIGN)
}

fn shuffle(draw: &mut Draw, members: &mut [u32]) {
    for last in (1..members.len()).rev() {
        members.swap(last, draw.below(last as u64 + 1) as usize);
    }
}
