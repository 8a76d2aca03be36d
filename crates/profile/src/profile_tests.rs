use crate::*;
use model::{
    Absent, BuildId, ClockSegment, Event, Map, Mode, Nanos, Record, Role, Sample, Serving,
};
use model::{Stream, What};

pub(crate) fn cycles() -> Event {
    Event {
        asked: "cycles".into(),
        counted: "cycles".into(),
        kind: 0,
        config: 0,
        period: 1000,
        is_time: false,
        share: Ok(1.0),
    }
}

pub(crate) fn ticks() -> Event {
    Event { counted: "cpu-clock".into(), kind: 1, is_time: true, ..cycles() }
}

pub(crate) fn stream(name: &str, role: Role, events: Vec<Event>) -> Stream {
    Stream {
        name: name.into(),
        role,
        events,
        cpus: 2,
        serving: vec![],
        clock: vec![],
        until: None,
        kallsyms: Err(Absent::NotReported),
        notes: vec![],
    }
}

pub(crate) fn serving(tid: u32, vm: &str, part: model::Part) -> Serving {
    Serving { tid, vm: vm.into(), part }
}

pub(crate) fn at(time: u64, what: What) -> Record {
    Record { time: Nanos(time), cpu: 0, what }
}

pub(crate) fn sample(time: u64, (pid, tid): (u32, u32), mode: Mode, address: u64) -> Record {
    at(time, What::Sample(Sample { event: 0, pid, tid, address, mode, period: 1000 }))
}

pub(crate) fn named(pid: u32, name: &str) -> Record {
    at(0, What::Name { pid, tid: pid, name: name.into(), exec: true })
}

pub(crate) fn mapped(pid: u32, start: u64, path: &str) -> Record {
    let build_id = Some(BuildId(vec![path.len() as u8; 20]));
    let path = path.into();
    at(
        1,
        What::Map(Box::new(Map {
            pid,
            tid: pid,
            start,
            length: 0x1000,
            offset: 0x400,
            build_id,
            path,
        })),
    )
}

pub(crate) fn switched(time: u64, cpu: u32, pid: u32) -> Record {
    Record { time: Nanos(time), cpu, what: What::Switch { pid, tid: pid } }
}

pub(crate) fn clock(offset: i64, bound: u64) -> Vec<ClockSegment> {
    vec![ClockSegment { from: Nanos(0), offset, drift: 0.0, bound }]
}

/// Each entry as words: VM, layer, part, process, image, address, samples.
fn lines(profile: &Profile) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let line = |(key, count): &(Key, Count)| {
        let address = key.address.map_or("-".into(), |address| format!("{address:x}"));
        format!(
            "{} {} {} {} {} {address} {}{}",
            profile.vm(key.vm),
            key.layer.word(),
            key.part.word(),
            text(profile.name(key.process)),
            text(profile.image(key.image)),
            count.samples,
            if key.idle { " idle" } else { "" },
        )
    };
    let mut lines: Vec<_> = profile.entries.iter().map(line).collect();
    lines.sort();
    lines
}

const QEMU: u32 = 50;
const VCPU: (u32, u32) = (QEMU, 51);
const OTHER: (u32, u32) = (60, 61);

fn host() -> (Stream, Vec<Record>) {
    let mut host = stream("host", Role::Host, vec![cycles()]);
    host.serving = vec![
        serving(QEMU, "web1", model::Part::Vmm),
        serving(51, "web1", model::Part::Vcpu(0)),
        serving(52, "web1", model::Part::Io),
        serving(61, "web2", model::Part::Vcpu(1)),
    ];
    let records = vec![
        named(QEMU, "qemu"),
        named(60, "qemu"),
        named(9, "bash"),
        mapped(QEMU, 0x10_0000, "/usr/bin/qemu"),
        mapped(9, 0x20_0000, "/bin/bash"),
        mapped(u32::MAX, 0xffff_ffff_8000_0000, "[kernel.kallsyms]_text"),
        mapped(u32::MAX, 0xffff_ffff_c000_0000, "[kvm]"),
    ];
    (host, records)
}

#[test]
fn host_threads_that_serve_a_vm_are_that_vms() {
    let (host, mut records) = host();
    let kvm = 0xffff_ffff_c000_0010;
    records.extend([
        sample(10, VCPU, Mode::Kernel, kvm),
        sample(11, (QEMU, 52), Mode::Kernel, 0xffff_ffff_8000_0010),
        sample(12, (QEMU, QEMU), Mode::User, 0x10_0010),
        sample(13, (QEMU, 99), Mode::User, 0x10_0010),
        sample(14, (9, 9), Mode::User, 0x20_0020),
        sample(15, (9, 9), Mode::User, 0x66_0000),
        sample(16, (9, 9), Mode::Hypervisor, 0x77),
    ]);
    let profile = Profile::read(&[host], vec![in_memory(records)], Options::default());
    let expected = [
        "host host user own bash /bin/bash 420 1",
        "host host user own bash [unmapped] - 1",
        "host hypervisor own bash [hypervisor] 77 1",
        "web1 host kernel io qemu [kernel] ffffffff80000010 1",
        "web1 host kernel vcpu qemu [kvm] ffffffffc0000010 1",
        "web1 host user vmm qemu /usr/bin/qemu 410 2",
    ];
    assert_eq!(lines(&profile), expected);
    assert_eq!((profile.streams[0].samples, profile.streams[0].duration()), (7, Some(Nanos(6))));
}

#[test]
fn mode_a_names_two_guests_by_their_own_switches_and_maps() {
    let (host, mut records) = host();
    records.extend([
        sample(1100, VCPU, Mode::GuestUser, 0x40_0010),
        sample(1150, OTHER, Mode::GuestUser, 0x40_0010),
        sample(1250, VCPU, Mode::GuestUser, 0x40_0010),
        sample(1260, VCPU, Mode::GuestKernel, 0xffff_ffff_8100_0000),
        sample(1261, VCPU, Mode::GuestKernel, 0xffff_ffff_a000_0000),
        sample(1258, OTHER, Mode::GuestUser, 0x41_0010),
        sample(1300, VCPU, Mode::GuestUser, 0x40_0010),
    ]);
    let web1 = Stream { clock: clock(500, 5), ..stream("web1", Role::NamesOnly, vec![]) };
    let web2 = Stream { clock: clock(-900, 5), ..stream("web2", Role::NamesOnly, vec![]) };
    let one = vec![
        named(7, "httpd"),
        mapped(7, 0x40_0000, "/usr/sbin/httpd"),
        named(8, "spin"),
        mapped(8, 0x40_0000, "/bin/spin"),
        mapped(u32::MAX, 0xffff_ffff_a000_0000, "[virtio_net]"),
        switched(1000, 0, 7),
        switched(1700, 0, 8),
        switched(1798, 0, 7),
    ];
    let two = vec![
        named(7, "receiver"),
        mapped(7, 0x40_0000, "/bin/receiver"),
        switched(150, 1, 7),
        switched(355, 1, 0),
    ];
    let (streams, records) =
        ([web1, host, web2], vec![in_memory(one), in_memory(records), in_memory(two)]);
    let profile = Profile::read(&streams, records, Options::default());
    let expected = [
        "web1 guest kernel vcpu spin [guest kernel] ffffffff81000000 1",
        "web1 guest kernel vcpu spin [virtio_net] ffffffffa0000000 1",
        "web1 guest user vcpu httpd /usr/sbin/httpd 410 2",
        "web1 guest user vcpu spin /bin/spin 410 1",
        "web2 guest user vcpu receiver /bin/receiver 410 1",
        "web2 guest user vcpu receiver [unmapped] - 1",
    ];
    assert_eq!(lines(&profile), expected);
    let uncertain: Vec<_> = profile.streams.iter().map(|s| (s.uncertain, s.unplaced)).collect();
    assert_eq!(uncertain, [(1, 0), (0, 0), (1, 0)]);
}

/// A guest's kernel is not where the program that runs has its code.
#[test]
fn a_mode_that_was_read_too_late_is_seen_by_the_address() {
    let (host, mut records) = host();
    records.extend([
        sample(1100, VCPU, Mode::GuestKernel, 0x40_0010),
        sample(1150, VCPU, Mode::GuestKernel, 0x70_0010),
        sample(1200, VCPU, Mode::GuestKernel, 0xffff_ffff_8100_0000),
        sample(1250, VCPU, Mode::GuestUser, 0xffff_ffff_8100_0004),
        sample(1300, VCPU, Mode::GuestUser, 0xffff_ffff_ff60_0010),
        sample(1350, VCPU, Mode::GuestUser, 0x70_0010),
    ]);
    let web1 = Stream { clock: clock(0, 5), ..stream("web1", Role::NamesOnly, vec![]) };
    let one = vec![
        named(7, "httpd"),
        mapped(7, 0x40_0000, "/usr/sbin/httpd"),
        mapped(7, 0xffff_ffff_ff60_0000, "[vsyscall]"),
        switched(1000, 0, 7),
    ];
    let (streams, records) = ([host, web1], vec![in_memory(records), in_memory(one)]);
    let profile = Profile::read(&streams, records, Options::default());
    let expected = [
        "web1 guest kernel vcpu httpd [guest kernel] 700010 1",
        "web1 guest kernel vcpu httpd [guest kernel] ffffffff81000000 1",
        "web1 guest kernel vcpu httpd [guest kernel] ffffffff81000004 1",
        "web1 guest user vcpu httpd /usr/sbin/httpd 410 1",
        "web1 guest user vcpu httpd [unmapped] - 1",
        "web1 guest user vcpu httpd [vsyscall] ffffffffff600010 1",
    ];
    assert_eq!(lines(&profile), expected);
    assert_eq!(profile.streams[1].misread, 2);
}

/// A guest that boots again has another stream, of another clock and other processes; what it did
/// while nobody told is nobody's.
#[test]
fn mode_a_goes_on_with_an_agent_that_came_back() {
    let (host, mut records) = host();
    let program = |time| sample(time, VCPU, Mode::GuestUser, 0x40_0010);
    let kernel = |time| sample(time, VCPU, Mode::GuestKernel, 0xffff_ffff_8100_0000);
    records.extend([1100, 1400, 1450, 1900, 1950].map(program));
    records.extend([1120, 1420, 1920].map(kernel));
    let first = Stream {
        clock: clock(500, 5),
        until: Some(Nanos(1200)),
        ..stream("web1", Role::NamesOnly, vec![])
    };
    // Its clock began anew: at 1600 of the host's it was 100.
    let again = ClockSegment { from: Nanos(100), offset: -1500, drift: 0.0, bound: 5 };
    let second = Stream { clock: vec![again], until: None, ..first.clone() };
    let one =
        vec![named(7, "httpd"), mapped(7, 0x40_0000, "/usr/sbin/httpd"), switched(1550, 0, 7)];
    let two = vec![named(7, "init"), mapped(7, 0x40_0000, "/bin/init"), switched(120, 0, 7)];
    let (streams, records) =
        ([host, first, second], vec![in_memory(records), in_memory(one), in_memory(two)]);
    let profile = Profile::read(&streams, records, Options::default());
    let expected = [
        "web1 guest kernel vcpu [unknown] [guest kernel] ffffffff81000000 1",
        "web1 guest kernel vcpu httpd [guest kernel] ffffffff81000000 1",
        "web1 guest kernel vcpu init [guest kernel] ffffffff81000000 1",
        "web1 guest user vcpu [unknown] [guest user] - 2",
        "web1 guest user vcpu httpd /usr/sbin/httpd 410 1",
        "web1 guest user vcpu init /bin/init 410 2",
    ];
    assert_eq!(lines(&profile), expected);
    let unheard: Vec<_> = profile.streams.iter().map(|stream| stream.unheard).collect();
    assert_eq!(unheard, [0, 3, 0]);
    // Each boot's kernel has its own symbols, and that of the time between has none.
    let kernels = profile.entries.iter().filter(|(key, _)| key.layer == Layer::GuestKernel);
    let mut streams: Vec<_> = kernels.map(|(key, _)| profile.image_stream(key.image)).collect();
    streams.sort_unstable();
    assert_eq!(streams, [None, Some(1), Some(2)]);
}

#[test]
fn mode_b_takes_the_guests_own_samples_and_none_twice() {
    let (host, mut records) = host();
    records.extend([
        sample(1_000, VCPU, Mode::GuestUser, 0x40_0010),
        sample(1_001, VCPU, Mode::Kernel, 0xffff_ffff_c000_0010),
        sample(5_000_000_000, VCPU, Mode::GuestUser, 0x40_0010),
    ]);
    let own =
        Stream { clock: clock(100, 5), ..stream("web1", Role::SamplesItself, vec![cycles()]) };
    let web1 = vec![
        named(7, "httpd"),
        mapped(7, 0x40_0000, "/usr/sbin/httpd"),
        sample(1_050, (7, 7), Mode::User, 0x40_0010),
        sample(1_150, (7, 7), Mode::Kernel, 0xffff_ffff_8100_0000),
        sample(1_160, (0, 0), Mode::Kernel, 0xffff_ffff_8100_0000),
    ];
    let profile =
        Profile::read(&[host, own], vec![in_memory(records), in_memory(web1)], Options::default());
    let expected = [
        "web1 guest kernel vcpu httpd [guest kernel] ffffffff81000000 1",
        "web1 guest kernel vcpu swapper [guest kernel] ffffffff81000000 1",
        "web1 guest user vcpu [unknown] [guest user] - 1",
        "web1 guest user vcpu httpd /usr/sbin/httpd 410 1",
        "web1 host kernel vcpu qemu [kvm] ffffffffc0000010 1",
    ];
    assert_eq!(lines(&profile), expected, "the guest's stream has ended long before 5 s");
    let report = &profile.streams[1];
    assert_eq!((report.duplicates, report.clock_bound), (1, Some(5)));
}

#[test]
fn without_an_alignment_nothing_is_counted_twice() {
    let (host, mut records) = host();
    records.push(sample(9_000_000_000, VCPU, Mode::GuestUser, 0x40_0010));
    let own = stream("web1", Role::SamplesItself, vec![cycles()]);
    let web1 = vec![sample(70_000_000_000, (7, 7), Mode::User, 0x40_0010)];
    let profile =
        Profile::read(&[host, own], vec![in_memory(records), in_memory(web1)], Options::default());
    let samples: Vec<_> = profile.entries.iter().map(|(_, count)| count.samples).collect();
    assert_eq!((samples, profile.streams[1].duplicates), (vec![1], 1));
}

#[test]
fn events_of_another_kind_are_no_duplicates_and_stand_apart() {
    let (host, mut records) = host();
    records.push(sample(1_000, VCPU, Mode::GuestUser, 0x40_0010));
    let web1 = vec![
        sample(1_000, (7, 7), Mode::User, 0x40_0010),
        sample(1_001, (0, 0), Mode::Kernel, 0xffff_ffff_8100_0000),
    ];
    let own = stream("web1", Role::SamplesItself, vec![ticks()]);
    let profile =
        Profile::read(&[host, own], vec![in_memory(records), in_memory(web1)], Options::default());
    let expected = [
        "web1 guest kernel vcpu swapper [guest kernel] ffffffff81000000 1 idle",
        "web1 guest user vcpu [unknown] [guest user] - 1",
        "web1 guest user vcpu [unknown] [unmapped] - 1",
    ];
    assert_eq!(lines(&profile), expected);
    assert_eq!(profile.events().len(), 2);
}

#[test]
fn a_passive_guest_has_a_kernel_and_programs_without_names() {
    let (host, mut records) = host();
    records.extend([
        sample(10, VCPU, Mode::GuestUser, 0x40_0010),
        sample(11, VCPU, Mode::GuestUser, 0x40_0999),
        sample(12, VCPU, Mode::GuestKernel, 0xffff_ffff_8100_0000),
        sample(13, (77, 78), Mode::GuestKernel, 0xffff_ffff_8100_0000),
    ]);
    let passive = Stream { kallsyms: Ok("k".into()), ..stream("web1", Role::Passive, vec![]) };
    let profile = Profile::read(&[host, passive], vec![in_memory(records)], Options::default());
    let expected = [
        "[pid 77] guest kernel own [unknown] [guest kernel] ffffffff81000000 1",
        "web1 guest kernel vcpu [unknown] [guest kernel] ffffffff81000000 1",
        "web1 guest user vcpu [unknown] [guest user] - 2",
    ];
    assert_eq!(lines(&profile), expected);
    let streams = profile.entries.iter().map(|(key, _)| profile.image_stream(key.image));
    let streams: std::collections::BTreeSet<_> = streams.collect();
    assert_eq!(streams.into_iter().collect::<Vec<_>>(), [None, Some(1)]);
}

#[test]
fn a_threads_number_used_again_serves_no_vm() {
    let (host, mut records) = host();
    records.extend([
        at(5, What::Exit { pid: QEMU, tid: 51 }),
        sample(6, VCPU, Mode::Kernel, 0xffff_ffff_8000_0010),
        at(7, What::Fork { pid: 9, tid: 51, parent: 1 }),
        sample(8, (9, 51), Mode::User, 0x20_0020),
    ]);
    let profile = Profile::read(&[host], vec![in_memory(records)], Options::default());
    let expected = [
        "host host user own bash /bin/bash 420 1",
        "web1 host kernel vcpu qemu [kernel] ffffffff80000010 1",
    ];
    assert_eq!(lines(&profile), expected);
}

#[test]
fn what_a_stream_lost_and_cannot_have_is_counted() {
    let (host, mut records) = host();
    records.extend([
        at(5, What::Lost { count: 40 }),
        Record { time: Nanos(6), cpu: 3, what: What::Lost { count: 2 } },
        at(7, What::Throttle { on: true }),
        at(8, What::Throttle { on: false }),
        at(
            9,
            What::Sample(Sample {
                event: 9,
                pid: 1,
                tid: 1,
                address: 0,
                mode: Mode::User,
                period: 1,
            }),
        ),
    ]);
    let profile = Profile::read(&[host], vec![in_memory(records)], Options::default());
    let report = &profile.streams[0];
    assert_eq!(report.lost.iter().collect::<Vec<_>>(), [(&0, &40), (&3, &2)]);
    assert_eq!(report.throttled.iter().collect::<Vec<_>>(), [(&0, &1)]);
    assert_eq!((report.invalid, profile.entries.len()), (1, 0));
}

#[test]
fn processes_can_be_kept_apart_by_number() {
    let (host, mut records) = host();
    records.extend([named(10, "bash"), mapped(10, 0x20_0000, "/bin/bash")]);
    records.extend([9, 10].map(|pid| sample(10, (pid, pid), Mode::User, 0x20_0020)));
    let read = |by_pid| {
        let streams = [host.clone()];
        let options = Options { by_pid };
        Profile::read(&streams, vec![in_memory(records.clone())], options).entries.len()
    };
    assert_eq!((read(false), read(true)), (1, 2));
}
