//! The end that listens: `vmeter bench tcp recv`. One test at a time.

use super::drive::{check_path, drive};
use super::follow::follow;
use super::join::keep_alive;
use super::outcome::Outcome;
use super::plan::Plan;
use super::wire::{Channel, Message, PATIENCE, Preamble, Purpose, VERSION};
use crate::address::listen;
use crate::socket::readable;
use crate::{Control, Error};
use socket2::SockRef;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Data connections of a run, and strangers, that may wait.
const BACKLOG: i32 = 256;
/// What a stranger may take to say who it is.
const INTRODUCTION: Duration = Duration::from_secs(2);
/// What one that comes during a test may take, while the test waits.
const BUSY_INTRODUCTION: Duration = Duration::from_millis(200);
/// How often the waiting server looks whether to end, in nanoseconds.
const LOOK: u64 = 200_000_000;

/// Waits for tests.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
}

impl Server {
    /// Listens at `address` (`HOST:PORT`; port 0 is any free one).
    ///
    /// # Errors
    /// Where that is no address of this machine or its port is taken.
    pub fn bind(address: &str) -> Result<Self, Error> {
        Ok(Self { listener: listen(address, BACKLOG)? })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        self.listener.local_addr().map_err(Error::io("cannot use the listening socket"))
    }

    /// Serves the next test; `None` where it was told to stop before one came.
    ///
    /// # Errors
    /// What went wrong with that test; the next may be served all the same.
    pub fn serve(&self, control: &Control) -> Result<Option<Outcome>, Error> {
        while !control.stopped() {
            if !self.comes(LOOK) {
                continue;
            }
            let Ok((mut stream, peer)) = self.listener.accept() else { continue };
            let Ok(theirs) = introduced(&mut stream, INTRODUCTION, control) else { continue };
            if theirs.purpose != Purpose::Control {
                continue;
            }
            let mine = Preamble { version: VERSION, ..theirs };
            if mine.write(&mut stream).is_err() || theirs.version != VERSION {
                continue;
            }
            let mut channel = Channel::new(stream, peer.to_string());
            return self.test(&mut channel, theirs.run, control).map(Some);
        }
        Ok(None)
    }

    fn test(&self, channel: &mut Channel, run: u64, control: &Control) -> Result<Outcome, Error> {
        let Message::Run(plan) = channel.receive(PATIENCE, control)? else {
            return Err(Error::Peer("the sender did not send a plan".to_owned()));
        };
        let prepared =
            plan.check().and_then(|()| self.streams(&plan, run, control)).and_then(|sockets| {
                check_path(&plan, &sockets)?;
                Ok(sockets)
            });
        let sockets = match prepared {
            Ok(sockets) => sockets,
            Err(error) => {
                channel.send(&Message::Refused(error.to_string()), control)?;
                return Err(error);
            }
        };
        channel.send(&Message::Ready, control)?;
        let (sender, receiver) = if plan.reverse {
            drive(&plan, &sockets, channel, control)?
        } else {
            let (sender, receiver) = follow(&plan, &sockets, channel, control, Some(self))?;
            (sender, Some(receiver))
        };
        Outcome::of(&plan, sender, receiver)
    }

    /// What it listens with, to wait for.
    pub(super) fn listener(&self) -> &TcpListener {
        &self.listener
    }

    /// Takes the data connections of this run, and no others.
    fn streams(&self, plan: &Plan, run: u64, control: &Control) -> Result<Vec<TcpStream>, Error> {
        let until = Instant::now() + PATIENCE;
        let mut streams = Vec::new();
        while streams.len() < plan.streams {
            if Instant::now() > until || control.stopped() {
                return Err(Error::Peer(format!(
                    "{} of {} data connections were opened",
                    streams.len(),
                    plan.streams
                )));
            }
            if !self.comes(LOOK) {
                continue;
            }
            let Ok((mut stream, _)) = self.listener.accept() else { continue };
            match introduced(&mut stream, INTRODUCTION, control) {
                Ok(p) if p.purpose == Purpose::Data && p.run == run => streams.push(stream),
                Ok(p) if p.purpose == Purpose::Control => refuse(stream, p),
                _ => {}
            }
        }
        Ok(streams)
    }

    /// Tells one who connects during a test that it is busy.
    pub(super) fn turn_away(&self, control: &Control) {
        if let Ok((mut stream, _)) = self.listener.accept()
            && let Ok(theirs) = introduced(&mut stream, BUSY_INTRODUCTION, control)
        {
            refuse(stream, theirs);
        }
    }

    fn comes(&self, within: u64) -> bool {
        readable(&self.listener, within)
    }
}

/// An answer with no run's number says: busy.
fn refuse(mut stream: TcpStream, theirs: Preamble) {
    // Whoever does not wait for the answer does not need it.
    let _ = Preamble { version: VERSION, run: !theirs.run, ..theirs }.write(&mut stream);
}

fn introduced(stream: &mut TcpStream, within: Duration, control: &Control) -> io::Result<Preamble> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(within))?;
    keep_alive(&SockRef::from(&*stream))?;
    Preamble::read(stream, within, control)
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::plan;
    use super::super::{Packets, send};
    use super::*;
    use std::io::Write;
    use std::sync::atomic::Ordering::Relaxed;
    use std::thread;

    /// Serves one test and gives both ends' results.
    fn run(plan: &Plan) -> (Result<Outcome, Error>, Result<Option<Outcome>, Error>) {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let address = server.address().unwrap().to_string();
        let control = Control::default();
        thread::scope(|scope| {
            let served = scope.spawn(|| server.serve(&control));
            let sent = send(plan, &address, &Control::default());
            control.stop();
            (sent, served.join().unwrap())
        })
    }

    #[test]
    fn a_write_is_a_packet() {
        for (size, reverse) in [(500, false), (1000, true), (1448, false), (1448, true)] {
            let plan = Plan {
                size,
                reverse,
                duration: Duration::from_millis(300),
                warmup: Duration::from_millis(50),
                ..plan()
            };
            let (sent, served) = run(&plan);
            let sent = sent.unwrap();
            let proof = sent.one_per_write.unwrap();
            assert!(proof.holds, "{sent:?}");
            // On a machine that stalls at the very end, deadlines are missed and said to be.
            assert_eq!(sent.writes + sent.missed, 300, "{sent:?}");
            assert_eq!(sent.bytes, sent.writes * size as u64);
            let receiver = sent.ends.receiver.as_ref().unwrap();
            assert_eq!(receiver.totals.bytes, sent.bytes);
            assert!(receiver.totals.acks.abs_diff(sent.acks) <= 1, "{sent:?}");
            assert_eq!(sent.series.iter().map(|second| second.writes).sum::<u64>(), sent.writes);
            assert_eq!(served.unwrap().unwrap().writes, sent.writes);
        }
    }

    #[test]
    fn streams_share_the_rate_and_as_is_moves_bytes() {
        let plan = Plan {
            streams: 3,
            duration: Duration::from_millis(200),
            packets: Packets::AsIs,
            ..plan()
        };
        let (sent, _) = run(&plan);
        let sent = sent.unwrap();
        assert_eq!(sent.writes + sent.missed, 200, "{sent:?}");
        let plan = Plan { size: 65_536, rate: None, ..plan };
        let (sent, _) = run(&plan);
        let sent = sent.unwrap();
        assert!(sent.bytes > 1 << 20 && sent.lateness_s.is_none() && sent.rate_kept.is_none());
        assert_eq!(sent.ends.receiver.unwrap().totals.bytes, sent.bytes);
    }

    #[test]
    fn a_packet_larger_than_the_path_is_refused_at_both_ends() {
        // Loopback takes 64 KiB; TCP_MAXSEG's own limit comes first.
        let (sent, _) = run(&Plan { size: 40_000, ..plan() });
        assert!(matches!(sent, Err(Error::Plan(text)) if text.contains("32755")));
    }

    #[test]
    fn strangers_and_other_versions_do_not_stop_the_server() {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let address = server.address().unwrap();
        let control = Control::default();
        thread::scope(|scope| {
            let served = scope.spawn(|| server.serve(&control));
            let mut stranger = TcpStream::connect(address).unwrap();
            stranger.write_all(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n").unwrap();
            let mut other = TcpStream::connect(address).unwrap();
            Preamble { version: 99, purpose: Purpose::Control, run: 5 }.write(&mut other).unwrap();
            let answer = Preamble::read(&mut other, PATIENCE, &control).unwrap();
            assert_eq!(answer.version, VERSION);
            let plan = Plan { duration: Duration::from_millis(100), ..plan() };
            let sent = send(&plan, &address.to_string(), &Control::default());
            let sent = sent.unwrap();
            assert_eq!(sent.writes + sent.missed, 100, "{sent:?}");
            assert!(served.join().unwrap().unwrap().is_some());
        });
    }

    #[test]
    fn the_window_is_told_when_the_warm_up_is_over() {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let address = server.address().unwrap().to_string();
        let warmup = Duration::from_millis(500);
        for reverse in [false, true] {
            let plan = Plan { duration: Duration::from_millis(300), warmup, reverse, ..plan() };
            let (near, far) = (Control::default(), Control::default());
            let begun = Instant::now();
            thread::scope(|scope| {
                scope.spawn(|| server.serve(&far));
                for control in [&near, &far] {
                    scope.spawn(move || {
                        let measuring = &control.progress().measuring;
                        while !measuring.load(Relaxed) {
                            thread::sleep(Duration::from_millis(1));
                        }
                        assert!(begun.elapsed() >= warmup);
                    });
                }
                send(&plan, &address, &near).unwrap();
            });
        }
    }

    #[test]
    fn nobody_there_is_said_with_what_to_do() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = send(&plan(), &free.to_string(), &Control::default()).unwrap_err();
        assert!(error.to_string().contains("vmeter bench tcp recv"), "{error}");
        assert!(matches!(send(&plan(), "nowhere", &Control::default()), Err(Error::Io { .. })));
    }

    #[test]
    fn stopping_gives_the_result_so_far() {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let address = server.address().unwrap().to_string();
        for reverse in [false, true] {
            let control = Control::default();
            let plan = Plan { duration: Duration::from_secs(60), reverse, ..plan() };
            thread::scope(|scope| {
                scope.spawn(|| server.serve(&Control::default()));
                scope.spawn(|| {
                    while control.progress().done.load(Relaxed) == 0 && !reverse {
                        thread::sleep(Duration::from_millis(10));
                    }
                    thread::sleep(Duration::from_millis(300));
                    control.stop();
                });
                let sent = send(&plan, &address, &control).unwrap();
                assert!(sent.partial && sent.duration_s < 30.0 && sent.writes > 0, "{sent:?}");
            });
        }
    }
}
