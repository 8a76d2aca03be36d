//! Whether a plan can be, before any machine is touched.

use super::read::Source;
use super::{CpuPlace, Figure, Load, Place, Plan, PlanError};
use std::collections::BTreeSet;

/// Checks what each part cannot know of the others.
pub(super) fn plan(
    source: &Source<'_>,
    plan: &Plan,
    figures: &[(usize, Figure)],
) -> Result<(), PlanError> {
    // These are about the whole, so that the line is that of the first such table.
    let place = |table: &str| source.text.find(table).unwrap_or(0);
    machines(plan).map_err(|problem| source.error(place("[[machines]]"), problem))?;
    workloads(plan).map_err(|problem| source.error(place("[[workloads]]"), problem))?;
    for (at, figure) in figures {
        figure
            .kind
            .check(plan, figure.workload)
            .map_err(|problem| source.error(*at, format!("{}: {problem}", figure.kind.id())))?;
    }
    Ok(())
}

fn machines(plan: &Plan) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for machine in &plan.machines {
        let name = machine.name.escape_debug();
        if !names.insert(&machine.name) {
            return Err(format!("duplicate machine `{name}`"));
        }
        let mut configurations = BTreeSet::new();
        for configuration in &machine.configurations {
            if !configurations.insert(&configuration.name) {
                let other = configuration.name.escape_debug();
                return Err(format!("duplicate configuration `{other}` of machine `{name}`"));
            }
        }
        match &machine.place {
            Place::Lab { kind, clock, guests, vcpus } => {
                let spec = plan.lab.spec(*kind, *clock, *guests, *vcpus);
                spec.check().map_err(|error| format!("machine `{name}`: {error}"))?;
                if machine.needs_cpus > plan.lab.cpus as usize {
                    let (needs, has) = (machine.needs_cpus, plan.lab.cpus);
                    return Err(format!("machine `{name}` needs {needs} CPUs, the lab has {has}"));
                }
            }
            Place::Agents { addresses, guests, .. } => {
                for (who, address) in machine.place.agents() {
                    agent_address(address)
                        .map_err(|problem| format!("machine `{name}`, {who}: {problem}"))?;
                }
                if addresses.is_empty() && guests.is_empty() && !plan.only_computes() {
                    return Err(format!(
                        "machine `{name}` has neither guests nor addresses: its workload needs a target"
                    ));
                }
                // The dataset and the page tell machines apart by these words.
                let role = |name: &&str| ["host", "client"].contains(name);
                if let Some(taken) = guests.iter().map(|guest| guest.name.as_str()).find(role) {
                    return Err(format!(
                        "machine `{name}` has a guest with the reserved name `{taken}`: rename it"
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Whether an agent can be at such an address, as far as its words tell.
fn agent_address(address: &str) -> Result<(), String> {
    let shown = address.escape_debug();
    if let Some(rest) = address.strip_prefix("vsock:") {
        let numbers = rest.split_once(':');
        let numbers = numbers.map(|(cid, port)| (cid.parse::<u32>(), port.parse::<u32>()));
        return match numbers {
            Some((Ok(_), Ok(_))) => Ok(()),
            _ => {
                Err(format!("invalid address `{shown}`: expected vsock:CID:PORT, with two numbers"))
            }
        };
    }
    if address.contains('/') {
        return Ok(());
    }
    let Some((host, port)) = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()) else {
        return Err(format!(
            "missing port in `{shown}`: expected HOST:PORT, such as 10.0.0.1:5203"
        ));
    };
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return Err(format!(
            "invalid address `{shown}`: expected [IPv6 address]:PORT, with brackets"
        ));
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(()),
        _ => Err(format!("invalid port in `{shown}`: expected 1 to 65535")),
    }
}

fn workloads(plan: &Plan) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for workload in &plan.workloads {
        let name = workload.name.escape_debug();
        if !names.insert(&workload.name) {
            return Err(format!("duplicate workload `{name}`"));
        }
        if workload.window.is_zero() {
            return Err(format!("workload `{name}`: invalid duration: expected more than 0"));
        }
        for load in &workload.points {
            load_is_possible(load).map_err(|error| format!("workload `{name}`: {error}"))?;
        }
        let needs_machine = !matches!(workload.points.first(), Some(Load::Fileset { .. }));
        if needs_machine && plan.machines.is_empty() {
            return Err(format!("workload `{name}` needs a machine, but the plan has none"));
        }
        for machine in &plan.machines {
            let has = match &machine.place {
                Place::Lab { guests: 0, .. } => plan.lab.networks,
                Place::Agents { addresses, guests, .. } if guests.is_empty() => addresses.len(),
                place => place.guests(),
            };
            let computes = matches!(workload.points.first(), Some(Load::Cpu { .. }));
            if needs_machine && !computes && !(1..=has).contains(&workload.targets) {
                return Err(format!(
                    "workload `{name}` needs {} targets, but machine `{}` has {has}",
                    workload.targets,
                    machine.name.escape_debug()
                ));
            }
            guests_for_programs(workload.points.iter(), machine)
                .map_err(|error| format!("workload `{name}`: {error}"))?;
        }
    }
    Ok(())
}

fn guests_for_programs<'a>(
    mut points: impl Iterator<Item = &'a Load>,
    machine: &super::Machine,
) -> Result<(), String> {
    let guests = machine.place.guests();
    let short = points.find_map(|load| match load {
        Load::Cpu { instances, place: CpuPlace::DifferentGuests, .. }
            if guests > 0 && *instances > guests =>
        {
            Some(instances)
        }
        _ => None,
    });
    match short {
        None => Ok(()),
        Some(instances) => Err(format!(
            "{instances} programs in one guest each, but machine `{}` has {guests} guests",
            machine.name.escape_debug()
        )),
    }
}

/// Whether the load's own plan can be.
fn load_is_possible(load: &Load) -> Result<(), String> {
    let text = |error: workload::Error| error.to_string();
    match load {
        Load::Tcp { .. } => {
            super::work::tcp(load, std::time::Duration::from_secs(1), std::time::Duration::ZERO)
                .check()
                .map_err(text)
        }
        Load::Cpu { text: bytes, data, passes, .. } => {
            // On which CPU they run is known there only.
            let plan = workload::cpu::Plan {
                text: *bytes,
                data: *data,
                passes: *passes,
                ..Default::default()
            };
            plan.check().map_err(text)
        }
        Load::Web { dirs, .. } | Load::Fileset { dirs } => {
            if (1..=10_000).contains(dirs) {
                Ok(())
            } else {
                Err("invalid dirs: expected 1 to 10000".to_owned())
            }
        }
    }
}

impl Plan {
    /// Whether no load goes over a network.
    pub(super) fn only_computes(&self) -> bool {
        let networked = |load: &Load| matches!(load, Load::Tcp { .. } | Load::Web { .. });
        !self.workloads.iter().any(|workload| workload.points.iter().any(networked))
    }
}
