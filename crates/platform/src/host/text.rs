//! Bytes of /proc and /sys taken apart: never a panic, whatever they hold.

/// The lines of `bytes`, without their line ends; empty ones too.
pub type Lines<'a> = std::slice::Split<'a, u8, fn(&u8) -> bool>;

/// The words of a line; see [`fields`].
#[derive(Debug, Clone)]
pub struct Words<'a>(&'a [u8]);

/// Splits into lines.
pub fn lines(bytes: &[u8]) -> Lines<'_> {
    bytes.split(|byte| *byte == b'\n')
}

/// Splits at any run of white space.
#[must_use]
pub fn fields(line: &[u8]) -> Words<'_> {
    Words(line)
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0.trim_ascii_start();
        if rest.is_empty() {
            self.0 = rest;
            return None;
        }
        let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
        let (word, rest) = rest.split_at_checked(end)?;
        self.0 = rest;
        Some(word)
    }
}

/// A whole decimal number: digits only, at least one, no overflow.
#[must_use]
pub fn parse_number(word: &[u8]) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// The number that `bytes` begins with, after white space; what follows it is not looked at.
#[must_use]
pub fn number(bytes: &[u8]) -> Option<u64> {
    parse_number(fields(bytes).next()?)
}

/// Text from outside; what is not UTF-8 becomes `�`.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostile::survives;

    #[test]
    fn words_and_numbers() {
        let words: Vec<_> = fields(b"  a\tbc  9 \n").collect();
        assert_eq!(words, [&b"a"[..], b"bc", b"9"]);
        assert_eq!(parse_number(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_number(b"18446744073709551616"), None);
        assert_eq!(parse_number(b"-1"), None);
        assert_eq!(number(b" 42\n"), Some(42));
    }

    #[test]
    fn hostile_input() {
        survives(b"12 34\t56\n78", |bytes| {
            let _ = lines(bytes).flat_map(fields).filter_map(parse_number).count();
            let _ = number(bytes);
        });
    }
}
