//! A guest's clock, as its agent tells it in a recording's course.

use super::guest::Connection;
use model::{Nanos, TscOffset};
use platform::kvm::GuestCounter;
use profile::clock::{Ping, Stamps};

/// Pings of a burst.
const BURST: usize = 4;

/// All that was read of a guest's clock.
#[derive(Debug, Default)]
pub struct Pings {
    /// How its CPUs' counter goes by the host's, where KVM tells.
    pub counter: Option<GuestCounter>,
    /// What KVM told before and after it was read.
    read: Vec<(Stamps, Option<TscOffset>)>,
}

impl Pings {
    /// Reads it some times: the fastest answer tells most.
    pub fn burst(&mut self, handle: &mut Connection) -> Result<(), agent::Error> {
        let told = |counter: &Option<GuestCounter>| counter.as_ref()?.read().ok();
        let before = told(&self.counter);
        let from = self.read.len();
        for _ in 0..BURST {
            let pinged = handle.ping()?;
            let stamps =
                Stamps { sent: pinged.sent, guest: pinged.agent, received: pinged.received };
            self.read.push((stamps, before));
        }
        if before != told(&self.counter) {
            // The guest set its counter meanwhile.
            self.read.iter_mut().skip(from).for_each(|(_, offset)| *offset = None);
        }
        Ok(())
    }

    /// The guest's clock when it was read last.
    pub fn last(&self) -> Nanos {
        self.read.last().map_or(Nanos::ZERO, |(stamps, _)| stamps.guest.time)
    }

    /// What the readings prove; by counters where these agree with every one of them.
    pub fn proofs(&self) -> Vec<Ping> {
        let all = self.read.iter();
        match self.contradicted() {
            0 => all.map(|read| by_counters(read).unwrap_or_else(|| read.0.ping())).collect(),
            _ => all.map(|(stamps, _)| stamps.ping()).collect(),
        }
    }

    /// Readings of which an offset that KVM told cannot be true.
    fn contradicted(&self) -> usize {
        let wrong = |read: &&(Stamps, Option<TscOffset>)| {
            let whole = read.0.guest.counter.is_some() && read.0.sent.counter.is_some();
            whole && read.1.is_some() && by_counters(read).is_none()
        };
        self.read.iter().filter(wrong).count()
    }

    /// By what the clock is aligned, where it is not by the network's ways alone.
    pub fn note(&self) -> Option<String> {
        let told = self.read.iter().filter(|(_, offset)| offset.is_some()).count();
        match self.contradicted() {
            _ if told == 0 => None,
            0 => Some(format!(
                "its clock is aligned by KVM's TSC offset ({told} of {} readings)",
                self.read.len()
            )),
            wrong => Some(format!(
                "KVM's TSC offset contradicts {wrong} of {told} readings of its clock: it is \
                 aligned by pings alone"
            )),
        }
    }
}

fn by_counters((stamps, offset): &(Stamps, Option<TscOffset>)) -> Option<Ping> {
    stamps.by_counters(offset.as_ref()?)
}
