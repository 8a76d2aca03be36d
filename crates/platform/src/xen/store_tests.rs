use super::*;
use hostile::survives;

/// A xenstored whose replies are fixed.
struct Scripted {
    replies: Vec<u8>,
    sent: Vec<u8>,
}

impl Wire for Scripted {
    fn send(&mut self, bytes: &[u8], _: Instant) -> io::Result<()> {
        self.sent.extend_from_slice(bytes);
        Ok(())
    }

    fn receive(&mut self, bytes: &mut [u8], _: Instant) -> io::Result<()> {
        if bytes.len() > self.replies.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.copy_from_slice(&self.replies[..bytes.len()]);
        self.replies.drain(..bytes.len());
        Ok(())
    }
}

fn reply(kind: u32, request: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    let mut bytes: Vec<u8> =
        [kind, request, 0, length].iter().flat_map(|field| field.to_le_bytes()).collect();
    bytes.extend_from_slice(body);
    bytes
}

fn client(replies: &[Vec<u8>]) -> Client<Scripted> {
    Client::new(Scripted { replies: replies.concat(), sent: Vec::new() })
}

#[test]
fn values_and_lists_are_read() {
    let mut store = client(&[
        reply(WATCH_EVENT, 0, b"@introduceDomain\0token\0"),
        reply(READ, 1, b"g1"),
        reply(DIRECTORY, 2, b"vif\0vbd\0"),
        reply(ERROR, 3, b"ENOENT\0"),
        reply(ERROR, 4, b"EACCES\0"),
        reply(READ, 5, b"still here"),
    ]);
    assert_eq!(store.read("/local/domain/1/name").unwrap(), Some(b"g1".to_vec()));
    assert_eq!(store.list("/local/domain/0/backend").unwrap(), ["vif", "vbd"]);
    assert_eq!(store.read("/none").unwrap(), None);
    let refused = store.read("/secret").unwrap_err().to_string();
    assert_eq!(refused, "/secret: EACCES");
    assert_eq!(store.read("/again").unwrap(), Some(b"still here".to_vec()));
    assert_eq!(store.connection.sent[..16], [2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 21, 0, 0, 0]);
}

#[test]
fn an_answer_out_of_step_ends_the_conversation() {
    for replies in [reply(READ, 9, b"other"), reply(READ, 1, b"x")[..15].to_vec(), {
        let mut huge = reply(READ, 1, b"");
        huge[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        huge
    }] {
        let mut store = client(&[replies, reply(READ, 2, b"late")]);
        assert!(store.read("/a").is_err());
        assert!(store.is_broken() && store.read("/b").is_err());
    }
}

#[test]
fn a_long_path_is_not_sent() {
    let mut store = client(&[]);
    assert!(store.read(&"x".repeat(5000)).is_err());
}

#[test]
fn a_silent_xenstored_is_left_alone_after_a_while() {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    let mut store = Client::new(Connection::Socket(near));
    let error = store.read("/local/domain/1/name").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    drop(far);
}

#[test]
fn a_socket_carries_an_answer_in_pieces() {
    let (near, mut far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    let server = std::thread::spawn(move || {
        let mut question = [0; 16 + 3];
        far.read_exact(&mut question).unwrap();
        for byte in reply(READ, 1, b"g1") {
            far.write_all(&[byte]).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
        question
    });
    let mut store = Client::new(Connection::Socket(near));
    assert_eq!(store.read("/a").unwrap(), Some(b"g1".to_vec()));
    assert_eq!(server.join().unwrap()[16..], *b"/a\0");
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let mut live = Recorded::parse(
        "/local/domain/0/name = Domain-0\n/local/domain/1/backend/vif/2/0/mac = x\n\
         /local/domain/1/backend/vif-x = y\n/local/domain/1/name = a\\x1b\\\\n\\\"\n",
    );
    assert_eq!(live.read("/local/domain/1/name").unwrap(), Some(b"a\x1b\\n\"".to_vec()));
    assert_eq!(live.list("/local/domain").unwrap(), ["0", "1"]);
    assert_eq!(live.list("/local/domain/1/backend").unwrap(), ["vif", "vif-x"]);
    let mut lines = String::new();
    record(&mut live, "/local/domain", 6, &mut lines).unwrap();
    assert_eq!(Recorded::parse(&lines).0, live.0);
}

#[test]
fn hostile_input() {
    let replies = [reply(DIRECTORY, 1, b"vif\0vbd\0"), reply(READ, 2, b"g1")].concat();
    survives(&replies, |bytes| {
        let mut store = Client::new(Scripted { replies: bytes.to_vec(), sent: Vec::new() });
        let _ = (store.list("/local"), store.read("/name"));
    });
    survives(b"/local/domain/1/name = g\\x1b1\n/a/b = c\n", |bytes| {
        let mut recorded = Recorded::parse(&String::from_utf8_lossy(bytes));
        let _ = (recorded.list("/local"), recorded.read("/a/b"));
    });
}
