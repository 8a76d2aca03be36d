//! Agents at the end of a serial line and of a vsock, and strangers who only hold a place.

use crate::marks::{Mark, mark};
use crate::places::INTRODUCTION;
use crate::{Agent, Error, Handle, Key, Line, Listener, Security, Stage, Stream, Work, encode};
use platform::Choice;
use rustix::fd::OwnedFd;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
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
    let (stop, lines) = (AtomicBool::new(false), Mutex::new(Vec::new()));
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
    Security::Key(Key::new([byte; 32]))
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
    Handle::connect(Stream::line(line)?, security)
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
    assert!(log.iter().any(|line| line.contains("another key")), "{log:?}");
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
        let controller = scope.spawn(|| Handle::connect(Stream::connect(&at)?, &key(3)));
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
                let mut handle = Handle::connect(stream, &security).unwrap();
                assert!(handle.offset().is_ok());
                let work = Work::TcpReceive { listen: "127.0.0.1:0".to_owned() };
                let trusted = matches!(security, Security::Key(_));
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
            served.push(Handle::connect(stream, &key(1)).unwrap());
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
        assert!(Handle::connect(late, &key(1)).is_err());
        assert!(served.iter_mut().all(|handle| handle.offset().is_ok()));
    });
    assert!(log.iter().any(|line| line.contains("said nothing")), "{log:?}");
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
            let error = Handle::connect(stream, &key(1)).err().unwrap();
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
            // Of a frame, or of Noise, of 200 bytes.
            let mut bytes = [200, 0, 0, 0].into_iter().chain(std::iter::repeat(9));
            while stream.write_all(&[bytes.next().unwrap()]).is_ok() {
                thread::sleep(Duration::from_millis(100));
                assert!(begun.elapsed() < 2 * introduction(), "it still holds its place");
            }
            assert!(begun.elapsed() > introduction().mul_f64(0.9));
        });
    }
}
