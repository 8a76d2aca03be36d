//! Reading streams: every sample is given its VM, layer, process, image and address.
//!
//! Guests that sample themselves are read first, so that it is known what they cover; then the
//! host's stream, and along with it, by its clock, the guests that send names only. Nothing is
//! held of a sample once it is placed.

use crate::guest::{Clock, Guest};
use crate::image::{ImageId, Kind};
use crate::known::{Known, NO_STREAM};
use crate::names::Names;
use crate::place::{Layer, Part, Placed, VmIndex};
use crate::records::Records;
use crate::report::StreamReport;
use crate::space::{Limits, Spaces};
use ahash::{AHashMap, AHashSet};
use model::{Mode, Nanos, Record, Role, Sample, Stream, What};
use std::collections::BTreeMap;

/// Where the kernel's half of an address space begins, on x86-64 and ARM64.
const UPPER_HALF: u64 = 1 << 63;
/// A guest that samples itself covers the host's samples for so long after its last record.
const SILENCE: Nanos = Nanos(1_000_000_000);

/// A stream that has samples.
struct Source {
    stream: u16,
    vm: VmIndex,
    host: bool,
    columns: Vec<u16>,
    kernel: ImageId,
    hypervisor: ImageId,
    unmapped: ImageId,
    spaces: Spaces,
    /// Thread or process → its VM, and what it does for it.
    serving: AHashMap<u32, (VmIndex, model::Part)>,
    /// Those of them that ended; what they do after is still theirs.
    ended: AHashSet<u32>,
    report: StreamReport,
}

/// What a guest that samples itself has covered: events, from when and until when.
struct Covered {
    columns: Vec<u16>,
    from: Nanos,
    until: Nanos,
}

/// Images of a guest of which nothing is known.
struct Passive {
    kernel: ImageId,
    user: ImageId,
}

/// The streams as they are read.
pub(crate) struct Walk<'a> {
    streams: &'a [Stream],
    pub(crate) known: Known,
    pub(crate) reports: Vec<StreamReport>,
    /// Those that send names only; a VM has several where its agent came back, oldest first.
    guests: BTreeMap<VmIndex, Vec<Guest<'a>>>,
    /// The same of those that sample themselves, with the numbers of their streams.
    covered: AHashMap<VmIndex, Vec<(usize, Covered)>>,
    passive: AHashMap<VmIndex, Passive>,
}

impl<'a> Walk<'a> {
    /// Reads all streams, and gives each sample to `sink`. `records` are those of the streams,
    /// in their order; a stream without any may be left out at the end.
    pub(crate) fn run(
        streams: &'a [Stream],
        records: Vec<Records<'a>>,
        sink: &mut dyn FnMut(&Known, &Placed),
    ) -> Self {
        let mut known = Known::new(streams);
        let columns: Vec<_> = streams.iter().map(|stream| known.stream_events(stream)).collect();
        let reports = streams.iter().zip(&columns).map(|(s, c)| StreamReport::new(s, c)).collect();
        let mut walk = Self {
            streams,
            known,
            reports,
            guests: BTreeMap::new(),
            covered: AHashMap::new(),
            passive: AHashMap::new(),
        };
        let mut records: Vec<_> = records.into_iter().map(Some).collect();
        records.resize_with(streams.len(), || None);
        for role in [Role::SamplesItself, Role::NamesOnly, Role::Host] {
            for (at, records) in records.iter_mut().enumerate() {
                let of_role = streams.get(at).is_some_and(|stream| stream.role == role);
                if let Some(records) = of_role.then(|| records.take()).flatten() {
                    walk.stream(at, &columns[at], records, sink);
                }
            }
        }
        walk.finish();
        walk
    }

    fn stream(
        &mut self,
        at: usize,
        columns: &[u16],
        mut records: Records<'a>,
        sink: &mut dyn FnMut(&Known, &Placed),
    ) {
        let (stream, number) = (&self.streams[at], u16::try_from(at).unwrap_or(NO_STREAM));
        if stream.role == Role::NamesOnly {
            let vm = self.known.vm(&stream.name);
            let kernel = self.known.special(number, Kind::Kernel, "[guest kernel]");
            let report = self.reports[at].clone();
            let mut guest = Guest::new(number, kernel, stream, records, report);
            let guests = self.guests.entry(vm).or_default();
            if !guests.is_empty() {
                guest.came_back();
            }
            guests.push(guest);
            return;
        }
        let mut source = self.source(at, number, columns);
        let mut clock =
            (!source.host && !stream.clock.is_empty()).then(|| Clock::new(&stream.clock));
        let mut batch = Vec::new();
        while records(&mut batch) {
            for mut record in batch.drain(..) {
                if let Some(clock) = &mut clock {
                    let Some(time) = clock.host(record.time) else {
                        source.report.unaligned += 1;
                        continue;
                    };
                    record.time = time;
                }
                self.record(&mut source, record, sink);
            }
        }
        source.report.dropped = source.spaces.dropped;
        if let (false, Some((from, until))) = (source.host, source.report.span) {
            let columns = columns.to_vec();
            // Without an alignment, its times say nothing of the host's: better too few than twice.
            let aligned = clock.is_some();
            let from = if aligned { from } else { Nanos::ZERO };
            let until = if aligned { until + SILENCE } else { Nanos(u64::MAX) };
            let covered = (at, Covered { columns, from, until });
            self.covered.entry(source.vm).or_default().push(covered);
        }
        self.reports[at] = source.report;
    }

    fn record(
        &mut self,
        source: &mut Source,
        record: Record,
        sink: &mut dyn FnMut(&Known, &Placed),
    ) {
        source.report.saw(&record, record.time);
        match record.what {
            What::Sample(sample) => return self.sample(source, &record, sample, sink),
            What::Exit { tid, .. } if source.serving.contains_key(&tid) => {
                source.ended.insert(tid);
            }
            What::Fork { tid, .. } => source.serves_no_more(tid),
            _ => {}
        }
        self.known.apply(&mut source.spaces, source.stream, source.kernel, record);
    }

    fn source(&mut self, at: usize, number: u16, columns: &[u16]) -> Source {
        let stream = &self.streams[at];
        let host = stream.role == Role::Host;
        let vm = if host { VmIndex::HOST } else { self.known.vm(&stream.name) };
        let kernel = if host { "[kernel]" } else { "[guest kernel]" };
        let serving = stream.serving.iter().map(|s| (s.tid, (self.known.vm(&s.vm), s.part)));
        Source {
            stream: number,
            vm,
            host,
            columns: columns.to_vec(),
            serving: serving.collect(),
            ended: AHashSet::new(),
            kernel: self.known.special(number, Kind::Kernel, kernel),
            hypervisor: self.known.special(number, Kind::Hypervisor, "[hypervisor]"),
            unmapped: self.known.special(number, Kind::Unmapped, "[unmapped]"),
            spaces: Spaces::new(Limits::default()),
            report: self.reports[at].clone(),
        }
    }

    fn sample(
        &mut self,
        source: &mut Source,
        record: &Record,
        sample: Sample,
        sink: &mut dyn FnMut(&Known, &Placed),
    ) {
        let Some(&event) = source.columns.get(usize::from(sample.event)) else {
            source.report.invalid += 1;
            return;
        };
        let in_guest = matches!(sample.mode, Mode::GuestKernel | Mode::GuestUser);
        let (mut vm, serves) = source.serves(&sample);
        if in_guest && vm == VmIndex::HOST {
            // Nobody said whose this is: the VMM's process stands for its VM.
            vm = self.known.vm(&format!("[pid {}]", sample.pid));
        }
        let part = serves.map_or(if source.host { Part::Own } else { Part::Vcpu }, Part::from);
        let mut placed = source.place(record, &sample, event, (vm, part), &self.known);
        if !in_guest {
            sink(&self.known, &placed);
            return;
        }
        placed.layer = match sample.mode {
            Mode::GuestKernel => Layer::GuestKernel,
            _ => Layer::GuestUser,
        };
        let mut covered = self.covered.get(&vm).filter(|_| source.host).into_iter().flatten();
        if let Some((at, _)) = covered.find(|(_, covered)| covered.has(event, record.time)) {
            self.reports[*at].duplicates += 1;
            return;
        }
        match (serves, self.guests.get_mut(&vm)) {
            (Some(model::Part::Vcpu(vcpu)), Some(guests)) if source.host => {
                let user = (sample.mode == Mode::GuestUser).then_some(sample.address);
                placed.cpu = vcpu;
                match guests.iter_mut().find(|guest| guest.tells(record.time)) {
                    Some(guest) => name_by_guest(guest, &mut self.known, &mut placed, user),
                    None => {
                        let lost = guests.iter_mut().rfind(|guest| guest.is_lost(record.time));
                        lost.into_iter().for_each(|guest| guest.report.unheard += 1);
                        self.passive(source, &mut placed);
                    }
                }
            }
            _ => self.passive(source, &mut placed),
        }
        sink(&self.known, &placed);
    }

    /// A guest that sends nothing: its kernel may have symbols, its programs have none.
    fn passive(&mut self, source: &Source, placed: &mut Placed) {
        let (streams, known, vm) = (self.streams, &mut self.known, placed.vm);
        let passive = self.passive.entry(vm).or_insert_with(|| {
            let name = known.vms.get(usize::from(vm.0));
            let its = |s: &&Stream| s.role != Role::Host && Some(&s.name) == name;
            let own = streams.iter().position(|s| its(&s));
            // Once its agent was lost nobody knows which kernel it runs.
            let lost = streams.iter().filter(its).any(|s| s.until.is_some());
            let own = own.filter(|_| vm != VmIndex::HOST && source.host && !lost);
            let stream = own.and_then(|at| u16::try_from(at).ok()).unwrap_or(NO_STREAM);
            Passive {
                kernel: known.special(stream, Kind::Kernel, "[guest kernel]"),
                user: known.special(stream, Kind::Guest, "[guest user]"),
            }
        });
        (placed.pid, placed.tid, placed.idle) = (None, None, false);
        (placed.process, placed.thread) = (Names::UNKNOWN, Names::UNKNOWN);
        (placed.image, placed.address) = match placed.layer {
            Layer::GuestKernel => (passive.kernel, Some(placed.instruction)),
            _ => (passive.user, None),
        };
    }

    fn finish(&mut self) {
        for mut guest in std::mem::take(&mut self.guests).into_values().flatten() {
            guest.finish(&mut self.known);
            guest.report.dropped.maps += guest.spaces.dropped.maps;
            guest.report.dropped.tasks += guest.spaces.dropped.tasks;
            if let Some(report) = self.reports.get_mut(usize::from(guest.stream)) {
                *report = guest.report;
            }
        }
    }
}

impl Covered {
    fn has(&self, event: u16, at: Nanos) -> bool {
        self.columns.contains(&event) && (self.from..=self.until).contains(&at)
    }
}

impl Source {
    /// The VM that a sample's thread serves, and how; the stream's own, where it serves none.
    fn serves(&self, sample: &Sample) -> (VmIndex, Option<model::Part>) {
        let found = self.serving.get(&sample.tid).or_else(|| self.serving.get(&sample.pid));
        found.map_or((self.vm, None), |&(vm, part)| (vm, Some(part)))
    }

    /// A thread is born: one of its number that ended was another.
    fn serves_no_more(&mut self, tid: u32) {
        if self.ended.remove(&tid) {
            self.serving.remove(&tid);
        }
    }

    fn place(
        &mut self,
        record: &Record,
        sample: &Sample,
        event: u16,
        (vm, part): (VmIndex, Part),
        known: &Known,
    ) -> Placed {
        let address = sample.address;
        let (layer, (image, address)) = match sample.mode {
            Mode::User => (
                if self.host { Layer::HostUser } else { Layer::GuestUser },
                in_process(&mut self.spaces, known, sample.pid, address, self.unmapped),
            ),
            Mode::Kernel => (
                if self.host { Layer::HostKernel } else { Layer::GuestKernel },
                in_kernel(&mut self.spaces, address, self.kernel),
            ),
            Mode::Hypervisor => (Layer::Hypervisor, (self.hypervisor, Some(address))),
            _ => (Layer::Unknown, (self.unmapped, None)),
        };
        let is_time = known.events.get(usize::from(event)).is_some_and(|event| event.is_time);
        Placed {
            stream: self.stream,
            event,
            vm,
            layer,
            part,
            time: record.time,
            cpu: record.cpu,
            pid: Some(sample.pid),
            tid: Some(sample.tid),
            process: self.spaces.process_name(sample.pid),
            thread: self.spaces.thread_name(sample.pid, sample.tid),
            image,
            address,
            instruction: sample.address,
            period: sample.period,
            idle: is_time && sample.pid == 0 && sample.mode == Mode::Kernel,
            certain: true,
        }
    }
}

/// Gives a sample that the host took in a guest the guest's own names.
fn name_by_guest(guest: &mut Guest<'_>, known: &mut Known, placed: &mut Placed, user: Option<u64>) {
    guest.advance(placed.time, known);
    let mut user = user;
    let mut running = guest.running(placed.cpu, placed.time, user);
    // Under emulation KVM may read the mode of a moment before. A process shares its space with
    // the kernel: what a program has mapped is no place of the kernel's, and the upper half of a
    // space is no place of a program's but for what it has mapped (the page of vsyscalls).
    let address = placed.instruction;
    let mapped = running.is_some_and(|running| {
        running.pid != 0 && guest.spaces.find(running.pid, address).is_some()
    });
    let really = if mapped { Some(address) } else { user.filter(|_| address < UPPER_HALF) };
    if really != user {
        guest.report.misread += 1;
        placed.layer = if mapped { Layer::GuestUser } else { Layer::GuestKernel };
        user = really;
        running = guest.running(placed.cpu, placed.time, user);
    }
    let pid = running.map(|running| running.pid);
    (placed.pid, placed.tid, placed.idle) = (pid, running.map(|running| running.tid), false);
    placed.certain = running.is_some_and(|running| running.certain);
    match running {
        Some(running) => {
            guest.report.uncertain += u64::from(!running.certain);
            placed.process = guest.spaces.process_name(running.pid);
            placed.thread = guest.spaces.thread_name(running.pid, running.tid);
        }
        None => {
            guest.report.unplaced += 1;
            (placed.process, placed.thread) = (Names::UNKNOWN, Names::UNKNOWN);
        }
    }
    (placed.image, placed.address) = match user {
        None => in_kernel(&mut guest.spaces, placed.instruction, guest.kernel),
        Some(address) => {
            let unmapped = known.special(guest.stream, Kind::Unmapped, "[unmapped]");
            let pid = pid.unwrap_or(0);
            in_process(&mut guest.spaces, known, pid, address, unmapped)
        }
    };
}

fn in_process(
    spaces: &mut Spaces,
    known: &Known,
    pid: u32,
    address: u64,
    unmapped: ImageId,
) -> (ImageId, Option<u64>) {
    let Some((image, offset)) = spaces.find(pid, address) else { return (unmapped, None) };
    match known.images.get(image).map(|image| image.kind) {
        Some(Kind::File) => (image, Some(offset)),
        Some(kind) if kind.has_addresses() => (image, Some(address)),
        _ => (image, None),
    }
}

/// Kernel addresses are their own, whatever the image.
fn in_kernel(spaces: &mut Spaces, address: u64, kernel: ImageId) -> (ImageId, Option<u64>) {
    let image = spaces.find(crate::space::KERNEL, address).map_or(kernel, |(image, _)| image);
    (image, Some(address))
}
