//! A guest's clock, as its agent tells it in a recording's course.

use super::session::Connection;
use model::{Nanos, Pinged, TscOffset};
use platform::kvm::GuestCounter;
use profile::clock::Ping;

/// Pings of a burst.
const BURST: usize = 4;

/// All that was read of a guest's clock.
#[derive(Debug, Default)]
pub struct Pings {
    /// How its CPUs' counter goes by the host's, where KVM tells.
    pub counter: Option<GuestCounter>,
    /// With what KVM told before and after.
    read: Vec<(Pinged, Option<TscOffset>)>,
}

impl Pings {
    /// Reads it some times: the fastest answer tells most.
    pub fn burst(&mut self, handle: &mut Connection) -> Result<(), agent::Error> {
        let told = |counter: &Option<GuestCounter>| counter.as_ref()?.read().ok();
        let before = told(&self.counter);
        let from = self.read.len();
        for _ in 0..BURST {
            self.read.push((handle.ping()?, before));
        }
        if before != told(&self.counter) {
            // The guest set its counter meanwhile.
            self.read.iter_mut().skip(from).for_each(|(_, offset)| *offset = None);
        }
        Ok(())
    }

    /// The guest's clock when it was read last.
    pub fn last(&self) -> Nanos {
        self.read.last().map_or(Nanos::ZERO, |(pinged, _)| pinged.guest.time)
    }

    /// What the readings prove; by counters where these agree with every one of them.
    pub fn proofs(&self) -> Vec<Ping> {
        let alone = |_| self.read.iter().map(|(pinged, _)| Ping::of(pinged)).collect();
        self.by_counters().unwrap_or_else(alone)
    }

    /// By what the clock is aligned, where it is not by the network's ways alone.
    pub fn note(&self) -> Option<String> {
        let (told, of) =
            (self.read.iter().filter(|read| read.1.is_some()).count(), self.read.len());
        if told == 0 {
            return None;
        }
        Some(match self.by_counters() {
            Ok(_) => {
                format!("its clock is aligned with KVM's TSC offset ({told} of {of} readings)")
            }
            Err(wrong) => format!(
                "KVM's TSC offset contradicts {wrong} of {told} readings of its clock: the clock is \
                 aligned with pings only"
            ),
        })
    }

    /// What the readings prove, by counters wherever KVM told an offset; else of how many readings
    /// what it told cannot be true.
    fn by_counters(&self) -> Result<Vec<Ping>, usize> {
        let proof = |(pinged, offset): &(Pinged, Option<TscOffset>)| match offset {
            Some(offset) if pinged.has_counters() => Ping::by_counters(pinged, offset),
            _ => Some(Ping::of(pinged)),
        };
        let proofs: Vec<Ping> = self.read.iter().filter_map(proof).collect();
        match self.read.len() - proofs.len() {
            0 => Ok(proofs),
            wrong => Err(wrong),
        }
    }
}
