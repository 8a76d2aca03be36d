//! Which processor this is (/proc/cpuinfo), and what it calls misses that the kernel has no name
//! for, or not on every model.

use std::fs;
use std::io::Read;
use std::path::Path;

/// Of /proc/cpuinfo only the first processor's part is read.
const FIRST: u64 = 16 << 10;

/// A processor, as CPUID tells it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Processor {
    vendor: String,
    family: u32,
    model: u32,
    /// Cycles a second, as it goes now.
    pub hertz: Option<u64>,
}

impl Processor {
    /// Of the machine below `root`; none of all known ones where that is not told.
    pub(crate) fn of(root: &Path) -> Self {
        let mut text = Vec::new();
        if let Ok(file) = fs::File::open(root.join("proc/cpuinfo")) {
            // What was read before an error is what is known.
            let _ = file.take(FIRST).read_to_end(&mut text);
        }
        Self::parse(&String::from_utf8_lossy(&text))
    }

    fn parse(text: &str) -> Self {
        let field = |key: &str| {
            text.lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.trim() == key)
                .map(|(_, value)| value.trim())
        };
        let number = |key: &str| field(key).and_then(|value| value.parse().ok());
        let mhz = field("cpu MHz").and_then(|value| value.parse::<f64>().ok());
        Self {
            vendor: field("vendor_id").unwrap_or_default().to_owned(),
            family: number("cpu family").unwrap_or_default(),
            model: number("model").unwrap_or_default(),
            hertz: mhz.filter(|mhz| (1.0..1e6).contains(mhz)).map(|mhz| (mhz * 1e6) as u64),
        }
    }

    /// The raw code of requests that missed the second-level cache; `None` where none is known.
    ///
    /// Intel since Haswell: L2_RQSTS.MISS, 24h with 3Fh; Nehalem and Westmere: with AAh. AMD Zen:
    /// 64h with 09h, misses of data and instruction requests (its PPRs; the kernel's
    /// `cache-misses` there). Of hybrid processors these are the performance cores' codes, and the
    /// others do not count them.
    pub(crate) fn l2_misses(&self) -> Option<u64> {
        match (self.vendor.as_str(), self.family) {
            ("GenuineIntel", 6) => match self.model {
                0x1a | 0x1e | 0x1f | 0x25 | 0x2c | 0x2e | 0x2f => Some(0xaa24),
                0x3c | 0x3d | 0x3f | 0x45 | 0x46 | 0x47 | 0x4e | 0x4f | 0x55 | 0x56 | 0x5e
                | 0x66 | 0x6a | 0x6c | 0x7d | 0x7e | 0x8c | 0x8d | 0x8e | 0x8f | 0x9d | 0x9e
                | 0xa5 | 0xa6 | 0xa7 | 0xad | 0xae | 0xcf => Some(0x3f24),
                // Alder, Raptor and Meteor Lake.
                0x97 | 0x9a | 0xaa | 0xac | 0xb7 | 0xba | 0xbf => Some(0x3f24),
                _ => None,
            },
            ("AuthenticAMD" | "HygonGenuine", 0x17..=0x1a) => Some(0x0964),
            _ => None,
        }
    }

    /// The raw code of last-level misses where the kernel has none that can be sampled. AMD Zen's
    /// L3 has a PMU of its own that takes no samples, so demand fills of the first-level data
    /// cache from beyond the L3 are counted: 43h, from memory and remote caches (58h), since Zen 3
    /// from caches of other core complexes too (5Ch).
    pub(crate) fn llc_misses(&self) -> Option<u64> {
        match (self.vendor.as_str(), self.family) {
            ("AuthenticAMD" | "HygonGenuine", 0x17 | 0x18) => Some(0x5843),
            ("AuthenticAMD", 0x19 | 0x1a) => Some(0x5c43),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head of /proc/cpuinfo as Linux 6 writes it.
    fn cpuinfo(vendor: &str, family: u32, model: u32) -> Processor {
        let name = "model name\t: some model: 7\nstepping\t: 1\ncpu MHz\t\t: 2445.406\n";
        Processor::parse(&format!(
            "processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\n\
             model\t\t: {model}\n{name}\nprocessor\t: 1\nvendor_id\t: Other\n"
        ))
    }

    #[test]
    fn misses_are_the_models_own() {
        let intel = |model| cpuinfo("GenuineIntel", 6, model);
        let amd = |family| cpuinfo("AuthenticAMD", family, 1);
        assert_eq!(intel(0x8f).l2_misses(), Some(0x3f24), "Sapphire Rapids");
        assert_eq!(intel(0x2c).l2_misses(), Some(0xaa24), "Westmere");
        assert_eq!(intel(0x97).l2_misses(), Some(0x3f24), "Alder Lake");
        assert_eq!(intel(0x37).l2_misses(), None, "Atom");
        assert_eq!(intel(0x8f).llc_misses(), None, "the kernel has a name");
        assert_eq!((amd(0x17).l2_misses(), amd(0x17).llc_misses()), (Some(0x0964), Some(0x5843)));
        assert_eq!((amd(0x19).l2_misses(), amd(0x19).llc_misses()), (Some(0x0964), Some(0x5c43)));
        assert_eq!((amd(0x10).l2_misses(), amd(0x10).llc_misses()), (None, None));
        assert_eq!(cpuinfo("HygonGenuine", 0x18, 0).llc_misses(), Some(0x5843));
        assert_eq!(amd(0x19).hertz, Some(2_445_406_000));
    }

    #[test]
    fn anything_may_stand_there() {
        assert_eq!(Processor::parse(""), Processor::default());
        let odd = Processor::parse("cpu family: 99999999999\n: :\ncpu MHz: -1\nmodel\nvendor_id:");
        assert_eq!(odd, Processor::default());
        assert_eq!(Processor::default().l2_misses(), None);
    }
}
