//! Marks in a stream of bytes that has no beginning and no end: a serial line.
//!
//! [`MARK`] never stands in data: there it is written as two bytes, and so is [`ESCAPE`]. Behind
//! it come what the mark says and 16 hexadecimal digits, the number of its session. Whatever came
//! before, a half frame or a boot loader's greeting, a mark is understood.

/// Begins a mark.
const MARK: u8 = 0xc0;
/// Begins a byte of data that would be one of the two.
const ESCAPE: u8 = 0xdb;
/// What stands for them behind [`ESCAPE`] (RFC 1055).
const FOR_MARK: u8 = 0xdc;
const FOR_ESCAPE: u8 = 0xdd;
/// Digits of a session's number.
const DIGITS: usize = 16;

/// What a mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The controller: a session begins, whatever was before.
    Begin,
    /// The agent: what comes from now on belongs to that session.
    Begun,
    /// Either end: the session is over.
    End,
}

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A byte of data.
    Byte(u8),
    /// A mark, with its session's number.
    Mark(Mark, u64),
}

/// A mark's bytes.
pub fn mark(mark: Mark, session: u64) -> Vec<u8> {
    let said = match mark {
        Mark::Begin => b'?',
        Mark::Begun => b'!',
        Mark::End => b'.',
    };
    [&[MARK, said][..], format!("{session:016x}").as_bytes()].concat()
}

/// Data as it is sent.
pub fn escape(data: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(data.len() + 16);
    for byte in data {
        match *byte {
            MARK => escaped.extend([ESCAPE, FOR_MARK]),
            ESCAPE => escaped.extend([ESCAPE, FOR_ESCAPE]),
            byte => escaped.push(byte),
        }
    }
    escaped
}

/// Takes bytes as they come.
#[derive(Debug, Default)]
pub struct Reader {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Data,
    Escaped,
    /// Behind [`MARK`].
    Said,
    Session(Mark, usize, u64),
}

impl Reader {
    /// What a byte came to; what is neither data nor a mark is passed over.
    pub fn push(&mut self, byte: u8) -> Option<Event> {
        if byte == MARK {
            self.state = State::Said;
            return None;
        }
        let (state, event) = match (std::mem::take(&mut self.state), byte) {
            (State::Data, ESCAPE) => (State::Escaped, None),
            (State::Data, byte) => (State::Data, Some(Event::Byte(byte))),
            (State::Escaped, FOR_MARK) => (State::Data, Some(Event::Byte(MARK))),
            (State::Escaped, FOR_ESCAPE) => (State::Data, Some(Event::Byte(ESCAPE))),
            (State::Said, b'?') => (State::Session(Mark::Begin, 0, 0), None),
            (State::Said, b'!') => (State::Session(Mark::Begun, 0, 0), None),
            (State::Said, b'.') => (State::Session(Mark::End, 0, 0), None),
            (State::Session(mark, digits, session), byte) => match char::from(byte).to_digit(16) {
                None => (State::Data, None),
                Some(digit) => {
                    let session = session << 4 | u64::from(digit);
                    if digits + 1 == DIGITS {
                        (State::Data, Some(Event::Mark(mark, session)))
                    } else {
                        (State::Session(mark, digits + 1, session), None)
                    }
                }
            },
            (State::Escaped | State::Said, _) => (State::Data, None),
        };
        self.state = state;
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Vec<Event> {
        let mut reader = Reader::default();
        bytes.iter().filter_map(|byte| reader.push(*byte)).collect()
    }

    proptest! {
        #[test]
        fn data_survives_and_holds_no_mark(data in proptest::collection::vec(any::<u8>(), 0..99)) {
            let escaped = escape(&data);
            prop_assert!(!escaped.contains(&MARK));
            let events: Vec<Event> = data.into_iter().map(Event::Byte).collect();
            prop_assert_eq!(read(&escaped), events);
        }

        #[test]
        fn a_mark_is_understood_behind_anything(
            before in proptest::collection::vec(any::<u8>(), 0..50), session: u64,
        ) {
            for said in [Mark::Begin, Mark::Begun, Mark::End] {
                let bytes = [&before[..], &mark(said, session), b"x"].concat();
                let events = read(&bytes);
                let last = &events[events.len() - 2..];
                prop_assert_eq!(last, [Event::Mark(said, session), Event::Byte(b'x')]);
            }
        }
    }
}
