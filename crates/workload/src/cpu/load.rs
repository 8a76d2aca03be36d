//! The load of one instance: text, data, and the calls that a pass makes.

use super::data::Data;
use super::draw::Draw;
use super::generate::{Functions, SCRIPT};
use super::text::Text;
use crate::Error;

/// Calls of a pass into the text; each leads to more inside it.
pub const CALLS_PER_PASS: u64 = 128 * 1024;

/// Calls of one function in a row, at most.
const MOST_IN_A_ROW: u64 = 6;

/// A generated program, in memory.
#[derive(Debug)]
pub(super) struct Load {
    text: Text,
    data: Data,
    script: Vec<(u64, u64)>,
    functions: u64,
    state: u64,
}

impl Load {
    /// Generates it; the same seed and sizes give the same one everywhere.
    pub(super) fn new(seed: u64, text: u64, data: u64) -> Result<Self, Error> {
        let functions = Functions::plan(seed, text, data);
        let size =
            usize::try_from(text).map_err(|_| Error::Plan("the text is too large".into()))?;
        let text = Text::new(size, |bytes| functions.write(bytes))?;
        let data = Data::new(seed, data)?;
        let mut draw = Draw::new(seed, SCRIPT);
        let script = script(&functions, &data, &mut draw);
        Ok(Self { text, data, script, functions: functions.count(), state: seed })
    }

    /// Functions of the text.
    pub(super) fn functions(&self) -> u64 {
        self.functions
    }

    /// Depends on all that was executed so far.
    pub(super) fn checksum(&self) -> u64 {
        self.state
    }

    /// Makes all calls of a pass, or ends where `go_on` says so; whether it was all.
    pub(super) fn pass(&mut self, mut go_on: impl FnMut() -> bool) -> bool {
        for calls in self.script.chunks(256) {
            if !go_on() {
                return false;
            }
            for (target, record) in calls {
                self.state = self.text.call(&mut self.data, *target, self.state, *record);
            }
        }
        true
    }
}

/// A function is called some times in a row with other data, as a compiler works on a list.
fn script(functions: &Functions, data: &Data, draw: &mut Draw) -> Vec<(u64, u64)> {
    let mut script = Vec::with_capacity(CALLS_PER_PASS as usize);
    while script.len() < CALLS_PER_PASS as usize {
        let target = functions.first(draw);
        for _ in 0..draw.between(1, MOST_IN_A_ROW) {
            script.push((target, data.record(draw)));
        }
    }
    script.truncate(CALLS_PER_PASS as usize);
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const TEXT: u64 = 1 << 18;
    const DATA: u64 = 1 << 17;

    fn checksum(seed: u64, passes: u64) -> u64 {
        let mut load = Load::new(seed, TEXT, DATA).unwrap();
        for _ in 0..passes {
            assert!(load.pass(|| true));
        }
        load.checksum()
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_same_seed_is_the_same_work_everywhere() {
        assert_eq!(checksum(1, 2), GOLDEN);
        let others = [checksum(1, 1), checksum(2, 2), checksum(3, 2)];
        assert_eq!(others.iter().chain(&[GOLDEN]).collect::<HashSet<_>>().len(), 4);
    }

    /// What two passes of seed 1 give on any machine.
    #[cfg(target_arch = "x86_64")]
    const GOLDEN: u64 = 0x6273_e3d9_ee71_4bf3;

    #[test]
    fn a_seed_gives_its_bytes() {
        let bytes = |seed| {
            let mut bytes = vec![0; TEXT as usize];
            Functions::plan(seed, TEXT, DATA).write(&mut bytes);
            bytes
        };
        let first = bytes(1);
        assert!(first == bytes(1) && first != bytes(2));
        let used = first.iter().rposition(|byte| *byte != 0).unwrap();
        assert!(used as u64 > TEXT - 4096, "{used} of {TEXT} bytes");
        for seed in 3..40 {
            bytes(seed);
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_pass_calls_many_functions_and_can_be_ended() {
        let mut load = Load::new(1, 1 << 20, DATA).unwrap();
        let called: HashSet<u64> = load.script.iter().map(|(target, _)| *target).collect();
        // Those of the first level, of six; the others are called from these.
        let (called, all) = (called.len() as u64, load.functions());
        assert!(called > all / 8, "{called} of {all} functions");
        let mut calls = 0;
        let all = load.pass(|| {
            calls += 1;
            calls < 4
        });
        assert!(!all && calls == 4);
    }
}
