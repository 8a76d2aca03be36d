//! Which rows are shown, and in which order: VMs, driver domains, unattributed, total.

use super::figure::{Figure, figure};
use super::{Column, View};
use account::{BackendUsage, DriverUsage, Usage, VcpuUsage, VmUsage};
use model::{Nanos, TaskId, VmId};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// A row that can be expanded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A VM.
    Vm(VmId),
    /// A driver domain, by its number.
    Driver(u16),
}

/// What tells a row from every other, from one interval to the next.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowKey {
    /// A VM or driver domain.
    Owner(Owner),
    /// One of its vCPUs.
    Vcpu(Owner, u32),
    /// One of its threads or processes.
    Thread(Owner, TaskId),
    /// Its details are yet to be read.
    Pending(Owner),
    /// The VMs that the filter hides.
    Hidden,
}

/// What a row shows.
#[derive(Debug, Clone, Copy)]
pub enum Item<'a> {
    /// A VM.
    Vm(&'a VmUsage),
    /// A driver domain.
    Driver(&'a DriverUsage),
    /// A vCPU of the row above.
    Vcpu(&'a VcpuUsage),
    /// A thread or process of the row above.
    Thread(&'a BackendUsage),
    /// vCPUs are read from the next interval on.
    Pending,
    /// The VMs that the filter hides, so that the column still adds up.
    Hidden {
        /// How many.
        count: usize,
        /// Σ of their CPU time.
        cpu: Nanos,
    },
    /// Busy time that belongs to no row above.
    Unattributed,
    /// The whole machine.
    Total,
}

/// A row.
#[derive(Debug, Clone)]
pub struct Row<'a> {
    /// What it shows.
    pub item: Item<'a>,
    /// What tells it from every other; the two last rows cannot be selected.
    pub key: Option<RowKey>,
    /// Whether its details follow; `None` where it has none to show.
    pub expanded: Option<bool>,
}

/// The VMs that the filter lets through, in order. Without a column to sort by, the
/// platform's order stays.
pub fn vms<'a>(usage: &'a Usage, view: &View) -> Vec<&'a VmUsage> {
    let filter = view.filter.to_lowercase();
    let mut vms: Vec<&VmUsage> = usage
        .vms
        .iter()
        .filter(|vm| filter.is_empty() || vm.name.to_lowercase().contains(&filter))
        .collect();
    match view.sort {
        Some(column) => vms.sort_by_cached_key(|vm| Rank::of(vm, column, view.reverse, usage)),
        None if view.reverse => vms.reverse(),
        None => {}
    }
    vms
}

/// The rows that can be selected: VMs and driver domains, each with its details where it is
/// expanded. `detailed` says whether vCPUs were read at both ends of the interval.
pub fn list<'a>(
    usage: &'a Usage,
    view: &View,
    expanded: &BTreeSet<Owner>,
    detailed: bool,
) -> Vec<Row<'a>> {
    let shown = vms(usage, view);
    let hidden = usage.vms.len() - shown.len();
    let mut rows = Vec::with_capacity(shown.len() + usage.drivers.len() + 1);
    for vm in &shown {
        let owner = Owner::Vm(vm.id.clone());
        let details = (&vm.vcpu_rows[..], &vm.backends[..]);
        push_owner(&mut rows, Item::Vm(vm), owner, expanded, details, detailed);
    }
    if hidden > 0 {
        let all: Nanos = cpu_of(usage.vms.iter());
        let item = Item::Hidden { count: hidden, cpu: all.saturating_sub(cpu_of(shown)) };
        rows.push(Row { item, key: Some(RowKey::Hidden), expanded: None });
    }
    for driver in &usage.drivers {
        let owner = Owner::Driver(driver.id);
        let details = (&driver.vcpu_rows[..], &driver.processes[..]);
        push_owner(&mut rows, Item::Driver(driver), owner, expanded, details, detailed);
    }
    rows
}

fn cpu_of<'a>(vms: impl IntoIterator<Item = &'a VmUsage>) -> Nanos {
    vms.into_iter().filter_map(|vm| vm.cpu.total.as_ref().ok()).copied().sum()
}

/// The two rows that end the table.
pub fn ends() -> [Row<'static>; 2] {
    [Item::Unattributed, Item::Total].map(|item| Row { item, key: None, expanded: None })
}

fn push_owner<'a>(
    rows: &mut Vec<Row<'a>>,
    item: Item<'a>,
    owner: Owner,
    expanded: &BTreeSet<Owner>,
    (vcpus, threads): (&'a [VcpuUsage], &'a [BackendUsage]),
    detailed: bool,
) {
    let open = expanded.contains(&owner);
    let key = Some(RowKey::Owner(owner.clone()));
    rows.push(Row { item, key, expanded: Some(open) });
    if !open {
        return;
    }
    if vcpus.is_empty() && !detailed {
        let key = Some(RowKey::Pending(owner.clone()));
        rows.push(Row { item: Item::Pending, key, expanded: None });
    }
    rows.extend(vcpus.iter().map(|vcpu| Row {
        item: Item::Vcpu(vcpu),
        key: Some(RowKey::Vcpu(owner.clone(), vcpu.id)),
        expanded: None,
    }));
    rows.extend(threads.iter().map(|thread| Row {
        item: Item::Thread(thread),
        key: Some(RowKey::Thread(owner.clone(), thread.id)),
        expanded: None,
    }));
}

/// Where a VM stands: known values before unknown ones, whichever way the order goes; the name
/// and the identity decide between equals, so that rows do not change places for nothing.
#[derive(PartialEq)]
struct Rank<'a> {
    value: Value,
    down: bool,
    name: &'a str,
    id: &'a VmId,
}

/// What is compared.
#[derive(PartialEq)]
enum Value {
    Number(f64),
    Text(String),
    Unknown,
}

impl<'a> Rank<'a> {
    fn of(vm: &'a VmUsage, column: Column, reverse: bool, usage: &Usage) -> Self {
        let value = match figure(Item::Vm(vm), column, usage) {
            Figure::Percent(v) | Figure::Number(v) | Figure::Bytes(v) => Value::Number(v),
            Figure::Text(text) => Value::Text(text.to_lowercase()),
            Figure::Absent(_) | Figure::Blank => Value::Unknown,
        };
        Self { value, down: column.is_text() == reverse, name: &vm.name, id: &vm.id }
    }
}

impl Eq for Rank<'_> {}

impl PartialOrd for Rank<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Rank<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let way = |order: Ordering| if self.down { order.reverse() } else { order };
        let first = match (&self.value, &other.value) {
            (Value::Number(a), Value::Number(b)) => way(a.total_cmp(b)),
            (Value::Text(a), Value::Text(b)) => way(a.cmp(b)),
            (Value::Unknown, Value::Unknown) => Ordering::Equal,
            (Value::Unknown, _) => Ordering::Greater,
            (_, Value::Unknown) => Ordering::Less,
            (Value::Number(_), Value::Text(_)) => Ordering::Less,
            (Value::Text(_), Value::Number(_)) => Ordering::Greater,
        };
        first.then_with(|| self.name.cmp(other.name)).then_with(|| self.id.cmp(other.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::fixture;

    fn names(view: &View) -> Vec<String> {
        vms(&fixture::xen(), view).iter().map(|vm| vm.name.clone()).collect()
    }

    fn by(column: Column, reverse: bool) -> View {
        View { sort: Some(column), reverse, ..View::default() }
    }

    #[test]
    fn numbers_go_down_and_names_go_up() {
        assert_eq!(names(&by(Column::Cpu, false)), ["web", "db-東京", "gone"]);
        assert_eq!(names(&by(Column::Cpu, true)), ["db-東京", "web", "gone"]);
        assert_eq!(names(&by(Column::Name, false)), ["db-東京", "gone", "web"]);
        assert_eq!(names(&by(Column::Name, true)), ["web", "gone", "db-東京"]);
    }

    #[test]
    fn the_platforms_order_stays_where_none_is_asked_for() {
        assert_eq!(names(&View { sort: None, ..View::default() }), ["web", "db-東京", "gone"]);
    }

    #[test]
    fn the_column_adds_up_to_the_total_even_when_filtered() {
        let usage = fixture::xen();
        for filter in ["", "WEB", "nothing"] {
            let view = View { filter: filter.to_owned(), ..View::default() };
            let list = list(&usage, &view, &BTreeSet::new(), false);
            let cpu = |item| match figure(item, Column::Cpu, &usage) {
                Figure::Percent(value) => value,
                _ => 0.0,
            };
            let sum: f64 = list.iter().map(|row| cpu(row.item)).sum();
            let total = cpu(Item::Total);
            assert!((sum + cpu(Item::Unattributed) - total).abs() < 1e-6, "{filter}");
        }
    }

    #[test]
    fn an_expanded_row_is_followed_by_its_details() {
        let usage = fixture::xen();
        let owner = Owner::Vm(usage.vms[0].id.clone());
        let expanded = BTreeSet::from([owner.clone()]);
        let view = View::default();
        let kinds = |detailed| -> Vec<&str> {
            list(&usage, &view, &expanded, detailed)
                .iter()
                .map(|row| match row.item {
                    Item::Vm(_) => "vm",
                    Item::Vcpu(_) => "vcpu",
                    Item::Thread(_) => "thread",
                    Item::Driver(_) => "driver",
                    Item::Pending => "pending",
                    _ => "other",
                })
                .collect()
        };
        assert_eq!(kinds(true), ["vm", "vcpu", "vcpu", "thread", "vm", "vm", "driver"]);
    }
}
