//! A control group's counters.

use super::hierarchy::Hierarchy;
use crate::host::{Tree, fields, lines, number, parse_number};
use model::{Absent, Bytes, Cpus, Disk, DiskCounters, Nanos, Need, Operations, Reading};

/// Device numbers of the physical disks (`8:0`). Requests to a stacked device (dm, loop) are
/// counted again at the disk below it.
pub(super) type Disks = Vec<Vec<u8>>;

/// Reads the files of one group.
#[derive(Debug)]
pub(super) struct Files<'a> {
    pub tree: &'a Tree,
    pub hierarchy: &'a Hierarchy,
    /// The group's path below the hierarchy's root.
    pub path: &'a str,
}

impl Files<'_> {
    /// CPU time of all processes in the group and below it.
    pub(super) fn cpu(&self, buffer: &mut Vec<u8>) -> Reading<Nanos> {
        match self.hierarchy {
            Hierarchy::Unified { root } => {
                let path = format!("{root}{}/cpu.stat", self.path);
                let time = parse_value(read(self.tree, &path, buffer)?, b"usage_usec");
                time.map(|time| Nanos(time.saturating_mul(1000)))
                    .ok_or(Absent::NotProvided("cpu.stat of this kernel has no usage_usec".into()))
            }
            Hierarchy::Split { cpuacct, .. } => {
                let path = format!("{cpuacct}{}/cpuacct.usage", self.path);
                number(read(self.tree, &path, buffer)?)
                    .map(Nanos)
                    .ok_or(Absent::Malformed(path.into()))
            }
        }
    }

    /// Memory charged to the group, page cache included.
    pub(super) fn memory(&self, buffer: &mut Vec<u8>) -> Reading<Bytes> {
        let path = self.memory_file("memory.current", "memory.usage_in_bytes")?;
        number(read(self.tree, &path, buffer)?).map(Bytes).ok_or(Absent::Malformed(path.into()))
    }

    /// The most that it may be charged.
    pub(super) fn memory_limit(&self, buffer: &mut Vec<u8>) -> Reading<Bytes> {
        let path = self.memory_file("memory.max", "memory.limit_in_bytes")?;
        let limit = number(read(self.tree, &path, buffer)?);
        // Version 1 writes "none" as a number of pages that no machine has.
        limit
            .filter(|limit| *limit < 1 << 60)
            .map(Bytes)
            .ok_or(Absent::NotProvided("the group has no memory limit".into()))
    }

    fn memory_file(&self, two: &str, one: &str) -> Reading<String> {
        match self.hierarchy {
            Hierarchy::Unified { root } => Ok(format!("{root}{}/{two}", self.path)),
            Hierarchy::Split { memory: Some(memory), .. } => {
                Ok(format!("{memory}{}/{one}", self.path))
            }
            Hierarchy::Split { memory: None, .. } => {
                Err(Absent::NotProvided("the memory controller is not mounted".into()))
            }
        }
    }

    /// CPUs that it may use at a time: its quota, else its cpuset.
    pub(super) fn cpus(&self, buffer: &mut Vec<u8>) -> Reading<u32> {
        let limit = match self.hierarchy {
            Hierarchy::Unified { root } => {
                let quota = self.line(root, "cpu.max", buffer).and_then(parse_quota);
                quota.or_else(|| self.line(root, "cpuset.cpus", buffer).and_then(count_cpus))
            }
            Hierarchy::Split { cpu, cpuset, .. } => {
                let quota = cpu.as_ref().and_then(|root| self.quota(root, buffer));
                quota.or_else(|| self.cpuset(cpuset.as_ref()?, buffer))
            }
        };
        limit.ok_or(Absent::NotProvided("the group has no CPU limit of its own".into()))
    }

    /// Version 1's quota, -1 where there is none.
    fn quota(&self, root: &str, buffer: &mut Vec<u8>) -> Option<u32> {
        let quota = self.line(root, "cpu.cfs_quota_us", buffer).and_then(number)?;
        let period = self.line(root, "cpu.cfs_period_us", buffer).and_then(number)?;
        in_cpus(quota, period)
    }

    /// Version 1's cpuset, which has all CPUs where nobody has set it.
    fn cpuset(&self, root: &str, buffer: &mut Vec<u8>) -> Option<u32> {
        let count = self.line(root, "cpuset.cpus", buffer).and_then(count_cpus)?;
        let all = self.tree.read_line(&format!("{root}/cpuset.cpus"), buffer).ok();
        Some(count).filter(|count| Some(*count) < all.and_then(count_cpus))
    }

    fn line<'b>(&self, root: &str, file: &str, buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
        self.tree.read_line(&format!("{root}{}/{file}", self.path), buffer).ok()
    }

    /// Requests to physical disks and their bytes.
    pub(super) fn disks(&self, disks: &Disks, buffer: &mut Vec<u8>) -> Reading<Vec<Disk>> {
        let counters = match self.hierarchy {
            Hierarchy::Unified { root } => {
                let path = format!("{root}{}/io.stat", self.path);
                let io = parse_io_stat(read(self.tree, &path, buffer)?, disks);
                [io.reads, io.writes, io.read_bytes, io.write_bytes]
            }
            Hierarchy::Split { blkio: Some(blkio), .. } => {
                let mut of = |file: &str| {
                    let path = format!("{blkio}{}/blkio.throttle.{file}", self.path);
                    // Without descendants on kernels before 5.1.
                    let recursive = format!("{path}_recursive");
                    let path = if self.tree.exists(&recursive) { recursive } else { path };
                    Ok::<_, Absent>(parse_blkio(read(self.tree, &path, buffer)?, disks))
                };
                let ((reads, writes), bytes) = (of("io_serviced")?, of("io_service_bytes")?);
                [reads, writes, bytes.0, bytes.1]
            }
            Hierarchy::Split { blkio: None, .. } => {
                return Err(Absent::NotProvided("the blkio controller is not mounted".into()));
            }
        };
        let [reads, writes, read_bytes, write_bytes] = counters;
        let counters = DiskCounters {
            reads: Ok(Operations(reads)),
            writes: Ok(Operations(writes)),
            read_bytes: Ok(Bytes(read_bytes)),
            write_bytes: Ok(Bytes(write_bytes)),
        };
        Ok(vec![Disk { name: "group".to_owned(), driver: 0, counters }])
    }
}

fn read<'b>(tree: &Tree, path: &str, buffer: &'b mut Vec<u8>) -> Reading<&'b [u8]> {
    tree.read(path, buffer).map_err(|error| Absent::from_io(path, Need::Root, &error))
}

/// A key and a number a line (`cpu.stat`, `cgroup.events`).
pub(super) fn parse_value(bytes: &[u8], key: &[u8]) -> Option<u64> {
    lines(bytes).find_map(|line| {
        let mut words = fields(line);
        (words.next()? == key).then(|| parse_number(words.next()?))?
    })
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Io {
    reads: u64,
    writes: u64,
    read_bytes: u64,
    write_bytes: u64,
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0` a line.
fn parse_io_stat(bytes: &[u8], disks: &Disks) -> Io {
    let mut io = Io::default();
    for line in lines(bytes) {
        let mut words = fields(line);
        if !words.next().is_some_and(|device| counts(disks, device)) {
            continue;
        }
        for word in words {
            let mut parts = word.splitn(2, |byte| *byte == b'=');
            let (key, value) = (parts.next(), parts.next().and_then(parse_number));
            let place = match key {
                Some(b"rios") => &mut io.reads,
                Some(b"wios") => &mut io.writes,
                Some(b"rbytes") => &mut io.read_bytes,
                Some(b"wbytes") => &mut io.write_bytes,
                _ => continue,
            };
            *place = place.saturating_add(value.unwrap_or(0));
        }
    }
    io
}

/// `8:0 Read 12` and `8:0 Write 3` among other lines.
fn parse_blkio(bytes: &[u8], disks: &Disks) -> (u64, u64) {
    let (mut reads, mut writes) = (0_u64, 0_u64);
    for line in lines(bytes) {
        let mut words = fields(line);
        let device = words.next();
        let place = match words.next() {
            Some(b"Read") => &mut reads,
            Some(b"Write") => &mut writes,
            _ => continue,
        };
        if device.is_some_and(|device| counts(disks, device)) {
            *place = place.saturating_add(words.next().and_then(parse_number).unwrap_or(0));
        }
    }
    (reads, writes)
}

/// Where no disk is known, all devices count.
fn counts(disks: &Disks, device: &[u8]) -> bool {
    disks.is_empty() || disks.iter().any(|disk| disk == device)
}

/// `200000 100000` is two CPUs; `max 100000` no quota.
fn parse_quota(bytes: &[u8]) -> Option<u32> {
    let mut words = fields(bytes).map(parse_number);
    in_cpus(words.next()??, words.next()??)
}

/// A quota in a period, rounded up to whole CPUs.
fn in_cpus(quota: u64, period: u64) -> Option<u32> {
    u32::try_from(quota.checked_add(period.checked_sub(1)?)? / period).ok().filter(|n| *n > 0)
}

/// `0-3,8` is five CPUs.
fn count_cpus(bytes: &[u8]) -> Option<u32> {
    Some(Cpus::parse(std::str::from_utf8(bytes).ok()?)?.count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostile::survives;

    const CPU: &[u8] = b"usage_usec 1234\nuser_usec 1000\nsystem_usec 234\n";
    const IO: &[u8] = b"8:0 rbytes=100 wbytes=200 rios=3 wios=4 dbytes=0 dios=0\n253:0 rbytes=100 \
        wbytes=1 rios=3 wios=1\n";
    const BLKIO: &[u8] = b"8:0 Read 7\n8:0 Write 9\n8:0 Sync 16\n253:0 Read 7\nTotal 16\n";

    #[test]
    fn stacked_devices_do_not_count_twice() {
        let disks = vec![b"8:0".to_vec()];
        let io = parse_io_stat(IO, &disks);
        assert_eq!(io, Io { reads: 3, writes: 4, read_bytes: 100, write_bytes: 200 });
        assert_eq!(parse_blkio(BLKIO, &disks), (7, 9));
        assert_eq!(parse_value(CPU, b"usage_usec"), Some(1234));
    }

    #[test]
    fn limits_are_counted_in_cpus() {
        assert_eq!(parse_quota(b"150000 100000\n"), Some(2));
        assert_eq!(parse_quota(b"max 100000\n"), None);
        assert_eq!(parse_quota(b"1 0\n"), None);
        assert_eq!(count_cpus(b"0-3,8\n"), Some(5));
        assert_eq!(count_cpus(b"\n"), None);
        assert_eq!(count_cpus(b"3-0"), None);
    }

    #[test]
    fn hostile_input() {
        let disks = vec![b"8:0".to_vec()];
        survives(CPU, |bytes| {
            let _ = parse_value(bytes, b"usage_usec");
        });
        survives(IO, |bytes| {
            let _ = parse_io_stat(bytes, &disks);
        });
        survives(BLKIO, |bytes| {
            let _ = parse_blkio(bytes, &disks);
        });
        survives(b"150000 100000\n", |bytes| {
            let _ = parse_quota(bytes);
        });
        survives(b"0-3,8,10-12\n", |bytes| {
            let _ = count_cpus(bytes);
        });
    }
}
