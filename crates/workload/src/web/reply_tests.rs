//! Replies whole, in pieces, and not replies at all.

use super::*;
use proptest::prelude::*;

fn whole(text: &str) -> Result<Step, Malformed> {
    let step = Reply::default().take(text.as_bytes());
    for piece in [1, 2, 7] {
        let (mut reply, mut last) = (Reply::default(), Ok(Step::More));
        for bytes in text.as_bytes().chunks(piece) {
            last = reply.take(bytes);
            if last != Ok(Step::More) {
                break;
            }
        }
        // In pieces, what is too long is only seen with the next piece.
        assert!(last == step || step.is_err(), "{text:?} in pieces of {piece}: {last:?}");
    }
    step
}

fn done(status: u16, keep: bool, body: u64) -> Result<Step, Malformed> {
    Ok(Step::Done(Whole { status, keep, body }))
}

#[test]
fn replies_of_each_framing_are_understood() {
    for (text, wanted) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", done(200, true, 3)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", done(200, false, 0)),
        ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", done(200, false, 1)),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive\r\n\r\nx",
            done(200, true, 1),
        ),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", done(304, true, 0)),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 X\r\nContent-Length: 1\r\n\r\nx",
            done(404, true, 1),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n",
            done(200, true, 3),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n1\r\nx\r\n0\r\nT: v\r\n\r\n",
            done(200, true, 11),
        ),
        (
            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\tc\r\nContent-Length: 3\r\n\r\nabc",
            done(200, true, 3),
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length:\r\n 3\r\n\r\nabc", done(200, true, 3)),
        (
            "HTTP/1.1 200 OK\r\nConnection: Upgrade,\r\n close\r\nContent-Length: 0\r\n\r\n",
            done(200, false, 0),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding:\n chunked\r\n\r\n1\r\nx\r\n0\r\nT: v\r\n w\r\n\r\n",
            done(200, true, 1),
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", Ok(Step::More)),
        ("HTTP/1.1 200 OK\r\nContent-Le", Ok(Step::More)),
    ] {
        assert_eq!(whole(text), wanted, "{text:?}");
    }
    let mut reply = Reply::default();
    assert_eq!(reply.take(b"HTTP/1.1 200 OK\r\n\r\nabc"), Ok(Step::More));
    assert_eq!(reply.take(b"de"), Ok(Step::More));
    assert_eq!(reply.close(), Some(Whole { status: 200, keep: false, body: 5 }));
    assert_eq!(Reply::default().close(), None);
}

#[test]
fn header_lines_that_may_not_be_have_a_class_of_their_own() {
    for (text, reason) in [
        ("HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nabc", "a space before a header's colon"),
        (
            "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length\t: 3\r\n\r\nabc",
            "a space before a header's colon",
        ),
        ("HTTP/1.1 200 OK\r\nContent(Length: 3\r\n\r\nabc", "an invalid header name"),
        ("HTTP/1.1 200 OK\r\nX: \0\r\n\r\n", "an invalid header value"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n 2\r\n\r\nx", "invalid Content-Length"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "two lengths"),
    ] {
        assert_eq!(whole(text), Err(Malformed { class: Class::BadHeader, reason }), "{text:?}");
    }
    let other = whole("hello\r\n\r\n").unwrap_err();
    assert_eq!(other, Malformed { class: Class::Other, reason: "no HTTP" });
}

#[test]
fn interim_replies_and_heads_byte_by_byte_have_an_end() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(whole(&[&interim.repeat(100), last].concat()), done(200, true, 0));
    let endless = whole(&interim.repeat(101)).unwrap_err();
    assert_eq!(endless.reason, "too many interim replies");
    // The next reply has its own hundred.
    let mut reply = Reply::default();
    for _ in 0..3 {
        let text = [&interim.repeat(60), last].concat();
        assert_eq!(reply.take(text.as_bytes()), done(200, true, 0));
    }
    // A head of 60 KB, byte by byte: parsed once for each line, not for each byte.
    let mut reply = Reply::default();
    let begun = std::time::Instant::now();
    let text = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 0\r\n\r\n", "y".repeat(60_000));
    let steps: Vec<_> = text.bytes().map(|byte| reply.take(&[byte])).collect();
    assert_eq!(*steps.last().unwrap(), done(200, true, 0));
    assert!(begun.elapsed() < std::time::Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn what_is_no_reply_is_said() {
    for text in [
        "hello\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
    ] {
        assert!(whole(text).is_err(), "{text:?}");
    }
    let mut endless = Reply::default();
    let mut result = endless.take(b"HTTP/1.1 200 OK\r\n");
    for _ in 0..2 * LONGEST_HEAD {
        result = result.and_then(|_| endless.take(b"X: yyyyyyyy\r\n"));
    }
    assert!(result.is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    #[test]
    fn any_bytes_in_any_pieces_are_survived(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            "HTTP/1\\.[01] [0-9]{3} [a-z]{0,3}\r\n((Content-Length|Transfer-Encoding|Connection): (chunked|close|[0-9]{1,20})\r\n){0,3}\r\n[0-9a-f\r\n;x]{0,60}"
                .prop_map(String::into_bytes),
        ],
        piece in 1..40_usize,
    ) {
        let mut reply = Reply::default();
        for bytes in bytes.chunks(piece) {
            if reply.take(bytes) != Ok(Step::More) {
                return Ok(());
            }
        }
        reply.close();
    }
}
