//! The result of a TCP load: `vmeter.bench.tcp/1` (docs/bench.md).

use super::plan::{Packets, Plan};
use crate::{CpuTime, Environment, Error, Percentiles, Verdict};
use serde::{Deserialize, Serialize};

/// The schema's name.
pub const SCHEMA: &str = "vmeter.bench.tcp/1";
/// A rate counts as kept within this part of it.
const KEPT: f64 = 0.001;

/// Both ends' figures for the measured window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// `vmeter.bench.tcp/1`.
    pub schema: String,
    /// It ended before its time: what stands here is the result so far.
    pub partial: bool,
    /// What to know before believing the figures.
    pub warnings: Vec<String>,
    /// What was asked for.
    pub plan: Plan,
    /// Length of the measured window in seconds.
    pub duration_s: f64,
    /// Writes by the sender.
    pub writes: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Segments with data that the sender sent, retransmissions included.
    pub data_segments: u64,
    /// Of those, sent again.
    pub retransmissions: u64,
    /// Segments without data that the sender received.
    pub acks: u64,
    /// `acks / data_segments`.
    pub acks_per_data_segment: Option<f64>,
    /// Bits a second that the receiver acknowledged.
    pub throughput_bit_per_s: f64,
    /// Data segments a second.
    pub packets_per_s: f64,
    /// Writes a second.
    pub writes_per_s: f64,
    /// Whether the rate was kept within 0.1 %; `None` where none was asked for.
    pub rate_kept: Option<bool>,
    /// Deadlines that were never reached.
    pub missed: u64,
    /// Congestion control of the sender.
    pub congestion: Option<String>,
    /// From the deadline of a write to the moment before it; `None` without a rate.
    pub lateness_s: Option<Percentiles>,
    /// CPU seconds of both ends' data threads.
    pub cpu_s: Cpu,
    /// CPU per packet and per KB at both ends, spinning left out.
    pub service_demand_us: Demands,
    /// Whether a write was a packet; `None` with packets as they are.
    pub one_per_write: Option<OnePerWrite>,
    /// What each end counted by itself.
    pub ends: Ends,
    /// The sender's seconds.
    pub series: Vec<Second>,
}

/// CPU time of both ends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// The sending end.
    pub sender: SpunCpu,
    /// The receiving end; `None` where its report was lost.
    pub receiver: Option<SpunCpu>,
}

/// CPU time with what was only spent waiting kept apart, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct SpunCpu {
    /// In user space, spinning left out.
    pub user: f64,
    /// In the kernel.
    pub system: f64,
    /// Spinning until the next deadline.
    pub spin: f64,
}

impl SpunCpu {
    /// Takes the spinning out of the user time.
    pub(super) fn new(cpu: CpuTime, spun_ns: u64) -> Self {
        let spin = spun_ns as f64 / 1e9;
        // Reading the clock is a system call here and there: the split is by samples.
        let over = (spin - cpu.user).max(0.0);
        Self { user: (cpu.user - spin).max(0.0), system: (cpu.system - over).max(0.0), spin }
    }

    /// User and system together, spinning left out: exact, where the kernel splits it by samples.
    #[must_use]
    pub fn used(self) -> f64 {
        self.user + self.system
    }
}

/// Service demand of both ends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Demands {
    /// The sending end.
    pub sender: Demand,
    /// The receiving end.
    pub receiver: Option<Demand>,
}

/// CPU microseconds for a unit of the load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Demand {
    /// For a data segment.
    pub per_packet: Option<f64>,
    /// For 1024 bytes of payload.
    pub per_kb: Option<f64>,
}

impl Demand {
    fn of(end: &End) -> Self {
        let micros = end.cpu.used() * 1e6;
        Self {
            per_packet: ratio(micros, end.totals.data_segments as f64),
            per_kb: ratio(micros, end.totals.bytes as f64 / 1024.0),
        }
    }
}

/// The proof that each write was one packet: `data_segments = writes + retransmissions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnePerWrite {
    /// Payload bytes of a segment that the ends agreed on.
    pub mss: u32,
    /// Writes.
    pub writes: u64,
    /// Segments with data, retransmissions included.
    pub data_segments: u64,
    /// Retransmissions.
    pub retransmissions: u64,
    /// `data_segments − writes − retransmissions`.
    pub deviation: i64,
    /// Whether the deviation is 0.
    pub holds: bool,
}

/// Both ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ends {
    /// The sending end.
    pub sender: End,
    /// The receiving end; `None` where its report was lost.
    pub receiver: Option<End>,
}

/// What one end counted between the two marks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Counters of its connections.
    #[serde(flatten)]
    pub totals: Totals,
    /// CPU of its data threads.
    pub cpu: SpunCpu,
    /// Packets of the network device.
    pub device: Option<Device>,
    /// The machine.
    pub environment: Environment,
}

/// Counters of all connections of one end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// System calls that moved data: writes of the sender, reads of the receiver.
    pub calls: u64,
    /// Payload bytes.
    pub bytes: u64,
    /// Segments with data: sent by the sender, received by the receiver.
    pub data_segments: u64,
    /// Segments without data the other way: received by the sender, sent by the receiver.
    pub acks: u64,
}

/// Packets of a network device between the marks, the load's and all others'.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets received; on loopback the same ones again.
    pub packets_received: u64,
    /// `packets / (data segments + ACKs) − 1` of this end: where a packet is a segment, near 0.
    pub deviation: Option<f64>,
}

/// One second of the sender's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// End of this second, from the window's begin.
    pub at_s: f64,
    /// Writes in it.
    pub writes: u64,
    /// Segments sent again in it.
    pub retransmissions: u64,
}

/// What an end tells the other when all is over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EndReport {
    /// Its counters.
    pub end: End,
    /// The sender's part.
    pub sending: Option<Sending>,
    /// It ended early.
    pub partial: bool,
    /// What to know.
    pub warnings: Vec<String>,
}

/// What only the sender knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sending {
    /// Length of the window in seconds.
    pub duration_s: f64,
    /// Bytes acknowledged within it.
    pub bytes_acked: u64,
    /// Segments sent again.
    pub retransmissions: u64,
    /// Deadlines never reached.
    pub missed: u64,
    /// Send lateness.
    pub lateness: Option<Percentiles>,
    /// Payload bytes of a segment.
    pub mss: u32,
    /// Congestion control in use.
    pub congestion: Option<String>,
    /// Second by second.
    pub series: Vec<Second>,
}

impl Outcome {
    /// Joins the reports of the two ends.
    ///
    /// # Errors
    /// Where the sender's has no sender's part.
    pub(super) fn of(
        plan: &Plan,
        mut sender: EndReport,
        receiver: Option<EndReport>,
    ) -> Result<Self, Error> {
        let sending = sender.sending.take();
        let sending =
            sending.ok_or_else(|| Error::Peer("the sender's report is incomplete".to_owned()))?;
        let totals = sender.end.totals;
        let rate = totals.calls as f64 / sending.duration_s.max(f64::MIN_POSITIVE);
        let per_second = |count: f64| count / sending.duration_s.max(f64::MIN_POSITIVE);
        let mut warnings = sender.warnings;
        let mut partial = sender.partial;
        if let Some(receiver) = &receiver {
            warnings.extend(receiver.warnings.iter().cloned());
            partial |= receiver.partial;
        } else {
            warnings.push("the receiving end's report was lost".to_owned());
            partial = true;
        }
        let rate_kept = plan.rate.filter(|_| !partial).map(|wanted| {
            (rate / wanted - 1.0).abs() <= KEPT.max(1.0 / (wanted * sending.duration_s))
        });
        if let (Some(wanted), Some(false)) = (plan.rate, rate_kept) {
            warnings.push(format!(
                "the rate of {wanted:.0} writes/s was not reached: {rate:.1} writes/s, {} deadlines missed",
                sending.missed
            ));
        }
        let one_per_write =
            (plan.packets == Packets::OnePerWrite).then(|| proof(&totals, &sending));
        if let Some(proof) = one_per_write.filter(|proof| !proof.holds) {
            warnings.push(format!("not all writes were one packet: {proof:?}"));
        }
        Ok(Self {
            schema: SCHEMA.to_owned(),
            partial,
            warnings,
            plan: plan.clone(),
            duration_s: sending.duration_s,
            writes: totals.calls,
            bytes: totals.bytes,
            data_segments: totals.data_segments,
            retransmissions: sending.retransmissions,
            acks: totals.acks,
            acks_per_data_segment: ratio(totals.acks as f64, totals.data_segments as f64),
            throughput_bit_per_s: per_second(sending.bytes_acked as f64 * 8.0),
            packets_per_s: per_second(totals.data_segments as f64),
            writes_per_s: rate,
            rate_kept,
            missed: sending.missed,
            congestion: sending.congestion,
            lateness_s: sending.lateness,
            cpu_s: Cpu {
                sender: sender.end.cpu,
                receiver: receiver.as_ref().map(|report| report.end.cpu),
            },
            service_demand_us: Demands {
                sender: Demand::of(&sender.end),
                receiver: receiver.as_ref().map(|report| Demand::of(&report.end)),
            },
            one_per_write,
            ends: Ends { sender: sender.end, receiver: receiver.map(|report| report.end) },
            series: sending.series,
        })
    }
}

impl Outcome {
    /// What the run is worth: invalid where the rate, or one packet a write, was not kept.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let kept = self.rate_kept != Some(false) && self.one_per_write.is_none_or(|one| one.holds);
        match (self.partial, kept) {
            (true, _) => Verdict::Broken,
            (false, false) => Verdict::Invalid,
            (false, true) => Verdict::Good,
        }
    }
}

fn proof(totals: &Totals, sending: &Sending) -> OnePerWrite {
    let deviation = totals.data_segments as i64
        - totals.calls as i64
        - i64::try_from(sending.retransmissions).unwrap_or(i64::MAX);
    OnePerWrite {
        mss: sending.mss,
        writes: totals.calls,
        data_segments: totals.data_segments,
        retransmissions: sending.retransmissions,
        deviation,
        holds: deviation == 0,
    }
}

/// The quotient; unknown where there is nothing to divide by.
pub(super) fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}
