//! Busy times as tables and as JSON.

use account::{Usage, equations::utilisation};
use anyhow::Result;
use model::{Absent, Nanos, Reading, Snapshot, State, Vcpu, escape, shorten};
use serde::Serialize;
use std::fmt::Write;

/// The longest name in a table.
const NAME: usize = 32;

/// One vCPU's cumulative busy time; a VM whose vCPUs cannot be told apart has one row.
#[derive(Debug, Serialize)]
pub struct Busy {
    id: String,
    name: String,
    vcpu: Option<u32>,
    state: &'static str,
    busy_s: Option<f64>,
    ready_s: Option<f64>,
    affinity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    absent: Option<String>,
}

/// The rows of all vCPUs, the driver domains' first.
pub fn cumulative(snapshot: &Snapshot, vm: Option<&str>, vcpu: Option<u32>) -> Vec<Busy> {
    let drivers =
        snapshot.drivers.iter().filter(|d| !matches!(d.cpu, Err(Absent::NotApplicable(_))));
    let drivers =
        drivers.map(|d| (d.id.to_string(), &d.name, State::Running, &d.cpu, &d.vcpu_rows));
    let vms = snapshot.vms.iter().map(|v| (v.id.to_string(), &v.name, v.state, &v.cpu, &v.vcpus));
    drivers
        .chain(vms)
        .filter(|(id, name, ..)| vm.is_none_or(|wanted| wanted == name.as_str() || wanted == id))
        .flat_map(|(id, name, state, cpu, vcpus)| match vcpus {
            Ok(list) if !list.is_empty() => {
                list.iter().map(|vcpu| row(&id, name, vcpu)).collect::<Vec<_>>()
            }
            _ => vec![whole(&id, name, state, cpu)],
        })
        .filter(|row| vcpu.is_none_or(|wanted| row.vcpu == Some(wanted)))
        .collect()
}

fn row(id: &str, name: &str, vcpu: &Vcpu) -> Busy {
    Busy {
        vcpu: Some(vcpu.id),
        ready_s: seconds(&vcpu.ready),
        affinity: vcpu.affinity.as_ref().ok().map(|cpus| cpus.0.clone()),
        ..whole(id, name, vcpu.state, &vcpu.cpu)
    }
}

fn whole(id: &str, name: &str, state: State, cpu: &Reading<Nanos>) -> Busy {
    Busy {
        id: id.to_owned(),
        name: name.to_owned(),
        vcpu: None,
        state: state.word(),
        busy_s: seconds(cpu),
        ready_s: None,
        affinity: None,
        absent: cpu.as_ref().err().map(ToString::to_string),
    }
}

fn seconds(time: &Reading<Nanos>) -> Option<f64> {
    time.as_ref().ok().map(|time| time.seconds())
}

/// A known time with `places` decimals, or a dash.
fn time(seconds: Option<f64>, places: usize) -> String {
    seconds.map_or_else(|| "-".to_owned(), |s| format!("{s:.places$}"))
}

fn shown(name: &str) -> String {
    shorten(&escape(name), NAME).into_owned()
}

/// Columns, the first to the left, the others to the right.
fn columns(rows: &[Vec<String>]) -> String {
    let wide = |text: &str| unicode_width::UnicodeWidthStr::width(text);
    let count = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..count)
        .map(|i| rows.iter().filter_map(|row| row.get(i)).map(|c| wide(c)).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let pad = " ".repeat(width - wide(cell));
            text.push_str(&match i {
                0 => format!("{cell}{pad}"),
                _ => format!("  {pad}{cell}"),
            });
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

/// Cumulative times for people.
pub fn cumulative_table(rows: &[Busy]) -> String {
    let mut cells =
        vec![["VM", "id", "vCPU", "state", "busy s", "ready s", "CPUs"].map(String::from).to_vec()];
    cells.extend(rows.iter().map(|row| {
        vec![
            shown(&row.name),
            shown(&row.id),
            row.vcpu.map_or_else(|| "all".to_owned(), |n| n.to_string()),
            row.state.to_owned(),
            time(row.busy_s, 6),
            time(row.ready_s, 6),
            row.affinity.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    }));
    columns(&cells)
}

/// Cumulative times as one JSON object.
pub fn cumulative_json(snapshot: &Snapshot, rows: &[Busy]) -> Result<String> {
    #[derive(Serialize)]
    struct Document<'a> {
        schema: &'static str,
        monotonic_s: f64,
        vcpus: &'a [Busy],
    }
    let document = Document {
        schema: "vmeter.cpu.total/1",
        monotonic_s: snapshot.window.middle().seconds(),
        vcpus: rows,
    };
    Ok(serde_json::to_string(&document)? + "\n")
}

/// T, B, B_IDD and U across two moments.
#[derive(Debug, Serialize)]
pub struct Report {
    schema: &'static str,
    interval_s: f64,
    /// What COMMAND itself used, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    command_cpu_s: Option<f64>,
    vms: Vec<VmLine>,
    idd: Vec<IddLine>,
    host: HostLine,
}

#[derive(Debug, Serialize)]
struct VmLine {
    id: String,
    name: String,
    platform: model::Platform,
    /// B: the VM's own busy time, its monitor's work for it included.
    b_s: Option<f64>,
    /// B_IDD: direct and shared I/O work; what is known of it.
    b_idd_s: Option<f64>,
    /// U of equation 4.8, in CPUs.
    u: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    absent: Option<String>,
}

#[derive(Debug, Serialize)]
struct IddLine {
    name: String,
    total_s: Option<f64>,
    own_s: Option<f64>,
}

#[derive(Debug, Serialize)]
struct HostLine {
    cpus: u32,
    busy_s: Option<f64>,
    unattributed_s: Option<f64>,
    conservation_error: Option<f64>,
}

impl Report {
    /// The report of an interval, of one VM or of all.
    pub fn of(usage: &Usage, vm: Option<&str>, command_cpu_s: Option<f64>) -> Self {
        let vms = usage
            .vms
            .iter()
            .filter(|v| vm.is_none_or(|wanted| wanted == v.name || wanted == v.id.to_string()))
            .map(|v| line(v, usage.interval))
            .collect();
        let idd = usage.drivers.iter().map(|driver| IddLine {
            name: driver.name.clone(),
            total_s: seconds(&driver.total),
            own_s: seconds(&driver.own),
        });
        Self {
            schema: "vmeter.cpu/1",
            interval_s: usage.interval.seconds(),
            command_cpu_s,
            vms,
            idd: idd.collect(),
            host: HostLine {
                cpus: usage.host.cpus,
                busy_s: seconds(&usage.host.busy),
                unattributed_s: seconds(&usage.host.unattributed),
                conservation_error: usage.host.conservation_error.as_ref().ok().copied(),
            },
        }
    }

    /// Whether no VM is in it.
    pub fn has_no_vm(&self) -> bool {
        self.vms.is_empty()
    }

    /// One JSON object.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }

    /// Columns for people.
    pub fn table(&self) -> String {
        let (t, u) = (self.interval_s, |s: Option<f64>| s.map(|s| s / self.interval_s));
        let mut cells = vec![["VM", "T s", "B s", "B_IDD s", "U"].map(String::from).to_vec()];
        cells.extend(self.vms.iter().map(|vm| {
            vec![
                shown(&model::vm_name(&vm.name)),
                time(Some(t), 3),
                time(vm.b_s, 3),
                time(vm.b_idd_s, 3),
                time(vm.u, 4),
            ]
        }));
        let others = self.idd.iter().map(|idd| (format!("{} itself", shown(&idd.name)), idd.own_s));
        let left = [
            ("unattributed".to_owned(), self.host.unattributed_s),
            ("host".to_owned(), self.host.busy_s),
        ];
        cells.extend(others.chain(left).map(|(name, busy)| {
            vec![name, time(Some(t), 3), time(busy, 3), "-".to_owned(), time(u(busy), 4)]
        }));
        let mut text = columns(&cells);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "U in CPUs (1 = one CPU busy all the time), of {}; conservation error {}",
            self.host.cpus,
            self.host
                .conservation_error
                .map_or_else(|| "-".to_owned(), |e| format!("{:.2} %", 100.0 * e)),
        );
        if let Some(used) = self.command_cpu_s {
            let _ = writeln!(text, "the command used {used:.3} s of CPU itself");
        }
        text
    }
}

fn line(vm: &account::VmUsage, interval: Nanos) -> VmLine {
    let cpu = &vm.cpu;
    let known = |part: &Reading<Nanos>| part.as_ref().ok().copied();
    let b = cpu.guest.clone().map(|guest| guest + known(&cpu.vmm).unwrap_or_default());
    let idd = match (known(&cpu.io_direct), known(&cpu.io_shared)) {
        (None, None) => None,
        (direct, shared) => Some(direct.unwrap_or_default() + shared.unwrap_or_default()),
    };
    let unknown = [&cpu.guest, &cpu.io_shared].into_iter().find_map(|part| part.as_ref().err());
    VmLine {
        id: vm.id.to_string(),
        name: vm.name.clone(),
        platform: vm.platform,
        b_s: seconds(&b),
        b_idd_s: idd.map(Nanos::seconds),
        u: b.ok().and_then(|b| utilisation(b, idd.unwrap_or_default(), interval)),
        absent: unknown.map(ToString::to_string),
    }
}
