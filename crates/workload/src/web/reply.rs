//! A reply, taken in as it comes: nothing of its body is kept.

use super::classes::Class;

/// The longest head that is read.
const LONGEST_HEAD: usize = 64 << 10;
const MOST_HEADERS: usize = 100;
/// Interim replies (1xx) that may come before the real one.
const MAX_INTERIM: u32 = 100;
/// The longest line of a chunk's size, extensions and trailers.
const LONGEST_LINE: u64 = 8 << 10;

/// One reply on its way in.
#[derive(Debug, Default)]
pub struct Reply {
    state: State,
    /// A head that came in pieces, so far.
    head: Vec<u8>,
    status: u16,
    keep: bool,
    body: u64,
    /// Interim replies that came before it.
    interim: u32,
}

/// Why what came is not a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// Its class.
    pub class: Class,
    /// In words.
    pub reason: &'static str,
}

impl From<&'static str> for Malformed {
    fn from(reason: &'static str) -> Self {
        Self { class: Class::Other, reason }
    }
}

/// A header line that RFC 9112 does not allow.
const fn header(reason: &'static str) -> Malformed {
    Malformed { class: Class::BadHeader, reason }
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Head,
    Length(u64),
    Chunk(Chunk),
    UntilClose,
}

/// Where in a chunked body.
#[derive(Debug, Clone, Copy)]
enum Chunk {
    /// In the size: its value so far, digits seen, whether past them.
    Size {
        value: u64,
        digits: u8,
        past: bool,
        length: u64,
    },
    Data(u64),
    /// After the data, at its CR or LF.
    End,
    /// After the last chunk: bytes in this line, and in all lines.
    Trailer {
        line: u64,
        all: u64,
    },
}

const SIZE: Chunk = Chunk::Size { value: 0, digits: 0, past: false, length: 0 };

/// How far a reply is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// More has to come.
    More,
    /// It is whole.
    Done(Whole),
}

/// A whole reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole {
    /// HTTP status.
    pub status: u16,
    /// The connection may be used again.
    pub keep: bool,
    /// Bytes of the body.
    pub body: u64,
}

impl Reply {
    /// Takes the bytes that came.
    ///
    /// # Errors
    /// Says in what it is no HTTP, or reply longer than its Content-Length.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<Step, Malformed> {
        loop {
            match self.state {
                State::Head => match self.take_head(bytes)? {
                    Some(rest) => bytes = rest,
                    None => return Ok(Step::More),
                },
                State::Length(left) => {
                    let taken = left.min(bytes.len() as u64);
                    self.body += taken;
                    self.state = State::Length(left - taken);
                    if taken < left {
                        return Ok(Step::More);
                    }
                    return self.end(&bytes[taken as usize..]);
                }
                State::Chunk(chunk) => {
                    let Some((first, rest)) = bytes.split_first() else {
                        return Ok(Step::More);
                    };
                    if let Chunk::Data(left) = chunk {
                        let taken = left.min(bytes.len() as u64);
                        self.body += taken;
                        bytes = &bytes[taken as usize..];
                        let next =
                            if taken == left { Chunk::End } else { Chunk::Data(left - taken) };
                        self.state = State::Chunk(next);
                    } else if let Some(next) = chunk.after(*first)? {
                        self.state = State::Chunk(next);
                        bytes = rest;
                    } else {
                        return self.end(rest);
                    }
                }
                State::UntilClose => {
                    self.body += bytes.len() as u64;
                    return Ok(Step::More);
                }
            }
        }
    }

    /// The server closed the connection: the end of a body without a length, else too early.
    pub fn close(&mut self) -> Option<Whole> {
        matches!(self.state, State::UntilClose).then(|| self.whole())
    }

    /// Whether nothing of a reply has come yet.
    pub fn is_untouched(&self) -> bool {
        matches!(self.state, State::Head) && self.head.is_empty()
    }

    fn end(&mut self, rest: &[u8]) -> Result<Step, Malformed> {
        if rest.is_empty() {
            Ok(Step::Done(self.whole()))
        } else {
            Err("reply longer than its Content-Length".into())
        }
    }

    /// What came, and back to the start.
    fn whole(&mut self) -> Whole {
        let whole = Whole { status: self.status, keep: self.keep, body: self.body };
        // The head's memory is given back: 10,000 idle connections need none.
        *self = Self::default();
        whole
    }

    /// The bytes after the head, once it is whole.
    fn take_head<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<&'a [u8]>, Malformed> {
        if self.head.is_empty() {
            // Nearly always the head comes in one piece and needs no copy.
            if let Some(length) = self.parse_head(bytes)? {
                return Ok(Some(&bytes[length..]));
            }
            self.head.extend_from_slice(bytes);
        } else if !bytes.contains(&b'\n') {
            // No line ends here: a server that sends byte by byte must not have its whole head
            // parsed again for each.
            self.head.extend_from_slice(bytes);
        } else {
            let before = self.head.len();
            self.head.extend_from_slice(bytes);
            let head = std::mem::take(&mut self.head);
            if let Some(length) = self.parse_head(&head)? {
                return Ok(Some(&bytes[length - before..]));
            }
            self.head = head;
        }
        if self.head.len() > LONGEST_HEAD { Err("the head is too long".into()) } else { Ok(None) }
    }

    /// Length of the head if it is whole, and what it says.
    fn parse_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut reply = httparse::Response::new(&mut headers);
        // A client takes a folded line (RFC 9112, section 5.2).
        let length = match config().parse_response(&mut reply, bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(malformed(error, bytes)),
        };
        self.status = reply.code.unwrap_or_default();
        if (100..200).contains(&self.status) {
            // An interim reply; the real one follows.
            self.interim += 1;
            return match self.status {
                101 => Err("switched protocols".into()),
                _ if self.interim > MAX_INTERIM => Err("too many interim replies".into()),
                _ => Ok(Some(length)),
            };
        }
        self.keep = reply.version == Some(1);
        let (mut chunked, mut said) = (false, None);
        for line in reply.headers.iter() {
            if line.name.eq_ignore_ascii_case("content-length") {
                let value = number(line.value).ok_or(header("invalid Content-Length"))?;
                if said.is_some_and(|said| said != value) {
                    return Err(header("two lengths"));
                }
                said = Some(value);
            } else if line.name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = has(line.value, "chunked");
            } else if line.name.eq_ignore_ascii_case("connection") {
                self.keep =
                    (self.keep || has(line.value, "keep-alive")) && !has(line.value, "close");
            }
        }
        self.state = match (self.status, chunked, said) {
            (204 | 304, _, _) => State::Length(0),
            (_, true, _) => State::Chunk(SIZE),
            (_, _, Some(length)) => State::Length(length),
            _ => {
                self.keep = false;
                State::UntilClose
            }
        };
        Ok(Some(length))
    }
}

fn config() -> httparse::ParserConfig {
    let mut config = httparse::ParserConfig::default();
    config.allow_obsolete_multiline_headers_in_responses(true);
    config
}

/// What a head is that cannot be parsed.
fn malformed(error: httparse::Error, bytes: &[u8]) -> Malformed {
    match error {
        httparse::Error::TooManyHeaders => header("too many headers"),
        httparse::Error::HeaderName if has_space_before_colon(bytes) => {
            header("a space before a header's colon")
        }
        httparse::Error::HeaderName => header("an invalid header name"),
        httparse::Error::HeaderValue => header("an invalid header value"),
        _ => "no HTTP".into(),
    }
}

/// Whether the head would be one but for spaces before colons: where clients disagree about what
/// a line means, none is measured (RFC 9112, section 5.1).
fn has_space_before_colon(bytes: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut reply = httparse::Response::new(&mut headers);
    let mut config = config();
    config.allow_spaces_after_header_name_in_responses(true);
    config.parse_response(&mut reply, bytes).is_ok()
}

impl Chunk {
    /// Where the next byte of the framing leads; `None` at the end of the body.
    fn after(self, byte: u8) -> Result<Option<Self>, &'static str> {
        Ok(Some(match (self, byte) {
            (Self::Size { length: LONGEST_LINE.., .. }, _)
            | (Self::Trailer { all: LONGEST_LINE.., .. }, _) => {
                return Err("a chunk line is too long");
            }
            (Self::Size { digits: 0, .. }, b'\n') => return Err("a chunk without a size"),
            (Self::Size { value: 0, .. }, b'\n') => Self::Trailer { line: 0, all: 0 },
            (Self::Size { value, .. }, b'\n') => Self::Data(value),
            (Self::Size { value, digits, past: false, length }, byte)
                if byte.is_ascii_hexdigit() =>
            {
                let digit = (byte as char).to_digit(16).unwrap_or_default();
                let value = value.checked_mul(16).ok_or("a chunk is too large")? + u64::from(digit);
                Self::Size {
                    value,
                    digits: digits.saturating_add(1),
                    past: false,
                    length: length + 1,
                }
            }
            (Self::Size { digits: 0, .. }, _) => return Err("a chunk without a size"),
            (Self::Size { value, digits, length, .. }, _) => {
                Self::Size { value, digits, past: true, length: length + 1 }
            }
            (Self::End, b'\r') => Self::End,
            (Self::End, b'\n') => SIZE,
            (Self::End, _) => return Err("a chunk reply longer than its Content-Length"),
            (Self::Trailer { line: 0, .. }, b'\n') => return Ok(None),
            (Self::Trailer { all, .. }, b'\n') => Self::Trailer { line: 0, all: all + 1 },
            (Self::Trailer { line, all }, b'\r') => Self::Trailer { line, all: all + 1 },
            (Self::Trailer { line, all }, _) => Self::Trailer { line: line + 1, all: all + 1 },
            (Self::Data(left), _) => Self::Data(left),
        }))
    }
}

fn number(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?.trim();
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Whether a list such as Connection's has this word.
fn has(value: &[u8], word: &str) -> bool {
    let words = value.split(|byte| *byte == b',');
    words.into_iter().any(|one| one.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
