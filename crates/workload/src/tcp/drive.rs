//! The sending end: warm-up, mark, window, mark.

use super::device;
use super::outcome::{End, EndReport, Second, Sending, SpunCpu, Totals};
use super::plan::{Packets, Plan};
use super::stage::{self, Sent};
use super::wire::{Channel, Message, PATIENCE};
use crate::clock::{self, SECOND};
use crate::socket::{TcpInfo, readable, tcp_info};
use crate::{Control, Environment, Error};
use rustix::net::sockopt::{set_tcp_congestion, tcp_congestion};
use std::net::TcpStream;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// How long the last segments may take to be acknowledged.
const DRAIN: Duration = Duration::from_secs(10);

/// Checks that the connections can hold what was planned: one write in one segment.
///
/// # Errors
/// Says what the path allows.
pub fn check_path(plan: &Plan, sockets: &[TcpStream]) -> Result<u32, Error> {
    let mut mss = u32::MAX;
    for socket in sockets {
        mss = mss.min(read(socket)?.snd_mss);
    }
    if plan.packets == Packets::OnePerWrite && (mss as usize) < plan.size {
        return Err(Error::Plan(format!(
            "a packet on this path holds {mss} bytes of payload, a write has {}: choose --size \
             {mss} or less",
            plan.size
        )));
    }
    Ok(mss)
}

/// Sets the congestion control, where one was asked for; the one that is in use.
fn choose_congestion(plan: &Plan, sockets: &[TcpStream]) -> Result<Option<String>, Error> {
    for socket in sockets {
        if let Some(name) = &plan.congestion {
            set_tcp_congestion(socket, name).map_err(Error::io(format!(
                "cannot set congestion control {name} (see net.ipv4.tcp_allowed_congestion_control)"
            )))?;
        }
    }
    Ok(sockets.first().and_then(|socket| tcp_congestion(socket).ok()))
}

fn read(socket: &TcpStream) -> Result<TcpInfo, Error> {
    tcp_info(socket).map_err(Error::io("cannot read TCP_INFO (requires Linux 4.6)"))
}

/// Sends as planned; its report, and that of the other end where it came.
///
/// # Errors
/// Before the window begins; afterwards the report says what went wrong.
pub fn drive(
    plan: &Plan,
    sockets: &[TcpStream],
    channel: &mut Channel,
    control: &Control,
) -> Result<(EndReport, Option<EndReport>), Error> {
    let mss = check_path(plan, sockets)?;
    let congestion = choose_congestion(plan, sockets)?;
    let payload: Vec<u8> = (0..plan.size).map(|byte| (byte % 251) as u8).collect();
    let device = device::of(&sockets[0]);
    let mut driver = Driver { plan, sockets, channel, control, payload, stopped: false };
    if !plan.warmup.is_zero() {
        driver.stage(clock::length(plan.warmup), &mut Vec::new());
        driver.drain();
    }
    driver.mark()?;
    let packets = || device.as_deref().and_then(device::Packets::read);
    let (before, packets_before) = (driver.connections()?, packets());
    let mut series = Vec::new();
    if !driver.stopped {
        control.measure();
    }
    let (sent, start) = driver.stage(clock::length(plan.duration), &mut series);
    // The whole window counts even where its last deadline comes before its end.
    let whole = if driver.stopped { 0 } else { clock::length(plan.duration) };
    let end = sent.ended.max(start + whole);
    let acked = driver.connections()?;
    let mut warnings: Vec<String> = sent.problem.iter().cloned().collect();
    if !driver.drain() && sent.problem.is_none() {
        warnings.push("not all packets were acknowledged at the end: counts may differ".to_owned());
    }
    let (after, packets_after) = (driver.connections()?, packets());
    if let Err(error) = driver.mark() {
        warnings.push(error.to_string());
    }
    let partial = driver.stopped || sent.problem.is_some();
    let totals = after.since(&before, &sent);
    let sending = Sending {
        duration_s: (end - start) as f64 / 1e9,
        bytes_acked: acked.sum(&before, |i| i.bytes_acked),
        retransmissions: after.sum32(&before, |i| i.total_retrans),
        missed: if driver.stopped { 0 } else { sent.missed },
        lateness: plan.rate.map(|_| sent.lateness.percentiles()),
        mss,
        congestion,
        series,
    };
    let end = End {
        totals,
        cpu: SpunCpu::new(sent.cpu, sent.spun),
        device: packets_before.zip(packets_after).map(|(a, b)| b.since(&a, &totals)),
        environment: Environment::read(device.as_deref()),
    };
    let report = EndReport { end, sending: Some(sending), partial, warnings };
    let theirs = exchange(channel, &report, control);
    Ok((report, theirs))
}

/// Gives this end's report and takes the other's, where it still is there.
pub fn exchange(channel: &mut Channel, report: &EndReport, control: &Control) -> Option<EndReport> {
    channel.send(&Message::Report(Box::new(report.clone())), control).ok()?;
    loop {
        match channel.receive(PATIENCE, control).ok()? {
            Message::Report(theirs) => return Some(*theirs),
            Message::Stop => {}
            _ => return None,
        }
    }
}

/// The window second by second.
struct Seconds<'a> {
    series: &'a mut Vec<Second>,
    at: u64,
    writes: u64,
    again: u64,
}

impl Seconds<'_> {
    fn push(&mut self, at: u64, writes: u64, again: u64) {
        self.series.push(Second {
            at_s: at as f64 / 1e9,
            writes: writes - self.writes,
            retransmissions: again - self.again,
        });
        (self.at, self.writes, self.again) = (at, writes, again);
    }
}

struct Driver<'a> {
    plan: &'a Plan,
    sockets: &'a [TcpStream],
    channel: &'a mut Channel,
    control: &'a Control,
    payload: Vec<u8>,
    stopped: bool,
}

/// What the kernel counts of all connections, at one moment.
struct Connections(Vec<TcpInfo>);

impl Driver<'_> {
    fn stage(&mut self, length: u64, series: &mut Vec<Second>) -> (Sent, u64) {
        let (plan, sockets, payload) = (self.plan, self.sockets, &self.payload);
        let (control, channel) = (self.control, &mut *self.channel);
        let mut stopped = self.stopped;
        let retransmitted = || {
            sockets
                .iter()
                .filter_map(|s| tcp_info(s).ok())
                .map(|i| u64::from(i.total_retrans))
                .sum()
        };
        let mut seconds = Seconds { series, at: 0, writes: 0, again: retransmitted() };
        let look = |elapsed: u64, writes: u64| {
            if elapsed >= seconds.at + SECOND {
                seconds.push(elapsed / SECOND * SECOND, writes, retransmitted());
            }
            control.progress().done.store(writes, Relaxed);
            // A word from the other end is that it wants to end early, or is gone.
            stopped |= control.stopped() || readable(channel.stream(), 0);
            !stopped
        };
        let ended = stage::run(plan, sockets, payload, length, look);
        let (sent, start) = &ended;
        let last = sent.ended.saturating_sub(*start).max(if stopped { 0 } else { length });
        seconds.push(last, sent.writes, retransmitted());
        self.stopped = stopped;
        ended
    }

    /// Waits until the other end has acknowledged everything.
    fn drain(&self) -> bool {
        let until = clock::now() + clock::length(DRAIN);
        let empty = |socket| {
            tcp_info(socket).is_ok_and(|info| info.unacked == 0 && info.notsent_bytes == 0)
        };
        while clock::now() < until && !self.control.overdue() {
            if self.sockets.iter().all(empty) {
                return true;
            }
            clock::sleep_until(clock::now() + 1_000_000);
        }
        false
    }

    /// Lets the other end read its counters.
    fn mark(&mut self) -> Result<(), Error> {
        self.channel.send(&Message::Mark, self.control)?;
        loop {
            match self.channel.receive(PATIENCE, self.control)? {
                Message::Marked => return Ok(()),
                Message::Stop => self.stopped = true,
                other => {
                    return Err(Error::Peer(format!(
                        "unexpected message {other:?}: expected a mark"
                    )));
                }
            }
        }
    }

    fn connections(&self) -> Result<Connections, Error> {
        Ok(Connections(self.sockets.iter().map(read).collect::<Result<_, _>>()?))
    }
}

impl Connections {
    fn sum(&self, earlier: &Self, of: impl Fn(&TcpInfo) -> u64) -> u64 {
        let pairs = self.0.iter().zip(&earlier.0);
        pairs.map(|(now, then)| of(now).wrapping_sub(of(then))).sum()
    }

    /// For the kernel's 32-bit counters, which wrap.
    fn sum32(&self, earlier: &Self, of: impl Fn(&TcpInfo) -> u32) -> u64 {
        let pairs = self.0.iter().zip(&earlier.0);
        pairs.map(|(now, then)| u64::from(of(now).wrapping_sub(of(then)))).sum()
    }

    fn since(&self, earlier: &Self, sent: &Sent) -> Totals {
        Totals {
            calls: sent.writes,
            bytes: sent.bytes,
            data_segments: self.sum32(earlier, |i| i.data_segs_out),
            acks: self.sum32(earlier, |i| i.segs_in.wrapping_sub(i.data_segs_in)),
        }
    }
}
