//! One generating thread: its event loop.

mod arrivals;
mod exchange;

use super::classes::Class;
use super::connection::Connection;
use super::gather::Gather;
use super::plan::{Load, Plan};
use super::requests::Requests;
use super::schedule::Schedule;
use super::tally::{Tally, Window};
use crate::clock::{self, Instant, SECOND};
use crate::fileset::File;
use crate::{Control, CpuTime};
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, epoll, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;

/// How often timeouts, seconds and the stop flag are looked at.
const TICK: u64 = SECOND / 50;
/// Events taken at a time: few, so that arrivals between them are on time.
const EVENTS: usize = 64;
/// Bytes read at a time.
const BUFFER: usize = 64 << 10;
/// How long requests under way may take when the run is ended early.
const LAST_ORDERS: u64 = SECOND / 2;

/// What a thread needs.
pub struct Worker<'a> {
    plan: &'a Plan,
    control: &'a Control,
    to: SocketAddr,
    requests: Requests,
    schedule: Option<Schedule>,
    window: Window,
    most: usize,
    epoll: OwnedFd,
    places: Vec<Option<Connection>>,
    free: Vec<usize>,
    generation: u32,
    /// Connections kept alive, the one used last on top; some may be gone.
    idle: Vec<(usize, u32)>,
    /// Connections that have had all their replies and that the server shall close, the first one
    /// first, with the time since when; some may be gone.
    closing: VecDeque<(usize, u32, Instant)>,
    /// Connections that have more to read than one turn reads; some may be gone.
    unread: VecDeque<(usize, u32)>,
    /// Requests that are due and have no connection.
    held: VecDeque<(Instant, Option<File>)>,
    open: usize,
    busy: usize,
    /// Requests that failed since the last reply.
    failures: usize,
    /// A closed loop in which all fail pauses until then.
    retry: Instant,
    buffer: Vec<u8>,
    gather: Gather,
    /// Events that came together last.
    together: usize,
    /// A closed loop looks at a reply, sends the next request, and then takes the reply out of the
    /// socket: the request carries the acknowledgement that taking it out would else send.
    look_first: RecvFlags,
    scratch: Vec<u8>,
    tally: Tally,
    /// Replies and errors that the progress has already.
    shown: (u64, u64),
}

impl<'a> Worker<'a> {
    /// A thread with its part of the connections.
    pub fn new(
        plan: &'a Plan,
        control: &'a Control,
        to: SocketAddr,
        requests: Requests,
        schedule: Option<Schedule>,
        window: Window,
        most: usize,
    ) -> Result<Self, Errno> {
        Ok(Self {
            plan,
            control,
            to,
            requests,
            schedule,
            window,
            most,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            places: Vec::new(),
            free: Vec::new(),
            generation: 0,
            idle: Vec::new(),
            closing: VecDeque::new(),
            unread: VecDeque::new(),
            held: VecDeque::new(),
            open: 0,
            busy: 0,
            failures: 0,
            retry: 0,
            buffer: Vec::with_capacity(BUFFER),
            gather: Gather::default(),
            together: 0,
            look_first: match plan.load {
                Load::Closed => RecvFlags::PEEK,
                Load::Open { .. } => RecvFlags::empty(),
            },
            scratch: vec![0; BUFFER],
            tally: Tally::default(),
            shown: (0, 0),
        })
    }

    /// Runs to the end of the window and of what was begun in it.
    pub fn run(mut self) -> Tally {
        clock::wake_on_time();
        let mut cpu = CpuTime::of_thread();
        let (mut tick, mut end, mut stopped) = (0, u64::MAX, false);
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let now = clock::now();
            if now >= tick {
                if now < self.window.from {
                    cpu = CpuTime::of_thread();
                }
                if !stopped && self.control.stopped() {
                    stopped = true;
                    end = now + LAST_ORDERS;
                    self.schedule = None;
                    self.window.to = self.window.to.min(now);
                    self.abandon();
                }
                self.look(now);
                tick = now + TICK;
            }
            let due = self.arrive(now);
            let over = due.is_none() && now >= self.window.to && self.held.is_empty();
            if (over && self.busy == 0) || now >= end {
                break;
            }
            if let Err(error) = self.wait(due, tick, &mut events) {
                self.tally.problem = Some(format!("epoll: {}", std::io::Error::from(error)));
                break;
            }
            self.together = events.len();
            for event in events.drain(..) {
                self.handle(event);
                self.arrive(clock::now());
            }
            self.read_on();
        }
        self.tally.cpu = CpuTime::of_thread() - cpu;
        self.tally.ended = self.window.to;
        let in_window = |c: &&Connection| c.is_busy() && c.request.arrival >= self.window.from;
        let left = self.places.iter().flatten().filter(in_window);
        self.tally.unfinished += left.map(|c| 1 + u64::from(c.calls)).sum::<u64>();
        self.tally
    }

    /// Requests that never got a connection are not sent any more.
    fn abandon(&mut self) {
        let window = self.window;
        let held = self.held.drain(..).filter(|(intended, _)| *intended >= window.from);
        self.tally.unfinished += held.count() as u64 * self.plan.requests_of_an_arrival();
    }

    /// Waits for events until `due`, or `tick` where that is sooner.
    fn wait(
        &mut self,
        due: Option<Instant>,
        tick: Instant,
        events: &mut Vec<epoll::Event>,
    ) -> Result<(), Errno> {
        let now = clock::now();
        let due = if self.unread.is_empty() { due } else { Some(now) };
        let until = due.unwrap_or(u64::MAX).min(tick);
        let left = until.saturating_sub(now);
        let block = if self.schedule.is_none() {
            if left > 0
                && let Some(time) = self.gather.sleep(now, self.busy, self.together)
            {
                clock::sleep_until(now + time);
            }
            // A closed loop is in no hurry: epoll's milliseconds do.
            clock::timespec(left.next_multiple_of(1_000_000))
        } else {
            clock::timespec(0)
        };
        ready(epoll::wait(&self.epoll, spare_capacity(events), Some(&block)))?;
        if events.is_empty() && self.schedule.is_some() && left > 0 {
            // poll counts in nanoseconds where epoll, before Linux 5.11, counts in milliseconds.
            let left = clock::timespec(until.saturating_sub(clock::now()));
            let any = ready(poll(&mut [PollFd::new(&self.epoll, PollFlags::IN)], Some(&left)))?;
            if any > 0 {
                ready(epoll::wait(&self.epoll, spare_capacity(events), Some(&clock::timespec(0))))?;
            }
        }
        Ok(())
    }

    /// Ends what took too long, and shows how far it is.
    fn look(&mut self, now: Instant) {
        let timeout = clock::length(self.plan.timeout);
        for place in 0..self.places.len() {
            let Some(c) = &self.places[place] else { continue };
            if c.is_busy() && now >= c.request.intended.saturating_add(timeout) {
                self.fail(place, Class::ClientTimo, "");
            }
        }
        self.close_late(now);
        while let Some((intended, _)) = self.held.front().copied() {
            if now < intended.saturating_add(timeout) {
                break;
            }
            self.held.pop_front();
            let unsent = self.plan.calls - 1;
            self.tally.failed(self.window, (intended, now), (Class::ClientTimo, ""), unsent);
        }
        let progress = self.control.progress();
        let (done, failed) = (self.tally.replies, self.tally.errors.total);
        progress.done.fetch_add(done - self.shown.0, Relaxed);
        progress.failed.fetch_add(failed - self.shown.1, Relaxed);
        self.shown = (done, failed);
        // A run that was stopped in its warm-up has no window.
        if now >= self.window.from && self.window.from < self.window.to {
            self.control.measure();
        }
    }
}

/// An interrupted wait is no failure.
fn ready(waited: Result<usize, Errno>) -> Result<usize, Errno> {
    match waited {
        Err(Errno::INTR) => Ok(0),
        other => other,
    }
}
