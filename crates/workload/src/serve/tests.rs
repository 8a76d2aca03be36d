//! The server against a plain client.

use super::*;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A server over a folder with a file and, beside it, a secret; then what a client does.
fn with_server(check: impl Fn(SocketAddr, &Server)) {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a b"), "hello").unwrap();
    fs::write(root.join("index.html"), "index").unwrap();
    fs::write(root.join("large"), vec![b'x'; 3 << 20]).unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink("../secret", root.join("link")).unwrap();
    served(&root, check);
}

/// A server over a folder while `check` runs.
pub(crate) fn served(root: &Path, check: impl Fn(SocketAddr, &Server)) {
    let server = Server::bind(root, "127.0.0.1:0").unwrap();
    let control = Control::default();
    thread::scope(|scope| {
        scope.spawn(|| server.run(2, &control));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            check(server.address().unwrap(), &server);
        }));
        control.stop();
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Sends, and reads until the server closes.
fn talk(to: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

fn get(to: SocketAddr, path: &str) -> String {
    talk(to, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
}

#[test]
fn files_are_served_and_nothing_else() {
    with_server(|to, server| {
        assert!(get(to, "/a%20b").ends_with("Content-Length: 5\r\nConnection: close\r\n\r\nhello"));
        assert!(get(to, "/?x").ends_with("index"));
        assert!(get(to, "/large").ends_with("xxxx"));
        assert!(get(to, "/missing").starts_with("HTTP/1.1 404 "));
        for path in ["/../secret", "/%2e%2e/secret", "/link", "/./../secret"] {
            let answer = get(to, path);
            assert!(answer.starts_with("HTTP/1.1 403 "), "{path}: {answer}");
        }
        for path in ["/%zz", "/%00", "/%f"] {
            assert!(get(to, path).starts_with("HTTP/1.1 400 "), "{path}");
        }
        assert!(talk(to, "nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));
        assert!(
            talk(to, "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")
                .starts_with("HTTP/1.1 413 ")
        );
        let long = format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(20 << 10));
        assert!(talk(to, &long).starts_with("HTTP/1.1 431 "));
        let head = talk(to, "HEAD /large HTTP/1.0\r\n\r\n");
        assert!(head.contains("Content-Length: 3145728") && head.ends_with("\r\n\r\n"), "{head}");
        assert_eq!(server.counts().served.load(Relaxed), 4);
    });
}

#[test]
fn requests_follow_each_other_on_one_connection() {
    with_server(|to, _| {
        let two =
            "GET /index.html HTTP/1.1\r\n\r\nGET /a%20b HTTP/1.1\r\nConnection: close\r\n\r\n";
        let answer = talk(to, two);
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2);
        assert!(answer.contains("\r\n\r\nindexHTTP/1.1") && answer.ends_with("hello"));
    });
}

/// One client pipelines requests and reads their answers for ever, one reads a large file again and
/// again: others are served, and the server ends when it is told to.
#[test]
fn a_client_that_never_ends_keeps_neither_others_nor_the_end_waiting() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("small"), "small").unwrap();
    fs::write(root.path().join("large"), vec![b'x'; 64 << 20]).unwrap();
    let server = Server::bind(root.path(), "127.0.0.1:0").unwrap();
    let (to, control) = (server.address().unwrap(), Control::default());
    thread::scope(|scope| {
        for path in ["small", "small", "large", "large"] {
            let mut stream = TcpStream::connect(to).unwrap();
            let mut reader = stream.try_clone().unwrap();
            let requests = format!("GET /{path} HTTP/1.1\r\n\r\n").repeat(1000);
            scope.spawn(move || while stream.write_all(requests.as_bytes()).is_ok() {});
            let mut bytes = vec![0; 1 << 20];
            scope.spawn(move || while reader.read(&mut bytes).is_ok_and(|read| read > 0) {});
        }
        let ended = scope.spawn(|| {
            // One thread has all of them.
            server.run(1, &control).unwrap();
            clock::now()
        });
        thread::sleep(Duration::from_millis(300));
        assert!(get(to, "/small").ends_with("small"), "others are served");
        let stopped = clock::now();
        control.stop();
        let took = ended.join().unwrap() - stopped;
        assert!(took < clock::SECOND, "{took} ns");
    });
}
