//! Which CPU takes which interrupt.

use crate::{Affinity, Reading};
use serde::{Deserialize, Serialize};

/// `/proc/interrupts` with the CPUs that each interrupt may go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interrupts {
    /// The CPUs that the counts are of, in their order.
    pub cpus: Vec<u32>,
    /// The lines, in the kernel's order.
    pub lines: Vec<Interrupt>,
    /// Lines that were left out, since there were too many.
    pub left_out: usize,
}

/// A line of `/proc/interrupts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interrupt {
    /// Its number, or the kernel's short word for one without a number (`LOC`, `RES`).
    pub name: String,
    /// How often each CPU has taken it, as [`Interrupts::cpus`]; `ERR` and `MIS` have one count.
    pub counts: Vec<u64>,
    /// What raises it (`PCI-MSIX-0000:00:03.0 1-edge`); of one without a number, all its text.
    pub source: String,
    /// Who handles it (`eth0-rx-0`, several with commas between them), raw: drivers and users
    /// choose the names.
    pub action: String,
    /// The CPUs that it may go to (`/proc/irq/N/smp_affinity_list`).
    pub affinity: Reading<Affinity>,
}

impl Interrupt {
    /// Its number, where it has one.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        self.name.parse().ok()
    }

    /// Whether `part` is a part of its action between ends of words: `eth1` is one of `eth1-rx-0`
    /// and none of `eth10`, `virtio1-input` one of `virtio1-input.0`.
    #[must_use]
    pub fn is_for(&self, part: &str) -> bool {
        let in_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        !part.is_empty()
            && self.action.match_indices(part).any(|(at, found)| {
                let before = self.action.get(..at).and_then(|text| text.chars().next_back());
                let behind = self.action.get(at + found.len()..);
                let behind = behind.and_then(|text| text.chars().next());
                !in_word(before) && !in_word(behind)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_an_action_ends_where_a_word_does() {
        let is_for = |action: &str, part: &str| {
            let (name, source, action) = (String::new(), String::new(), action.to_owned());
            let affinity = Ok(Affinity(String::new()));
            Interrupt { name, counts: Vec::new(), source, action, affinity }.is_for(part)
        };
        for (action, part) in [
            ("eth1", "eth1"),
            ("eth1-TxRx-0", "eth1"),
            ("virtio1-input.0", "virtio1-input"),
            ("vif1.0-q0-rx", "vif1.0"),
            ("uhci, eth10, eth1", "eth1"),
            ("xen-é1", "é1"),
        ] {
            assert!(is_for(action, part), "{action} {part}");
        }
        for (action, part) in
            [("eth10", "eth1"), ("veth1", "eth1"), ("vif1.01", "vif1.0"), ("", "x"), ("eth1", "")]
        {
            assert!(!is_for(action, part), "{action} {part}");
        }
    }
}
