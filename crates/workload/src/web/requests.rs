//! The requests themselves: one URL again and again, or a file set's sequence.

use super::target::Target;
use crate::fileset::{File, Sequence};
use std::io::Write;

/// What one thread asks for.
#[derive(Debug)]
pub struct Requests {
    /// Up to the path.
    start: Vec<u8>,
    /// After the path: keeping the connection, or closing it.
    keep: Vec<u8>,
    close: Vec<u8>,
    /// Of a file set: the sequence, and how many of its files go to other threads in between.
    sequence: Option<(Sequence, usize)>,
    /// The bytes of the request made last.
    bytes: Vec<u8>,
}

impl Requests {
    /// For thread `thread` of `threads`: it takes each `threads`-th file of the sequence, so that
    /// all together ask for the sequence of the seed.
    pub fn new(target: &Target, set: Option<(usize, u64)>, thread: usize, threads: usize) -> Self {
        let mut path = target.path.clone();
        if set.is_some() && !path.ends_with('/') {
            path.push('/');
        }
        let authorization = target.authorization.as_ref();
        let authorization =
            authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
        let end = format!(
            " HTTP/1.1\r\nHost: {}\r\n{authorization}User-Agent: vmeter/{}\r\nAccept: */*\r\n",
            target.authority,
            env!("CARGO_PKG_VERSION")
        );
        Self {
            start: format!("GET {path}").into_bytes(),
            keep: format!("{end}\r\n").into_bytes(),
            close: format!("{end}Connection: close\r\n\r\n").into_bytes(),
            sequence: set.map(|(dirs, seed)| {
                let mut sequence = Sequence::new(dirs, seed);
                sequence.by_ref().take(thread).for_each(drop);
                (sequence, threads - 1)
            }),
            bytes: Vec::new(),
        }
    }

    /// The next file to ask for; `None` where the URL is all.
    pub fn draw(&mut self) -> Option<File> {
        let (sequence, others) = self.sequence.as_mut()?;
        let file = sequence.next();
        for _ in 0..*others {
            sequence.next();
        }
        file
    }

    /// The request for a file, or for the URL.
    pub fn bytes(&mut self, file: Option<File>, last: bool) -> &[u8] {
        self.bytes.clear();
        self.bytes.extend_from_slice(&self.start);
        if let Some(File { dir, class, number }) = file {
            // Writing to a Vec cannot fail.
            let _ = write!(self.bytes, "dir{dir:05}/class{class}_{number}");
        }
        self.bytes.extend_from_slice(if last { &self.close } else { &self.keep });
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_together_ask_for_the_sequence() {
        let target = Target::of("http://127.0.0.1:1/set").unwrap();
        let mut alone = Requests::new(&target, Some((61, 9)), 0, 1);
        let mut three: Vec<_> =
            (0..3).map(|thread| Requests::new(&target, Some((61, 9)), thread, 3)).collect();
        for arrival in 0..300 {
            assert_eq!(three[arrival % 3].draw(), alone.draw());
        }
        let file = File { dir: 7, class: 2, number: 3 };
        let text = String::from_utf8(alone.bytes(Some(file), true).to_vec()).unwrap();
        assert!(text.starts_with("GET /set/dir00007/class2_3 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n"));
        assert!(text.ends_with("Connection: close\r\n\r\n"));
        assert!(text.contains(&file.path()));
    }

    #[test]
    fn one_url_stays_as_it_is() {
        let target = Target::of("http://127.0.0.1:1/index.html?q").unwrap();
        let mut one = Requests::new(&target, None, 0, 1);
        assert_eq!(one.draw(), None);
        assert!(one.bytes(None, false).starts_with(b"GET /index.html?q HTTP/1.1\r\n"));
        assert!(one.bytes(None, false).ends_with(b"*/*\r\n\r\n"));
    }

    #[test]
    fn the_host_header_has_the_host_alone() {
        let target = Target::of("http://me:secret@[fe80::1%25lo]:81?q").unwrap();
        let mut one = Requests::new(&target, None, 0, 1);
        let text = String::from_utf8(one.bytes(None, true).to_vec()).unwrap();
        let head = "GET /?q HTTP/1.1\r\nHost: [fe80::1]:81\r\n\
            Authorization: Basic bWU6c2VjcmV0\r\nUser-Agent: ";
        assert!(text.starts_with(head), "{text}");
    }
}
