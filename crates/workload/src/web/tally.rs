//! What one thread counts; threads are added up at the end.

use super::classes::{Class, Errors};
use super::connection::Request;
use super::outcome::Second;
use super::reply::Whole;
use crate::clock::{Instant, SECOND};
use crate::{CpuTime, Latency};
use std::collections::BTreeMap;

/// Counts and distributions of a thread.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests of the window that were due, calls after the first included.
    pub requests: u64,
    /// Whole replies to them.
    pub replies: u64,
    /// Of those, the ones that came before the window's end.
    pub replies_in_window: u64,
    /// Bytes of their bodies.
    pub body_bytes: u64,
    /// By HTTP status.
    pub status: BTreeMap<u16, u64>,
    /// Failed requests.
    pub errors: Errors,
    /// Calls that were never made, because their connection failed or was closed.
    pub unsent: u64,
    /// Requests under way when the run was ended early.
    pub unfinished: u64,
    /// Requests that waited because all connections were in use.
    pub held_back: u64,
    /// From the intended time to the whole reply.
    pub response: Latency,
    /// From the sending to the whole reply.
    pub service: Latency,
    /// From the intended time to the sending.
    pub lateness: Latency,
    /// Connections opened.
    pub connections: u64,
    /// The most that were open together.
    pub most_open: usize,
    /// Of them, those that the server was asked to close and did not.
    pub left_open: u64,
    /// Second by second.
    pub series: Vec<Second>,
    /// Requests of the warm-up.
    pub warmup_requests: u64,
    /// Replies to them by HTTP status.
    pub warmup_status: BTreeMap<u16, u64>,
    /// CPU of the thread from the window's begin to the last reply.
    pub cpu: CpuTime,
    /// When the window ended: earlier than planned where the run was.
    pub ended: Instant,
    /// Why the thread ended early.
    pub problem: Option<String>,
}

/// The measured window, and the warm-up before it.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Begin of the warm-up.
    pub start: Instant,
    /// Begin.
    pub from: Instant,
    /// End.
    pub to: Instant,
}

impl Tally {
    fn second(&mut self, window: Window, now: Instant) -> Option<&mut Second> {
        let second = (now.checked_sub(window.from)? / SECOND) as usize;
        // A day's timeout in a day's run is the most that can come.
        while self.series.len() <= second {
            let at_s = self.series.len() as f64 + 1.0;
            self.series.push(Second { at_s, ..Second::default() });
        }
        self.series.get_mut(second)
    }

    /// Requests that are due at `intended`.
    pub fn due(&mut self, window: Window, intended: Instant, requests: u64) {
        if intended < window.from {
            self.warmup_requests += requests;
            return;
        }
        self.requests += requests;
        if let Some(second) = self.second(window, intended) {
            second.requests += requests;
        }
    }

    /// A request was sent.
    pub fn sent(&mut self, window: Window, request: &Request) {
        if request.arrival >= window.from {
            self.lateness.record_nanos(request.begun.saturating_sub(request.intended));
        }
    }

    /// A reply is whole.
    pub fn reply(&mut self, window: Window, request: &Request, now: Instant, reply: Whole) {
        if request.arrival < window.from {
            *self.warmup_status.entry(reply.status).or_default() += 1;
            return;
        }
        self.replies += 1;
        self.replies_in_window += u64::from(now < window.to);
        self.body_bytes += reply.body;
        *self.status.entry(reply.status).or_default() += 1;
        let response = now.saturating_sub(request.intended);
        self.response.record_nanos(response);
        self.service.record_nanos(now.saturating_sub(request.begun));
        if let Some(second) = self.second(window, now) {
            second.replies += 1;
            second.response_max_s = second.response_max_s.max(response as f64 / 1e9);
        }
    }

    /// A request that arrived at `arrival` failed, and with it calls that were to come.
    pub fn failed(
        &mut self,
        window: Window,
        (arrival, now): (Instant, Instant),
        (class, reason): (Class, &str),
        unsent: u32,
    ) {
        if arrival < window.from {
            return;
        }
        self.errors.count(class, reason);
        self.unsent += u64::from(unsent);
        if let Some(second) = self.second(window, now) {
            second.errors += 1;
        }
    }

    /// Adds another thread's.
    pub fn merge(mut self, other: Self) -> Self {
        self.requests += other.requests;
        self.replies += other.replies;
        self.replies_in_window += other.replies_in_window;
        self.body_bytes += other.body_bytes;
        self.errors.merge(&other.errors);
        self.unsent += other.unsent;
        self.unfinished += other.unfinished;
        self.held_back += other.held_back;
        self.response.merge(&other.response);
        self.service.merge(&other.service);
        self.lateness.merge(&other.lateness);
        self.connections += other.connections;
        self.left_open += other.left_open;
        self.most_open += other.most_open;
        self.warmup_requests += other.warmup_requests;
        self.cpu += other.cpu;
        self.ended = self.ended.max(other.ended);
        self.problem = self.problem.or(other.problem);
        for (status, count) in other.status {
            *self.status.entry(status).or_default() += count;
        }
        for (status, count) in other.warmup_status {
            *self.warmup_status.entry(status).or_default() += count;
        }
        for (place, theirs) in other.series.into_iter().enumerate() {
            match self.series.get_mut(place) {
                Some(ours) => ours.add(&theirs),
                None => self.series.push(theirs),
            }
        }
        self
    }
}
