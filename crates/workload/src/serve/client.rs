//! One client's connection: requests in, head and file out.

use super::Counts;
use super::files::Files;
use rustix::buffer::spare_capacity;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::SendFlags;

/// What one client gets in a turn, before the others have theirs: answers, and bytes of a file.
const ANSWERS_PER_TURN: usize = 16;
const BYTES_PER_TURN: u64 = 1 << 20;
/// The longest request head.
const LONGEST: usize = 16 << 10;
/// What is read of a request that was refused.
const MOST_IGNORED: usize = 1 << 20;
const MOST_HEADERS: usize = 100;

/// A connection.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    /// What came and is not answered.
    input: Vec<u8>,
    /// What is to be sent before the file.
    output: Vec<u8>,
    sent: usize,
    file: Option<(OwnedFd, u64)>,
    closing: bool,
    /// The connection is over because of what the client sent.
    refused: bool,
    /// Bytes that may still come from a client that was told off and has not heard it.
    ignored: Option<usize>,
    /// When it was last heard of.
    pub heard: u64,
    /// Whether it waits for another turn, which its events then wait for too.
    pub waits: bool,
}

/// What becomes of a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// It waits for its next event.
    Wait,
    /// Its turn is over, and there may be more to do: no event says so.
    Again,
    /// It is over.
    Close,
}

/// How far sending came.
#[derive(Debug, PartialEq, Eq)]
enum Sent {
    /// Nothing is left.
    All,
    /// The socket takes no more for now.
    Full,
    /// The turn's bytes are used up.
    Turn,
}

/// What a request asks for.
struct Request {
    head_only: bool,
    keep: bool,
    length: usize,
    found: Result<(OwnedFd, u64), u16>,
}

impl Client {
    /// A new connection.
    pub fn new(socket: OwnedFd, now: u64) -> Self {
        let (input, output) = (Vec::new(), Vec::new());
        Self {
            socket,
            input,
            output,
            sent: 0,
            file: None,
            closing: false,
            refused: false,
            ignored: None,
            heard: now,
            waits: false,
        }
    }

    /// Reads, answers and sends until the socket has no more, or takes no more, or its turn is
    /// over.
    pub fn go_on(&mut self, files: &Files, counts: &Counts) -> Next {
        if self.ignored.is_some() {
            return self.ignore();
        }
        let mut room = BYTES_PER_TURN;
        for _ in 0..ANSWERS_PER_TURN {
            match self.send(&mut room) {
                Ok(Sent::All) if self.refused => return self.ignore(),
                Ok(Sent::All) if self.closing => return Next::Close,
                Ok(Sent::All) => {}
                Ok(Sent::Turn) => return Next::Again,
                Ok(Sent::Full) => return Next::Wait,
                Err(_) => return Next::Close,
            }
            match parse(&self.input, files) {
                Ok(Some(request)) => self.answer(request, counts),
                Ok(None) => match self.receive() {
                    Ok(0) => return Next::Close,
                    Ok(_) => {}
                    Err(Errno::AGAIN) => {
                        // An idle connection keeps no memory.
                        if self.input.is_empty() {
                            (self.input, self.output) = (Vec::new(), Vec::new());
                        }
                        return Next::Wait;
                    }
                    Err(Errno::INTR) => {}
                    Err(_) => return Next::Close,
                },
                Err(status) => {
                    self.input.clear();
                    let request =
                        Request { head_only: false, keep: false, length: 0, found: Err(status) };
                    self.answer(request, counts);
                }
            }
        }
        Next::Again
    }

    /// Closing with bytes unread would reset the connection and lose the answer: reads a little
    /// on, until the client closes.
    fn ignore(&mut self) -> Next {
        let left = self.ignored.get_or_insert_with(|| {
            // A client that is gone is found out by the read.
            let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write);
            MOST_IGNORED
        });
        loop {
            self.input.clear();
            self.input.reserve(LONGEST);
            match rustix::io::read(&self.socket, spare_capacity(&mut self.input)) {
                Ok(read) if read > 0 && read < *left => *left -= read,
                Err(Errno::AGAIN) => return Next::Wait,
                Err(Errno::INTR) => {}
                _ => return Next::Close,
            }
        }
    }

    fn receive(&mut self) -> Result<usize, Errno> {
        self.input.reserve(2048);
        rustix::io::read(&self.socket, spare_capacity(&mut self.input))
    }

    fn answer(&mut self, request: Request, counts: &Counts) {
        self.input.drain(..request.length);
        self.closing = !request.keep;
        self.refused = self.closing && request.found.is_err();
        let connection = if request.keep { "keep-alive" } else { "close" };
        self.sent = 0;
        match request.found {
            Ok((file, length)) => {
                self.output = format!(
                    "HTTP/1.1 200 OK\r\nServer: vmeter\r\nContent-Type: application/octet-stream\
                     \r\nContent-Length: {length}\r\nConnection: {connection}\r\n\r\n"
                )
                .into_bytes();
                self.file = (!request.head_only && length > 0).then_some((file, length));
                counts.count(200, if request.head_only { 0 } else { length });
            }
            Err(status) => {
                let reason = reason(status);
                let body = format!("{status} {reason}\n");
                let shown = if request.head_only { "" } else { body.as_str() };
                self.output = format!(
                    "HTTP/1.1 {status} {reason}\r\nServer: vmeter\r\nContent-Type: text/plain\r\n\
                     Content-Length: {}\r\nConnection: {connection}\r\n\r\n{shown}",
                    body.len()
                )
                .into_bytes();
                counts.count(status, body.len() as u64);
            }
        }
    }

    /// Sends what is left, of a file at most `room` bytes.
    fn send(&mut self, room: &mut u64) -> Result<Sent, Errno> {
        while self.sent < self.output.len() {
            // With a file to follow, the head waits to go out with its begin.
            let more = if self.file.is_some() { SendFlags::MORE } else { SendFlags::empty() };
            let rest = &self.output[self.sent..];
            match rustix::net::send(&self.socket, rest, SendFlags::NOSIGNAL | more) {
                Ok(sent) => self.sent += sent,
                Err(Errno::AGAIN) => return Ok(Sent::Full),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        while let Some((file, left)) = &mut self.file {
            let piece = usize::try_from((*left).min(*room)).unwrap_or(usize::MAX);
            if piece == 0 {
                return Ok(Sent::Turn);
            }
            match rustix::fs::sendfile(&self.socket, &*file, None, piece) {
                // The file became shorter than was promised.
                Ok(0) => return Err(Errno::IO),
                Ok(sent) => {
                    *left -= sent as u64;
                    *room -= sent as u64;
                }
                Err(Errno::AGAIN) => return Ok(Sent::Full),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
            if *left == 0 {
                self.file = None;
            }
        }
        Ok(Sent::All)
    }
}

/// The first request in `input` if it is whole; the status where it is none that is served.
fn parse(input: &[u8], files: &Files) -> Result<Option<Request>, u16> {
    if input.is_empty() {
        return Ok(None);
    }
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(input) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if input.len() < LONGEST => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => return Err(431),
        Err(_) => return Err(400),
    };
    let mut keep = request.version == Some(1);
    for header in request.headers.iter() {
        if header.name.eq_ignore_ascii_case("connection") {
            let value = header.value.to_ascii_lowercase();
            let says = |word: &[u8]| value.windows(word.len()).any(|part| part == word);
            keep = (keep || says(b"keep-alive")) && !says(b"close");
        }
        let has_body = header.name.eq_ignore_ascii_case("transfer-encoding")
            || (header.name.eq_ignore_ascii_case("content-length") && header.value != b"0");
        if has_body {
            return Err(413);
        }
    }
    let head_only = request.method == Some("HEAD");
    let found = match request.method {
        Some("GET" | "HEAD") => files.open(request.path.unwrap_or_default()),
        _ => Err(405),
    };
    Ok(Some(Request { head_only, keep, length, found }))
}

fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    }
}
