//! Sets of CPUs, as Linux lists them.

use std::fmt;

/// The highest number of CPUs for which Linux or Xen can be built.
const MAX_CPUS: u32 = 8192;
/// Maximum length of a list in bytes: every CPU on its own.
const MAX_LIST: usize = 48 << 10;

/// A set of CPUs, parsed and displayed as Linux writes a list: `0-3,8`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cpus {
    /// A bit for each CPU, the lowest first; the last word is not 0.
    words: Vec<u64>,
}

impl Cpus {
    /// Parses a list; `None` where it is malformed or empty, or has a number of 8192 or more.
    #[must_use]
    pub fn parse(list: &str) -> Option<Self> {
        let list = list.trim();
        if list.is_empty() || list.len() > MAX_LIST {
            return None;
        }
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|number| is_number && *number < MAX_CPUS)
        };
        let mut cpus = Self::default();
        for range in list.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (u32, u32) = (number(first)?, number(last)?);
            if first > last {
                return None;
            }
            (first..=last).for_each(|cpu| cpus.insert(cpu));
        }
        Some(cpus)
    }

    /// All CPUs from 0 to `last`.
    #[must_use]
    pub fn up_to(last: u32) -> Self {
        (0..=last.min(MAX_CPUS - 1)).collect()
    }

    /// From a bitmap as Xen returns it, bit 0 of byte 0 for CPU 0; CPUs above `last` are left out.
    #[must_use]
    pub fn of_bitmap(bitmap: &[u8], last: u32) -> Self {
        let is_set = |cpu: &u32| {
            bitmap.get(*cpu as usize / 8).is_some_and(|byte| byte >> (cpu % 8) & 1 == 1)
        };
        (0..=last.min(MAX_CPUS - 1)).filter(is_set).collect()
    }

    /// As a bitmap of 8192 bits, bit 0 of byte 0 for CPU 0, as Xen takes it.
    #[must_use]
    pub fn bitmap(&self) -> Vec<u8> {
        let mut bitmap: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bitmap.resize(MAX_CPUS as usize / 8, 0);
        bitmap
    }

    /// The CPUs in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        (0_u32..).zip(&self.words).flat_map(|(at, word)| {
            (0..u64::BITS).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit)
        })
    }

    /// The number of CPUs.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether the CPU is in the set.
    #[must_use]
    pub fn contains(&self, cpu: u32) -> bool {
        self.words.get(cpu as usize / 64).is_some_and(|word| word >> (cpu % 64) & 1 == 1)
    }

    fn insert(&mut self, cpu: u32) {
        let at = cpu as usize / 64;
        if self.words.len() <= at {
            self.words.resize(at + 1, 0);
        }
        if let Some(word) = self.words.get_mut(at) {
            *word |= 1 << (cpu % 64);
        }
    }
}

impl FromIterator<u32> for Cpus {
    /// Numbers of 8192 and more are left out.
    fn from_iter<I: IntoIterator<Item = u32>>(cpus: I) -> Self {
        let mut set = Self::default();
        cpus.into_iter().filter(|cpu| *cpu < MAX_CPUS).for_each(|cpu| set.insert(cpu));
        set
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.iter().peekable();
        let mut comma = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if(|next| *next == last + 1) {
                last = next;
            }
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
            comma = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_are_those_of_linux() {
        let list = Cpus::parse(" 0-3,8\n").unwrap();
        assert_eq!(list.to_string(), "0-3,8");
        assert_eq!((list.count(), list.contains(8), list.contains(4)), (5, true, false));
        assert_eq!(list.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 8]);
        assert_eq!(list.bitmap()[..3], [0b1111, 1, 0]);
        assert_eq!(Cpus::of_bitmap(&list.bitmap(), 100), list);
        assert_eq!(Cpus::of_bitmap(&list.bitmap(), 2), Cpus::up_to(2));
        assert_eq!(Cpus::parse("2,1,0").unwrap().to_string(), "0-2");
        assert_eq!(Cpus::parse("0-8191").unwrap().count(), 8192);
        for wrong in ["", " ", "a", "1-", "-1", "3-1", "0,", "0-8192", "1--2", "0 1", "0x1", "+1"] {
            assert_eq!(Cpus::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_displayed_parses_to_the_same_set(
            cpus in proptest::collection::btree_set(0_u32..300, 1..40)
        ) {
            let set: Cpus = cpus.iter().copied().collect();
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), cpus.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(Cpus::parse(&set.to_string()), Some(set));
        }

        #[test]
        fn any_text_is_a_list_or_none(text in "[0-9,-]{0,30}|.{0,30}") {
            let _ = Cpus::parse(&text);
        }
    }
}
