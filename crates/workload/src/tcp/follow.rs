//! The receiving end: reads all that comes, and its counters when the sender says so.

use super::device;
use super::outcome::{End, EndReport, SpunCpu, Totals};
use super::plan::Plan;
use super::server::Server;
use super::wire::{Channel, Message, PATIENCE};
use crate::socket::{TcpInfo, tcp_info, wake_at};
use crate::{Control, CpuTime, Environment, Error, clock};
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Largest read.
const BUFFER: usize = 128 << 10;
/// Bytes that a receiver of an unpaced load sleeps for: being woken for each packet would be most
/// of what it costs. A paced one is woken as its packets come.
const BATCH: i32 = 64 << 10;
/// How long a stream is silent before its thread looks whether a mark is wanted.
const SILENCE: Duration = Duration::from_millis(30);
/// How often the one who waits looks around, in nanoseconds.
const LOOK: u64 = 100_000_000;

/// What one thread has counted at a mark.
struct Reading {
    reads: u64,
    bytes: u64,
    cpu: CpuTime,
    info: Option<TcpInfo>,
}

/// Counters of all streams and the device at a mark.
struct Mark {
    streams: Vec<Reading>,
    packets: Option<device::Packets>,
}

/// Receives until the sender reports; its report and this end's. The end that listens gives its
/// `server`, which turns away who else connects meanwhile.
///
/// # Errors
/// Where the other end is lost before the window was over.
pub fn follow(
    plan: &Plan,
    sockets: &[TcpStream],
    channel: &mut Channel,
    control: &Control,
    server: Option<&Server>,
) -> Result<(EndReport, EndReport), Error> {
    let shared = Shared { wanted: AtomicU64::new(0), over: AtomicBool::new(false) };
    if plan.rate.is_none() {
        for socket in sockets {
            wake_at(socket, BATCH).map_err(Error::io("SO_RCVLOWAT"))?;
        }
    }
    thread::scope(|scope| {
        let shared = &shared;
        let readings: Vec<Receiver<Reading>> = sockets
            .iter()
            .map(|socket| {
                let (give, take) = sync_channel(4);
                scope.spawn(move || shared.receive(socket, &give));
                take
            })
            .collect();
        let result = converse(sockets, channel, control, server, shared, &readings);
        shared.over.store(true, Relaxed);
        result
    })
}

struct Shared {
    /// Number of marks that were asked for.
    wanted: AtomicU64,
    over: AtomicBool,
}

impl Shared {
    /// Reads a stream; at a mark, when nothing is left to read, gives the counts.
    fn receive(&self, mut socket: &TcpStream, give: &SyncSender<Reading>) {
        let mut buffer = vec![0; BUFFER];
        let (mut reads, mut bytes, mut given, mut ended) = (0, 0, 0, false);
        // Without a timeout a mark would never be seen; setting one cannot fail here.
        let _ = socket.set_read_timeout(Some(SILENCE));
        while !self.over.load(Relaxed) {
            if ended {
                thread::sleep(SILENCE);
            } else {
                match socket.read(&mut buffer) {
                    Ok(0) => ended = true,
                    Ok(read) => {
                        reads += 1;
                        bytes += read as u64;
                        continue;
                    }
                    Err(error) if silent(error.kind()) => {}
                    Err(_) => ended = true,
                }
            }
            if self.wanted.load(Relaxed) > given {
                given += 1;
                let info = tcp_info(socket).ok();
                // Where nobody takes it any more, all is over.
                let _ = give.try_send(Reading { reads, bytes, cpu: CpuTime::of_thread(), info });
            }
        }
    }
}

fn silent(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn converse(
    sockets: &[TcpStream],
    channel: &mut Channel,
    control: &Control,
    server: Option<&Server>,
    shared: &Shared,
    readings: &[Receiver<Reading>],
) -> Result<(EndReport, EndReport), Error> {
    let device = device::of(&sockets[0]);
    let (mut marks, mut stopped) = (Vec::new(), false);
    loop {
        if control.stopped() && !stopped {
            stopped = true;
            channel.send(&Message::Stop, control)?;
        }
        if control.overdue() {
            return Err(Error::Peer("the sender did not stop when requested".to_owned()));
        }
        if !message_comes(channel, server, control) {
            continue;
        }
        match channel.receive(PATIENCE, control)? {
            Message::Mark if marks.len() < 2 => {
                shared.wanted.fetch_add(1, Relaxed);
                let until = Instant::now() + PATIENCE;
                let streams = readings.iter().map(|reading| take(reading, until, control));
                let streams: Option<_> = streams.collect();
                let streams = streams.ok_or_else(|| {
                    Error::Peer("data arrived after the sender's mark".to_owned())
                })?;
                let packets = device.as_deref().and_then(device::Packets::read);
                marks.push(Mark { streams, packets });
                channel.send(&Message::Marked, control)?;
                if !stopped {
                    control.measure();
                }
            }
            Message::Report(theirs) => {
                let [before, after] = marks.as_slice() else {
                    return Err(Error::Peer(
                        "the sender's report arrived before its marks".to_owned(),
                    ));
                };
                let mut report = after.since(before, device.as_deref());
                report.partial = stopped;
                channel.send(&Message::Report(Box::new(report.clone())), control)?;
                return Ok((*theirs, report));
            }
            other => return Err(Error::Peer(format!("unexpected message {other:?}"))),
        }
    }
}

/// A stream's counts at a mark, for which all streams together have until then.
fn take(reading: &Receiver<Reading>, until: Instant, control: &Control) -> Option<Reading> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match reading.recv_timeout(left.min(SILENCE)) {
            Ok(reading) => return Some(reading),
            Err(RecvTimeoutError::Timeout) if !left.is_zero() && !control.overdue() => {}
            Err(_) => return None,
        }
    }
}

/// Waits a little for a message, and meanwhile turns strangers away.
fn message_comes(channel: &Channel, server: Option<&Server>, control: &Control) -> bool {
    let mut ready = vec![PollFd::new(channel.stream(), PollFlags::IN)];
    ready.extend(server.map(|server| PollFd::new(server.listener(), PollFlags::IN)));
    if poll(&mut ready, Some(&clock::timespec(LOOK))).is_err() {
        return false;
    }
    if let (Some(server), Some(fd)) = (server, ready.get(1))
        && !fd.revents().is_empty()
    {
        server.turn_away(control);
    }
    !ready[0].revents().is_empty()
}

impl Mark {
    fn since(&self, earlier: &Self, device: Option<&str>) -> EndReport {
        let mut totals = Totals::default();
        let (mut cpu, mut warnings) = (CpuTime::default(), Vec::new());
        for (now, then) in self.streams.iter().zip(&earlier.streams) {
            totals.calls += now.reads - then.reads;
            totals.bytes += now.bytes - then.bytes;
            cpu += now.cpu - then.cpu;
            if let (Some(now), Some(then)) = (now.info, then.info) {
                let data = now.data_segs_in.wrapping_sub(then.data_segs_in);
                totals.data_segments += u64::from(data);
                let out = |info: TcpInfo| info.segs_out.wrapping_sub(info.data_segs_out);
                totals.acks += u64::from(out(now).wrapping_sub(out(then)));
            } else {
                warnings.push("cannot read TCP_INFO of the receiver".to_owned());
            }
        }
        let packets = earlier.packets.as_ref().zip(self.packets.as_ref());
        let end = End {
            totals,
            cpu: SpunCpu::new(cpu, 0),
            device: packets.map(|(before, after)| after.since(before, &totals)),
            environment: Environment::read(device),
        };
        EndReport { end, sending: None, partial: false, warnings }
    }
}
