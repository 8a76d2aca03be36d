//! `--format json`: the schema `vmeter.top/1` (docs/json.md). Fields are added, never renamed.

use super::{View, rows};
use account::{DriverUsage, HostUsage, SelfUsage, Usage, VmUsage};
use anyhow::{Context, Result};
use jiff::Timestamp;
use model::{Absent, Bytes, Nanos, Operations, Platform, Reading, VmId};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::borrow::Cow;
use std::io::{self, Write};

/// Names are cut to so many characters.
const LONGEST_NAME: usize = 256;
/// Values of a VM that are mostly unknown.
const USUAL_REASONS: usize = 8;

/// One interval.
#[derive(Serialize)]
struct Interval<'a> {
    schema: &'static str,
    time: String,
    boot: &'a str,
    interval_s: f64,
    host: Host<'a>,
    idd: Vec<Driver<'a>>,
    vms: Vms<'a>,
    #[serde(rename = "self")]
    me: Me,
}

#[derive(Serialize)]
struct Host<'a> {
    system: &'a str,
    cpus: u32,
    memory_bytes: Option<u64>,
    irq_time_accounting: Option<bool>,
    busy_s: Option<f64>,
    busy_within_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    steal_s: Option<f64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    hidden_processes: bool,
    unattributed_s: Option<f64>,
    conservation_error: Option<f64>,
    #[serde(skip_serializing_if = "Reasons::is_empty")]
    absent: Reasons<'a>,
}

#[derive(Serialize)]
struct Driver<'a> {
    id: String,
    name: Cow<'a, str>,
    vcpus: Option<u32>,
    memory_bytes: Option<u64>,
    cpu_s: DriverCpu,
    #[serde(skip_serializing_if = "Reasons::is_empty")]
    absent: Reasons<'a>,
}

#[derive(Serialize)]
struct DriverCpu {
    total: Option<f64>,
    direct: Option<f64>,
    shared: Option<f64>,
    own: Option<f64>,
    unattributed: Option<f64>,
}

/// The VMs' rows, each made when it is written: a host may have thousands.
struct Vms<'a>(Vec<&'a VmUsage>);

impl Serialize for Vms<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|usage| vm(usage)))
    }
}

/// A VM's identity as its text.
struct Id<'a>(&'a VmId);

impl Serialize for Id<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

#[derive(Serialize)]
struct Vm<'a> {
    id: Id<'a>,
    name: Cow<'a, str>,
    platform: Platform,
    state: &'static str,
    vcpus: Option<u32>,
    memory_bytes: Option<u64>,
    cpu_s: Cpu,
    ready_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    steal_s: Option<f64>,
    net: Option<Net>,
    disk: Disk,
    #[serde(skip_serializing_if = "Option::is_none")]
    exits: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    halt_poll_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpupool: Option<u32>,
    absent: Reasons<'a>,
}

#[derive(Serialize)]
struct Cpu {
    total: Option<f64>,
    guest: Option<f64>,
    vmm: Option<f64>,
    io_direct: Option<f64>,
    io_shared: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    guest_os: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    guest_programs: Option<f64>,
}

#[derive(Serialize)]
struct Net {
    rx_packets: u64,
    tx_packets: u64,
    rx_bytes: u64,
    tx_bytes: u64,
}

#[derive(Serialize)]
struct Disk {
    reads: Option<u64>,
    writes: Option<u64>,
    read_bytes: Option<u64>,
    write_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Me {
    cpu_s: f64,
    rss_bytes: u64,
}

/// The `absent` map: dotted field path → why it is null.
#[derive(Default)]
struct Reasons<'a>(Vec<(&'static str, &'a Absent)>);

impl<'a> Reasons<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value, or null and its reason under `path`.
    fn take<T: Copy, U>(
        &mut self,
        path: &'static str,
        value: &'a Reading<T>,
        shown: impl Fn(T) -> U,
    ) -> Option<U> {
        match value {
            Ok(value) => Some(shown(*value)),
            Err(reason) => {
                self.0.push((path, reason));
                None
            }
        }
    }

    fn seconds(&mut self, path: &'static str, time: &'a Reading<Nanos>) -> Option<f64> {
        self.take(path, time, Nanos::seconds)
    }

    fn bytes(&mut self, path: &'static str, size: &'a Reading<Bytes>) -> Option<u64> {
        self.take(path, size, u64::from)
    }

    fn operations(&mut self, path: &'static str, count: &'a Reading<Operations>) -> Option<u64> {
        self.take(path, count, u64::from)
    }
}

impl Serialize for Reasons<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (path, reason) in &self.0 {
            map.serialize_entry(path, &format_args!("{reason}"))?;
        }
        map.end()
    }
}

/// Writes the interval as one line.
///
/// # Errors
/// Only those of writing to `out`.
pub fn write(out: &mut Vec<u8>, usage: &Usage, view: &View) -> Result<()> {
    let interval = Interval {
        schema: "vmeter.top/1",
        time: time(usage.moment.unix),
        boot: &usage.moment.boot,
        interval_s: usage.interval.seconds(),
        host: host(&usage.host),
        idd: usage.drivers.iter().map(driver).collect(),
        vms: Vms(rows::vms(usage, view)),
        me: me(usage.me),
    };
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, Unseen);
    interval.serialize(&mut serializer).context("cannot write JSON")?;
    out.push(b'\n');
    Ok(())
}

/// RFC 3339, UTC, to the millisecond.
pub fn time(unix: Nanos) -> String {
    match Timestamp::from_nanosecond(i128::from(unix.0)) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => String::new(),
    }
}

fn host(host: &HostUsage) -> Host<'_> {
    let mut absent = Reasons::default();
    Host {
        system: &host.system,
        cpus: host.cpus,
        memory_bytes: absent.bytes("memory_bytes", &host.memory),
        irq_time_accounting: absent.take("irq_time_accounting", &host.irq_time_accounting, |on| on),
        busy_s: absent.seconds("busy_s", &host.busy),
        busy_within_s: host.busy_within.seconds(),
        steal_s: host.steal.as_ref().ok().map(|steal| steal.seconds()),
        hidden_processes: host.hidden,
        unattributed_s: absent.seconds("unattributed_s", &host.unattributed),
        conservation_error: absent
            .take("conservation_error", &host.conservation_error, |error| error),
        absent,
    }
}

fn driver(driver: &DriverUsage) -> Driver<'_> {
    let mut absent = Reasons::default();
    Driver {
        id: driver.id.to_string(),
        name: model::shorten(&driver.name, LONGEST_NAME),
        vcpus: absent.take("vcpus", &driver.vcpus, |count| count),
        memory_bytes: absent.bytes("memory_bytes", &driver.memory),
        cpu_s: DriverCpu {
            total: absent.seconds("cpu_s.total", &driver.total),
            direct: absent.seconds("cpu_s.direct", &driver.direct),
            shared: absent.seconds("cpu_s.shared", &driver.shared),
            own: absent.seconds("cpu_s.own", &driver.own),
            unattributed: absent.seconds("cpu_s.unattributed", &driver.unattributed),
        },
        absent,
    }
}

fn vm(vm: &VmUsage) -> Vm<'_> {
    let mut absent = Reasons(Vec::with_capacity(USUAL_REASONS));
    Vm {
        id: Id(&vm.id),
        name: model::shorten(&vm.name, LONGEST_NAME),
        platform: vm.platform,
        state: vm.state.word(),
        vcpus: absent.take("vcpus", &vm.vcpus, |count| count),
        memory_bytes: absent.bytes("memory_bytes", &vm.memory),
        cpu_s: Cpu {
            total: absent.seconds("cpu_s.total", &vm.cpu.total),
            guest: absent.seconds("cpu_s.guest", &vm.cpu.guest),
            vmm: absent.seconds("cpu_s.vmm", &vm.cpu.vmm),
            io_direct: absent.seconds("cpu_s.io_direct", &vm.cpu.io_direct),
            io_shared: absent.seconds("cpu_s.io_shared", &vm.cpu.io_shared),
            guest_os: vm.guest_system.as_ref().ok().map(|time| time.seconds()),
            guest_programs: vm.guest_programs.as_ref().ok().map(|time| time.seconds()),
        },
        ready_s: absent.seconds("ready_s", &vm.ready),
        steal_s: vm.steal.as_ref().ok().map(|time| time.seconds()),
        net: absent.take("net", &vm.net, |net| Net {
            rx_packets: net.rx_packets.0,
            tx_packets: net.tx_packets.0,
            rx_bytes: net.rx_bytes.0,
            tx_bytes: net.tx_bytes.0,
        }),
        disk: Disk {
            reads: absent.operations("disk.reads", &vm.disk.reads),
            writes: absent.operations("disk.writes", &vm.disk.writes),
            read_bytes: absent.bytes("disk.read_bytes", &vm.disk.read_bytes),
            write_bytes: absent.bytes("disk.write_bytes", &vm.disk.write_bytes),
        },
        exits: vm.exits.as_ref().ok().copied(),
        halt_poll_s: vm.halt_poll.as_ref().ok().map(|time| time.seconds()),
        cpupool: vm.cpupool.as_ref().ok().copied(),
        absent,
    }
}

fn me(me: SelfUsage) -> Me {
    Me { cpu_s: me.cpu.seconds(), rss_bytes: me.rss.0 }
}

/// Compact JSON in which characters that could drive a terminal, or mislead who reads it, are
/// escaped: JSON itself lets all but the first 32 through. No information is lost.
struct Unseen;

impl serde_json::ser::Formatter for Unseen {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let plain = fragment.bytes().all(|b| (b' '..=b'~').contains(&b));
        if plain || model::escape(fragment) == fragment {
            return writer.write_all(fragment.as_bytes());
        }
        let mut bytes = [0; 4];
        for c in fragment.chars() {
            let one: &str = c.encode_utf8(&mut bytes);
            if model::escape(one) == one {
                writer.write_all(one.as_bytes())?;
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::fixture;
    use serde_json::Value;

    fn line(usage: &Usage) -> String {
        let mut out = Vec::new();
        write(&mut out, usage, &View { sort: None, ..View::default() }).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_interval_is_the_documented_object() {
        crate::golden::check("top/xen.json", &line(&fixture::xen()));
        crate::golden::check("top/unprivileged.json", &line(&fixture::unprivileged()));
    }

    #[test]
    fn every_null_has_its_reason() {
        let object: Value = serde_json::from_str(&line(&fixture::unprivileged())).unwrap();
        let vms = object["vms"].as_array().unwrap().iter();
        for part in vms.chain(object["idd"].as_array().unwrap()).chain([&object["host"]]) {
            for path in nulls(part, "") {
                assert!(part["absent"][&path].is_string(), "{path} of {part}");
            }
        }
    }

    fn nulls(value: &Value, path: &str) -> Vec<String> {
        match value {
            Value::Null => vec![path.trim_start_matches('.').to_owned()],
            Value::Object(fields) => {
                fields.iter().flat_map(|(key, v)| nulls(v, &format!("{path}.{key}"))).collect()
            }
            _ => Vec::new(),
        }
    }

    #[test]
    fn a_name_keeps_its_meaning_but_cannot_drive_a_terminal() {
        let mut usage = fixture::xen();
        let name = "a\"\\\u{1b}[2J\u{9b}31m\u{7f}\u{202e}\u{e0041}東".to_owned();
        usage.vms[0].name.clone_from(&name);
        let line = line(&usage);
        let bare = line.trim_end();
        assert!(bare.chars().all(|c| !c.is_control() && c != '\u{202e}' && c != '\u{e0041}'));
        let object: Value = serde_json::from_str(bare).unwrap();
        assert_eq!(object["vms"][0]["name"], Value::String(name));
    }

    #[test]
    fn an_endless_name_is_cut() {
        let mut usage = fixture::xen();
        usage.vms[0].name = "x".repeat(10_000);
        assert!(line(&usage).len() < 5_000);
    }
}
