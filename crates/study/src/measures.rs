//! What a run's raw counters say, in the terms of the figures.

use crate::plan::Load;
use crate::record::{Counters, Data, Record};
use account::Usage;
use model::{Event, Nanos};
use std::collections::BTreeMap;
use workload::{cpu, tcp, web};

/// The quantities of a run. What the run cannot tell is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measures {
    /// T: seconds by the host's clock between the two readings.
    pub interval_s: Option<f64>,
    /// The host's CPUs.
    pub cpus: Option<u32>,
    /// CPUs that were busy on the host, the monitor's own time apart.
    pub total: Option<f64>,
    /// Why `total` is not known.
    pub no_total: Option<String>,
    /// CPUs that executed guests, and their hypervisor's work.
    pub guests: Option<f64>,
    /// CPUs that the driver domain used: all that the guests did not.
    pub idd: Option<f64>,
    /// The parts of `total`, by [`LAYERS`], in CPUs.
    pub layers: [Option<f64>; LAYERS.len()],
    /// Data packets, or replies, a second by the load's clock: what the load was.
    pub events_per_s: Option<f64>,
    /// The same by the host's clock.
    pub host_events_per_s: Option<f64>,
    /// CPU seconds of the host for a data packet or a reply.
    pub cost_s: Option<f64>,
    /// ACKs for each data packet.
    pub acks: Option<f64>,
    /// Bits a second that were received.
    pub throughput: Option<f64>,
    /// New connections, or requests, a second that were due.
    pub offered_per_s: Option<f64>,
    /// Replies a second.
    pub replies_per_s: Option<f64>,
    /// Mean time of the programs, in seconds.
    pub seconds: Option<f64>,
    /// Busy CPUs of the driver domain one by one.
    pub idd_cpus: Vec<Option<f64>>,
    /// Busy CPUs of each guest.
    pub guest_cpus: Vec<Option<f64>>,
    /// What was sampled, by event: in the host and in all guests together.
    pub sampled: Vec<Counted>,
    /// Why the run itself says that it is not valid.
    pub invalid: Option<String>,
}

/// What was sampled of an event.
#[derive(Debug, Clone, PartialEq)]
pub struct Counted {
    /// The event, as it was asked for.
    pub asked: String,
    /// As it was counted; `cpu-clock` where there are no counters.
    pub counted: String,
    /// Events, nanoseconds of clocks, for each sample.
    pub period: u64,
    /// Events: the samples' periods, those of idle CPUs apart.
    pub events: f64,
}

/// The layers of a machine's busy time, from the bottom of a stack.
pub const LAYERS: [&str; 6] = [
    "guest",
    "VMM",
    "IDD, threads of one VM",
    "IDD, shared interrupt work",
    "IDD or Linux itself",
    "not attributed",
];

impl Measures {
    /// Of a run that was measured.
    #[must_use]
    pub fn of(record: &Record) -> Option<Self> {
        let data = record.data()?;
        let mut found = Self::default();
        if let Some(counters) = &data.host {
            match account::usage(&counters.begin, &counters.end) {
                Ok(usage) => {
                    found.account(&usage);
                    found.cpus_of_linux(counters, &usage);
                }
                Err(error) => found.invalid = Some(error.to_string()),
            }
        }
        let outcomes = data.outcomes.iter();
        match &record.load {
            Load::Tcp { .. } => {
                let all = outcomes.filter_map(read::<tcp::Outcome>).collect::<Vec<_>>();
                found.tcp(&all, data.outcomes.len());
            }
            Load::Web { .. } => {
                let all = outcomes.filter_map(read::<web::Outcome>).collect::<Vec<_>>();
                found.web(&all, data.outcomes.len());
            }
            Load::Cpu { .. } => {
                let all = outcomes.filter_map(read::<cpu::Outcome>).collect::<Vec<_>>();
                found.cpu(&all);
            }
            Load::Fileset { .. } => {}
        }
        found.sampled = sampled(data);
        let events = found.events_per_s.zip(data.window_s).map(|(rate, window)| rate * window);
        found.host_events_per_s = events.zip(found.interval_s).map(|(count, t)| count / t);
        found.cost_s = found.total.zip(found.host_events_per_s).map(|(cpus, rate)| cpus / rate);
        Some(found)
    }

    fn account(&mut self, usage: &Usage) {
        let interval = usage.interval.0 as f64;
        let cpus = |time: Nanos| time.0 as f64 / interval;
        let monitor = usage.me.cpu;
        let driver = usage.drivers.first();
        let sum = |part: fn(&account::VmUsage) -> &model::Reading<Nanos>| {
            let parts: Vec<Nanos> =
                usage.vms.iter().filter_map(|vm| part(vm).clone().ok()).collect();
            (!parts.is_empty()).then(|| cpus(Nanos(parts.iter().map(|part| part.0).sum())))
        };
        self.interval_s = Some(interval / 1e9);
        self.cpus = Some(usage.host.cpus);
        self.total = busy_cpus(usage);
        self.no_total = usage.host.busy.as_ref().err().map(ToString::to_string);
        let guest = sum(|vm| &vm.cpu.guest);
        let vmm = sum(|vm| &vm.cpu.vmm);
        self.guests = guest.map(|guest| guest + vmm.unwrap_or(0.0));
        self.idd = self.total.map(|total| (total - self.guests.unwrap_or(0.0)).max(0.0));
        // The agent is a process of the driver domain.
        let own = driver.and_then(|driver| driver.own.clone().ok());
        self.layers = [
            guest,
            vmm,
            sum(|vm| &vm.cpu.io_direct),
            sum(|vm| &vm.cpu.io_shared),
            own.map(|own| cpus(own.saturating_sub(monitor))),
            usage.host.unattributed.clone().ok().map(cpus),
        ];
        let rows = driver.map(|driver| driver.vcpu_rows.as_slice()).unwrap_or_default();
        self.idd_cpus = rows.iter().map(|row| row.cpu.clone().ok().map(cpus)).collect();
        self.guest_cpus = usage.vms.iter().map(|vm| vm.cpu.guest.clone().ok().map(cpus)).collect();
    }

    /// Where the driver domain is the host's Linux its CPUs are the host's.
    fn cpus_of_linux(&mut self, counters: &Counters, usage: &Usage) {
        let (Ok(begin), Ok(end)) = (&counters.begin.host.idle_each, &counters.end.host.idle_each)
        else {
            return;
        };
        let interval = usage.interval.0 as f64;
        let busy = begin.iter().zip(end).map(|(begin, end)| {
            let idle = end.0.saturating_sub(begin.0) as f64;
            Some((1.0 - idle / interval).max(0.0))
        });
        self.idd_cpus = busy.collect();
    }

    fn tcp(&mut self, outcomes: &[tcp::Outcome], of: usize) {
        if outcomes.len() != of || of == 0 {
            self.invalid = Some("unsupported version of the load's result".to_owned());
            return;
        }
        let seconds = |one: &tcp::Outcome| one.data_segments as f64 / one.duration_s;
        self.events_per_s = Some(outcomes.iter().map(seconds).sum());
        self.throughput = Some(outcomes.iter().map(|one| one.throughput_bit_per_s).sum());
        let (data, acks) = outcomes
            .iter()
            .fold((0, 0), |(data, acks), one| (data + one.data_segments, acks + one.acks));
        self.acks = (data > 0).then(|| acks as f64 / data as f64);
        if outcomes.iter().any(|one| one.partial) {
            self.invalid = Some("the load ended early".to_owned());
        }
    }

    fn web(&mut self, outcomes: &[web::Outcome], of: usize) {
        if outcomes.len() != of || of == 0 {
            self.invalid = Some("unsupported version of the load's result".to_owned());
            return;
        }
        let sum = |part: fn(&web::Outcome) -> Option<f64>| -> Option<f64> {
            outcomes.iter().map(part).sum()
        };
        self.offered_per_s = sum(|one| one.requests_per_s);
        self.replies_per_s = sum(|one| one.replies_per_s);
        self.events_per_s = self.replies_per_s;
        if let Some(bad) = outcomes.iter().find(|one| !one.valid || one.partial) {
            let ended = "the load ended early".to_owned();
            self.invalid = Some(bad.invalid_reasons.first().cloned().unwrap_or(ended));
        } else {
            self.invalid = outcomes.iter().find_map(|one| refusals(&one.status));
        }
    }

    fn cpu(&mut self, outcomes: &[cpu::Outcome]) {
        let all: Vec<&cpu::InstanceOutcome> =
            outcomes.iter().flat_map(|one| &one.instances).collect();
        let seconds: Option<Vec<f64>> = all.iter().map(|one| one.seconds).collect();
        match seconds.as_deref().and_then(stats::Summary::of) {
            Some(summary) => self.seconds = Some(summary.mean),
            None => {
                let why = all.iter().find_map(|one| one.error.clone());
                self.invalid = Some(why.unwrap_or_else(|| "not all programs finished".to_owned()));
            }
        }
    }
}

fn sampled(data: &Data) -> Vec<Counted> {
    let Some(first) = data.samples.values().next() else { return Vec::new() };
    let all = || data.samples.values();
    let one = |event: &Event| {
        let own = all().flat_map(|sampled| &sampled.functions);
        let own = own.filter(|function| function.event == event.asked);
        // Where one of the machines could not count it, nobody's count is that of the event.
        let theirs = all().flat_map(|sampled| &sampled.events);
        let other = theirs.filter(|other| other.asked == event.asked);
        let counted = other.map(|other| &other.counted).find(|other| **other != event.asked);
        Counted {
            asked: event.asked.clone(),
            counted: counted.unwrap_or(&event.counted).clone(),
            period: event.period,
            events: own.map(|function| function.events as f64).sum(),
        }
    };
    first.events.iter().map(one).collect()
}

/// CPUs that were busy on the host, the monitor's own time apart.
pub(crate) fn busy_cpus(usage: &Usage) -> Option<f64> {
    let busy = usage.host.busy.as_ref().ok()?.saturating_sub(usage.me.cpu);
    Some(busy.0 as f64 / usage.interval.0 as f64)
}

/// Replies without the file that was asked for cost the server something else.
fn refusals(status: &BTreeMap<u16, u64>) -> Option<String> {
    let all: u64 = status.values().sum();
    let (status, count) = status.iter().find(|(status, _)| **status != 200)?;
    Some(format!("{count} of {all} replies had the status {status}"))
}

fn read<T: serde::de::DeserializeOwned>(value: &serde_json::Value) -> Option<T> {
    serde::Deserialize::deserialize(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn replies_without_their_file_are_no_measure() {
        assert_eq!(refusals(&[(200, 20)].into()), None);
        assert_eq!(refusals(&BTreeMap::new()), None);
        let forbidden = refusals(&[(200, 17), (403, 3)].into());
        assert_eq!(forbidden.as_deref(), Some("3 of 20 replies had the status 403"));
    }

    #[test]
    fn real_runs_have_sound_measures() {
        let (_place, _store, records) = samples::study();
        for record in records {
            let found = Measures::of(&record).unwrap();
            let total = found.total.unwrap();
            let Load::Tcp { rate, .. } = record.load else { panic!("{:?}", record.load) };
            assert_eq!(found.invalid, None);
            assert!(total > 0.0, "{found:?}");
            assert!((found.events_per_s.unwrap() / rate - 1.0).abs() < 0.01, "{found:?}");
            assert!((0.0..=1.1).contains(&found.acks.unwrap()), "{found:?}");
            if record.machine.as_deref() == Some("xen") {
                let parts = found.guests.unwrap() + found.idd.unwrap();
                assert!(found.guests.unwrap() > 0.0 && found.idd.unwrap() > 0.0, "{found:?}");
                assert!((parts - total).abs() < 1e-9, "{found:?}");
            } else {
                assert_eq!(found.guests, None);
            }
        }
    }
}
