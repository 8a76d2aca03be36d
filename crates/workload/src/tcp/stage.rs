//! One stage of sending, warm-up or window: a thread a stream, from t0 to the stage's end.

use super::pace::Pacer;
use super::plan::{Packets, Plan};
use crate::clock::{self, Instant};
use crate::{CpuTime, Latency};
use rustix::io::Errno;
use rustix::net::SendFlags;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

/// What was sent in a stage, all streams together.
#[derive(Debug, Default)]
pub struct Sent {
    /// Whole writes.
    pub writes: u64,
    /// Bytes written.
    pub bytes: u64,
    /// CPU of the threads.
    pub cpu: CpuTime,
    /// Of it, nanoseconds of spinning.
    pub spun: u64,
    /// Send lateness.
    pub lateness: Latency,
    /// Deadlines never reached.
    pub missed: u64,
    /// When the last stream had sent its last.
    pub ended: Instant,
    /// What ended a stream early.
    pub problem: Option<String>,
}

/// A counter that one thread writes and another looks at, in a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Gauge(AtomicU64);

/// How often the one who waits looks around.
const LOOK: u64 = clock::SECOND / 10;
/// How long a blocked write waits before it looks whether the stage is over.
const BLOCKED: Duration = Duration::from_millis(200);
/// What a sender at a rate may be late at the end of the stage.
const GRACE: u64 = clock::SECOND / 50;

/// Sends for `length` nanoseconds; `look` is called ten times a second with the time since the
/// start and the writes so far, and ends the stage with false. Gives what was sent and when the
/// stage began.
pub fn run(
    plan: &Plan,
    sockets: &[TcpStream],
    payload: &[u8],
    length: u64,
    mut look: impl FnMut(u64, u64) -> bool,
) -> (Sent, Instant) {
    // The threads are all there before the first deadline.
    let start = clock::now() + 5_000_000;
    let (over, gauges) = (AtomicBool::new(false), gauges(sockets.len()));
    let stage = Stage { plan, payload, start, end: start + length, over: &over };
    let sent = thread::scope(|scope| {
        let stage = &stage;
        let threads: Vec<_> = sockets
            .iter()
            .zip(&gauges)
            .enumerate()
            .map(|(stream, (socket, gauge))| {
                scope.spawn(move || stage.send(stream, socket, &gauge.0))
            })
            .collect();
        let end = stage.end + if plan.rate.is_some() { GRACE } else { 0 };
        let mut next = start + LOOK;
        while next < end && !threads.iter().all(thread::ScopedJoinHandle::is_finished) {
            clock::sleep_until(next);
            let writes = gauges.iter().map(|gauge| gauge.0.load(Relaxed)).sum();
            if !look(clock::now() - start, writes) {
                over.store(true, Relaxed);
                break;
            }
            next += LOOK;
        }
        if !over.load(Relaxed) {
            clock::sleep_until(end.min(next.max(stage.end)));
        }
        over.store(true, Relaxed);
        threads.into_iter().fold(Sent::default(), |sum, thread| sum.with(joined(thread)))
    });
    (sent, start)
}

fn gauges(streams: usize) -> Vec<Gauge> {
    (0..streams).map(|_| Gauge::default()).collect()
}

fn joined(thread: thread::ScopedJoinHandle<'_, Sent>) -> Sent {
    thread.join().unwrap_or_else(|_| Sent {
        problem: Some("a sending thread panicked".to_owned()),
        ..Sent::default()
    })
}

struct Stage<'a> {
    plan: &'a Plan,
    payload: &'a [u8],
    start: Instant,
    end: Instant,
    over: &'a AtomicBool,
}

impl Stage<'_> {
    fn send(&self, stream: usize, socket: &TcpStream, gauge: &AtomicU64) -> Sent {
        clock::wake_on_time();
        let mut sent = Sent::default();
        let mut pacer = self.plan.rate.map(|rate| self.pacer(stream, rate));
        let flags = match self.plan.packets {
            Packets::AsIs => SendFlags::NOSIGNAL,
            // No later write is appended to this one's segment.
            Packets::OnePerWrite => SendFlags::NOSIGNAL | SendFlags::EOR,
        };
        if let Err(error) = socket.set_write_timeout(Some(BLOCKED)) {
            sent.problem = Some(format!("SO_SNDTIMEO: {error}"));
            return sent;
        }
        clock::sleep_until(self.start);
        let cpu = CpuTime::of_thread();
        while !self.over.load(Relaxed) && pacer.as_mut().is_none_or(|pacer| pacer.wait(self.over)) {
            match self.write(socket, flags, &mut sent.bytes) {
                Ok(true) => sent.writes += 1,
                Ok(false) => break,
                Err(error) => {
                    let error = std::io::Error::from(error);
                    sent.problem = Some(format!("stream {stream} failed: {error}"));
                    break;
                }
            }
            gauge.store(sent.writes, Relaxed);
        }
        (sent.cpu, sent.ended) = (CpuTime::of_thread() - cpu, clock::now());
        if let Some(pacer) = pacer {
            (sent.missed, sent.spun) = (pacer.missed(), pacer.spun);
            sent.lateness = pacer.lateness;
        }
        sent
    }

    /// Each stream has its part of the rate, its writes between those of the others.
    fn pacer(&self, stream: usize, rate: f64) -> Pacer {
        let step = 1e9 * self.plan.streams as f64 / rate;
        let offset = (1e9 / rate * stream as f64) as u64;
        Pacer::new(self.plan.pace, self.start + offset, step, self.end)
    }

    /// Writes the payload whole; false where the stage was over before that.
    fn write(&self, socket: &TcpStream, flags: SendFlags, bytes: &mut u64) -> Result<bool, Errno> {
        let mut rest = self.payload;
        loop {
            match rustix::net::send(socket, rest, flags) {
                Ok(sent) => {
                    *bytes += sent as u64;
                    if sent == rest.len() {
                        return Ok(true);
                    }
                    rest = &rest[sent..];
                }
                Err(Errno::AGAIN | Errno::INTR) => {
                    if self.over.load(Relaxed) {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Sent {
    fn with(mut self, other: Self) -> Self {
        self.writes += other.writes;
        self.bytes += other.bytes;
        self.cpu += other.cpu;
        self.spun += other.spun;
        self.lateness.merge(&other.lateness);
        self.missed += other.missed;
        self.ended = self.ended.max(other.ended);
        self.problem = self.problem.or(other.problem);
        self
    }
}
