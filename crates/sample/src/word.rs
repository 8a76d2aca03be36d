//! Events as they are written on a command line: `NAME` or `NAME:PERIOD`.

use model::quantity;
use std::fmt;
use std::str::FromStr;

/// An event's name, and its period where one was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// `cycles`, `r01c2`, `cpu/event=0x3c/`.
    pub name: String,
    /// Events (nanoseconds of clocks) for each sample; `None` is the event's usual one.
    pub period: Option<u64>,
}

impl fmt::Display for Word {
    /// As it is parsed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.period {
            Some(period) => write!(f, "{}:{period}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        // A period stands behind the last colon, but not inside of `pmu/…/`.
        let (name, period) = match text.rsplit_once(':') {
            Some((name, period)) if !period.contains('/') => (name, Some(quantity::count(period)?)),
            _ => (text, None),
        };
        if name.is_empty() || name.len() > 256 || name.chars().any(char::is_control) {
            return Err(
                "invalid event: expected a name such as cycles, cpu-clock:1000000 or r01c2"
                    .to_owned(),
            );
        }
        Ok(Self { name: name.to_owned(), period })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_has_a_name_and_may_have_a_period() {
        let word = |text: &str| text.parse::<Word>();
        let of = |name: &str, period| Ok(Word { name: name.to_owned(), period });
        assert_eq!(word("cycles"), of("cycles", None));
        for text in ["cycles", "cpu/event=0x3c,umask=0/:1000"] {
            assert_eq!(word(text).unwrap().to_string(), text);
        }
        assert_eq!(word("cpu-clock:1M"), of("cpu-clock", Some(1_000_000)));
        assert_eq!(
            word("cpu/event=0x3c,umask=0/:1e7"),
            of("cpu/event=0x3c,umask=0/", Some(10_000_000))
        );
        assert_eq!(word("r01c2:100k"), of("r01c2", Some(100_000)));
        for wrong in
            ["", ":5", "cycles:", "cycles:0", "cycles:x", "cycles:1.5", "cycles:1e99", "a\nb"]
        {
            assert!(word(wrong).is_err(), "{wrong:?}");
        }
    }
}
