//! Figures 6.7 and 6.9: where interrupts go, as Kiviat graphs.

use super::rows::{Row, Rows, mean};
use super::shown;
use crate::figure::{Axis, Drawing, Figure, Measured, Ring};

/// CPUs of the driver domain that are shown.
const IDD_CPUS: usize = 2;

/// Interrupts of so many NICs on one or two CPUs of the driver domain.
pub(super) fn interrupts(rows: &Rows<'_>, nics: usize) -> Figure {
    let percent = |label: String| Axis::new(&label, "%");
    let mut axes: Vec<Axis> = (1..=IDD_CPUS).map(|cpu| percent(format!("IDD CPU {cpu}"))).collect();
    axes.extend((1..=nics).map(|guest| percent(format!("guest {guest}"))));
    axes.push(Axis::new("throughput", "kbit/s"));
    let last = rows.points().len().saturating_sub(1);
    let mut rings = Vec::new();
    for (machine, plan) in rows.plan.machines.iter().enumerate() {
        for configuration in 0..plan.configurations.len() {
            let all: Vec<&Row<'_>> = rows.at(machine, configuration, last).collect();
            if all.is_empty() {
                continue;
            }
            let mut values: Vec<Option<Measured>> = Vec::new();
            for cpu in 0..IDD_CPUS {
                let busy = over(&all, |row| *row.measures.idd_cpus.get(cpu)?, 100.0, Some(100.0));
                values.push(busy);
            }
            for guest in 0..nics {
                let most = rows.all_cpus((machine, configuration, last));
                values.push(over(&all, |row| *row.measures.guest_cpus.get(guest)?, 100.0, most));
            }
            values.push(over(&all, |row| row.measures.throughput, 1e-3, None));
            let name = shown(rows.plan, machine, configuration);
            rings.push(Ring { name, values });
        }
    }
    let (title, found) = if nics == 1 {
        (
            "Interrupts of one NIC on one or two CPUs of the driver domain",
            "Spreading the interrupts of one NIC over two CPUs of the driver domain cost more CPU \
             for slightly less throughput.",
        )
    } else {
        (
            "Interrupts of two NICs on one or two CPUs of the driver domain",
            "A CPU of the driver domain for each NIC cost more CPU in all than one for both, for \
             about the same throughput while that one was not saturated.",
        )
    };
    Figure {
        id: String::new(),
        title: title.to_owned(),
        caption: "A ring for each map of interrupts to CPUs; each axis is scaled by its largest \
                  value."
            .to_owned(),
        found: Some(found.to_owned()),
        drawing: Drawing::Kiviat { axes, rings },
        missing: Vec::new(),
    }
}

fn over(
    rows: &[&Row<'_>],
    quantity: impl Fn(&Row<'_>) -> Option<f64>,
    factor: f64,
    most: Option<f64>,
) -> Option<Measured> {
    let values = rows.iter().filter_map(|row| Some((row.block, quantity(row)? * factor)));
    mean(&values.collect::<Vec<_>>(), most)
}
