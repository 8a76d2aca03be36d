//! What is kept of a kernel's symbols: thousands of functions instead of hundreds of thousands.

/// The digits of an address, as they stand in a kallsyms: their order is that of the addresses.
type Digits = u128;

/// The lines with one address.
#[derive(Debug, Clone, Default)]
struct Lines {
    address: Digits,
    /// Where each is.
    at: Vec<(usize, usize)>,
}

impl Lines {
    fn take(&mut self, address: Digits, line: (usize, usize)) {
        if self.address != address {
            self.address = address;
            self.at.clear();
        }
        self.at.push(line);
    }
}

/// The symbols between two addresses that are wanted.
#[derive(Debug, Clone, Default)]
struct Between {
    lowest: Lines,
    highest: Lines,
}

impl Between {
    fn see(&mut self, address: Digits, line: (usize, usize)) {
        if self.highest.at.is_empty() || address <= self.lowest.address {
            self.lowest.take(address, line);
        }
        if address >= self.highest.address {
            self.highest.take(address, line);
        }
    }
}

/// The lines of a kallsyms that name these addresses, and those that end them. The kernel's own
/// symbols are in order, its modules' are not. Of aliases all are kept: which one is shown is the
/// report's choice.
pub fn reduced(text: &[u8], mut addresses: Vec<u64>) -> Vec<u8> {
    addresses.sort_unstable();
    addresses.dedup();
    let wanted: Vec<Digits> = addresses.into_iter().map(digits).collect();
    let mut between = vec![Between::default(); wanted.len() + 1];
    // Lines that follow one another are mostly between the same two.
    let (mut place, mut above, mut up_to) = (0, None, wanted.first().copied());
    let mut from = 0;
    for end in memchr::memchr_iter(b'\n', text) {
        let line = (from, end + 1);
        from = end + 1;
        let Some(address) = text.get(line.0..line.1).and_then(address_of) else { continue };
        let here = above.is_none_or(|low| low < address) && up_to.is_none_or(|up| address <= up);
        if !here {
            place = wanted.partition_point(|&one| one < address);
            above = place.checked_sub(1).and_then(|before| wanted.get(before)).copied();
            up_to = wanted.get(place).copied();
        }
        if let Some(between) = between.get_mut(place) {
            between.see(address, line);
        }
    }
    let mut kept = Vec::new();
    let last = wanted.len();
    for (place, Between { lowest, highest }) in between.into_iter().enumerate() {
        // The lowest ends the address below, the highest names the one above.
        let ends = if place > 0 { lowest.at } else { Vec::new() };
        let names = if place < last { highest.at } else { Vec::new() };
        let both = ends.first() == names.first();
        let lines = ends.into_iter().chain(names.into_iter().filter(|_| !both));
        for (from, to) in lines {
            kept.extend_from_slice(text.get(from..to).unwrap_or_default());
        }
    }
    kept
}

/// The digits that a line begins with, up to a blank.
fn address_of(line: &[u8]) -> Option<Digits> {
    if let Some((digits, [b' ', ..])) = line.split_first_chunk::<16>() {
        return Some(Digits::from_be_bytes(*digits));
    }
    // A kernel of 32 bits.
    let (digits, [b' ', ..]) = line.split_first_chunk::<8>()? else { return None };
    let upper = Digits::from_be_bytes([b'0'; 16]) << 64;
    Some(upper | Digits::from(u64::from_be_bytes(*digits)))
}

/// As a kallsyms of 64 bits has them.
fn digits(address: u64) -> Digits {
    let mut digits = [0; 16];
    for (at, digit) in digits.iter_mut().enumerate() {
        let value = (address >> (60 - 4 * at)) & 0xf;
        *digit = b"0123456789abcdef".get(value as usize).copied().unwrap_or_default();
    }
    Digits::from_be_bytes(digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::fmt::Write;

    #[test]
    fn only_the_functions_that_were_met_are_kept_with_their_ends() {
        let text = b"0000000000001000 T a\n0000000000002000 t b\n0000000000002000 T b_alias\n\
                     0000000000003000 T c\n0000000000004000 t d\t[module]\nnonsense\n";
        let found = reduced(text, vec![0x20ff, 0x2010]);
        let found = String::from_utf8(found).unwrap();
        let names: Vec<&str> = found.lines().map(|line| &line[19..]).collect();
        assert_eq!(names, ["b", "b_alias", "c"]);
        assert_eq!(reduced(text, vec![0x10]), b"0000000000001000 T a\n");
        assert_eq!(reduced(text, Vec::new()), b"");
        assert_eq!(reduced(b"c0de1000 T a\nc0de2000 T b\n", vec![0xc0de_2001]), b"c0de2000 T b\n");
    }

    proptest! {
        /// In whatever order the symbols are, each address finds the same name and end as in all.
        #[test]
        fn names_are_the_same(
            symbols in prop::collection::vec(0_u64..400, 0..60),
            addresses in prop::collection::vec(0_u64..400, 0..20),
        ) {
            let mut text = String::new();
            for (at, symbol) in symbols.iter().enumerate() {
                writeln!(text, "{symbol:016x} t f{at}").unwrap();
            }
            let kept = String::from_utf8(reduced(text.as_bytes(), addresses.clone())).unwrap();
            let of = |text: &str, start: u64| -> BTreeSet<String> {
                let prefix = format!("{start:016x} ");
                text.lines().filter(|line| line.starts_with(&prefix)).map(str::to_owned).collect()
            };
            let known: BTreeSet<u64> = symbols.iter().copied().collect();
            let mut expected = BTreeSet::new();
            for &address in &addresses {
                let named = known.range(..=address).next_back();
                let ended = known.range(address + 1..).next();
                expected.extend(named.into_iter().chain(ended).flat_map(|&one| of(&text, one)));
            }
            let found: BTreeSet<String> = kept.lines().map(str::to_owned).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
