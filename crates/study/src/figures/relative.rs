//! What a VM costs relative to native: ratios with intervals, and figure 6.10.

use super::rows::{CONFIDENCE, Rows, mean};
use super::shown;
use crate::figure::{Axis, Cell, Drawing, Figure, Line, Measured, Point};
use crate::measures::Measures;
use crate::plan::{CpuPlace, Load};
use std::collections::BTreeSet;

/// Resamples of a bootstrap; its seed is the plan's.
const RESAMPLES: usize = 2000;

/// The cost that a load is compared by: time of the programs, or CPU for each packet or reply.
fn cost(load: &Load, measures: &Measures) -> Option<f64> {
    match load {
        Load::Cpu { .. } => measures.seconds,
        _ => measures.cost_s,
    }
}

/// A cost at a point over that at another.
pub(super) struct Compared {
    base: Measured,
    other: Measured,
    /// Fieller's interval.
    pub ratio: Option<Measured>,
    /// By a bootstrap of the blocks' log-ratios.
    resampled: Option<Measured>,
}

/// Compares a quantity at two points; each is a machine, a configuration and a point of the load.
pub(super) fn compare(
    rows: &Rows<'_>,
    base: (usize, usize, usize),
    other: (usize, usize, usize),
    quantity: impl Fn(&Measures) -> Option<f64>,
) -> Option<Compared> {
    let (below, above) = (rows.values(base, &quantity), rows.values(other, &quantity));
    let only = |values: &[(usize, f64)]| values.iter().map(|(_, v)| *v).collect::<Vec<f64>>();
    let pairs: Vec<(f64, f64)> = above
        .iter()
        .filter_map(|(block, a)| Some((*a, below.iter().find(|(b, _)| b == block)?.1)))
        .collect();
    let (base, other) = (mean(&below, None)?, mean(&above, None)?);
    let fieller = stats::ratio(&only(&above), &only(&below), CONFIDENCE)
        .map(|ratio| Measured::from(ratio.within(0.0, f64::INFINITY)));
    let plain = Measured {
        value: other.value / base.value,
        interval: None,
        samples: base.samples.min(other.samples),
    };
    let resampled = stats::log_ratio(&pairs, CONFIDENCE, RESAMPLES, rows.plan.seed);
    Some(Compared {
        base,
        other,
        ratio: fieller.or((base.value > 0.0).then_some(plain)),
        resampled: resampled.map(Measured::from),
    })
}

/// All comparisons of a workload's cost with native: machine, configuration, point.
fn comparisons(rows: &Rows<'_>) -> Vec<((usize, usize, usize), Compared)> {
    with_native(rows, cost)
}

/// All comparisons of a quantity with native's at the same load: machine, configuration, point.
fn with_native(
    rows: &Rows<'_>,
    quantity: impl Fn(&Load, &Measures) -> Option<f64>,
) -> Vec<((usize, usize, usize), Compared)> {
    let mut all = Vec::new();
    for (point, load) in rows.points().iter().enumerate() {
        for machine in rows.virtual_ones() {
            let Some(native) = rows.plan.baseline(machine) else { continue };
            let base = (native, 0, native_point(rows, load).unwrap_or(point));
            for configuration in 0..rows.plan.machines[machine].configurations.len() {
                let at = (machine, configuration, point);
                let found = compare(rows, base, at, |measures| quantity(load, measures));
                all.extend(found.map(|found| (at, found)));
            }
        }
    }
    all
}

/// The point at which a native machine runs the same load: it has no guests to choose among.
fn native_point(rows: &Rows<'_>, load: &Load) -> Option<usize> {
    let mut wanted = load.clone();
    if let Load::Cpu { place, .. } = &mut wanted {
        *place = CpuPlace::SameGuest;
    }
    rows.points().iter().position(|point| *point == wanted)
}

fn heads(load: Option<&Load>) -> (&'static str, &'static str, f64) {
    match load {
        Some(Load::Cpu { .. }) => ("time", "s", 1.0),
        Some(Load::Web { .. }) => ("CPU per reply", "µs", 1e6),
        _ => ("CPU per data packet", "µs", 1e6),
    }
}

fn scaled(measured: Measured, factor: f64) -> Measured {
    let interval = measured.interval.map(|(low, high)| (low * factor, high * factor));
    Measured { value: measured.value * factor, interval, ..measured }
}

/// The table of ratios.
pub(super) fn ratio(rows: &Rows<'_>) -> Figure {
    let (what, unit, factor) = heads(rows.points().first());
    let cell = |measured: Option<Measured>| measured.map_or(Cell::Unknown, Cell::Measured);
    let table = comparisons(rows).into_iter().map(|((machine, configuration, point), found)| {
        vec![
            Cell::Text(rows.points()[point].describe()),
            Cell::Text(shown(rows.plan, machine, configuration)),
            cell(found.ratio),
            cell(found.resampled),
            Cell::Measured(scaled(found.other, factor)),
            Cell::Measured(scaled(found.base, factor)),
        ]
    });
    let table: Vec<Vec<Cell>> = table.collect();
    let workload = &rows.plan.workloads[rows.workload].name;
    Figure {
        id: String::new(),
        title: format!("What virtualization costs: {workload}"),
        caption: format!(
            "The {what} of each machine over the native one's, with 95 % intervals: Fieller's for \
             the ratio of means, and the bootstrap of the blocks' log-ratios."
        ),
        found: Some(
            "Network I/O cost three to five times the CPU of native Linux, the web server 3.3 \
             times; programs that only compute were slowed down little."
                .to_owned(),
        ),
        drawing: Drawing::Table {
            columns: vec![
                Axis::new("Load", ""),
                Axis::new("Machine", ""),
                Axis::new("ratio (Fieller)", ""),
                Axis::new("ratio (bootstrap)", ""),
                Axis::new(&format!("its {what}"), unit),
                Axis::new(&format!("native {what}"), unit),
            ],
            rows: table,
        },
        missing: Vec::new(),
    }
}

/// What the ratios say, in sentences; one for each machine of a workload.
#[must_use]
pub fn findings(rows: &Rows<'_>) -> Vec<String> {
    let (what, ..) = heads(rows.points().first());
    let all = comparisons(rows);
    let mut sentences = Vec::new();
    let machines: BTreeSet<(usize, usize)> = all.iter().map(|((m, c, _), _)| (*m, *c)).collect();
    for (machine, configuration) in machines {
        let own = all.iter().filter(|((m, c, _), _)| (*m, *c) == (machine, configuration));
        let ratios: Vec<(usize, Measured)> =
            own.filter_map(|((.., point), found)| Some((*point, found.ratio?))).collect();
        let Some((last, ratio)) = ratios.last() else { continue };
        let range = |m: &Measured| {
            m.interval.map_or(String::new(), |(low, high)| format!(" ({low:.2} to {high:.2})"))
        };
        let name = shown(rows.plan, machine, configuration);
        let load = rows.points()[*last].describe();
        sentences.push(format!(
            "{name}: {:.2} times the native {what}{} at {load}.",
            ratio.value,
            range(ratio)
        ));
    }
    sentences
}

/// A quantity relative to native by how many programs share a CPU: a line for each machine and
/// place of the programs, whose name ends with the suffix.
pub(super) fn by_programs(
    rows: &Rows<'_>,
    quantity: impl Fn(&Load, &Measures) -> Option<f64>,
    suffix: &str,
) -> Vec<Line> {
    let mut lines = Vec::new();
    let places =
        [(CpuPlace::SameGuest, "in one guest"), (CpuPlace::DifferentGuests, "in a guest each")];
    let all = with_native(rows, quantity);
    for machine in rows.virtual_ones() {
        for (wanted, where_) in places {
            let points = all.iter().filter_map(|((m, c, point), found)| {
                let Load::Cpu { instances, place, .. } = &rows.points()[*point] else {
                    return None;
                };
                let fits = (*m, *c, *place) == (machine, 0, wanted);
                Some(Point { x: *instances as f64, planned: None, y: found.ratio? })
                    .filter(|_| fits)
            });
            let points: Vec<Point> = points.collect();
            if !points.is_empty() {
                let name = format!("{}, {where_}{suffix}", shown(rows.plan, machine, 0));
                lines.push(Line { name, points });
            }
        }
    }
    lines
}

/// Figure 6.10.
pub(super) fn programs(rows: &Rows<'_>) -> Figure {
    let lines = by_programs(rows, cost, "");
    Figure {
        id: String::new(),
        title: "Programs that compute, by how many share a CPU".to_owned(),
        caption: "Mean time of n programs on one CPU, relative to native with the same n; bands \
                  are 95 % intervals of the ratio (Fieller)."
            .to_owned(),
        found: Some(
            "In one guest the programs took nearly the native time; five guests on a CPU lost \
             18 %, with misses of the third-level cache the cause."
                .to_owned(),
        ),
        drawing: Drawing::Lines {
            x: Axis::new("Programs on one CPU", ""),
            y: Axis::new("Time relative to native", ""),
            lines,
        },
        missing: Vec::new(),
    }
}
