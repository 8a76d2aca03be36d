//! Columns of numbers and texts: variable-length numbers, seven bits a byte, the lowest first.

/// Bytes that are no column of this format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a column is malformed")]
pub(crate) struct Malformed;

/// A column that is being written.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    #[inline]
    pub(crate) fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// A difference: small ones of either sign are short.
    #[inline]
    pub(crate) fn difference(&mut self, value: u64) {
        self.number((value << 1) ^ (((value as i64) >> 63) as u64));
    }

    pub(crate) fn text(&mut self, text: &[u8]) {
        self.number(text.len() as u64);
        self.bytes.extend_from_slice(text);
    }
}

/// A column that is being read: a range of its block's bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reader {
    at: usize,
    end: usize,
}

impl Reader {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { at: 0, end: bytes.len() }
    }

    /// Bytes that are left.
    pub(crate) fn left(&self) -> usize {
        self.end - self.at
    }

    #[inline]
    pub(crate) fn number(&mut self, bytes: &[u8]) -> Result<u64, Malformed> {
        let rest = bytes.get(self.at..self.end).ok_or(Malformed)?;
        let mut value = 0;
        for (index, byte) in rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.at += index + 1;
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// A number of a narrower type.
    #[inline]
    pub(crate) fn narrow<T: TryFrom<u64>>(&mut self, bytes: &[u8]) -> Result<T, Malformed> {
        T::try_from(self.number(bytes)?).map_err(|_| Malformed)
    }

    #[inline]
    pub(crate) fn difference(&mut self, bytes: &[u8]) -> Result<u64, Malformed> {
        let value = self.number(bytes)?;
        Ok((value >> 1) ^ (value & 1).wrapping_neg())
    }

    pub(crate) fn text<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Malformed> {
        let length: usize = self.narrow(bytes)?;
        let part = self.part(length)?;
        bytes.get(part.at..part.end).ok_or(Malformed)
    }

    /// The next so many bytes, as a column of their own.
    pub(crate) fn part(&mut self, length: usize) -> Result<Self, Malformed> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.end).ok_or(Malformed)?;
        let part = Self { at: self.at, end };
        self.at = end;
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        let numbers = [0, 1, 127, 128, 16_383, 16_384, u64::MAX / 2, u64::MAX - 1, u64::MAX];
        let mut column = Writer::default();
        for number in numbers {
            column.number(number);
            column.difference(number);
        }
        column.text(b"a text");
        let mut reader = Reader::of(&column.bytes);
        for number in numbers {
            assert_eq!(reader.number(&column.bytes), Ok(number));
            assert_eq!(reader.difference(&column.bytes), Ok(number));
        }
        assert_eq!(reader.text(&column.bytes), Ok(&b"a text"[..]));
        assert_eq!(reader.left(), 0);
        assert_eq!(reader.number(&column.bytes), Err(Malformed));
    }

    #[test]
    fn a_small_difference_is_short() {
        let mut column = Writer::default();
        column.difference(5_u64.wrapping_sub(8));
        assert_eq!(column.bytes.len(), 1);
    }

    #[test]
    fn what_goes_beyond_its_end_is_refused() {
        let bytes = [0xff; 12];
        assert_eq!(Reader::of(&bytes).number(&bytes), Err(Malformed));
        let bytes = [9, 1, 2];
        assert_eq!(Reader::of(&bytes).text(&bytes), Err(Malformed));
        assert!(Reader::of(&bytes).part(usize::MAX).is_err());
        let narrow: Result<u8, _> = Reader::of(&[0xff, 0x7f]).narrow(&[0xff, 0x7f]);
        assert_eq!(narrow, Err(Malformed));
    }
}
