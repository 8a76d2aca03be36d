//! Network and disk traffic of a VM, and the operations that charging counts.

use model::{Absent, Disk, DiskCounters, Nic, NicCounters, Operations, Reading, Vm, increase};

/// Devices at the interval's end, each with itself at the start.
pub type Matched<'a, T> = Reading<Vec<(Option<&'a T>, &'a T)>>;

fn nic_increase(old: Option<&Nic>, new: &Nic) -> Reading<NicCounters> {
    let to = new.counters.clone()?;
    let from = match old {
        Some(old) => old.counters.clone()?,
        None => NicCounters::default(),
    };
    Ok(NicCounters {
        rx_packets: increase(&Ok(from.rx_packets), &Ok(to.rx_packets))?,
        tx_packets: increase(&Ok(from.tx_packets), &Ok(to.tx_packets))?,
        rx_bytes: increase(&Ok(from.rx_bytes), &Ok(to.rx_bytes))?,
        tx_bytes: increase(&Ok(from.tx_bytes), &Ok(to.tx_bytes))?,
    })
}

/// Σ of all interfaces' traffic.
pub fn traffic(nics: &[(Option<&Nic>, &Nic)]) -> Reading<NicCounters> {
    nics.iter().try_fold(NicCounters::default(), |sum, (old, new)| {
        let more = nic_increase(*old, new)?;
        Ok(NicCounters {
            rx_packets: sum.rx_packets + more.rx_packets,
            tx_packets: sum.tx_packets + more.tx_packets,
            rx_bytes: sum.rx_bytes + more.rx_bytes,
            tx_bytes: sum.tx_bytes + more.tx_bytes,
        })
    })
}

/// Σ of all disks' traffic.
pub fn disk_traffic(disks: &Matched<'_, Disk>) -> DiskCounters {
    fn sum<U>(disks: &Matched<'_, Disk>, part: impl Fn(&DiskCounters) -> &Reading<U>) -> Reading<U>
    where
        U: Copy + Into<u64> + From<u64> + std::iter::Sum,
    {
        disks
            .as_ref()
            .map_err(Clone::clone)?
            .iter()
            .map(|(old, new)| match old {
                Some(old) => increase(part(&old.counters), part(&new.counters)),
                None => part(&new.counters).clone(),
            })
            .sum()
    }
    DiskCounters {
        reads: sum(disks, |d| &d.reads),
        writes: sum(disks, |d| &d.writes),
        read_bytes: sum(disks, |d| &d.read_bytes),
        write_bytes: sum(disks, |d| &d.write_bytes),
    }
}

/// N_i of equation 4.7 for each driver domain that serves the VM: packets in and out, and
/// block requests. A VM without countable devices (user-mode networking, say) has none; a VM
/// whose devices may not be read has an unknown number.
pub fn operations(
    vm: &Vm,
    nics: &Matched<'_, Nic>,
    disks: &Matched<'_, Disk>,
) -> Vec<(u16, Reading<Operations>)> {
    let mut drivers: Vec<u16> = vm.nics.iter().flatten().map(|nic| nic.driver).collect();
    drivers.extend(vm.disks.iter().flatten().map(|disk| disk.driver));
    if vm.nics.is_err() || drivers.is_empty() {
        drivers.push(0);
    }
    drivers.sort_unstable();
    drivers.dedup();
    drivers
        .into_iter()
        .map(|driver| {
            let packets = provided(nics, |nics| {
                nics.iter()
                    .filter(|(_, nic)| nic.driver == driver)
                    .map(|(old, new)| nic_increase(*old, new).map(|n| n.rx_packets + n.tx_packets))
                    .sum()
            });
            let requests = provided(disks, |disks| {
                disks
                    .iter()
                    .filter(|(_, disk)| disk.driver == driver)
                    .map(|(old, new)| {
                        let one = disk_traffic(&Ok(vec![(*old, *new)]));
                        none_if_not_provided(one.reads.and_then(|r| Ok(r + one.writes?)))
                    })
                    .sum()
            });
            (driver, packets.and_then(|packets| Ok(packets + requests?)))
        })
        .collect()
}

fn provided<T>(
    devices: &Reading<T>,
    count: impl FnOnce(&T) -> Reading<Operations>,
) -> Reading<Operations> {
    none_if_not_provided(devices.as_ref().map_err(Clone::clone).and_then(count))
}

/// A platform that has no such counter has no such operations to charge by.
fn none_if_not_provided(operations: Reading<Operations>) -> Reading<Operations> {
    match operations {
        Err(Absent::NotProvided(_) | Absent::NotApplicable(_)) => Ok(Operations::ZERO),
        other => other,
    }
}
