//! Agents at the end of a serial line and of a vsock, and strangers who only hold a place.

use crate::marks::{Mark, mark};
use crate::places::INTRODUCTION;
use crate::{
    Agent, Deadline, Error, Handle, Key, Keys, Line, Listener, Role, Security, Setting, Stage,
    Stream, Work, encode,
};
use platform::Choice;
use rustix::fd::OwnedFd;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use socket2::{Domain, SockRef, Socket, Type};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// An agent at a listener while `check` runs; what it logged.
fn serve(listener: &Listener, security: &Security, check: impl Fn()) -> Vec<String> {
    let agent = Agent {
        platform: Choice::Auto,
        root: "/".into(),
        instance: Vec::new(),
        dir: None,
        read_only: false,
    };
    let (stop, lines) = (Arc::new(AtomicBool::new(false)), Mutex::new(Vec::new()));
    let log = |line: &str| lines.lock().unwrap().push(line.to_owned());
    thread::scope(|scope| {
        scope.spawn(|| agent.serve(listener, security, &stop, &log));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&check));
        stop.store(true, SeqCst);
        result.unwrap();
    });
    lines.into_inner().unwrap()
}

fn key(byte: u8) -> Security {
    Key::new([byte; 32], Role::Configure).into()
}

/// A pty: the controller's end, and the path of the agent's.
fn pty() -> (OwnedFd, PathBuf) {
    let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&near).unwrap();
    unlockpt(&near).unwrap();
    let far = ptsname(&near, Vec::new()).unwrap();
    (near, PathBuf::from(far.to_str().unwrap()))
}

fn connect(near: &OwnedFd, security: &Security) -> Result<Handle<Stream>, Error> {
    let line = Line::new(near.try_clone().unwrap())?;
    Handle::connect(Stream::line(line)?, security, &Deadline::default())
}

#[test]
fn one_controller_after_the_other_is_served_on_a_line() {
    for security in [Security::Transport, key(1)] {
        let (near, far) = pty();
        let listener = Listener::serial(&far).unwrap();
        assert_eq!(listener.place(), far.display().to_string());
        let log = serve(&listener, &security, || {
            for _ in 0..3 {
                let mut handle = connect(&near, &security).unwrap();
                handle.offset().unwrap();
                // Every byte that there is, and what looks like a mark, are data as well.
                let mut data: Vec<u8> = (0..=255).cycle().take(70_000).collect();
                data.extend(mark(Mark::Begin, 7));
                handle.put("data", &data).unwrap();
                assert_eq!(handle.fetch("data").unwrap(), data);
            }
        });
        assert!(log.is_empty(), "{log:?}");
    }
}

#[test]
fn garbage_half_frames_and_lost_controllers_do_not_wedge_a_line() {
    let (near, far) = pty();
    let listener = Listener::serial(&far).unwrap();
    serve(&listener, &Security::Transport, || {
        let send = |bytes: &[u8]| {
            rustix::io::write(&near, bytes).unwrap();
        };
        // A boot loader's greeting, half a mark and half a frame, before any session.
        send(b"Booting...\r\n\xff\xc0?0123\xdb");
        send(&encode(&"half").unwrap()[..5]);
        assert!(connect(&near, &Security::Transport).unwrap().offset().is_ok());
        for broken in [&encode(&"half").unwrap()[..7], &[0xff; 40], &encode(&"nonsense").unwrap()] {
            // A controller that was killed: it begins, sends a part and is not heard of again.
            send(&mark(Mark::Begin, 0x1234));
            send(broken);
            let begun = Instant::now();
            assert!(connect(&near, &Security::Transport).unwrap().offset().is_ok());
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        }
    });
}

#[test]
fn what_a_lost_controller_began_ends_when_the_next_comes() {
    let (near, far) = pty();
    let listener = Listener::serial(&far).unwrap();
    serve(&listener, &Security::Transport, || {
        let mut lost = connect(&near, &Security::Transport).unwrap();
        let listen = "127.0.0.1:0".to_owned();
        let (job, address) = lost.start(&Work::TcpReceive { listen }).unwrap();
        assert!(matches!(lost.stage(job).unwrap(), Stage::Running { .. }));
        std::mem::forget(lost);
        let mut next = connect(&near, &Security::Transport).unwrap();
        assert!(next.stage(job).is_err(), "it has no workloads of others");
        assert!(TcpStream::connect(address.unwrap()).is_err());
    });
}

#[test]
fn another_key_on_a_line_is_refused_and_the_right_one_served_after_it() {
    let (near, far) = pty();
    let listener = Listener::serial(&far).unwrap();
    let log = serve(&listener, &key(1), || {
        assert!(connect(&near, &key(2)).is_err());
        assert!(connect(&near, &key(1)).unwrap().offset().is_ok());
    });
    assert!(log.iter().any(|line| line.contains("different key")), "{log:?}");
}

#[test]
fn the_far_side_of_a_vms_port_is_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("port");
    let port = UnixListener::bind(&path).unwrap();
    let at = format!("serial:{}", path.display());
    thread::scope(|scope| {
        let guest = scope.spawn(|| port.accept().unwrap().0);
        // The emulator listens; the agent sees a device with bytes on it.
        let near = UnixStream::connect(&path).unwrap();
        drop(near);
        guest.join().unwrap();
        let controller =
            scope.spawn(|| Handle::connect(Stream::connect(&at)?, &key(3), &Deadline::default()));
        let line = Line::new(port.accept().unwrap().0.into()).unwrap();
        let listener = Listener::Line(Box::new(Mutex::new(line)), path.clone());
        let controller = Mutex::new(Some(controller));
        serve(&listener, &key(3), || {
            let mut handle = controller.lock().unwrap().take().unwrap().join().unwrap().unwrap();
            assert!(handle.offset().is_ok());
        });
    });
    let nobody = Stream::connect("serial:/nonexistent").unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn a_vsock_serves_this_machine_or_the_kernel_says_why_not() {
    let wrong = Stream::connect("vsock:1").unwrap_err().to_string();
    assert!(wrong.contains("vsock:CID:PORT"), "{wrong}");
    for (port, security) in [(5299, Security::Transport), (5298, key(1))] {
        let at = format!("vsock:1:{port}");
        let listener = match Listener::vsock(port, &security) {
            Ok(listener) => listener,
            Err(error) => {
                assert!(error.to_string().contains("not supported"), "{error}");
                assert!(Stream::connect(&at).is_err());
                continue;
            }
        };
        assert_eq!(listener.place(), format!("vsock:{port}"));
        serve(&listener, &security, || match Stream::connect(&at) {
            Ok(stream) => {
                let mut handle = Handle::connect(stream, &security, &Deadline::default()).unwrap();
                assert!(handle.offset().is_ok());
                let work = Work::TcpReceive { listen: "127.0.0.1:0".to_owned() };
                let trusted = matches!(security, Security::Keys(_));
                assert_eq!(handle.start(&work).is_ok(), trusted, "any user can reach a vsock");
            }
            // The module vsock_loopback is not there.
            Err(error) => {
                println!("no loopback: {error}");
                let known = ["No such device", "Network is unreachable", "timed out", "reset"];
                let text = error.to_string();
                assert!(known.iter().any(|known| text.contains(known)), "{text}");
            }
        });
    }
}

fn tcp(security: &Security) -> Listener {
    Listener::tcp("127.0.0.1:0".parse().unwrap(), security).unwrap()
}

#[test]
fn strangers_hold_four_places_for_a_while_at_most() {
    let listener = tcp(&key(1));
    let to = listener.address().unwrap();
    let log = serve(&listener, &key(1), || {
        let mut served = Vec::new();
        // Silent ones, one that drips and a flood of them: who has the key is served at once.
        let silent: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(to).unwrap()).collect();
        for _ in 0..8 {
            let begun = Instant::now();
            let stream = Stream::connect(&to.to_string()).unwrap();
            served.push(Handle::connect(stream, &key(1), &Deadline::default()).unwrap());
            assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        }
        for mut stream in silent {
            stream.set_read_timeout(Some(2 * introduction())).unwrap();
            let found = stream.read(&mut [0]);
            let waits = |e: &std::io::Error| e.kind() == std::io::ErrorKind::WouldBlock;
            assert!(!found.as_ref().is_err_and(waits), "it still holds its place");
            assert!(matches!(found, Ok(0) | Err(_)));
        }
        // All places are taken by those who belong here: they keep them.
        let late = Stream::connect(&to.to_string()).unwrap();
        assert!(Handle::connect(late, &key(1), &Deadline::default()).is_err());
        assert!(served.iter_mut().all(|handle| handle.offset().is_ok()));
    });
    assert!(log.iter().any(|line| line.contains("sent nothing")), "{log:?}");
    assert!(log.iter().any(|line| line.contains("8 connections are open")), "{log:?}");
}

fn introduction() -> Duration {
    Duration::from_nanos(INTRODUCTION)
}

/// A wrong key is refused at once: an end that closes later may only have too much to do.
#[test]
fn an_end_that_closes_late_may_be_busy() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap().to_string();
    for (wait, late) in [(Duration::ZERO, false), (introduction(), true)] {
        thread::scope(|scope| {
            scope.spawn(|| {
                let (stream, _) = listener.accept().unwrap();
                thread::sleep(wait);
                drop(stream);
            });
            let stream = Stream::connect(&to).unwrap();
            let error = Handle::connect(stream, &key(1), &Deadline::default()).err().unwrap();
            assert_eq!(matches!(error, Error::Late), late, "{error}");
            assert_eq!(matches!(error, Error::Refused), !late, "{error}");
        });
    }
}

#[test]
fn a_stranger_who_drips_is_dropped() {
    for security in [Security::Transport, key(1)] {
        let listener = tcp(&security);
        let to = listener.address().unwrap();
        serve(&listener, &security, || {
            let (mut stream, begun) = (TcpStream::connect(to).unwrap(), Instant::now());
            // Of a frame of 200 bytes, or of the first message of Noise.
            let length = if matches!(security, Security::Keys(_)) { 48 } else { 200 };
            let mut bytes = [length, 0].into_iter().chain(std::iter::repeat(0));
            while stream.write_all(&[bytes.next().unwrap()]).is_ok() {
                thread::sleep(Duration::from_millis(100));
                assert!(begun.elapsed() < 2 * introduction(), "it still holds its place");
            }
            assert!(begun.elapsed() > introduction().mul_f64(0.9));
        });
    }
}

/// Connects from an address of this machine's, in blocking mode.
fn connect_from(from: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let from: SocketAddr = format!("{from}:0").parse().unwrap();
    socket.bind(&from.into())?;
    socket.connect_timeout(&to.into(), Duration::from_secs(2))?;
    Ok(socket.into())
}

/// Opens connections from 127.0.0.2 as fast as it can, says `first` on each and keeps the last 500
/// open; how many there were.
fn flood(to: SocketAddr, first: &[u8], stop: &AtomicBool) -> u64 {
    let (mut count, mut open) = (0, VecDeque::new());
    while !stop.load(SeqCst) {
        // Closed by a reset, which leaves no port in TIME_WAIT.
        if let Ok(mut stream) = connect_from("127.0.0.2", to) {
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            let _ = stream.write_all(first);
            open.push_back(stream);
            count += 1;
        }
        if open.len() > 500 {
            open.pop_front();
        }
    }
    count
}

/// However many connections come from one address, silent ones or with wrong keys, those who have
/// the key get in from another, and what they cost in lines of the log is bounded.
#[test]
fn attack_by_a_flood_of_connections_keeps_no_key_holder_out() {
    let mut wrong = vec![48, 0];
    wrong.extend([9; 48]);
    for (how, first) in [("silent", vec![]), ("with wrong keys", wrong)] {
        let listener = tcp(&key(1));
        let to = listener.address().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let log = serve(&listener, &key(1), || {
            thread::scope(|scope| {
                let floods: Vec<_> =
                    (0..2).map(|_| scope.spawn(|| flood(to, &first, &stop))).collect();
                thread::sleep(Duration::from_millis(500));
                let began = Instant::now();
                let mut slowest = Duration::ZERO;
                let mut failed = Vec::new();
                for _ in 0..20 {
                    let begun = Instant::now();
                    let stream = connect_from("127.0.0.3", to).and_then(Stream::tcp);
                    let served = stream
                        .map_err(Error::from)
                        .and_then(|stream| Handle::connect(stream, &key(1), &Deadline::default()))
                        .and_then(|mut handle| handle.offset());
                    failed.extend(served.err());
                    slowest = slowest.max(begun.elapsed());
                }
                let took = began.elapsed().as_secs_f64() + 0.5;
                stop.store(true, SeqCst);
                let count: u64 = floods.into_iter().map(|flood| flood.join().unwrap()).sum();
                println!(
                    "{how}: {:.0} connections per second; 20 key holders, the slowest within {slowest:?}, \
                     failed: {failed:?}",
                    count as f64 / took
                );
                assert!(failed.is_empty() && slowest < Duration::from_secs(2));
            });
        });
        println!("{} lines of log, the last: {:?}", log.len(), log.last());
        assert!(log.len() < 60, "{}", log.len());
    }
}

/// The address that is flooded from has key holders, too: they get in, or are told that it is busy.
#[test]
fn who_is_turned_away_is_told_so() {
    let listener = tcp(&key(1));
    let to = listener.address().unwrap();
    serve(&listener, &key(1), || {
        let connect = || {
            Handle::connect(
                Stream::connect(&to.to_string()).unwrap(),
                &key(1),
                &Deadline::default(),
            )
        };
        let served: Vec<_> = (0..8).map(|_| connect().unwrap()).collect();
        assert!(matches!(connect().err(), Some(Error::Busy)));
        drop(served);
    });
}

/// What each role may ask: counters, workloads and files, settings.
#[test]
fn a_key_is_good_for_its_role() {
    let all = [(1, Role::Read), (2, Role::Measure), (3, Role::Configure)];
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("keys");
    let made = all.map(|(_, role)| Key::create(&path, role, None, role != Role::Read).unwrap());
    let keys = Security::Keys(Keys::read(&path).unwrap());
    let listener = tcp(&keys);
    let to = listener.address().unwrap().to_string();
    serve(&listener, &keys, || {
        for key in &made {
            let security = Security::from(key.clone());
            let mut handle =
                Handle::connect(Stream::connect(&to).unwrap(), &security, &Deadline::default())
                    .unwrap();
            assert!(handle.offset().is_ok() && handle.snapshot(false).is_ok());
            let refused = |error: Option<Error>, wanted: Role| {
                let allowed = key.role() >= wanted;
                let needs = format!("needs a key of the role {wanted}");
                match error {
                    Some(Error::Failed(why)) if why.contains(&needs) => assert!(!allowed, "{why}"),
                    // What is asked for cannot be: that is said by who may ask.
                    _ => assert!(allowed, "{:?} of {:?}: {error:?}", wanted, key.role()),
                }
            };
            refused(handle.put("file", b"bytes").err(), Role::Measure);
            refused(handle.start(&Work::Fileset { dir: "x".into(), dirs: 0 }).err(), Role::Measure);
            let setting = Setting::Irq { matching: "none".into(), cpus: "0".into() };
            refused(handle.set(&setting).err(), Role::Configure);
        }
        // A key that was withdrawn is another key.
        let other = Security::from(Key::new([7; 32], Role::Configure));
        let refused = Handle::connect(Stream::connect(&to).unwrap(), &other, &Deadline::default());
        assert!(matches!(refused.err(), Some(Error::Refused)));
    });
}
