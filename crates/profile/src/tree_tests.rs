use super::*;
use crate::in_memory;
use crate::profile_tests::*;
use crate::symbols::Symbols;
use crate::{Options, Profile};
use model::{Mode, Record, Role};

const KERNEL: u64 = 0xffff_ffff_8000_0000;

/// A host with idle CPUs, and a guest that samples itself, at half of the host's period.
fn profile() -> Profile {
    let mut host = stream("host", Role::Host, vec![ticks()]);
    host.serving = vec![serving(51, "web1", model::Part::Vcpu(0))];
    let half = model::Event { period: 500, share: Ok(0.5), ..ticks() };
    let guest = stream("web1", Role::SamplesItself, vec![half]);
    let of_host = vec![
        named(9, "bash"),
        named(50, "qemu"),
        mapped(9, 0x20_0000, "/bin/bash"),
        sample(1, (0, 0), Mode::Kernel, KERNEL),
        sample(2, (9, 9), Mode::User, 0x20_0000),
        sample(3, (50, 51), Mode::Kernel, KERNEL),
        sample(4, (50, 51), Mode::Kernel, KERNEL),
    ];
    let mut of_guest: Vec<Record> = vec![named(7, "httpd"), mapped(7, 0x1000, "/usr/sbin/httpd")];
    for n in 0..6 {
        let mode = if n < 2 { Mode::Kernel } else { Mode::User };
        of_guest.push(sample(10 + n, (7, 7), mode, if n < 2 { KERNEL } else { 0x1000 + n }));
    }
    let records = vec![in_memory(of_host), in_memory(of_guest)];
    Profile::read(&[host, guest], records, Options::default())
}

/// The nodes in their order, a line each, shifted by their depth.
fn lines(tree: &Tree) -> Vec<String> {
    fn below(tree: &Tree, at: usize, lines: &mut Vec<String>) {
        for &child in &tree.nodes[at].children {
            let node = &tree.nodes[child];
            let indent = "  ".repeat(node.depth - 1);
            lines.push(format!("{indent}{} {}", node.label, node.count.samples));
            below(tree, child, lines);
        }
    }
    let mut lines = Vec::new();
    below(tree, 0, &mut lines);
    lines
}

fn choice(by: &[Column]) -> Choice {
    Choice { by: by.to_vec(), ..Choice::default() }
}

#[test]
fn levels_are_opened_from_the_widest_to_the_narrowest() {
    let profile = profile();
    let named = Named::new(&profile, &Symbols::default());
    let by = [Column::Vm, Column::Process, Column::Vm, Column::Image];
    let mut tree = trees(&named, &choice(&by), None).remove(0);
    assert_eq!(tree.by, [Column::Vm, Column::Process, Column::Image]);
    assert_eq!((tree.idle, tree.nodes[0].count.samples), (1, 9));
    let expected = [
        "web1 8",
        "  httpd 6",
        "    httpd 4",
        "    [guest kernel] 2",
        "  qemu 2",
        "    [kernel] 2",
        "host 1",
        "  bash 1",
        "    bash 1",
    ];
    assert_eq!(lines(&tree), expected);
    tree.sort(Sort::Names);
    assert_eq!(lines(&tree)[..3], ["host 1", "  bash 1", "    bash 1"]);
}

#[test]
fn every_node_is_the_sum_of_what_is_in_it() {
    let profile = profile();
    let named = Named::new(&profile, &Symbols::default());
    for idle in [false, true] {
        let choice = Choice { idle, ..choice(&Column::ALL) };
        let tree = trees(&named, &choice, None).remove(0);
        for (at, node) in tree.nodes.iter().enumerate() {
            assert!(node.parent < at || at == 0);
            assert_eq!(node.layers.values().sum::<u64>(), node.count.samples);
            if node.children.is_empty() {
                continue;
            }
            let children: Vec<_> = node.children.iter().map(|&child| &tree.nodes[child]).collect();
            let count = children.iter().fold(Count::default(), |sum, child| sum.and(child.count));
            assert_eq!(count, node.count);
            let busy: Reading<Nanos> = children.iter().map(|child| child.busy.clone()).sum();
            assert_eq!(busy, node.busy);
            let percent: f64 = children.iter().map(|child| child.percent).sum();
            assert!((percent - node.percent).abs() < 1e-9);
        }
    }
}

#[test]
fn busy_times_are_those_of_the_summary() {
    let profile = profile();
    let named = Named::new(&profile, &Symbols::default());
    let tree = trees(&named, &choice(&[Column::Vm]), None).remove(0);
    for one in summary::busy(&named, None, &Default::default()) {
        let vm = profile.shown_vm(one.vm);
        let node = tree.nodes.iter().find(|node| *node.label == *vm).unwrap();
        assert_eq!((node.busy.clone(), node.count), (one.busy, one.count));
    }
}

#[test]
fn a_node_says_why_names_are_missing_in_it() {
    let profile = profile();
    let named = Named::new(&profile, &Symbols::default());
    let tree = trees(&named, &choice(&[Column::Vm, Column::Image]), None).remove(0);
    let web1 = &tree.nodes[tree.nodes[0].children[0]];
    let said: Vec<_> = web1.unnamed.iter().map(|(why, samples)| (&**why, *samples)).collect();
    assert_eq!(said, [("no symbol at the address", 8)]);
    assert!(trees(&named, &Choice { events: vec!["none".into()], ..choice(&[]) }, None).is_empty());
    let nobody = Choice { vms: vec!["nobody".into()], ..choice(&[Column::Vm]) };
    assert_eq!(trees(&named, &nobody, None)[0].nodes.len(), 1);
}
