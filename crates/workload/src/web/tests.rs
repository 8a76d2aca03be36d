//! The generator against a good server and against bad ones.

use super::*;
use crate::serve::tests::served;
use crate::{Control, Verdict, fileset};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

fn plan(to: SocketAddr, load: Load) -> Plan {
    Plan {
        url: format!("http://{to}/file"),
        load,
        calls: 1,
        max_connections: 100,
        timeout: Duration::from_millis(400),
        duration: Duration::from_millis(500),
        warmup: Duration::ZERO,
        threads: 1,
        fileset: None,
        seed: 1,
    }
}

fn per(per: Per, rate: f64) -> Load {
    Load::Open { rate, per, arrivals: Arrivals::Constant }
}

/// Runs, and checks that every request is accounted for.
fn measure(plan: &Plan) -> Outcome {
    let found = run(plan, &Control::default()).unwrap();
    let errors = &found.errors;
    let sum = found.replies + errors.total + found.unsent + found.unfinished;
    assert_eq!(found.requests, sum, "{found:?}");
    assert_eq!(found.status.values().sum::<u64>(), found.replies);
    let classes = errors.client_timo + errors.socket_timo + errors.connrefused + errors.connreset;
    let replies = errors.bad_header + errors.other;
    assert_eq!(errors.total, classes + errors.of_the_generator() + replies);
    let seconds = |of: fn(&Second) -> u64| found.series.iter().map(of).sum::<u64>();
    assert_eq!(seconds(|second| second.requests), found.requests);
    assert_eq!(seconds(|second| second.replies), found.replies);
    assert_eq!(found.service_s.count, found.replies);
    found
}

#[test]
fn each_load_gets_its_replies() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), [b'x'; 1024]).unwrap();
    served(root.path(), |to, server| {
        let before = || server.counts().served.load(Relaxed);
        for (load, calls, threads, requests) in [
            (per(Per::Request, 400.0), 1, 1, Some(200)),
            (per(Per::Request, 400.0), 1, 3, Some(200)),
            (per(Per::Connection, 200.0), 1, 1, Some(100)),
            (per(Per::Connection, 100.0), 4, 2, Some(200)),
            (Load::Closed, 1, 1, None),
        ] {
            let start = before();
            let plan = Plan {
                calls,
                threads,
                max_connections: 30,
                timeout: Duration::from_secs(10),
                warmup: Duration::from_millis(100),
                ..plan(to, load)
            };
            let found = measure(&plan);
            assert_eq!(found.status.keys().copied().collect::<Vec<_>>(), [200]);
            assert_eq!(found.replies, found.requests, "{found:?}");
            assert_eq!(found.body_bytes, 1024 * found.replies);
            assert_eq!(before() - start, found.replies + found.warmup.requests, "{found:?}");
            assert_eq!(found.warmup.status[&200], found.warmup.requests);
            if let Some(requests) = requests {
                assert_eq!(found.requests, requests);
                assert_eq!(found.lateness_s.unwrap().count, requests / u64::from(calls));
            } else {
                assert!(found.response_s.is_none() && found.most_open == 30, "{found:?}");
                assert!(found.requests > 100);
            }
            if calls > 1 {
                assert_eq!(found.connections, 60);
            }
        }
    });
}

#[test]
fn a_file_set_is_asked_for_in_the_order_of_its_seed() {
    let root = tempfile::tempdir().unwrap();
    let set = root.path().join("set");
    fileset::write(&set, 3, 1, &Control::default()).unwrap();
    served(root.path(), |to, _| {
        let plan = Plan {
            url: format!("http://{to}/set"),
            fileset: Some(set.clone()),
            seed: 5,
            timeout: Duration::from_secs(10),
            ..plan(to, per(Per::Request, 300.0))
        };
        let found = measure(&plan);
        assert_eq!(found.status[&200], 150, "{found:?}");
        let bytes: u64 = fileset::Sequence::new(3, 5).take(150).map(fileset::File::bytes).sum();
        assert_eq!(found.body_bytes, bytes);
        let missing = Plan { fileset: Some(root.path().join("no")), ..plan };
        assert!(run(&missing, &Control::default()).is_err());
    });
}

/// A server that does one thing to each connection, on a thread of its own.
fn badly(act: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || act(stream));
        }
    });
    to
}

fn request(stream: &mut TcpStream) {
    let mut bytes = [0; 1000];
    let _ = stream.read(&mut bytes);
}

fn say(mut stream: TcpStream, text: &str) -> TcpStream {
    request(&mut stream);
    let _ = stream.write_all(text.as_bytes());
    stream
}

#[test]
fn a_bad_server_gets_its_class() {
    type Case = (&'static str, fn(TcpStream), fn(&Errors) -> u64);
    let cases: [Case; 10] = [
        ("closes at once", |s| drop(say(s, "")), |e| e.connreset),
        (
            "a space before a colon",
            |s| drop(say(s, "HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\nx")),
            |e| e.bad_header,
        ),
        ("garbage", |s| drop(say(s, "garbage\r\n\r\n")), |e| e.other),
        ("half a head, then closes", |s| drop(say(s, "HTTP/1.1 200 OK\r\nCont")), |e| e.connreset),
        (
            "half a head, then nothing",
            |s| stall(say(s, "HTTP/1.1 200 OK\r\nCont")),
            |e| e.client_timo,
        ),
        (
            "too short",
            |s| drop(say(s, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort")),
            |e| e.connreset,
        ),
        (
            "too long",
            |s| stall(say(s, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nlong")),
            |e| e.other,
        ),
        ("nothing", stall, |e| e.client_timo),
        ("resets", reset, |e| e.connreset),
        ("never ends", endless, |e| e.client_timo),
    ];
    for (name, act, class) in cases {
        for load in [per(Per::Connection, 100.0), per(Per::Request, 100.0), Load::Closed] {
            let plan = Plan {
                max_connections: 60,
                timeout: Duration::from_millis(200),
                duration: Duration::from_millis(200),
                ..plan(badly(act), load)
            };
            let found = measure(&plan);
            assert_eq!(found.replies, 0, "{name}: {found:?}");
            assert!(found.errors.total > 0);
            assert_eq!(class(&found.errors), found.errors.total, "{name}: {found:?}");
        }
    }
}

fn stall(mut stream: TcpStream) {
    let mut bytes = [0; 1000];
    while stream.read(&mut bytes).is_ok_and(|read| read > 0) {}
}

fn reset(stream: TcpStream) {
    let socket = socket2::Socket::from(stream);
    let _ = socket.set_linger(Some(Duration::ZERO));
}

fn endless(stream: TcpStream) {
    let mut stream = say(stream, "HTTP/1.1 200 OK\r\n\r\n");
    while stream.write_all(&[b'x'; 1000]).is_ok() {
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn nobody_there_is_connrefused() {
    let to = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let found = measure(&Plan { calls: 3, ..plan(to, per(Per::Connection, 100.0)) });
    assert_eq!((found.errors.connrefused, found.unsent), (50, 100), "{found:?}");
    assert_eq!(found.response_over.unwrap()["5"], 150);
    let closed = measure(&plan(to, Load::Closed));
    assert!(closed.errors.connrefused < 10_000, "a closed loop does not spin: {closed:?}");
}

#[test]
fn a_full_backlog_is_a_timeout() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(1).unwrap();
    let to = socket.local_addr().unwrap().as_socket().unwrap();
    let found = measure(&plan(to, per(Per::Connection, 100.0)));
    assert_eq!(found.errors.client_timo + found.errors.connrefused, found.requests, "{found:?}");
    assert_eq!(found.held_back, 0, "the schedule goes on: {found:?}");
}

#[test]
fn too_few_connections_make_it_invalid() {
    let to = badly(|stream| {
        thread::sleep(Duration::from_millis(50));
        drop(say(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"));
    });
    let plan = Plan { max_connections: 1, ..plan(to, per(Per::Request, 100.0)) };
    let found = measure(&plan);
    assert!(!found.valid && found.held_back > 10, "{found:?}");
    assert!(found.invalid_reasons[0].contains("--max-connections"));
    let response = found.response_s.unwrap();
    assert!(response.max > 2.0 * found.service_s.max, "the wait counts: {found:?}");
}

#[test]
fn stopping_gives_the_result_so_far() {
    let to = badly(stall);
    let plan = Plan {
        duration: Duration::from_secs(60),
        timeout: Duration::from_secs(30),
        ..plan(to, per(Per::Request, 100.0))
    };
    let control = Control::default();
    let found = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(300));
            control.stop();
        });
        run(&plan, &control).unwrap()
    });
    assert!(found.partial && found.duration_s < 30.0 && found.unfinished == found.requests);
}

#[test]
fn the_window_is_told_when_the_warm_up_is_over() {
    let warmup = Duration::from_millis(600);
    let plan = Plan {
        duration: Duration::from_millis(200),
        warmup,
        timeout: Duration::from_millis(200),
        ..plan(badly(stall), per(Per::Request, 100.0))
    };
    let measuring = |control: &Control| control.progress().measuring.load(Relaxed);
    let (control, begun) = (Control::default(), Instant::now());
    thread::scope(|scope| {
        let told = scope.spawn(|| {
            while !measuring(&control) {
                thread::sleep(Duration::from_millis(1));
            }
            begun.elapsed()
        });
        run(&plan, &control).unwrap();
        assert!(told.join().unwrap() >= warmup);
    });
    let control = Control::default();
    control.stop();
    assert!(run(&plan, &control).unwrap().partial && !measuring(&control));
}

#[test]
fn what_cannot_be_is_refused() {
    let to = "127.0.0.1:1".parse().unwrap();
    let good = plan(to, per(Per::Connection, 10.0));
    assert!(good.check().is_ok());
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(plan(to, per(Per::Request, rate)).check().is_err());
    }
    assert!(Plan { calls: 2, ..plan(to, per(Per::Request, 1.0)) }.check().is_err());
    assert!(Plan { calls: 0, ..good.clone() }.check().is_err());
    assert!(Plan { threads: 0, ..good.clone() }.check().is_err());
    assert!(Plan { max_connections: 0, ..good.clone() }.check().is_err());
    assert!(Plan { timeout: Duration::ZERO, ..good.clone() }.check().is_err());
    assert!(Plan { url: "https://x/".to_owned(), ..good }.check().is_ok());
}

/// Answers each request and keeps the connection, whatever it was asked.
fn keeps_open(mut stream: TcpStream) {
    let mut bytes = [0; 1000];
    while stream.read(&mut bytes).is_ok_and(|read| read > 0) {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
    }
}

#[test]
fn a_server_that_does_not_close_is_closed_from_here() {
    let to = badly(keeps_open);
    let load = per(Per::Connection, 400.0);
    let plan = Plan {
        duration: Duration::from_secs(1),
        timeout: Duration::from_secs(10),
        max_connections: 1000,
        ..plan(to, load)
    };
    let found = measure(&plan);
    assert_eq!((found.replies, found.errors.total), (400, 0), "{found:?}");
    // A fifth of a second's connections; a machine that stalls may have some more.
    assert!(found.most_open < 200, "{}", found.most_open);
    assert!(found.warnings.iter().any(|text| text.contains("connections open")), "{found:?}");
    // Where there are fewer, the oldest gives way at once.
    let few = measure(&Plan { max_connections: 20, ..plan });
    assert_eq!((few.replies, few.errors.total, few.most_open), (400, 0, 20), "{few:?}");
    assert!(few.held_back < 100, "only while this machine stalls: {few:?}");
}

#[test]
fn what_a_run_is_worth() {
    let verdict = |found: &Outcome| (found.verdict(None), found.verdict(Some(0.0)));
    // A run that this machine's stalls made late says so: that is another test's.
    let valid = |plan: &Plan| {
        (0..5).map(|_| measure(plan)).find(|found| found.valid).expect("a run that was not late")
    };
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "x").unwrap();
    served(root.path(), |to, _| {
        let plan = Plan { timeout: Duration::from_secs(10), ..plan(to, per(Per::Request, 100.0)) };
        let mut good = valid(&plan);
        assert_eq!(verdict(&good), (Verdict::Good, Verdict::Good));
        let none = valid(&Plan { url: format!("http://{to}/none"), ..plan });
        assert_eq!(none.status.keys().copied().collect::<Vec<_>>(), [404]);
        assert_eq!(verdict(&none), (Verdict::Failed, Verdict::Failed));
        // 49 good replies of 50.
        good.status = [(200, 48), (302, 1), (500, 1)].into();
        assert_eq!(verdict(&good), (Verdict::Good, Verdict::Failed));
        assert_eq!(good.failed_part(), Some(0.02));
        assert_eq!(good.verdict(Some(0.02)), Verdict::Good);
        good.valid = false;
        assert_eq!(good.verdict(None), Verdict::Invalid);
        good.partial = true;
        assert_eq!(good.verdict(None), Verdict::Broken);
    });
    let to = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = measure(&plan(to, per(Per::Connection, 100.0)));
    assert_eq!(verdict(&refused), (Verdict::Failed, Verdict::Failed));
}

/// Interim replies without end.
fn interim(stream: TcpStream) {
    let mut stream = say(stream, "");
    let flood = b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(10_000);
    while stream.write_all(&flood).is_ok() {}
}

/// Chunks of one byte without end.
fn small_chunks(stream: TcpStream) {
    let mut stream = say(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    let flood = b"1\r\nx\r\n".repeat(100_000);
    while stream.write_all(&flood).is_ok() {}
}

/// A body without end, as fast as it goes.
fn endless_body(stream: TcpStream) {
    let mut stream = say(stream, "HTTP/1.1 200 OK\r\n\r\n");
    let flood = vec![b'x'; 1 << 20];
    while stream.write_all(&flood).is_ok() {}
}

#[test]
fn replies_without_end_keep_neither_the_schedule_nor_the_end_waiting() {
    type Flood = (&'static str, fn(TcpStream));
    let floods: [Flood; 3] =
        [("interim", interim), ("chunks", small_chunks), ("body", endless_body)];
    for (name, flood) in floods {
        for load in [per(Per::Request, 20.0), Load::Closed] {
            let plan = Plan {
                max_connections: 20,
                timeout: Duration::from_secs(60),
                duration: Duration::from_secs(60),
                ..plan(badly(flood), load)
            };
            let control = Control::default();
            let (found, took) = thread::scope(|scope| {
                let stopped = scope.spawn(|| {
                    thread::sleep(Duration::from_millis(500));
                    control.stop();
                    Instant::now()
                });
                let found = run(&plan, &control).unwrap();
                (found, stopped.join().unwrap().elapsed())
            });
            assert!(took < Duration::from_secs(1), "{name}: {took:?}");
            assert!(found.partial && found.replies == 0, "{name}: {found:?}");
            if let Some(lateness) = found.lateness_s {
                assert!(found.requests >= 8, "the schedule goes on: {name}: {found:?}");
                assert!(lateness.max < 0.4, "{name}: {lateness:?}");
            }
            if name == "interim" {
                assert_eq!(found.errors.total, found.errors.other, "{found:?}");
                assert!(found.errors.other_reasons.contains_key("too many interim replies"));
            }
        }
    }
}

#[test]
fn a_rate_that_no_machine_keeps_is_ended_in_time_too() {
    let to = badly(stall);
    let load = per(Per::Connection, 5e6);
    let plan = Plan { duration: Duration::from_secs(60), ..plan(to, load) };
    let control = Control::default();
    thread::scope(|scope| {
        let stopped = scope.spawn(|| {
            thread::sleep(Duration::from_millis(700));
            control.stop();
            Instant::now()
        });
        let found = run(&plan, &control).unwrap();
        let took = stopped.join().unwrap().elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert!(!found.valid && found.held_back > 10_000, "{:?}", found.invalid_reasons);
        let sum = found.replies + found.errors.total + found.unsent + found.unfinished;
        assert_eq!(found.requests, sum);
    });
}
