use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const A: ImageId = ImageId(1);
const B: ImageId = ImageId(2);

fn at(start: u64, end: u64, offset: u64, image: ImageId) -> Region {
    Region { start, end, offset, image }
}

#[test]
fn a_map_over_another_cuts_it() {
    let mut spaces = Spaces::new(Limits::default());
    spaces.map(7, at(0x1000, 0x5000, 0, A));
    spaces.map(7, at(0x2000, 0x3000, 0x100, B));
    assert_eq!(spaces.find(7, 0x1fff), Some((A, 0xfff)));
    assert_eq!(spaces.find(7, 0x2000), Some((B, 0x100)));
    assert_eq!(spaces.find(7, 0x3000), Some((A, 0x2000)));
    assert_eq!(spaces.find(7, 0x4fff), Some((A, 0x3fff)));
    assert_eq!(spaces.find(7, 0x5000), None);
    assert_eq!(spaces.find(7, 0xfff), None);
}

#[test]
fn a_child_has_its_parents_maps_until_it_changes_them() {
    let mut names = Names::default();
    let (shell, httpd) = (names.id(b"sh", 64), names.id(b"httpd", 64));
    let mut spaces = Spaces::new(Limits::default());
    spaces.name(1, 1, shell, true);
    spaces.map(1, at(0x1000, 0x2000, 0, A));
    spaces.fork(2, 2, 1);
    assert_eq!((spaces.process_name(2), spaces.find(2, 0x1000)), (shell, Some((A, 0))));
    spaces.map(2, at(0x1000, 0x2000, 0, B));
    assert_eq!(spaces.find(2, 0x1000), Some((B, 0)));
    assert_eq!(spaces.find(1, 0x1000), Some((A, 0)), "the parent's stay");
    spaces.name(2, 2, httpd, true);
    assert_eq!((spaces.process_name(2), spaces.find(2, 0x1000)), (httpd, None));
}

#[test]
fn a_number_used_again_is_another_process() {
    let mut names = Names::default();
    let (old, new) = (names.id(b"old", 64), names.id(b"new", 64));
    let mut spaces = Spaces::new(Limits::default());
    spaces.name(9, 9, old, true);
    spaces.map(9, at(0x1000, 0x2000, 0, A));
    spaces.exit(9, 9);
    assert_eq!(spaces.process_name(9), old, "its last work in the kernel comes after");
    spaces.fork(9, 9, 1);
    assert_eq!((spaces.process_name(9), spaces.find(9, 0x1000)), (Names::UNKNOWN, None));
    spaces.name(9, 9, new, true);
    for pid in 100..100 + 2 * ENDED as u32 {
        spaces.name(pid, pid, old, true);
        spaces.exit(pid, pid);
    }
    assert_eq!(spaces.process_name(9), new, "the end of the first is not the second's");
    assert_eq!(spaces.process_name(100), Names::UNKNOWN);
    assert!(spaces.processes.len() <= ENDED + 2);
}

#[test]
fn threads_have_names_of_their_own() {
    let mut names = Names::default();
    let (qemu, vcpu) = (names.id(b"qemu", 64), names.id(b"CPU 0/KVM", 64));
    let mut spaces = Spaces::new(Limits::default());
    spaces.name(5, 5, qemu, true);
    spaces.name(5, 6, vcpu, false);
    assert_eq!((spaces.thread_name(5, 6), spaces.thread_name(5, 7)), (vcpu, qemu));
    spaces.exit(5, 6);
    assert_eq!(spaces.thread_name(5, 6), qemu);
}

#[test]
fn what_a_guest_sends_beyond_the_limits_is_counted() {
    let limits = Limits { tasks: 10, maps: 8, all_maps: 20 };
    let mut spaces = Spaces::new(limits);
    for n in 0..100 {
        spaces.map(1, at(n * 0x1000, n * 0x1000 + 0x10, 0, A));
    }
    assert!(spaces.dropped.maps >= 90, "{:?}", spaces.dropped);
    for pid in 2..100 {
        spaces.map(pid, at(0x1000, 0x2000, 0, A));
        spaces.name(pid, 1000 + pid, Names::IDLE, false);
    }
    assert!(spaces.processes.len() + spaces.threads.len() <= 20);
    assert!(spaces.maps <= 20 && spaces.dropped.tasks > 100, "{:?}", spaces.dropped);
    spaces.map(3, at(u64::MAX - 1, u64::MAX, u64::MAX, A));
    spaces.map(3, at(5, 5, 0, A));
    assert_eq!(spaces.find(3, u64::MAX), None);
}

proptest! {
    #[test]
    fn regions_answer_as_an_array_of_bytes_would(
        maps in prop::collection::vec((0u64..64, 1u64..32, 0u64..1000), 1..40),
    ) {
        let mut spaces = Spaces::new(Limits::default());
        let mut bytes: BTreeMap<u64, (ImageId, u64)> = BTreeMap::new();
        for (n, (start, length, offset)) in maps.into_iter().enumerate() {
            let image = ImageId(n as u32);
            spaces.map(1, at(start, start + length, offset, image));
            for byte in 0..length {
                bytes.insert(start + byte, (image, offset + byte));
            }
        }
        for address in 0..100 {
            prop_assert_eq!(spaces.find(1, address), bytes.get(&address).copied());
        }
        prop_assert!(spaces.maps == spaces.processes.entry(1).regions.len());
    }
}
