//! Each VM's busy time by equation 4.9, and what should be known of the streams.

use crate::label::sentence;
use crate::named::Named;
use crate::place::{Layer, VmIndex};
use crate::profile::Count;
use crate::report::StreamReport;
use account::equations;
use model::{Absent, Nanos, Reading, Role};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// What one VM, or the host, had of an event.
#[derive(Debug, Clone, PartialEq)]
pub struct Busy {
    /// The VM.
    pub vm: VmIndex,
    /// The event, by its number in [`crate::Profile::events`].
    pub event: u16,
    /// Samples and events of each layer, idle time left out.
    pub layers: BTreeMap<Layer, Count>,
    /// Of all layers.
    pub count: Count,
    /// Busy time B of all layers (equation 4.9), for events that are time or cycles.
    pub busy: Reading<Nanos>,
    /// The same by the counters (equation 4.8's B), where they were read.
    pub counted: Reading<Nanos>,
}

/// Busy times by the counters, for what is sampled; a VM may be named `host`, too.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counters {
    /// The host's, where it was read.
    pub host: Option<Reading<Nanos>>,
    /// Those of VMs, by their raw names.
    pub vms: BTreeMap<String, Reading<Nanos>>,
}

impl Counters {
    fn of(&self, named: &Named<'_>, vm: VmIndex) -> Option<&Reading<Nanos>> {
        if vm == VmIndex::HOST { self.host.as_ref() } else { self.vms.get(named.profile.vm(vm)) }
    }
}

/// The busy time of each VM and of the host, by each event. `hertz` is the rate at which CPUs
/// count the event `cycles`; without it, only clocks give times.
#[must_use]
pub fn busy(named: &Named<'_>, hertz: Option<f64>, counters: &Counters) -> Vec<Busy> {
    let mut sums: BTreeMap<(VmIndex, u16), BTreeMap<(Layer, u16), Count>> = BTreeMap::new();
    for row in named.rows.iter().filter(|row| !row.idle) {
        let sum = sums.entry((row.vm, row.event)).or_default();
        let sum = sum.entry((row.layer, row.stream)).or_default();
        *sum = sum.and(row.count);
    }
    let one = |((vm, event), parts): ((VmIndex, u16), BTreeMap<(Layer, u16), Count>)| {
        let mut layers: BTreeMap<Layer, Count> = BTreeMap::new();
        for (&(layer, _), &count) in &parts {
            let sum = layers.entry(layer).or_default();
            *sum = sum.and(count);
        }
        let count = layers.values().fold(Count::default(), |sum, &count| sum.and(count));
        let times = parts.iter().map(|(&(_, stream), &count)| {
            let report = named.profile.streams.get(usize::from(stream));
            time(named, report, event, count, hertz)
        });
        let busy = times.sum::<Reading<Nanos>>();
        let unread = || Err(Absent::NotProvided("the recording has no counters of it".into()));
        let counted = counters.of(named, vm).cloned().unwrap_or_else(unread);
        Busy { vm, event, layers, count, busy, counted }
    };
    sums.into_iter().map(one).collect()
}

/// Equation 4.9 of what a stream counted, brought to all of the time where events took turns.
pub(crate) fn time(
    named: &Named<'_>,
    report: Option<&StreamReport>,
    event: u16,
    count: Count,
    hertz: Option<f64>,
) -> Reading<Nanos> {
    let name = named.profile.events().get(usize::from(event));
    let hertz = match name {
        Some(name) if name.is_time => 1e9,
        Some(name) if name.counted == "cycles" => hertz.ok_or(Absent::NotProvided(
            "the clock rate of the CPUs (--hertz), which converts cycles to time".into(),
        ))?,
        _ => return Err(Absent::NotApplicable("the event does not measure time".into())),
    };
    let event = report.and_then(|report| report.events.iter().find(|own| own.event == event));
    let share = event.map_or(Ok(1.0), |event| event.share.clone())?;
    if !(share > 0.0 && share <= 1.0) {
        return Err(Absent::Malformed("the event's running fraction".into()));
    }
    // s · C is the sum of the periods.
    equations::sampled(1, count.events, hertz * share)
        .ok_or(Absent::Malformed("the clock rate of the CPUs".into()))
}

/// Writes the busy times as text.
///
/// # Errors
/// As of the writer.
pub fn write_busy(named: &Named<'_>, busy: &[Busy], to: &mut dyn Write) -> io::Result<()> {
    let heads = ("vm", "event", "samples", "busy s", "counters s");
    let (vm, event, samples, busy_s, counted) = heads;
    writeln!(to, "{vm:<20}  {event:<12}  {samples:>9}  {busy_s:>10}  {counted:>10}  by layer")?;
    for one in busy {
        let event = named.profile.events().get(usize::from(one.event));
        let event = event.map_or(String::new(), |event| sentence(&event.counted));
        let seconds = |time: &Reading<Nanos>| match time {
            Ok(time) => format!("{:.3}", time.seconds()),
            Err(_) => "-".to_owned(),
        };
        let (time, counted) = (seconds(&one.busy), seconds(&one.counted));
        let percent =
            |count: &Count| 100.0 * count.samples as f64 / one.count.samples.max(1) as f64;
        let layers = one.layers.iter();
        let layers: Vec<_> = layers
            .map(|(layer, count)| format!("{} {:.1} %", layer.word(), percent(count)))
            .collect();
        let (vm, samples) = (named.profile.shown_vm(one.vm), one.count.samples);
        let layers = layers.join(", ");
        writeln!(to, "{vm:<20}  {event:<12}  {samples:>9}  {time:>10}  {counted:>10}  {layers}")?;
        if let Err(absent) = &one.busy {
            writeln!(to, "{:<20}  busy time: {}", "", sentence(&absent.to_string()))?;
        }
    }
    Ok(())
}

/// What should be known of a stream, a sentence each.
#[must_use]
pub fn warnings(report: &StreamReport) -> Vec<String> {
    let mut said: Vec<String> = report.notes.iter().map(|note| sentence(note)).collect();
    for (cpu, count) in &report.lost {
        said.push(format!("{count} records lost on CPU {cpu}: use a longer period"));
    }
    if let Some((from, to)) = report.since_begin(report.lost_span) {
        said.push(format!("losses were reported from {from:.3} s to {to:.3} s after the start"));
    }
    let mut say = |count: u64, what: &str| {
        if count > 0 {
            said.push(format!("{count} {what}"));
        }
    };
    for (cpu, &count) in &report.throttled {
        say(count, &format!("times throttled on CPU {cpu}: use a longer period"));
    }
    say(report.uncertain, "samples near a context switch: the process may be the other one");
    say(report.unplaced, "samples of unknown tasks: no context switch was recorded before");
    say(report.unheard, "samples after the agent was lost: the program is unknown");
    say(
        report.misread,
        "samples with a corrected CPU mode: kernel or user mode contradicted the address",
    );
    say(report.duplicates, "samples of this guest by the host omitted: the guest samples itself");
    say(report.unaligned, "records omitted: the clock of the guest is not aligned");
    say(report.invalid, "samples of an unknown event omitted");
    say(report.dropped.maps, "maps omitted: limit exceeded");
    say(report.dropped.tasks, "processes or threads omitted: limit exceeded");
    said
}

/// A clock's bound, in nanoseconds, with a unit that leaves it some digits.
#[must_use]
pub fn precision(nanos: u64) -> String {
    match nanos {
        0..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => format!("{:.1} µs", nanos as f64 / 1e3),
        _ => format!("{:.3} ms", nanos as f64 / 1e6),
    }
}

/// Writes what should be known of the streams as text.
///
/// # Errors
/// As of the writer.
pub fn write_streams(named: &Named<'_>, to: &mut dyn Write) -> io::Result<()> {
    for report in &named.profile.streams {
        let role = match report.role {
            Role::Host => "host",
            Role::NamesOnly => "mode A: sampled by the host, names from its agent",
            Role::SamplesItself => "mode B: samples itself",
            Role::Passive => "passive: sampled by the host, no names",
        };
        write!(to, "{}: {role}; {} samples", sentence(&report.name), report.samples)?;
        if let Some(duration) = report.duration() {
            write!(to, " in {:.3} s", duration.seconds())?;
        }
        match (report.clock_bound, report.clock_segments) {
            (Some(bound), segments) => {
                write!(to, "; clock within {}", precision(bound))?;
                if segments > 1 {
                    write!(to, ", {} steps", segments - 1)?;
                }
            }
            (None, _) if report.role == Role::NamesOnly => write!(to, "; clock not aligned")?,
            _ => {}
        }
        writeln!(to)?;
        for warning in warnings(report) {
            writeln!(to, "  {warning}")?;
        }
    }
    match named.profile.dropped_names() {
        0 => Ok(()),
        dropped => writeln!(to, "{dropped} names or images omitted: limit exceeded"),
    }
}
