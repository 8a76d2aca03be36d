//! The hostile inputs that every parser has to survive.

/// Shows the input that made a parser panic.
struct Shown<'a>(&'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input was: {:?}", self.0.escape_ascii().to_string());
        }
    }
}

/// Pseudo-random numbers (xorshift64), the same ones at every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 32).unwrap() % end.max(1)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

/// Runs `parse` on 100,000 inputs: `sample`, a well-formed one, cut anywhere, with a piece
/// doubled or left out, with bytes replaced; and wholly random ones. Only a panic fails.
pub fn survives(sample: &[u8], parse: impl Fn(&[u8])) {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::new();
    for _ in 0..100_000 {
        bytes.clear();
        if numbers.below(8) == 0 {
            bytes.extend((0..numbers.below(80)).map(|_| numbers.byte()).collect::<Vec<_>>());
        } else {
            let (from, to) = (numbers.below(sample.len() + 1), numbers.below(sample.len() + 1));
            bytes.extend_from_slice(&sample[..to]);
            if numbers.below(2) == 0 {
                bytes.extend_from_slice(&sample[from..]);
            }
            for _ in 0..numbers.below(4).min(bytes.len()) {
                let at = numbers.below(bytes.len());
                bytes[at] = numbers.byte();
            }
        }
        let shown = Shown(&bytes);
        parse(shown.0);
    }
}
