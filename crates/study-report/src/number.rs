//! Numbers for people: four digits that count, thousands apart.

use study::figure::Measured;

/// What stands where a value is not known.
pub const UNKNOWN: &str = "–";
/// Digits that are shown of a number that is not whole.
const DIGITS: i32 = 4;
/// Between thousands: narrow, and no line ends there.
const THOUSANDS: char = '\u{202f}';
/// Smaller numbers are written as powers of ten, and larger ones.
const PLAIN: std::ops::Range<f64> = 1e-4..1e15;

/// A number by itself, such as `0.0123`, `12 345` or `1.5×10⁻⁷`.
pub fn number(value: f64) -> String {
    let text = fixed(value, decimals(&[value]));
    // 12.50 says that the 0 was measured: of a number by itself nobody knows.
    if text.contains('.') && !text.contains('×') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

/// A measured value and the ends of its interval, all to the same decimal place.
pub fn measured(measured: &Measured) -> (String, Option<(String, String)>) {
    let Some((low, high)) = measured.interval else { return (number(measured.value), None) };
    let places = decimals(&[measured.value, low, high]);
    (fixed(measured.value, places), Some((fixed(low, places), fixed(high, places))))
}

/// A measured value on one line: `12.31 [11.90, 12.72]`.
pub fn line(value: &Measured) -> String {
    match measured(value) {
        (value, Some((low, high))) => format!("{value} [{low}, {high}]"),
        (value, None) => value,
    }
}

/// Decimal places that show four digits of the largest number; none where all are whole.
fn decimals(values: &[f64]) -> usize {
    let largest = values.iter().map(|value| value.abs()).fold(0.0, f64::max);
    if values.iter().all(|value| value.fract() == 0.0) || largest == 0.0 {
        return 0;
    }
    // What is smaller than the smallest plain number has no places, but an exponent.
    let place = largest.max(PLAIN.start).log10().floor() as i32;
    usize::try_from((DIGITS - 1).saturating_sub(place)).unwrap_or(0)
}

fn fixed(value: f64, places: usize) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return UNKNOWN.to_owned();
    }
    if size != 0.0 && !PLAIN.contains(&size) {
        return power(value);
    }
    let text = format!("{size:.places$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits = whole.len();
    let mut shown = String::with_capacity(text.len() + 8);
    // What is rounded to nothing is not below it.
    if value < 0.0 && text.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
        shown.push('−');
    }
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (digits - at).is_multiple_of(3) {
            shown.push(THOUSANDS);
        }
        shown.push(digit);
    }
    if !fraction.is_empty() {
        shown.push('.');
        shown.push_str(fraction);
    }
    shown
}

/// Such as `1.5×10⁻⁷`.
fn power(value: f64) -> String {
    let text = format!("{value:.3e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.').replace('-', "−");
    let raised = exponent.chars().map(|c| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        // From 0 and from 4 on they follow one another.
        c => char::from_u32(0x2070 + c.to_digit(10).unwrap_or(0)).unwrap_or(c),
    });
    format!("{mantissa}×10{}", raised.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_shows_four_digits_and_no_more_than_is_known() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (0.5, "0.5"),
            (12.3456, "12.35"),
            (-12.3, "−12.3"),
            (1234.56, "1\u{202f}235"),
            (1_234_567.0, "1\u{202f}234\u{202f}567"),
            (0.001_234_5, "0.001234"),
            (1.5e-7, "1.5×10⁻⁷"),
            (6.022e23, "6.022×10²³"),
            (f64::NAN, "–"),
            (f64::INFINITY, "–"),
        ];
        for (value, shown) in cases {
            assert_eq!(number(value), shown, "{value:?}");
        }
    }

    #[test]
    fn a_value_and_its_interval_have_the_same_decimals() {
        let value = |value, interval| Measured { value, interval, samples: 5 };
        assert_eq!(line(&value(12.5, Some((11.0, 13.25)))), "12.50 [11.00, 13.25]");
        assert_eq!(line(&value(0.0, Some((-0.5, 0.5)))), "0.0000 [−0.5000, 0.5000]");
        assert_eq!(line(&value(12.5, Some((12.0, 13.0)))), "12.50 [12.00, 13.00]");
        assert_eq!(line(&value(0.0, Some((0.0, 1e-300)))), "0.0000000 [0.0000000, 1×10⁻³⁰⁰]");
        assert_eq!(line(&value(12.5, None)), "12.5");
        assert_eq!(line(&value(f64::NAN, Some((f64::NAN, f64::INFINITY)))), "– [–, –]");
    }
}
