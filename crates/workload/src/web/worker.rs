//! One generating thread.

use super::classes::Class;
use super::connection::{Connection, Request, State, interest};
use super::gather::Gather;
use super::plan::{Load, Plan};
use super::reply::{Step, Whole};
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
use rustix::net::{RecvFlags, SendFlags};
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
/// How long a closed loop waits before it tries a failed connection again.
const RETRY: u64 = SECOND / 100;

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
        let until = due.unwrap_or(u64::MAX).min(tick);
        let now = clock::now();
        let left = until.saturating_sub(now);
        let block = if self.schedule.is_none() {
            if let Some(time) = self.gather.sleep(now, self.busy, self.together) {
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

    /// Sends what is due by now; when the next is.
    fn arrive(&mut self, now: Instant) -> Option<Instant> {
        while let Some(schedule) = &mut self.schedule {
            let due = schedule.due();
            match due {
                Some(due) if due <= now => schedule.advance(),
                _ => return due,
            }
            let intended = due.unwrap_or(now);
            self.tally.due(self.window, intended, self.plan.requests_of_an_arrival());
            let file = self.requests.draw();
            self.dispatch(intended, file);
        }
        if matches!(self.plan.load, Load::Closed) {
            if now < self.window.start {
                return Some(self.window.start);
            }
            self.fill(now);
        }
        None
    }

    /// A closed loop keeps all its connections busy.
    fn fill(&mut self, now: Instant) {
        while self.busy < self.most && now < self.window.to && now >= self.retry {
            let (errors, file) = (self.tally.errors.total, self.requests.draw());
            self.tally.due(self.window, now, 1);
            self.dispatch(now, file);
            if self.tally.errors.total > errors {
                self.retry = now + RETRY;
            }
        }
    }

    /// Gives a request to a connection, or holds it back until one is free.
    fn dispatch(&mut self, intended: Instant, file: Option<File>) {
        if !self.place(intended, file) {
            self.tally.held_back += u64::from(intended >= self.window.from);
            self.held.push_back((intended, file));
        }
    }

    /// Gives a request to a kept connection or a new one; false where there may be no more.
    fn place(&mut self, intended: Instant, file: Option<File>) -> bool {
        if !self.plan.load.closes_connections() {
            while let Some((place, generation)) = self.idle.pop() {
                if let Some(Some(c)) = self.places.get_mut(place)
                    && c.generation == generation
                    && c.state == State::Idle
                {
                    let begun = clock::now();
                    c.request = Request { file, arrival: intended, intended, begun };
                    self.busy += 1;
                    self.tally.sent(self.window, &c.request);
                    self.transmit(place);
                    return true;
                }
            }
        }
        let room = self.open < self.most;
        if room {
            self.connect(intended, file);
        }
        room
    }

    fn connect(&mut self, intended: Instant, file: Option<File>) {
        let request = Request { file, arrival: intended, intended, begun: clock::now() };
        let calls = self.plan.calls - 1;
        self.generation = self.generation.wrapping_add(1);
        let opened = Connection::open(self.to, self.generation, request, calls);
        let added = opened.and_then(|connection| {
            let place = self.free.pop().unwrap_or_else(|| {
                self.places.push(None);
                self.places.len() - 1
            });
            let key = (u64::from(connection.generation) << 32) | place as u64;
            let data = epoll::EventData::new_u64(key);
            let added = epoll::add(&self.epoll, &connection.fd, data, interest());
            match added {
                Ok(()) => self.places[place] = Some(connection),
                Err(_) => self.free.push(place),
            }
            added
        });
        match added {
            Ok(()) => {
                self.tally.connections += 1;
                self.tally.sent(self.window, &request);
                self.open += 1;
                self.busy += 1;
                self.tally.most_open = self.tally.most_open.max(self.open);
            }
            Err(error) => {
                let reason = std::io::Error::from(error).to_string();
                let why = (Class::of(error), reason.as_str());
                self.tally.failed(self.window, (intended, request.begun), why, calls);
            }
        }
    }

    fn handle(&mut self, event: epoll::Event) {
        let key = event.data.u64();
        let (place, generation) = ((key & 0xffff_ffff) as usize, (key >> 32) as u32);
        let Some(Some(c)) = self.places.get(place) else { return };
        if c.generation != generation {
            return;
        }
        let flags = event.flags;
        let broken = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
        match c.state {
            State::Connecting => {
                if let Some(error) = broken.then(|| c.error()).flatten() {
                    self.fail_with(place, error);
                } else if flags.contains(epoll::EventFlags::OUT) {
                    self.transmit(place);
                }
            }
            State::Sending(_) if flags.contains(epoll::EventFlags::OUT) && !broken => {
                self.transmit(place);
            }
            State::Sending(_) | State::Waiting => self.read(place, flags),
            State::Idle | State::Closing => {
                // The server closes, or speaks unasked: neither is of any use.
                if broken || flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::RDHUP) {
                    self.remove(place);
                }
            }
        }
    }

    /// Writes the rest of the request.
    fn transmit(&mut self, place: usize) {
        let Some(Some(c)) = self.places.get_mut(place) else { return };
        let last = c.calls == 0 && self.plan.load.closes_connections();
        let bytes = self.requests.bytes(c.request.file, last);
        let from = if let State::Sending(sent) = c.state { sent } else { 0 };
        let sent = loop {
            match rustix::net::send(&c.fd, &bytes[from..], SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                other => break other,
            }
        };
        match sent {
            Ok(sent) if from + sent == bytes.len() => {
                c.state = State::Waiting;
                discard(c, &mut self.scratch);
            }
            Ok(sent) => c.state = State::Sending(from + sent),
            Err(Errno::AGAIN) => c.state = State::Sending(from),
            Err(error) => self.fail_with(place, error),
        }
    }

    /// Reads what came, until the reply is whole or nothing is left.
    fn read(&mut self, place: usize, flags: epoll::EventFlags) {
        let closing = flags
            .intersects(epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR);
        loop {
            let Some(Some(c)) = self.places.get_mut(place) else { return };
            self.buffer.clear();
            let into = spare_capacity(&mut self.buffer);
            let read = match rustix::net::recv(&c.fd, into, self.look_first).map(|(_, read)| read) {
                Ok(0) => return self.closed(place),
                Ok(read) => read,
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => continue,
                Err(error) => return self.fail_with(place, error),
            };
            let step = c.reply.take(&self.buffer);
            if self.look_first.contains(RecvFlags::PEEK) {
                c.unread = read;
                if !matches!(step, Ok(Step::Done(_))) {
                    discard(c, &mut self.scratch);
                }
            }
            match step {
                Ok(Step::More) if read < BUFFER && !closing => return,
                Ok(Step::More) => {}
                Ok(Step::Done(whole)) => return self.done(place, whole, closing),
                Err(wrong) => return self.fail(place, wrong.class, wrong.reason),
            }
        }
    }

    /// The server closed in the middle of a request.
    fn closed(&mut self, place: usize) {
        let Some(Some(c)) = self.places.get_mut(place) else { return };
        match c.reply.close() {
            Some(whole) => self.done(place, whole, true),
            None if c.reply.is_untouched() => self.fail(place, Class::ConnReset, "closed"),
            None => self.fail(place, Class::ConnReset, "closed in the middle of a reply"),
        }
    }

    fn done(&mut self, place: usize, whole: Whole, closing: bool) {
        let Some(Some(c)) = self.places.get_mut(place) else { return };
        let now = clock::now();
        self.tally.reply(self.window, &c.request, now, whole);
        self.gather.reply(now.saturating_sub(c.request.begun));
        self.failures = 0;
        let keep = whole.keep && !closing;
        if c.calls > 0 && keep {
            // The next call is due when its turn comes: now.
            c.calls -= 1;
            let file = self.requests.draw();
            c.request = Request { file, intended: now, begun: now, ..c.request };
            c.state = State::Sending(0);
            self.transmit(place);
            return;
        }
        if c.calls > 0 && c.request.arrival >= self.window.from {
            self.tally.unsent += u64::from(c.calls);
        }
        self.busy -= 1;
        if keep && !self.plan.load.closes_connections() {
            c.state = State::Idle;
            self.idle.push((place, c.generation));
            self.next_held();
        } else if closing || !self.plan.load.closes_connections() {
            self.remove(place);
        } else {
            // Who closes first keeps the port for a minute: let it be the server.
            c.state = State::Closing;
        }
    }

    fn fail_with(&mut self, place: usize, error: Errno) {
        let reason = std::io::Error::from(error).to_string();
        self.fail(place, Class::of(error), &reason);
    }

    fn fail(&mut self, place: usize, class: Class, reason: &str) {
        let Some(Some(c)) = self.places.get(place) else { return };
        let times = (c.request.arrival, clock::now());
        self.tally.failed(self.window, times, (class, reason), c.calls);
        self.failures += 1;
        if self.failures >= self.most {
            self.retry = times.1 + RETRY;
        }
        self.busy -= 1;
        self.remove(place);
    }

    /// Closes a connection that nothing is on, and uses its place for what was held back.
    fn remove(&mut self, place: usize) {
        if self.places.get_mut(place).and_then(Option::take).is_some() {
            self.free.push(place);
            self.open -= 1;
            self.next_held();
        }
    }

    fn next_held(&mut self) {
        if let Some((intended, file)) = self.held.pop_front()
            && !self.place(intended, file)
        {
            self.held.push_front((intended, file));
        }
    }

    /// Ends what took too long, and shows how far it is.
    fn look(&mut self, now: Instant) {
        let timeout = clock::length(self.plan.timeout);
        for place in 0..self.places.len() {
            let Some(c) = &self.places[place] else { continue };
            let since =
                if c.state == State::Closing { c.request.begun } else { c.request.intended };
            if now < since.saturating_add(timeout) {
                continue;
            }
            if c.is_busy() {
                self.fail(place, Class::ClientTimo, "");
            } else if c.state == State::Closing {
                self.remove(place);
            }
        }
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

/// Takes what was looked at out of the socket.
fn discard(c: &mut Connection, scratch: &mut [u8]) {
    while c.unread > 0 {
        let length = c.unread.min(scratch.len());
        // TCP throws the bytes away without a copy; a broken socket shows at the next read.
        match rustix::net::recv(&c.fd, &mut scratch[..length], RecvFlags::TRUNC) {
            Ok((_, read)) if read > 0 => c.unread -= read.min(c.unread),
            Err(Errno::INTR) => {}
            _ => c.unread = 0,
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
