//! What a machine costs relative to another, mostly native: ratios with intervals, and figure 6.10.

use super::rows::{CONFIDENCE, Rows, mean};
use super::shown;
use crate::figure::{Axis, Cell, Drawing, Figure, Line, Measured, Point};
use crate::measures::Measures;
use crate::plan::{CpuPlace, Load, Plan};
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

/// All comparisons of a workload's cost with the baselines': machine, configuration, point.
fn comparisons(rows: &Rows<'_>) -> Vec<((usize, usize, usize), Compared)> {
    with_baseline(rows, cost)
}

/// All comparisons of a quantity with the baseline's at the same load: machine, configuration, point.
fn with_baseline(
    rows: &Rows<'_>,
    quantity: impl Fn(&Load, &Measures) -> Option<f64>,
) -> Vec<((usize, usize, usize), Compared)> {
    let mut all = Vec::new();
    for (point, load) in rows.points().iter().enumerate() {
        for machine in rows.compared_ones() {
            let Some(base) = rows.plan.baseline(machine) else { continue };
            let base = (base, 0, base_point(rows, base, load).unwrap_or(point));
            for configuration in 0..rows.plan.machines[machine].configurations.len() {
                let at = (machine, configuration, point);
                let found = compare(rows, base, at, |measures| quantity(load, measures));
                all.extend(found.map(|found| (at, found)));
            }
        }
    }
    all
}

/// The point at which a baseline runs the same load: one without guests has none to choose among.
fn base_point(rows: &Rows<'_>, base: usize, load: &Load) -> Option<usize> {
    let mut wanted = load.clone();
    if let (Load::Cpu { place, .. }, true) =
        (&mut wanted, rows.plan.machines[base].place.is_native())
    {
        *place = CpuPlace::SameGuest;
    }
    rows.points().iter().position(|point| *point == wanted)
}

/// What machines are compared with, for people: `native` unless the plan names another.
pub(super) fn base_name(plan: &Plan) -> String {
    plan.named_baseline.map_or_else(|| "native".to_owned(), |at| shown(plan, at, 0))
}

/// Whether machines are compared as the dissertation did.
fn is_as_theirs(plan: &Plan) -> bool {
    plan.named_baseline.is_none_or(|at| plan.machines[at].place.is_native())
        && plan.machines.iter().any(|machine| !machine.place.is_native())
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
    let base = base_name(rows.plan);
    Figure {
        id: String::new(),
        title: format!("What virtualization costs: {workload}"),
        caption: format!(
            "The {what} of each machine over that of {base}, with 95 % intervals: Fieller's for \
             the ratio of means, and the bootstrap of the blocks' log-ratios."
        ),
        found: is_as_theirs(rows.plan).then(|| {
            "Network I/O cost three to five times the CPU of native Linux, the web server 3.3 \
             times; programs that only compute were slowed down little."
                .to_owned()
        }),
        drawing: Drawing::Table {
            columns: vec![
                Axis::new("Load", ""),
                Axis::new("Machine", ""),
                Axis::new("ratio (Fieller)", ""),
                Axis::new("ratio (bootstrap)", ""),
                Axis::new(&format!("its {what}"), unit),
                Axis::new(&format!("{base}: {what}"), unit),
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
    let base = match base_name(rows.plan).as_str() {
        "native" => format!("the native {what}"),
        name => format!("the {what} of {name}"),
    };
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
            "{name}: {:.2} times {base}{} at {load}.",
            ratio.value,
            range(ratio)
        ));
    }
    sentences
}

/// A quantity relative to the baseline's by how many programs share a CPU: a line for each machine and
/// place of the programs, whose name ends with the suffix.
pub(super) fn by_programs(
    rows: &Rows<'_>,
    quantity: impl Fn(&Load, &Measures) -> Option<f64>,
    suffix: &str,
) -> Vec<Line> {
    let mut lines = Vec::new();
    let places =
        [(CpuPlace::SameGuest, "in one guest"), (CpuPlace::DifferentGuests, "in a guest each")];
    let all = with_baseline(rows, quantity);
    for machine in rows.compared_ones() {
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
                let mut name = shown(rows.plan, machine, 0);
                if !rows.plan.machines[machine].place.is_native() {
                    name = format!("{name}, {where_}");
                }
                lines.push(Line { name: format!("{name}{suffix}"), points });
            }
        }
    }
    lines
}

/// Figure 6.10.
pub(super) fn programs(rows: &Rows<'_>) -> Figure {
    let lines = by_programs(rows, cost, "");
    let base = base_name(rows.plan);
    Figure {
        id: String::new(),
        title: "Programs that compute, by how many share a CPU".to_owned(),
        caption: format!(
            "Mean time of n programs on one CPU, relative to {base} with the same n; bands are \
             95 % intervals of the ratio (Fieller)."
        ),
        found: is_as_theirs(rows.plan).then(|| {
            "In one guest the programs took nearly the native time; five guests on a CPU lost \
             18 %, with misses of the third-level cache the cause."
                .to_owned()
        }),
        drawing: Drawing::Lines {
            x: Axis::new("Programs on one CPU", ""),
            y: Axis::new(&format!("Time relative to {base}"), ""),
            lines,
        },
        missing: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use crate::figure::{Cell, Drawing};
    use crate::plan::Plan;
    use crate::record::Record;
    use crate::samples;

    #[test]
    fn native_is_compared_with_xen_where_the_plan_says_so() {
        let (_place, store, records) = samples::study();
        let text = store.plan().unwrap().text;
        let text = text.replacen("seed = 1", "seed = 1\nbaseline = \"xen\"", 1);
        let plan = Plan::parse(&text, "quick").unwrap();
        let all: Vec<Record> = (0..4)
            .map(|at| Record {
                number: at + 1,
                block: at / 2 + 1,
                load: plan.workloads[0].points[1].clone(),
                ..records[at % 2].clone()
            })
            .collect();
        let report = crate::report(&plan, &all);
        let figure = report.figures.iter().find(|figure| figure.id == "ratio-receive").unwrap();
        let Drawing::Table { columns, rows } = &figure.drawing else { panic!("{figure:?}") };
        assert_eq!(columns[5].label, "Xen: CPU per data packet");
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!(row[1], Cell::Text("native".to_owned()));
        let [Cell::Measured(ratio), Cell::Measured(own), Cell::Measured(base)] =
            [&row[2], &row[4], &row[5]]
        else {
            panic!("{row:?}")
        };
        assert!((ratio.value - own.value / base.value).abs() < 1e-9 && ratio.value < 1.0);
        assert!(report.findings[0].contains(" times the CPU per data packet of Xen"), "{report:?}");
    }
}
