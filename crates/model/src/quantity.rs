//! Quantities as people write them, on the command line and in plans: a number and its unit, with or
//! without a space between them (`500 B`, `1MiB`, `100/s`, `250 ms`).
//!
//! One set of units is valid everywhere: `KB` is 1000 bytes and `KiB` is 1024. Where a number may
//! stand alone, on the command line, a single letter behind a size is a power of 1024, as in
//! iperf3 and coreutils (`128K`).

use crate::escape;
use std::time::Duration;

/// Whether a number without a unit is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bare {
    /// It is in seconds, bytes, or per second; and `K`, `M` and `G` may stand in place of a unit.
    Allowed,
    /// Every number needs its unit.
    Refused,
}

/// Maximum of a size or count: beyond it a float has no longer every whole number.
const MAX_COUNT: f64 = 1e15;

/// Parses a time: `ns`, `us`, `ms`, `s`, `min` (or `m`), `h`; at most the seconds that `u64` holds.
///
/// # Errors
/// A phrase that names the invalid part and what is expected.
pub fn duration(text: &str, bare: Bare) -> Result<Duration, String> {
    let example = if bare == Bare::Allowed { "10s, 500ms or 1min" } else { "5 s or 250 ms" };
    let (number, unit) = parts(text, bare, "time", example)?;
    let factor = match unit {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(unknown(unit, "ns, us, ms, s, min or h")),
    };
    Duration::try_from_secs_f64(number * factor)
        .map_err(|_| format!("invalid time `{}`: out of range", escape(text)))
}

/// Parses a size in bytes: `B`, `KB`, `KiB`, `MB`, `MiB`, `GB`, `GiB`, `TB`, `TiB`.
///
/// # Errors
/// A phrase that names the invalid part and what is expected: a whole number of bytes, at most
/// 10¹⁵.
pub fn bytes(text: &str, bare: Bare) -> Result<u64, String> {
    let example = if bare == Bare::Allowed { "1448, 128K or 8MiB" } else { "500 B or 1 MiB" };
    let (number, unit) = parts(text, bare, "size", example)?;
    let short = bare == Bare::Allowed;
    let factor = match unit {
        "" | "B" => 1.0,
        "KB" | "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        "TiB" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        "K" | "k" if short => 1024.0,
        "M" if short => 1024.0 * 1024.0,
        "G" if short => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(unknown(unit, "B, KB, KiB, MB, MiB, GB or GiB")),
    };
    whole(number * factor).ok_or_else(|| {
        format!("invalid size `{}`: expected whole bytes, at most 1 PB", escape(text))
    })
}

/// Parses a rate in events per second, over 0: `/s`, `k/s`, `M/s`.
///
/// # Errors
/// A phrase that names the invalid part and what is expected.
pub fn rate(text: &str, bare: Bare) -> Result<f64, String> {
    let example = if bare == Bare::Allowed { "500, 20k or 0.5" } else { "100/s" };
    let (number, unit) = parts(text, bare, "rate", example)?;
    let short = bare == Bare::Allowed;
    let factor = match unit {
        "" | "/s" => 1.0,
        "k/s" | "K/s" => 1e3,
        "M/s" => 1e6,
        "k" | "K" if short => 1e3,
        "M" if short => 1e6,
        _ if short => return Err(unknown(unit, "k or M")),
        _ => return Err(unknown(unit, "/s, k/s or M/s")),
    };
    let rate = number * factor;
    let is_rate = rate > 0.0 && rate.is_finite();
    is_rate
        .then_some(rate)
        .ok_or_else(|| format!("invalid rate `{}`: expected more than 0", escape(text)))
}

/// Parses a whole number from 1 of things that have no unit: `1000000`, `100k`, `10M`, `2G`, `1e6`.
///
/// # Errors
/// A phrase that names the invalid part and what is expected.
pub fn count(text: &str) -> Result<u64, String> {
    let invalid = || {
        format!(
            "invalid number `{}`: expected a whole number such as 1000000, 100k or 10M",
            escape(text)
        )
    };
    let (digits, factor) = match text.trim().char_indices().last() {
        Some((at, 'k' | 'K')) => (text.trim().get(..at), 1e3),
        Some((at, 'm' | 'M')) => (text.trim().get(..at), 1e6),
        Some((at, 'g' | 'G')) => (text.trim().get(..at), 1e9),
        _ => (Some(text.trim()), 1.0),
    };
    let number: f64 = digits.and_then(|digits| digits.parse().ok()).ok_or_else(invalid)?;
    whole(number * factor).filter(|count| *count > 0).ok_or_else(invalid)
}

/// Parses a percentage, with or without `%`, into a fraction of 1.
///
/// # Errors
/// A phrase that names the invalid part: not a number from 0 to 100.
pub fn percentage(text: &str) -> Result<f64, String> {
    let number = text.trim();
    let number = number.strip_suffix('%').unwrap_or(number).trim_end().parse::<f64>();
    match number {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err(format!("invalid percentage `{}`: expected 0 to 100", escape(text))),
    }
}

fn whole(number: f64) -> Option<u64> {
    let is_whole = number.fract() == 0.0 && (0.0..=MAX_COUNT).contains(&number);
    is_whole.then_some(number as u64)
}

/// The number and the unit behind it.
fn parts<'a>(text: &'a str, bare: Bare, what: &str, like: &str) -> Result<(f64, &'a str), String> {
    let all = text.trim();
    let end = all.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let (number, unit) = all.split_at(end.unwrap_or(all.len()));
    let unit = unit.trim_start();
    match number.parse::<f64>() {
        Ok(number) if number.is_finite() && (bare == Bare::Allowed || !unit.is_empty()) => {
            Ok((number, unit))
        }
        _ => Err(format!("invalid {what} `{}`: expected {like}", escape(text))),
    }
}

fn unknown(unit: &str, expected: &str) -> String {
    format!("invalid unit `{}`: expected {expected}", escape(unit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Bare::{Allowed, Refused};
    use proptest::prelude::*;

    #[test]
    fn units_mean_the_same_everywhere() {
        for bare in [Allowed, Refused] {
            assert_eq!(bytes("1448 B", bare), Ok(1448));
            assert_eq!(bytes("1KB", bare), Ok(1000));
            assert_eq!(bytes("1.5KiB", bare), Ok(1536));
            assert_eq!(bytes("2 MB", bare), Ok(2_000_000));
            assert_eq!(rate("100/s", bare), Ok(100.0));
            assert_eq!(rate("2.5 k/s", bare), Ok(2500.0));
            assert_eq!(duration("250 ms", bare), Ok(Duration::from_millis(250)));
            assert_eq!(duration("50us", bare), Ok(Duration::from_micros(50)));
            assert_eq!(duration("2min", bare), Ok(Duration::from_secs(120)));
        }
    }

    #[test]
    fn a_number_stands_alone_only_where_it_may() {
        assert_eq!(bytes("1448", Allowed), Ok(1448));
        assert_eq!(bytes("128K", Allowed), Ok(131_072));
        assert_eq!(rate("20k", Allowed), Ok(20_000.0));
        assert_eq!(rate("0.5", Allowed), Ok(0.5));
        assert_eq!(duration("2.5", Allowed), Ok(Duration::from_millis(2500)));
        assert_eq!(duration("0", Allowed), Ok(Duration::ZERO));
        for text in ["1448", "128K"] {
            assert!(bytes(text, Refused).is_err(), "{text}");
        }
        assert!(rate("20k", Refused).is_err() && duration("5", Refused).is_err());
    }

    #[test]
    fn the_invalid_part_is_named_with_what_is_expected() {
        for (text, problem) in [
            ("1448", "invalid size `1448`: expected 500 B or 1 MiB"),
            ("1448 bits", "invalid unit `bits`: expected B, KB, KiB, MB, MiB, GB or GiB"),
            ("1.5 B", "invalid size `1.5 B`: expected whole bytes, at most 1 PB"),
            ("9999 TB", "invalid size `9999 TB`: expected whole bytes, at most 1 PB"),
            ("B", "invalid size `B`: expected 500 B or 1 MiB"),
            ("-1 B", "invalid size `-1 B`: expected 500 B or 1 MiB"),
            ("1e3 B", "invalid unit `e3 B`: expected B, KB, KiB, MB, MiB, GB or GiB"),
            ("1 \u{1b}[2J", "invalid unit `\\u{1b}[2J`: expected B, KB, KiB, MB, MiB, GB or GiB"),
        ] {
            assert_eq!(bytes(text, Refused).unwrap_err(), problem);
        }
        assert_eq!(
            rate("100 Hz", Refused).unwrap_err(),
            "invalid unit `Hz`: expected /s, k/s or M/s"
        );
        assert_eq!(rate("0/s", Refused).unwrap_err(), "invalid rate `0/s`: expected more than 0");
        assert_eq!(
            duration("5 d", Refused).unwrap_err(),
            "invalid unit `d`: expected ns, us, ms, s, min or h"
        );
        for wrong in ["", "s", "-1", "1e9", "1w", "..", "99999999999999999999h", "é"] {
            assert!(duration(wrong, Allowed).is_err(), "{wrong}");
        }
        for wrong in ["", "x", "-1", "1.5", "1e300", "9".repeat(400).as_str()] {
            assert!(bytes(wrong, Allowed).is_err(), "{wrong}");
        }
        for wrong in ["0", "-5", "", "5 apples", "nan", "inf"] {
            assert!(rate(wrong, Allowed).is_err(), "{wrong}");
        }
    }

    #[test]
    fn counts_and_percentages() {
        for (text, value) in [("1000000", 1_000_000), ("100k", 100_000), ("10M", 10_000_000)] {
            assert_eq!(count(text), Ok(value));
        }
        assert_eq!(count("1e7"), Ok(10_000_000));
        for wrong in ["", "0", "x", "1.5", "1e99", "-1", "nan", "inf", "k"] {
            assert!(count(wrong).is_err(), "{wrong}");
        }
        assert_eq!(percentage("0.25%"), Ok(0.0025));
        assert_eq!(percentage("5 %"), Ok(0.05));
        assert_eq!(percentage("100"), Ok(1.0));
        for wrong in ["", "%", "-1", "101%", "nan", "5%%"] {
            assert!(percentage(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_quantity_or_an_error(text in "[0-9.]{0,20}.{0,6}|.{0,30}") {
            for bare in [Allowed, Refused] {
                let _ = (duration(&text, bare), bytes(&text, bare), rate(&text, bare));
            }
            let _ = (count(&text), percentage(&text));
        }
    }
}
