//! A set of CPUs.

use super::TuneError;
use crate::host::{Tree, parse_number};
use rustix::thread::CpuSet;
use std::collections::BTreeSet;
use std::fmt;

/// The most that Linux or Xen can be built for.
const MOST: u32 = 8192;
/// Bytes of a list that are looked at: all CPUs one by one.
const LONGEST: usize = 48 << 10;

/// CPUs, read and shown as Linux writes a list: `0-3,8`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cpus(BTreeSet<u32>);

impl Cpus {
    /// Takes a list apart; `None` where it is none, or names nothing.
    #[must_use]
    pub fn parse(list: &str) -> Option<Self> {
        let list = list.trim();
        if list.is_empty() || list.len() > LONGEST {
            return None;
        }
        let number = |text: &str| {
            let number = u32::try_from(parse_number(text.as_bytes())?).ok()?;
            (number < MOST).then_some(number)
        };
        let mut cpus = BTreeSet::new();
        for part in list.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return None;
            }
            cpus.extend(first..=last);
        }
        Some(Self(cpus))
    }

    /// Takes a list apart and checks that all its CPUs are among those that are `there`.
    ///
    /// # Errors
    /// [`TuneError::Cpus`], which names those that there are.
    pub fn among(list: &str, there: &Self) -> Result<Self, TuneError> {
        let cpus = Self::parse(list)
            .ok_or_else(|| TuneError::Cpus(format!("{list:?} is no list of CPUs: 0-3,8 is one")))?;
        match cpus.0.difference(&there.0).next() {
            None => Ok(cpus),
            Some(cpu) => Err(TuneError::Cpus(format!("there is no CPU {cpu}, only {there}"))),
        }
    }

    /// The CPUs that are online (`/sys/devices/system/cpu/online`).
    pub(super) fn online(tree: &Tree) -> Result<Self, TuneError> {
        let path = "/sys/devices/system/cpu/online";
        let refused = |why: String| TuneError::Refused { what: path.to_owned(), why };
        let text = tree.read_text(path).map_err(|error| refused(error.to_string()))?;
        Self::parse(&text).ok_or_else(|| refused("it holds no list of CPUs".to_owned()))
    }

    /// All up to a highest one.
    #[must_use]
    pub fn up_to(last: u32) -> Self {
        Self((0..=last.min(MOST - 1)).collect())
    }

    /// As sched_setaffinity takes it.
    pub(super) fn set(&self) -> Result<CpuSet, TuneError> {
        let mut set = CpuSet::new();
        for cpu in &self.0 {
            let at = usize::try_from(*cpu).unwrap_or(usize::MAX);
            if at >= CpuSet::MAX_CPU {
                return Err(TuneError::Cpus(format!(
                    "threads can be bound to the first {} CPUs only",
                    CpuSet::MAX_CPU
                )));
            }
            set.set(at);
        }
        Ok(set)
    }

    /// From what sched_getaffinity gave.
    pub(super) fn of(set: &CpuSet) -> Self {
        let is_set = |cpu: &u32| usize::try_from(*cpu).is_ok_and(|cpu| set.is_set(cpu));
        let most = u32::try_from(CpuSet::MAX_CPU).unwrap_or(MOST);
        Self((0..most).filter(is_set).collect())
    }

    /// From what Xen gave, a bit for each CPU; none above `last`.
    pub(crate) fn of_bitmap(bitmap: &[u8], last: u32) -> Self {
        let is_set = |cpu: &u32| {
            bitmap.get(*cpu as usize / 8).is_some_and(|byte| byte >> (cpu % 8) & 1 == 1)
        };
        Self((0..=last.min(MOST - 1)).filter(is_set).collect())
    }

    /// As Xen takes it: a bit for each CPU.
    pub(super) fn bitmap(&self) -> Vec<u8> {
        let mut bitmap = vec![0; MOST as usize / 8];
        for cpu in &self.0 {
            if let Some(byte) = bitmap.get_mut(*cpu as usize / 8) {
                *byte |= 1 << (cpu % 8);
            }
        }
        bitmap
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.iter().copied().peekable();
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
        assert_eq!(Cpus::of(&list.set().unwrap()), list);
        assert_eq!(list.bitmap()[..2], [0b1111, 1]);
        assert_eq!(Cpus::parse("2,1,0").unwrap().to_string(), "0-2");
        for wrong in ["", " ", "a", "1-", "-1", "3-1", "0,", "0-8192", "1--2", "0 1", "0x1"] {
            assert_eq!(Cpus::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_cpu_that_is_not_there_is_told_with_those_that_are() {
        let there = Cpus::up_to(1);
        let error = Cpus::among("1-3", &there).unwrap_err().to_string();
        assert_eq!(error, "there is no CPU 2, only 0-1");
        assert!(Cpus::among("all", &there).unwrap_err().to_string().contains("0-3,8"));
        assert_eq!(Cpus::among("1", &there).unwrap().to_string(), "1");
        assert!(Cpus::parse("2000").unwrap().set().is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(cpus in proptest::collection::btree_set(0_u32..300, 1..40)) {
            let cpus = Cpus(cpus);
            prop_assert_eq!(Cpus::parse(&cpus.to_string()), Some(cpus));
        }

        #[test]
        fn any_text_is_a_list_or_none(text in "[0-9,-]{0,30}|.{0,30}") {
            let _ = Cpus::parse(&text);
        }
    }
}
