//! Agent and controller together, and strangers.

use super::*;
use crate::{Agent, Key, LARGEST, Listener, Role, encode};
use platform::Choice;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

fn key(byte: u8) -> Security {
    Key::new([byte; 32], Role::Configure).into()
}

fn agent() -> Agent {
    Agent {
        platform: Choice::Auto,
        root: "/".into(),
        instance: Vec::new(),
        dir: None,
        read_only: false,
    }
}

/// An agent on a free port of loopback while `check` runs; what it logged.
fn with_agent(security: &Security, check: impl Fn(SocketAddr)) -> Vec<String> {
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), security).unwrap();
    let (stop, lines) = (Arc::new(AtomicBool::new(false)), Mutex::new(Vec::new()));
    let log = |line: &str| lines.lock().unwrap().push(line.to_owned());
    thread::scope(|scope| {
        scope.spawn(|| agent().serve(&listener, security, &stop, &log));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            check(listener.address().unwrap());
        }));
        stop.store(true, SeqCst);
        result.unwrap();
    });
    lines.into_inner().unwrap()
}

fn connect(to: SocketAddr, security: &Security) -> Result<Handle<TcpStream>, Error> {
    let stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Handle::connect(stream, security, &Deadline::default())
}

#[test]
fn an_agent_says_who_it_is_what_time_it_is_and_what_it_reads() {
    for security in [Security::Transport, key(1)] {
        let log = with_agent(&security, |to| {
            let mut handle = connect(to, &security).unwrap();
            assert_eq!(handle.hello().environment.vmeter, env!("CARGO_PKG_VERSION"));
            // On one machine the clocks are one: the true offset is 0.
            let offset = handle.offset().unwrap();
            assert!(offset.nanos.unsigned_abs() <= offset.bound, "{offset:?}");
            if handle.hello().unreadable.is_none() {
                let first = handle.snapshot(false).unwrap();
                let second = handle.snapshot(true).unwrap();
                assert!(second.host.window.start >= first.host.window.end);
            }
        });
        assert!(log.is_empty(), "{log:?}");
    }
}

#[test]
fn strangers_are_refused_and_logged_and_the_agent_goes_on() {
    let log = with_agent(&key(1), |to| {
        assert!(connect(to, &key(2)).is_err());
        let plain = TcpStream::connect(to).unwrap();
        plain.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(Handle::connect(plain, &Security::Transport, &Deadline::default()).is_err());
        let mut noise = TcpStream::connect(to).unwrap();
        noise.write_all(&[0xff; 70_000]).unwrap();
        assert!(connect(to, &key(1)).unwrap().offset().is_ok());
    });
    assert!(log.iter().filter(|line| line.contains("key")).count() >= 2, "{log:?}");
}

#[test]
fn requests_before_a_hello_and_other_versions_are_answered() {
    with_agent(&Security::Transport, |to| {
        let ask = |request: &Request| -> Reply {
            let mut channel = Channel::connect(
                TcpStream::connect(to).unwrap(),
                &Security::Transport,
                &Deadline::default(),
            )
            .unwrap();
            channel.send(request).unwrap();
            channel.receive(LARGEST).unwrap()
        };
        assert!(matches!(ask(&Request::Snapshot { vcpus: true }), Reply::Failed(_)));
        let hello = ask(&Request::Hello { protocol: 99 });
        assert!(matches!(hello, Reply::Hello(hello) if hello.protocol == PROTOCOL));
        // A frame that is no request ends the connection, not the agent.
        let mut stream = TcpStream::connect(to).unwrap();
        stream.write_all(&encode(&"nonsense").unwrap()).unwrap();
        assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0);
    });
}

#[test]
fn many_connections_at_once_are_turned_away() {
    let log = with_agent(&Security::Transport, |to| {
        let open: Vec<_> = (0..20).map(|_| connect(to, &Security::Transport)).collect();
        let served = open.iter().filter(|handle| handle.is_ok()).count();
        assert_eq!(served, 8);
        drop(open);
        // Places come free again as connections end.
        while connect(to, &Security::Transport).is_err() {
            thread::sleep(Duration::from_millis(10));
        }
    });
    assert!(log.iter().any(|line| line.contains("refused, 8 connections")), "{log:?}");
}

#[test]
fn plain_text_stays_on_this_machine() {
    let anywhere = "0.0.0.0:0".parse().unwrap();
    let refused = Listener::tcp(anywhere, &Security::Transport).unwrap_err();
    assert!(refused.to_string().contains("use a key"), "{refused}");
    assert!(Listener::tcp(anywhere, &key(1)).is_ok());
}

#[test]
fn a_unix_socket_serves_too() {
    let folder = std::env::temp_dir().join(format!("vmeter-agent-{}", std::process::id()));
    let listener = Listener::unix(&folder).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| agent().serve(&listener, &Security::Transport, &stop, &|_| {}));
        let stream = UnixStream::connect(&folder).unwrap();
        let found = Handle::connect(stream, &Security::Transport, &Deadline::default())
            .and_then(|mut h| h.offset());
        stop.store(true, SeqCst);
        std::fs::remove_file(&folder).unwrap();
        assert!(found.is_ok());
    });
}

/// Waits for a workload's end.
fn outcome(handle: &mut Handle<TcpStream>, job: u32) -> serde_json::Value {
    loop {
        match handle.stage(job).unwrap() {
            Stage::Running { .. } => thread::sleep(Duration::from_millis(10)),
            Stage::Over(text) if text.is_empty() => return serde_json::Value::Null,
            Stage::Over(text) => return serde_json::from_str(&text).unwrap(),
            Stage::Failed(error) => panic!("{error}"),
        }
    }
}

fn tcp_plan(duration: Duration) -> workload::tcp::Plan {
    workload::tcp::Plan {
        size: 1000,
        rate: Some(1000.0),
        pace: workload::tcp::Pace::Sleep,
        streams: 1,
        duration,
        warmup: Duration::ZERO,
        packets: workload::tcp::Packets::OnePerWrite,
        reverse: false,
        congestion: None,
    }
}

#[test]
fn two_agents_run_a_load_between_them() {
    with_agent(&key(1), |to| {
        let mut receiver = connect(to, &key(1)).unwrap();
        let mut sender = connect(to, &key(1)).unwrap();
        let listen = "127.0.0.1:0".to_owned();
        let (receiving, address) = receiver.start(&Work::TcpReceive { listen }).unwrap();
        let plan = tcp_plan(Duration::from_millis(200));
        let work = Work::TcpSend { to: address.unwrap(), plan };
        let (sending, nowhere) = sender.start(&work).unwrap();
        assert_eq!(nowhere, None);
        let sent = outcome(&mut sender, sending);
        assert_eq!(sent["one_per_write"]["holds"], true, "{sent:#}");
        assert_eq!(outcome(&mut receiver, receiving)["writes"], sent["writes"]);
        assert!(sender.stage(7).is_err(), "there is no such workload");
    });
    // Without a key anybody on this machine could run commands as the agent.
    with_agent(&Security::Transport, |to| {
        let mut handle = connect(to, &Security::Transport).unwrap();
        let refused = handle.start(&Work::TcpReceive { listen: "127.0.0.1:0".to_owned() });
        assert!(refused.unwrap_err().to_string().contains("needs a key of the role measure"));
        let setting = Setting::Irq { matching: "eth0".to_owned(), cpus: "0".to_owned() };
        let refused = handle.set(&setting).unwrap_err().to_string();
        assert!(refused.contains("needs a key of the role configure"), "{refused}");
        assert!(!handle.interrupts().unwrap().lines.is_empty(), "reading is for everybody");
    });
}

#[test]
fn a_server_and_a_web_load_run_until_they_are_stopped() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f"), "hello").unwrap();
    with_agent(&key(1), |to| {
        let mut handle = connect(to, &key(1)).unwrap();
        let (dir, listen) = (folder.path().to_owned(), "127.0.0.1:0".to_owned());
        let server = workload::serve::Software::Vmeter;
        let serve = Work::Serve { dir, listen, threads: 1, server };
        let (serving, address) = handle.start(&serve).unwrap();
        let plan = serde_json::json!({
            "url": format!("http://{}/f", address.unwrap()),
            "load": {"kind": "open", "rate": 200.0, "per": "request", "arrivals": "poisson"},
            "calls": 1, "max_connections": 10, "timeout_s": 5.0, "duration_s": 3600.0,
            "warmup_s": 0.0, "threads": 1, "fileset": null, "seed": 1,
        });
        let plan = serde_json::from_value(plan).unwrap();
        let (web, _) = handle.start(&Work::Web { plan }).unwrap();
        while !matches!(
            handle.stage(web).unwrap(),
            Stage::Running { done: 10.., measuring: true, .. }
        ) {
            thread::sleep(Duration::from_millis(10));
        }
        handle.stop(web).unwrap();
        let found = outcome(&mut handle, web);
        assert!(found["partial"] == true && found["status"]["200"].as_u64() >= Some(10));
        handle.stop(serving).unwrap();
        let version = format!("vmeter/{}", env!("CARGO_PKG_VERSION"));
        assert_eq!(outcome(&mut handle, serving)["version"], version);
        let dir = "/nonexistent".into();
        let nothing = Work::Serve { dir, listen: String::new(), threads: 1, server };
        let refused = handle.start(&nothing).unwrap_err();
        assert!(refused.to_string().contains("/nonexistent"), "{refused}");
    });
}

#[test]
fn files_go_there_and_come_back() {
    with_agent(&key(1), |to| {
        let mut handle = connect(to, &key(1)).unwrap();
        let large: Vec<u8> = (0..PIECE * 2 + 17).map(|at| (at % 251) as u8).collect();
        let path = handle.put("data", &large).unwrap();
        assert_eq!(std::fs::read(path).unwrap(), large);
        assert_eq!(connect(to, &key(1)).unwrap().fetch("data").unwrap(), large);
        handle.put("data", &[]).unwrap();
        assert!(handle.fetch("data").unwrap().is_empty());
        assert!(handle.put("../data", &large).is_err() && handle.fetch("other").is_err());
        assert!(handle.offset().is_ok(), "the connection goes on");
    });
    with_agent(&Security::Transport, |to| {
        let mut handle = connect(to, &Security::Transport).unwrap();
        assert!(
            handle
                .put("data", &[])
                .unwrap_err()
                .to_string()
                .contains("needs a key of the role measure")
        );
        assert!(
            handle
                .fetch("data")
                .unwrap_err()
                .to_string()
                .contains("needs a key of the role measure")
        );
    });
}

#[test]
fn a_workload_ends_with_its_connection() {
    with_agent(&key(1), |to| {
        let mut handle = connect(to, &key(1)).unwrap();
        let listen = "127.0.0.1:0".to_owned();
        let (_, address) = handle.start(&Work::TcpReceive { listen }).unwrap();
        let address = address.unwrap();
        assert!(TcpStream::connect(&address).is_ok());
        drop(handle);
        while TcpStream::connect(&address).is_ok() {
            thread::sleep(Duration::from_millis(10));
        }
    });
}

#[test]
fn whoever_has_the_key_gets_samples_names_and_symbols() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let log = with_agent(&key(1), |to| {
        let mut handle = connect(to, &key(1)).unwrap();
        let pinged = handle.ping().unwrap();
        let times = [pinged.sent.time, pinged.guest.time, pinged.received.time];
        assert!(times.is_sorted(), "one machine has one clock: {pinged:?}");
        assert!(handle.drain().is_err(), "nothing is sampled yet");
        let opened = handle.sample(&Sampling::Itself(vec!["cpu-clock:1M".to_owned()])).unwrap();
        assert_eq!(opened.events[0].counted, "cpu-clock");
        let existing = handle.existing().unwrap();
        let me = std::process::id();
        let is_mine =
            |record: &Record| matches!(&record.what, model::What::Map(map) if map.pid == me);
        assert!(existing.iter().any(is_mine));
        let mut bytes = 0;
        let until = std::time::Instant::now() + Duration::from_secs(20);
        while bytes == 0 {
            assert!(std::time::Instant::now() < until, "no samples come");
            bytes = handle.drain().unwrap().pieces.iter().map(|(_, bytes)| bytes.len()).sum();
        }
        assert!(handle.end_sampling().unwrap()[0].share.is_ok());
        let kallsyms = handle.symbols(&SymbolFile::Kallsyms, 1 << 28).unwrap();
        assert_eq!(kallsyms, std::fs::read("/proc/kallsyms").unwrap());
        let own = std::env::current_exe().unwrap();
        let binary = handle.symbols(&SymbolFile::Binary(own.clone()), 1 << 30).unwrap();
        assert!(binary == std::fs::read(&own).unwrap());
        for no_program in ["/etc/passwd", "/dev/zero", "/proc/self/mem", "/nowhere"] {
            let file = SymbolFile::Binary(no_program.into());
            assert!(
                matches!(handle.symbols(&file, 1 << 30), Err(Error::Failed(_))),
                "{no_program}"
            );
        }
        assert!(handle.symbols(&SymbolFile::Binary(own), 1000).is_err(), "a limit is one");
    });
    assert!(log.is_empty(), "{log:?}");
    // Who has no key reads counters, and does not look into programs.
    with_agent(&Security::Transport, |to| {
        let mut handle = connect(to, &Security::Transport).unwrap();
        assert!(matches!(handle.sample(&Sampling::Names), Err(Error::Failed(_))));
        assert!(matches!(handle.symbols(&SymbolFile::Kallsyms, 1 << 28), Err(Error::Failed(_))));
    });
}

/// The other end begins a message, and keeps the connection without a word more.
#[test]
fn an_agent_that_is_told_to_end_waits_for_no_message() {
    let (kept, begun) = (Mutex::new(Vec::new()), Mutex::new(None));
    with_agent(&Security::Transport, |to| {
        let stream = TcpStream::connect(to).unwrap();
        let mut raw = stream.try_clone().unwrap();
        let mut channel =
            Channel::connect(stream, &Security::Transport, &Deadline::default()).unwrap();
        channel.send(&Request::Hello { protocol: PROTOCOL }).unwrap();
        assert!(matches!(channel.receive(LARGEST).unwrap(), Reply::Hello(_)));
        raw.write_all(&encode(&Request::Clock).unwrap()[..3]).unwrap();
        // The agent reads what there is, and waits for the rest.
        thread::sleep(Duration::from_millis(200));
        kept.lock().unwrap().push(raw);
        *begun.lock().unwrap() = Some(std::time::Instant::now());
    });
    let took = begun.lock().unwrap().unwrap().elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
}

/// Each takes half a second to end, as its server does not answer.
#[test]
fn workloads_end_beside_each_other() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let plan = serde_json::json!({
        "url": format!("http://{}/", silent.local_addr().unwrap()),
        "load": {"kind": "open", "rate": 50.0, "per": "connection", "arrivals": "constant"},
        "calls": 1, "max_connections": 100, "timeout_s": 60.0, "duration_s": 60.0,
        "warmup_s": 0.0, "threads": 1, "fileset": null, "seed": 1
    });
    let work = Work::Web { plan: serde_json::from_value(plan).unwrap() };
    let begun = Mutex::new(None);
    with_agent(&key(1), |to| {
        let mut handle = connect(to, &key(1)).unwrap();
        for _ in 0..5 {
            handle.start(&work).unwrap();
        }
        thread::sleep(Duration::from_millis(200));
        *begun.lock().unwrap() = Some(std::time::Instant::now());
    });
    let took = begun.lock().unwrap().unwrap().elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn an_address_is_connected_to_or_says_what_is_wrong() {
    use crate::Stream;
    let listener = std::net::TcpListener::bind("[::1]:0").unwrap();
    let to = listener.local_addr().unwrap();
    assert!(Stream::connect(&to.to_string()).is_ok());
    drop(listener);
    let refused = Stream::connect(&to.to_string()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let wrong = Stream::connect("[fe80::1%no-such]:1").unwrap_err();
    assert!(wrong.to_string().contains("network device `no-such` not found"), "{wrong}");
}
