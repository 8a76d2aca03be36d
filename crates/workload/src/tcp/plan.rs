//! What a TCP load shall do.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A TCP load. It crosses the wire, so the other end checks it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Bytes of one write.
    pub size: usize,
    /// Writes a second over all streams; `None` is as fast as it goes.
    pub rate: Option<f64>,
    /// How to wait for the next write.
    pub pace: Pace,
    /// Connections, one thread each at both ends.
    pub streams: usize,
    /// The measured window.
    #[serde(rename = "duration_s", with = "crate::seconds")]
    pub duration: Duration,
    /// Sending before it that is not counted.
    #[serde(rename = "warmup_s", with = "crate::seconds")]
    pub warmup: Duration,
    /// Whether TCP may cut the stream into packets as it likes.
    pub packets: Packets,
    /// The end that listens sends.
    pub reverse: bool,
    /// Congestion control of the sender; `None` is the system's.
    pub congestion: Option<String>,
}

/// How a sender waits for the moment of its next write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pace {
    /// Sleeps: costs no CPU, late by a wake-up.
    Sleep,
    /// Spins on the clock: on time, takes a whole CPU.
    Spin,
    /// Sleeps, then spins for the last 100 µs.
    Hybrid,
}

/// What a write becomes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Packets {
    /// What TCP makes of it.
    AsIs,
    /// Exactly one segment: no Nagle, a segment size that fits, no appending (MSG_EOR).
    OnePerWrite,
}

impl Packets {
    /// Its name on the command line and in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AsIs => "as-is",
            Self::OnePerWrite => "one-per-write",
        }
    }
}

/// Bytes of each segment that TCP's timestamp option takes.
pub const TIMESTAMPS: usize = 12;
/// What TCP_MAXSEG takes (net/ipv4/tcp.c: TCP_MIN_MSS … MAX_TCP_WINDOW).
const MAXSEG: std::ops::RangeInclusive<usize> = 88..=32767;
/// Congestion control of a load of one packet a write: always there, and it sends what it may at
/// once, where others (BBR) hold packets back with a timer each.
pub const UNPACED_CONGESTION: &str = "reno";
/// TCP_CA_NAME_MAX, less the final zero.
const LONGEST_CONGESTION: usize = 15;
const LARGEST_WRITE: usize = 64 << 20;
const MOST_STREAMS: usize = 128;
const LONGEST: Duration = Duration::from_secs(24 * 3600);

impl Plan {
    /// The maximum segment size to ask of TCP: the payload of one write, with the room that
    /// timestamps take.
    #[must_use]
    pub fn segment(&self) -> Option<u32> {
        (self.packets == Packets::OnePerWrite)
            .then(|| u32::try_from(self.size + TIMESTAMPS).unwrap_or(u32::MAX))
    }

    /// Checks that it can be done.
    ///
    /// # Errors
    /// A sentence that says what cannot be, and what could.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |text: String| Err(Error::Plan(text));
        if self.packets == Packets::OnePerWrite && !MAXSEG.contains(&(self.size + TIMESTAMPS)) {
            return refuse(format!(
                "one packet per write of {} bytes needs a segment size of {} with the {TIMESTAMPS} \
                 bytes of timestamps, and TCP_MAXSEG takes {} to {}: choose a size from {} to {}",
                self.size,
                self.size + TIMESTAMPS,
                MAXSEG.start(),
                MAXSEG.end(),
                MAXSEG.start() - TIMESTAMPS,
                MAXSEG.end() - TIMESTAMPS,
            ));
        }
        if !(1..=LARGEST_WRITE).contains(&self.size) {
            return refuse(format!(
                "invalid size of a write: expected 1 to {LARGEST_WRITE} bytes, not {}",
                self.size
            ));
        }
        if let Some(rate) = self.rate
            && !(rate.is_finite() && rate > 0.0 && rate <= 1e8)
        {
            return refuse(format!(
                "invalid rate {rate}: expected more than 0 and at most 10⁸ packets/s"
            ));
        }
        if !(1..=MOST_STREAMS).contains(&self.streams) {
            return refuse(format!(
                "invalid number of streams: expected 1 to {MOST_STREAMS}, not {}",
                self.streams
            ));
        }
        let letters = |name: &String| name.bytes().all(|b| b.is_ascii_graphic());
        if self.congestion.as_ref().is_some_and(|name| {
            name.is_empty() || name.len() > LONGEST_CONGESTION || !letters(name)
        }) {
            return refuse(
                "invalid congestion control: expected a name such as reno or cubic".to_owned(),
            );
        }
        if self.duration.is_zero() || self.duration > LONGEST || self.warmup > LONGEST {
            return refuse("invalid duration: expected more than 0 s and at most 24 h".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn plan() -> Plan {
        Plan {
            size: 1448,
            rate: Some(1000.0),
            pace: Pace::Sleep,
            streams: 1,
            duration: Duration::from_secs(1),
            warmup: Duration::ZERO,
            packets: Packets::OnePerWrite,
            reverse: false,
            congestion: Some(UNPACED_CONGESTION.to_owned()),
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(plan().check().is_ok());
        for (size, fits) in
            [(75, false), (76, true), (1448, true), (32755, true), (32756, false), (0, false)]
        {
            assert_eq!(Plan { size, ..plan() }.check().is_ok(), fits, "{size}");
        }
        let as_is = Plan { packets: Packets::AsIs, ..plan() };
        assert!(Plan { size: 131_072, ..as_is.clone() }.check().is_ok());
        assert!(Plan { size: 0, ..as_is.clone() }.check().is_err());
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Plan { rate: Some(rate), ..plan() }.check().is_err(), "{rate}");
        }
        assert!(Plan { streams: 0, ..plan() }.check().is_err());
        assert!(Plan { streams: 1000, ..plan() }.check().is_err());
        assert!(Plan { duration: Duration::ZERO, ..plan() }.check().is_err());
        let text = serde_json::to_string(&plan()).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan());
    }
}
