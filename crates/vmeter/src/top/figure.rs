//! What stands in one cell: a row's value in a column, still a number.

use super::rows::Item;
use super::{Column, fit};
use account::{BackendUsage, DriverUsage, Usage, VcpuUsage, VmUsage};
use model::{Absent, Bytes, Duty, Nanos, NicCounters, Operations, Platform, Reading, State};
use std::borrow::Cow;

/// The content of a cell.
#[derive(Debug, Clone, PartialEq)]
pub enum Figure<'a> {
    /// The column has no meaning in this row.
    Blank,
    /// Unknown, and why.
    Absent(Cow<'a, Absent>),
    /// Words, not escaped.
    Text(Cow<'a, str>),
    /// Percent of one CPU.
    Percent(f64),
    /// A count, or a rate per second.
    Number(f64),
    /// Bytes, or bytes per second.
    Bytes(f64),
}

impl Figure<'_> {
    /// The cell's text; unknown is a dash, never 0.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Blank => Cow::Borrowed(""),
            Self::Absent(_) => Cow::Borrowed("-"),
            Self::Text(text) => fit::shown(text),
            Self::Percent(value) => Cow::Owned(fit::percent(*value)),
            Self::Number(value) => Cow::Owned(fit::short(*value)),
            Self::Bytes(value) => Cow::Owned(fit::bytes(*value)),
        }
    }
}

/// What stands in `column` of the row of `item`.
pub fn figure<'a>(item: Item<'a>, column: Column, usage: &'a Usage) -> Figure<'a> {
    match item {
        Item::Vm(vm) => of_vm(vm, column, usage),
        Item::Driver(driver) => of_driver(driver, column, usage),
        Item::Vcpu(vcpu) => of_vcpu(vcpu, column, usage),
        Item::Thread(thread) => of_thread(thread, column, usage),
        Item::Pending => match column {
            Column::Name => text("vCPUs: from the next interval on"),
            _ => Figure::Blank,
        },
        Item::Hidden { count, cpu } => match column {
            Column::Name => Figure::Text(format!("{count} filtered out").into()),
            Column::Cpu => Figure::Percent(utilisation(cpu, usage.interval)),
            _ => Figure::Blank,
        },
        Item::Unattributed => match column {
            Column::Name => text("unattributed"),
            Column::Cpu => percent(&usage.host.unattributed, usage),
            _ => Figure::Blank,
        },
        Item::Total => of_host(column, usage),
    }
}

fn of_vm<'a>(vm: &'a VmUsage, column: Column, usage: &'a Usage) -> Figure<'a> {
    let packets = |of: fn(&NicCounters) -> Operations| {
        known(&vm.net, |net| Figure::Number(per_second(of(&net).0, usage.interval)))
    };
    let traffic = |of: fn(&NicCounters) -> Bytes| {
        known(&vm.net, |net| Figure::Bytes(per_second(of(&net).0, usage.interval)))
    };
    match column {
        Column::Name => Figure::Text(model::vm_name(&vm.name)),
        Column::Id => Figure::Text(vm.id.to_string().into()),
        Column::Platform => text(match vm.platform {
            Platform::Xen => "xen",
            Platform::Kvm => "kvm",
            Platform::Tcg => "tcg",
            Platform::Other => "other",
            Platform::Cgroup => "cgroup",
        }),
        Column::State => state(vm.state),
        Column::Cpu => percent(&vm.cpu.total, usage),
        Column::Guest => percent(&vm.cpu.guest, usage),
        Column::Vmm => percent(&vm.cpu.vmm, usage),
        Column::IoDirect => percent(&vm.cpu.io_direct, usage),
        Column::IoShared => percent(&vm.cpu.io_shared, usage),
        Column::Ready => percent(&vm.ready, usage),
        Column::Vcpus => number(&vm.vcpus),
        Column::Memory => bytes(&vm.memory),
        Column::RxPackets => packets(|net| net.rx_packets),
        Column::TxPackets => packets(|net| net.tx_packets),
        Column::RxBytes => traffic(|net| net.rx_bytes),
        Column::TxBytes => traffic(|net| net.tx_bytes),
        Column::Reads => rate(&vm.disk.reads, usage),
        Column::Writes => rate(&vm.disk.writes, usage),
        Column::ReadBytes => byte_rate(&vm.disk.read_bytes, usage),
        Column::WriteBytes => byte_rate(&vm.disk.write_bytes, usage),
        Column::GuestSystem => percent(&vm.guest_system, usage),
        Column::GuestPrograms => percent(&vm.guest_programs, usage),
        Column::Steal => percent(&vm.steal, usage),
        Column::Exits => rate(&vm.exits, usage),
        Column::HaltPoll => percent(&vm.halt_poll, usage),
        Column::Cpupool => number(&vm.cpupool),
    }
}

/// A driver domain's CPU% is its own work alone: what it does for VMs stands in their rows.
fn of_driver<'a>(driver: &'a DriverUsage, column: Column, usage: &'a Usage) -> Figure<'a> {
    match column {
        Column::Name => Figure::Text(format!("{} (own)", driver.name).into()),
        Column::Cpu => percent(&driver.own, usage),
        Column::Vcpus => number(&driver.vcpus),
        Column::Memory => bytes(&driver.memory),
        _ => Figure::Blank,
    }
}

fn of_vcpu<'a>(vcpu: &'a VcpuUsage, column: Column, usage: &'a Usage) -> Figure<'a> {
    match column {
        Column::Name => Figure::Text(match &vcpu.affinity {
            Ok(affinity) => format!("vcpu{} on {}", vcpu.id, affinity.0).into(),
            Err(_) => format!("vcpu{}", vcpu.id).into(),
        }),
        Column::State => state(vcpu.state),
        Column::Cpu => percent(&vcpu.cpu, usage),
        Column::Guest => percent(&vcpu.guest, usage),
        Column::Ready => percent(&vcpu.ready, usage),
        _ => Figure::Blank,
    }
}

fn of_thread<'a>(thread: &'a BackendUsage, column: Column, usage: &'a Usage) -> Figure<'a> {
    let its_column = match thread.duty {
        Duty::Vmm => Some(Column::Vmm),
        Duty::Io => Some(Column::IoDirect),
        Duty::SoftIrq => Some(Column::IoShared),
        Duty::Own => None,
    };
    match column {
        Column::Name => Figure::Text(Cow::Borrowed(&thread.name)),
        Column::Id => Figure::Text(thread.id.pid.to_string().into()),
        Column::Cpu => percent(&thread.cpu, usage),
        column if Some(column) == its_column => percent(&thread.cpu, usage),
        _ => Figure::Blank,
    }
}

/// The total: busy time, and the sums over the VMs where every part is known.
fn of_host(column: Column, usage: &Usage) -> Figure<'_> {
    let sum = |of: fn(&VmUsage) -> &Reading<Nanos>| {
        let sum: Reading<Nanos> = usage.vms.iter().map(|vm| of(vm).clone()).sum();
        match sum {
            Ok(sum) => Figure::Percent(utilisation(sum, usage.interval)),
            Err(_) => Figure::Blank,
        }
    };
    match column {
        Column::Name => text("host total"),
        Column::Cpu => percent(&usage.host.busy, usage),
        Column::Guest => sum(|vm| &vm.cpu.guest),
        Column::Vmm => sum(|vm| &vm.cpu.vmm),
        Column::IoDirect => sum(|vm| &vm.cpu.io_direct),
        Column::IoShared => sum(|vm| &vm.cpu.io_shared),
        Column::Vcpus => Figure::Number(f64::from(usage.host.cpus)),
        Column::Memory => bytes(&usage.host.memory),
        _ => Figure::Blank,
    }
}

fn text(word: &'static str) -> Figure<'static> {
    Figure::Text(Cow::Borrowed(word))
}

fn state(state: State) -> Figure<'static> {
    match state {
        State::Running => text("run"),
        State::Blocked => text("block"),
        State::Paused => text("pause"),
        State::Shutdown => text("shut"),
        State::Crashed => text("crash"),
        State::Dying => text("dying"),
        State::Ended => text("ended"),
        State::Unknown => Figure::Absent(Cow::Owned(Absent::NotFound("its state".into()))),
    }
}

/// A known value as a figure, or a dash with its reason.
fn known<'a, T: Copy>(value: &'a Reading<T>, shown: impl Fn(T) -> Figure<'a>) -> Figure<'a> {
    match value {
        Ok(value) => shown(*value),
        Err(reason) => Figure::Absent(Cow::Borrowed(reason)),
    }
}

fn percent<'a>(time: &'a Reading<Nanos>, usage: &Usage) -> Figure<'a> {
    known(time, |time| Figure::Percent(utilisation(time, usage.interval)))
}

fn number(count: &Reading<u32>) -> Figure<'_> {
    known(count, |count| Figure::Number(f64::from(count)))
}

fn bytes(size: &Reading<Bytes>) -> Figure<'_> {
    known(size, |size| Figure::Bytes(size.0 as f64))
}

fn rate<'a, T: Copy + Into<u64>>(count: &'a Reading<T>, usage: &Usage) -> Figure<'a> {
    known(count, |count| Figure::Number(per_second(count.into(), usage.interval)))
}

fn byte_rate<'a>(count: &'a Reading<Bytes>, usage: &Usage) -> Figure<'a> {
    known(count, |count| Figure::Bytes(per_second(count.0, usage.interval)))
}

fn per_second(count: u64, interval: Nanos) -> f64 {
    if interval.0 == 0 { 0.0 } else { count as f64 / interval.seconds() }
}

/// Utilisation, U = B / T, in percent of one CPU.
pub fn utilisation(busy: Nanos, interval: Nanos) -> f64 {
    if interval.0 == 0 { 0.0 } else { 100.0 * busy.seconds() / interval.seconds() }
}
