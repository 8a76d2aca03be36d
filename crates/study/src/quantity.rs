//! Numbers with their units, as plans write them: `500 B`, `1 MiB`, `100/s`, `250 ms`.

use std::time::Duration;

/// Bytes: `B`, `KB`, `KiB`, `MB`, `MiB`, `GB`, `GiB`.
///
/// # Errors
/// A sentence that says what the text is not.
pub fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = parts(text, "a size such as 500 B or 1 MiB")?;
    let factor = match unit {
        "B" => 1.0,
        "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(unknown(unit, "bytes", "B, KB, KiB, MB, MiB, GB or GiB")),
    };
    let bytes = number * factor;
    if bytes.fract() != 0.0 || !(1.0..=1e15).contains(&bytes) {
        return Err(format!("`{}` is no whole number of bytes from 1", text.escape_debug()));
    }
    Ok(bytes as u64)
}

/// Events a second: `/s`; `k/s` is a thousand of them.
///
/// # Errors
/// A sentence that says what the text is not.
pub fn rate(text: &str) -> Result<f64, String> {
    let (number, unit) = parts(text, "a rate such as 100/s")?;
    let factor = match unit {
        "/s" => 1.0,
        "k/s" => 1e3,
        _ => return Err(unknown(unit, "a rate", "/s or k/s")),
    };
    if number <= 0.0 {
        return Err(format!("`{}` is no rate over 0", text.escape_debug()));
    }
    Ok(number * factor)
}

/// A time: `ms`, `s`, `min`, `h`.
///
/// # Errors
/// A sentence that says what the text is not.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = parts(text, "a time such as 5 s")?;
    let seconds = match unit {
        "ms" => 1e-3,
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(unknown(unit, "time", "ms, s, min or h")),
    };
    Duration::try_from_secs_f64(number * seconds)
        .ok()
        .filter(|duration| *duration <= Duration::from_secs(24 * 3600))
        .ok_or_else(|| format!("`{}` is no time up to 24 h", text.escape_debug()))
}

/// The number and the unit behind it.
fn parts<'a>(text: &'a str, what: &str) -> Result<(f64, &'a str), String> {
    let text = text.trim();
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit.trim_start();
    match number.parse::<f64>() {
        Ok(number) if number.is_finite() && !unit.is_empty() => Ok((number, unit)),
        _ => Err(format!("`{}` is not {what}: a number and its unit", text.escape_debug())),
    }
}

fn unknown(unit: &str, of: &str, known: &str) -> String {
    format!("`{}` is no unit of {of}: take {known}", unit.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units() {
        assert_eq!(bytes("1448 B"), Ok(1448));
        assert_eq!(bytes("1.5KiB"), Ok(1536));
        assert_eq!(rate("100/s"), Ok(100.0));
        assert_eq!(rate("2.5 k/s"), Ok(2500.0));
        assert_eq!(duration("250 ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2min"), Ok(Duration::from_secs(120)));
    }

    #[test]
    fn what_is_no_quantity_is_refused_with_what_is() {
        for (text, part) in [
            ("1448", "a number and its unit"),
            ("1448 bits", "no unit of bytes"),
            ("0 B", "no whole number"),
            ("1.5 B", "no whole number"),
            ("B", "a number and its unit"),
            ("-1 B", "a number and its unit"),
            ("1e3 B", "no unit of bytes"),
        ] {
            assert!(bytes(text).unwrap_err().contains(part), "{text}: {:?}", bytes(text));
        }
        assert!(rate("100 Hz").unwrap_err().contains("/s or k/s"));
        assert!(rate("0/s").is_err());
        assert!(duration("5").is_err() && duration("25 h").is_err() && duration("5 d").is_err());
    }
}
