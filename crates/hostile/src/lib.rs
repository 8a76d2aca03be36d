//! Hostile inputs for the tests of parsers: mutations of good ones, the same in every run.
//!
//! `VMETER_FUZZ_CASES` sets how many each test tries.

/// How many inputs a test tries: `VMETER_FUZZ_CASES`, or `default`.
#[must_use]
pub fn cases(default: u64) -> u64 {
    std::env::var("VMETER_FUZZ_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Pseudo-random numbers (xorshift64*), the same for the same seed.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // Zero would stay zero; and small seeds start alike.
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`; 0 where that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() >> 33).unwrap_or(0) % end.max(1)
    }

    /// Any byte.
    pub fn byte(&mut self) -> u8 {
        self.number().to_le_bytes()[7]
    }

    /// Changes one to eight places of the bytes, to anything or to what makes numbers large; and
    /// cuts them, now and then.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(8) {
            let (at, value) = (self.below(bytes.len()), self.byte());
            let value = [value, 0xff, 0, 0x7f, 0x80, value][self.below(6)];
            let length = [1, 1, 2, 4, 8][self.below(5)];
            bytes.iter_mut().skip(at).take(length).for_each(|byte| *byte = value);
        }
        if self.below(8) == 0 {
            bytes.truncate(self.below(bytes.len()));
        }
    }
}

/// Shows the input that made a parser panic.
struct Shown<'a>(&'a [u8]);

impl Drop for Shown<'_> {
    #[allow(clippy::print_stderr, reason = "it is read beside the panic")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input was: {:?}", self.0.escape_ascii().to_string());
        }
    }
}

/// Runs `parse` on [`cases`] (100,000) inputs: `sample`, a well-formed one, cut anywhere, with a
/// piece doubled or left out, with bytes replaced; and wholly random ones. Only a panic fails.
pub fn survives(sample: &[u8], parse: impl Fn(&[u8])) {
    let mut random = Random::new(0);
    let mut bytes = Vec::new();
    for _ in 0..cases(100_000) {
        bytes.clear();
        if random.below(8) == 0 {
            bytes.extend((0..random.below(80)).map(|_| random.byte()).collect::<Vec<_>>());
        } else {
            let (from, to) = (random.below(sample.len() + 1), random.below(sample.len() + 1));
            bytes.extend_from_slice(&sample[..to]);
            if random.below(2) == 0 {
                bytes.extend_from_slice(&sample[from..]);
            }
            for _ in 0..random.below(4).min(bytes.len()) {
                let at = random.below(bytes.len());
                bytes[at] = random.byte();
            }
        }
        let shown = Shown(&bytes);
        parse(shown.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn the_same_seed_gives_the_same_mutations_and_another_gives_others() {
        let mutated = |seed| {
            let mut random = Random::new(seed);
            (0..20)
                .map(|_| {
                    let mut bytes = vec![7; 40];
                    random.mutate(&mut bytes);
                    bytes
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(mutated(1), mutated(1));
        assert_ne!(mutated(1), mutated(2));
    }

    #[test]
    fn inputs_are_whole_cut_and_changed() {
        let seen = RefCell::new(Vec::new());
        survives(b"0123456789", |bytes| seen.borrow_mut().push(bytes.to_vec()));
        let seen = seen.into_inner();
        let has = |is: &dyn Fn(&[u8]) -> bool| seen.iter().any(|bytes| is(bytes));
        assert!(has(&|bytes| bytes == b"0123456789") && has(&<[u8]>::is_empty));
        assert!(has(&|bytes| bytes == b"01234") && has(&|bytes| bytes.len() > 10));
        assert!(has(&|bytes| bytes.len() == 10
            && bytes.starts_with(b"0")
            && bytes != b"0123456789"));
    }
}
