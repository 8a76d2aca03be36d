//! What happens on the connections: connecting, sending, reading, closing.

use super::arrivals::RETRY;
use super::{BUFFER, Worker};
use crate::clock::{self, Instant, SECOND};
use crate::fileset::File;
use crate::web::classes::Class;
use crate::web::connection::{Connection, Request, State, interest};
use crate::web::reply::{Step, Whole};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

/// Reads of one connection before the others have their turn.
const READS_PER_TURN: usize = 4;
/// How long a server may take to close a connection that it was asked to close.
const CLOSE_GRACE: u64 = SECOND / 5;

impl Worker<'_> {
    pub(super) fn connect(&mut self, intended: Instant, file: Option<File>) {
        let request = Request { file, arrival: intended, intended, begun: clock::now() };
        let calls = self.plan.calls - 1;
        self.generation = self.generation.wrapping_add(1);
        let opened = loop {
            match Connection::open(self.to, self.generation, request, calls) {
                // A connection that is of no use any more has what this one needs.
                Err(Errno::MFILE | Errno::NFILE) if self.close_oldest() => {}
                opened => break opened,
            }
        };
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

    pub(super) fn handle(&mut self, event: epoll::Event) {
        let key = event.data.u64();
        let (place, generation) = ((key & 0xffff_ffff) as usize, (key >> 32) as u32);
        let Some(Some(c)) = self.places.get_mut(place) else { return };
        if c.generation != generation {
            return;
        }
        let flags = event.flags;
        if let Some(before) = &mut c.turn {
            *before |= flags;
            return;
        }
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
    pub(super) fn transmit(&mut self, place: usize) {
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

    /// Reads on where a turn's reads were not enough.
    pub(super) fn read_on(&mut self) {
        for _ in 0..self.unread.len() {
            let Some((place, generation)) = self.unread.pop_front() else { return };
            let connection = self.places.get_mut(place).and_then(Option::as_mut);
            let same = connection.filter(|c| c.generation == generation);
            if let Some(flags) = same.and_then(|c| c.turn.take()) {
                self.read(place, flags);
                self.arrive(clock::now());
            }
        }
    }

    /// Reads what came, until the reply is whole, nothing is left or the others have their turn.
    fn read(&mut self, place: usize, flags: epoll::EventFlags) {
        let closing = flags
            .intersects(epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR);
        for _ in 0..READS_PER_TURN {
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
        // Events are edges: none comes for what is there already.
        if let Some(Some(c)) = self.places.get_mut(place) {
            c.turn = Some(flags);
            self.unread.push_back((place, c.generation));
        }
    }

    /// The server closed in the middle of a request.
    fn closed(&mut self, place: usize) {
        let Some(Some(c)) = self.places.get_mut(place) else { return };
        match c.reply.close() {
            Some(whole) => self.done(place, whole, true),
            None if c.reply.is_untouched() => self.fail(place, Class::ConnReset, "closed"),
            None => self.fail(place, Class::ConnReset, "connection closed within a reply"),
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
            self.closing.push_back((place, c.generation, now));
        }
    }

    fn fail_with(&mut self, place: usize, error: Errno) {
        let reason = std::io::Error::from(error).to_string();
        self.fail(place, Class::of(error), &reason);
    }

    pub(super) fn fail(&mut self, place: usize, class: Class, reason: &str) {
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
        if self.release(place) {
            self.next_held();
        }
    }

    /// Closes a connection; whether it was open.
    fn release(&mut self, place: usize) -> bool {
        let open = self.places.get_mut(place).and_then(Option::take).is_some();
        if open {
            self.free.push(place);
            self.open -= 1;
        }
        open
    }

    /// Closes, of the connections that the server has yet to close, the first one; whether there
    /// was one.
    pub(super) fn close_oldest(&mut self) -> bool {
        while let Some((place, generation, _)) = self.closing.pop_front() {
            if self.is_closing(place, generation) {
                self.tally.left_open += 1;
                return self.release(place);
            }
        }
        false
    }

    fn is_closing(&self, place: usize, generation: u32) -> bool {
        let closing = |c: &Connection| c.generation == generation && c.state == State::Closing;
        self.places.get(place).and_then(Option::as_ref).is_some_and(closing)
    }

    /// Closes what the server was asked to close and did not in time: as httperf, which does not
    /// wait at all.
    pub(super) fn close_late(&mut self, now: Instant) {
        let late = |(_, _, since): &(usize, u32, Instant)| now >= since + CLOSE_GRACE;
        while let Some((place, generation, _)) = self.closing.front().filter(|one| late(one)) {
            let (place, generation) = (*place, *generation);
            self.closing.pop_front();
            if self.is_closing(place, generation) {
                self.tally.left_open += 1;
                self.remove(place);
            }
        }
    }

    fn next_held(&mut self) {
        if let Some((intended, file)) = self.held.pop_front()
            && !self.place(intended, file)
        {
            self.held.push_front((intended, file));
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
