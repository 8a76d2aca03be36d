//! What the kernel's interrupt work was about, and the I/O that this Linux did for itself.

use super::devices::LinkCounters;
use super::text::{fields, lines, parse_number};
use super::tree::Tree;
use model::{Absent, LoadKinds, Need, Operations, OwnOperations, Reading};

/// Reads what the interrupt work was about (/proc/softirqs, /proc/net/dev), and what this
/// Linux did for itself (/proc/net/snmp, snmp6, /proc/diskstats).
pub(super) fn read(
    tree: &Tree,
    buffer: &mut Vec<u8>,
) -> (Reading<LoadKinds>, Reading<OwnOperations>) {
    let path = "/proc/net/dev";
    let packets = tree
        .read(path, buffer)
        .map(parse_packets)
        .map_err(|error| Absent::from_io(path, Need::Root, &error));
    (kinds(tree, buffer, &packets), own(tree, buffer, &packets))
}

/// Packets of this network namespace's devices, received and sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packets {
    loopback: u64,
    others: u64,
}

fn kinds(tree: &Tree, buffer: &mut Vec<u8>, packets: &Reading<Packets>) -> Reading<LoadKinds> {
    let path = "/proc/softirqs";
    let bytes = tree.read(path, buffer);
    let kinds = parse_softirqs(bytes.map_err(|error| Absent::from_io(path, Need::Root, &error))?);
    Ok(LoadKinds { packets: Operations(packets.clone()?.others), ..kinds })
}

/// A line per kind, a column per CPU.
fn parse_softirqs(bytes: &[u8]) -> LoadKinds {
    let mut kinds = LoadKinds::default();
    for line in lines(bytes) {
        let mut words = fields(line);
        let kind = match words.next() {
            Some(b"NET_TX:") => &mut kinds.net_tx,
            Some(b"NET_RX:") => &mut kinds.net_rx,
            Some(b"BLOCK:" | b"IRQ_POLL:" | b"BLOCK_IOPOLL:") => &mut kinds.block,
            Some(b"TIMER:" | b"HRTIMER:") => &mut kinds.timer,
            Some(b"SCHED:") => &mut kinds.sched,
            Some(b"RCU:") => &mut kinds.rcu,
            Some(b"HI:" | b"TASKLET:") => &mut kinds.tasklet,
            _ => continue,
        };
        *kind = words.filter_map(parse_number).fold(*kind, u64::saturating_add);
    }
    kinds
}

/// Packets: received and sent by IP, without those that were only forwarded (each is both
/// received and sent) and without loopback's (each is both sent and received there, too).
fn own(tree: &Tree, buffer: &mut Vec<u8>, packets: &Reading<Packets>) -> Reading<OwnOperations> {
    let failed =
        |path: &'static str| move |error: std::io::Error| Absent::from_io(path, Need::Root, &error);
    let path = "/proc/net/snmp";
    let four = parse_snmp(tree.read(path, buffer).map_err(failed(path))?)
        .ok_or(Absent::Malformed("/proc/net/snmp has no counters of IP".into()))?;
    // A kernel without IPv6 has no such file and no such packets.
    let six = tree.read("/proc/net/snmp6", buffer).map(parse_snmp6).unwrap_or_default();
    let path = "/proc/diskstats";
    let requests = parse_diskstats(tree.read(path, buffer).map_err(failed(path))?);
    let packets = four.saturating_add(six).saturating_sub(packets.clone()?.loopback);
    Ok(OwnOperations { packets: Operations(packets), requests: Operations(requests) })
}

/// `Ip:` twice: the names, then the numbers.
fn parse_snmp(bytes: &[u8]) -> Option<u64> {
    let mut rows = lines(bytes).filter(|line| line.starts_with(b"Ip:"));
    let (names, numbers) = (rows.next()?, rows.next()?);
    let value = |wanted: &[u8]| {
        let at = fields(names).position(|name| name == wanted)?;
        parse_number(fields(numbers).nth(at)?)
    };
    let all = value(b"InReceives")?.saturating_add(value(b"OutRequests")?);
    // What is forwarded is received; whether it counts as sent depends on the kernel:
    // since Linux 6.4 OutRequests leaves it out where there is a column OutTransmits.
    let forwarded = value(b"ForwDatagrams").unwrap_or(0);
    let times = if value(b"OutTransmits").is_some() { 1 } else { 2 };
    Some(all.saturating_sub(forwarded.saturating_mul(times)))
}

/// A name and a number a line.
fn parse_snmp6(bytes: &[u8]) -> u64 {
    let (mut all, mut forwarded, mut times) = (0_u64, 0_u64, 2);
    for line in lines(bytes) {
        let mut words = fields(line);
        let (Some(name), Some(count)) = (words.next(), words.next().and_then(parse_number)) else {
            continue;
        };
        match name {
            b"Ip6InReceives" | b"Ip6OutRequests" => all = all.saturating_add(count),
            b"Ip6OutForwDatagrams" => forwarded = count,
            b"Ip6OutTransmits" => times = 1,
            _ => {}
        }
    }
    all.saturating_sub(forwarded.saturating_mul(times))
}

fn parse_packets(bytes: &[u8]) -> Packets {
    let mut packets = Packets { loopback: 0, others: 0 };
    for (name, row) in lines(bytes).filter_map(LinkCounters::parse) {
        let sum = if name == b"lo" { &mut packets.loopback } else { &mut packets.others };
        *sum = sum.saturating_add(row.rx_packets).saturating_add(row.tx_packets);
    }
    packets
}

/// Σ completed reads and writes of whole physical disks.
fn parse_diskstats(bytes: &[u8]) -> u64 {
    let requests = lines(bytes).filter_map(|line| {
        let mut words = fields(line);
        words.nth(2).filter(|name| is_physical_disk(name))?;
        Some(parse_number(words.next()?)?.saturating_add(parse_number(words.nth(3)?)?))
    });
    requests.fold(0, u64::saturating_add)
}

/// Device numbers (`8:0`) of the whole physical disks; none where they cannot be read.
pub(crate) fn physical_disks(tree: &Tree, buffer: &mut Vec<u8>) -> Vec<Vec<u8>> {
    let disks = tree.read("/proc/diskstats", buffer).unwrap_or_default();
    let disk = |line| {
        let mut words = fields(line);
        let (major, minor, name) = (words.next()?, words.next()?, words.next()?);
        is_physical_disk(name).then(|| [major, b":", minor].concat())
    };
    lines(disks).filter_map(disk).collect()
}

/// By the naming of the drivers: `sda`, `vdab`, `xvda`, `hda`; `nvme0n1`, `mmcblk0`, `dasda`,
/// `sr0`, `pmem0`, `rbd0` and `nbd0`. Partitions, loop, ram, dm, md and zram are not, their
/// requests reach a disk (or none) by another row.
fn is_physical_disk(name: &[u8]) -> bool {
    let all = |rest: &[u8], kind: fn(&u8) -> bool| !rest.is_empty() && rest.iter().all(kind);
    let lettered: [&[u8]; 5] = [b"xvd", b"sd", b"vd", b"hd", b"dasd"];
    let numbered: [&[u8]; 6] = [b"mmcblk", b"sr", b"pmem", b"rbd", b"nbd", b"ubd"];
    let after = |prefixes: &[&[u8]], kind| {
        prefixes.iter().any(|it| name.strip_prefix(*it).is_some_and(|rest| all(rest, kind)))
    };
    after(&lettered, u8::is_ascii_lowercase)
        || after(&numbered, u8::is_ascii_digit)
        || is_nvme(name)
}

/// `nvme0n1`: no partition (`nvme0n1p1`) and no path of a multipath disk (`nvme0c1n1`).
fn is_nvme(name: &[u8]) -> bool {
    let Some(rest) = name.strip_prefix(b"nvme") else { return false };
    let mut parts = rest.split(|byte| *byte == b'n');
    let number = |part: Option<&[u8]>| part.and_then(parse_number).is_some();
    number(parts.next()) && number(parts.next()) && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostile::survives;

    const SOFTIRQS: &[u8] = b"   CPU0 CPU1\n HI: 1 2\n TIMER: 3 4\n NET_TX: 3 2\n NET_RX: 7353 \
        10791\n BLOCK: 0 5\n IRQ_POLL: 0 1\n TASKLET: 1 1\n SCHED: 9 9\n HRTIMER: 1 0\n RCU: 2 2\n";
    const SNMP: &[u8] =
        b"Ip: Forwarding InReceives ForwDatagrams OutRequests\nIp: 1 1000 100 500\n\
        Icmp: InMsgs\nIcmp: 4\n";
    const SNMP6: &[u8] = b"Ip6InReceives \t70\nIp6OutForwDatagrams 10\nIp6OutRequests 50\n";
    const DISKS: &[u8] = b"   7 0 loop0 9 0 0 0 9 0 0\n 254 0 vda 100 1 2 3 20 4 5 6\n 254 1 vda1 99 1 \
        2 3 19 4 5 6\n 259 0 nvme0n1 1 0 0 0 2 0 0\n 259 1 nvme0n1p1 1 0 0 0 2 0 0\n 253 0 dm-0 7 0 0 0 7\n";

    #[test]
    fn softirqs_are_summed_over_cpus_and_kinds() {
        let kinds = parse_softirqs(SOFTIRQS);
        assert_eq!((kinds.net_rx, kinds.net_tx, kinds.block), (18_144, 5, 6));
        assert_eq!((kinds.timer, kinds.tasklet, kinds.sched, kinds.rcu), (8, 5, 18, 4));
    }

    #[test]
    fn forwarded_packets_are_not_ones_own() {
        assert_eq!(parse_snmp(SNMP), Some(1300));
        let newer =
            b"Ip: InReceives ForwDatagrams OutRequests OutTransmits\nIp: 1000 100 400 500\n";
        assert_eq!(parse_snmp(newer), Some(1300));
        assert_eq!(parse_snmp6(SNMP6), 100);
        let packets = parse_packets(b"  lo: 5 6 0 0 0 0 0 0 7 8\n eth0: 1 1 0 0 0 0 0 0 1 1");
        assert_eq!(packets, Packets { loopback: 14, others: 2 });
    }

    #[test]
    fn only_whole_physical_disks_count() {
        assert_eq!(parse_diskstats(DISKS), 123);
        assert!(!is_physical_disk(b"sda1") && !is_physical_disk(b"nvme0c1n1"));
        assert!(is_physical_disk(b"mmcblk0") && !is_physical_disk(b"mmcblk0p1"));
    }

    #[test]
    fn hostile_input() {
        survives(SOFTIRQS, |bytes| {
            parse_softirqs(bytes);
        });
        survives(b"  lo: 5 6 0 0 0 0 0 0 7 8\n eth0: 1 1 0 0 0 0 0 0 1 1", |bytes| {
            parse_packets(bytes);
        });
        survives(SNMP, |bytes| {
            let _ = parse_snmp(bytes);
        });
        survives(SNMP6, |bytes| {
            parse_snmp6(bytes);
        });
        survives(DISKS, |bytes| {
            parse_diskstats(bytes);
        });
    }
}
