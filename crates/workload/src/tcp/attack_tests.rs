//! Ends that do not answer, or that come meanwhile: whoever is told to end does so in time.

use super::plan::Plan;
use super::plan::tests::plan;
use super::wire::{Channel, Message, PATIENCE, Preamble, Purpose, VERSION};
use super::{Server, send};
use crate::{Control, Error};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Within this a load ends that is told to.
const END: Duration = Duration::from_secs(1);

/// Stops `control` after some time; how long `run` took from then, and what it gave.
fn stopped<T>(control: &Control, run: impl FnOnce() -> T) -> (T, Duration) {
    thread::scope(|scope| {
        let stopped = scope.spawn(|| {
            thread::sleep(Duration::from_millis(400));
            control.stop();
            Instant::now()
        });
        let found = run();
        (found, stopped.join().unwrap().elapsed())
    })
}

fn long() -> Plan {
    Plan { duration: Duration::from_secs(60), ..plan() }
}

/// A receiver that answers so many marks and then nothing any more.
fn receiver(marks: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let control = Control::default();
        let (mut stream, _) = listener.accept().unwrap();
        let theirs = Preamble::read(&mut stream, PATIENCE, &control).unwrap();
        Preamble { version: VERSION, ..theirs }.write(&mut stream).unwrap();
        let mut channel = Channel::new(stream, "the sender".to_owned());
        let Message::Run(_) = channel.receive(PATIENCE, &control).unwrap() else { return };
        let (data, _) = listener.accept().unwrap();
        channel.send(&Message::Ready, &control).unwrap();
        for _ in 0..marks {
            let Message::Mark = channel.receive(PATIENCE, &control).unwrap() else { return };
            channel.send(&Message::Marked, &control).unwrap();
        }
        thread::sleep(Duration::from_secs(60));
        drop(data);
    });
    at
}

#[test]
fn a_sender_ends_without_an_answer_from_the_receiver() {
    let control = Control::default();
    // Before the window: there is nothing to report.
    let (found, took) = stopped(&control, || send(&long(), &receiver(0), &control));
    assert!(took < END, "{took:?}");
    assert!(
        matches!(&found, Err(Error::Peer(text)) if text.starts_with("interrupted before")),
        "{found:?}"
    );
    // In the window: what was sent so far, though its data is not read and nobody confirms.
    let control = Control::default();
    let (found, took) = stopped(&control, || send(&long(), &receiver(1), &control));
    assert!(took < END, "{took:?}");
    let found = found.unwrap();
    assert!(found.partial && found.writes > 100, "{found:?}");
    assert!(found.warnings.iter().any(|text| text.contains("report was lost")), "{found:?}");
}

#[test]
fn a_sender_ends_between_two_deadlines_that_are_far_apart() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let address = server.address().unwrap().to_string();
    let control = Control::default();
    thread::scope(|scope| {
        scope.spawn(|| server.serve(&Control::default()));
        let plan = Plan { rate: Some(0.05), ..long() };
        let (found, took) = stopped(&control, || send(&plan, &address, &control).unwrap());
        assert!(found.partial && found.writes == 1, "{found:?}");
        assert!(took < END, "{took:?}");
    });
}

#[test]
fn a_receiver_ends_whatever_its_sender_does() {
    type Sender = fn(&mut TcpStream);
    let senders: [(&str, Sender); 2] = [
        ("says nothing", |_| ()),
        ("says who it is, and nothing more", |stream| {
            let run = 7;
            Preamble { version: VERSION, purpose: Purpose::Control, run }.write(stream).unwrap();
        }),
    ];
    for (name, act) in senders {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(server.address().unwrap()).unwrap();
        act(&mut stream);
        let control = Control::default();
        let (found, took) = stopped(&control, || server.serve(&control));
        assert!(took < END, "{name}: {took:?}");
        assert!(!matches!(found, Ok(Some(_))), "{name}: {found:?}");
    }
}

/// A sender that keeps sending and never ends, though it is asked to.
#[test]
fn a_receiver_ends_though_its_sender_goes_on() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let to = server.address().unwrap();
    thread::spawn(move || {
        let control = Control::default();
        let mut stream = TcpStream::connect(to).unwrap();
        Preamble { version: VERSION, purpose: Purpose::Control, run: 7 }
            .write(&mut stream)
            .unwrap();
        Preamble::read(&mut stream, PATIENCE, &control).unwrap();
        let mut channel = Channel::new(stream, "the receiver".to_owned());
        channel.send(&Message::Run(long()), &control).unwrap();
        let mut data = TcpStream::connect(to).unwrap();
        Preamble { version: VERSION, purpose: Purpose::Data, run: 7 }.write(&mut data).unwrap();
        let Message::Ready = channel.receive(PATIENCE, &control).unwrap() else { return };
        channel.send(&Message::Mark, &control).unwrap();
        let bytes = vec![0; 1 << 20];
        while std::io::Write::write_all(&mut data, &bytes).is_ok() {}
    });
    let control = Control::default();
    let (found, took) = stopped(&control, || server.serve(&control));
    assert!(took < END, "{took:?}");
    assert!(matches!(found, Err(Error::Peer(_))), "{found:?}");
}

#[test]
fn silent_connections_do_not_disturb_a_test() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let to = server.address().unwrap();
    let control = Control::default();
    thread::scope(|scope| {
        scope.spawn(|| server.serve(&control));
        let progress = control.progress();
        scope.spawn(|| {
            while !progress.measuring.load(std::sync::atomic::Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(1));
            }
            let silent: Vec<_> = (0..3).map(|_| TcpStream::connect(to).unwrap()).collect();
            thread::sleep(Duration::from_secs(2));
            drop(silent);
        });
        let plan = Plan { duration: Duration::from_millis(300), ..plan() };
        let begun = Instant::now();
        let found = send(&plan, &to.to_string(), &Control::default()).unwrap();
        assert!(!found.partial && begun.elapsed() < Duration::from_secs(3), "{found:?}");
    });
}
