//! Figures 6.1 to 6.5: lines over a rate.

use super::rows::{Rows, mean};
use super::shown;
use crate::figure::{Axis, Drawing, Figure, Line, Point};
use crate::measures::Measures;
use crate::plan::Load;

fn figure(title: &str, caption: &str, found: &str, x: Axis, y: Axis, lines: Vec<Line>) -> Figure {
    Figure {
        id: String::new(),
        title: title.to_owned(),
        caption: caption.to_owned(),
        found: Some(found.to_owned()),
        drawing: Drawing::Lines { x, y, lines },
        missing: Vec::new(),
    }
}

/// A quantity of a run.
type Quantity = fn(&Measures) -> Option<f64>;

const BANDS: &str = "Bands are 95 % confidence intervals of the mean (Student); they end at 0 and, \
                     of CPU, at all CPUs of the host.";

/// What is up: a quantity, and whether it is of CPUs, of which there are so many.
#[derive(Clone, Copy)]
struct Up {
    quantity: Quantity,
    is_cpu: bool,
}

const fn cpu(quantity: Quantity) -> Up {
    Up { quantity, is_cpu: true }
}

const fn plain(quantity: Quantity) -> Up {
    Up { quantity, is_cpu: false }
}

/// A line for each machine, configuration and packet size.
fn lines(
    rows: &Rows<'_>,
    machines: impl Iterator<Item = usize>,
    x: Quantity,
    y: Up,
    suffix: &str,
) -> Vec<Line> {
    let mut sizes: Vec<Option<u64>> = rows.points().iter().map(size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let mut all = Vec::new();
    for machine in machines {
        let plan = &rows.plan.machines[machine];
        for configuration in 0..plan.configurations.len() {
            for &wanted in &sizes {
                let mut name = shown(rows.plan, machine, configuration);
                if let Some(size) = wanted.filter(|_| sizes.len() > 1) {
                    name = format!("{name}, {size} B");
                }
                let points = rows.points().iter().enumerate().filter(|(_, p)| size(p) == wanted);
                let points = points.filter_map(|(point, load)| {
                    let at = (machine, configuration, point);
                    let most = if y.is_cpu { rows.all_cpus(at) } else { None };
                    Some(Point {
                        x: mean(&rows.values(at, x), None)?.value,
                        planned: planned(rows, load),
                        y: mean(&rows.values(at, y.quantity), most)?,
                    })
                });
                let mut points: Vec<Point> = points.collect();
                points.sort_by(|a, b| a.x.total_cmp(&b.x));
                if !points.is_empty() {
                    all.push(Line { name: format!("{name}{suffix}"), points });
                }
            }
        }
    }
    all
}

/// The rate that the plan asks for, over all targets.
fn planned(rows: &Rows<'_>, load: &Load) -> Option<f64> {
    let targets = rows.plan.workloads[rows.workload].targets;
    match load {
        Load::Tcp { rate, .. } | Load::Web { rate, .. } => Some(rate * targets as f64),
        Load::Cpu { .. } | Load::Fileset { .. } => None,
    }
}

fn size(load: &Load) -> Option<u64> {
    match load {
        Load::Tcp { size, .. } => Some(*size),
        _ => None,
    }
}

fn everyone(rows: &Rows<'_>) -> std::ops::Range<usize> {
    0..rows.plan.machines.len()
}

fn percent(cpus: Option<f64>) -> Option<f64> {
    cpus.map(|cpus| cpus * 100.0)
}

const TOTAL: Up = cpu(|m| percent(m.total));
const IDD: Up = cpu(|m| percent(m.idd));
const GUESTS: Up = cpu(|m| percent(m.guests));

/// Figure 6.1.
pub(super) fn cpu_by_rate(rows: &Rows<'_>) -> Figure {
    figure(
        "CPU to receive TCP, by packet rate",
        &format!(
            "CPU utilisation of the whole host (guest and driver domain, or native) while it \
             receives TCP, one packet a write; 100 % is one CPU. {BANDS}"
        ),
        "Receiving cost three to five times the CPU of native Linux, and the driver domain had \
         the larger part of it; the guest was saturated long before the network.",
        Axis::new("Data packets", "/s"),
        Axis::new("CPU utilisation", "%"),
        lines(rows, everyone(rows), |m| m.host_events_per_s, TOTAL, ""),
    )
}

/// Figure 6.2.
pub(super) fn replies(rows: &Rows<'_>) -> Figure {
    figure(
        "Replies of the web server, by connections",
        &format!("Replies per second by the offered connections per second. {BANDS}"),
        "Native and guest replied alike up to 500 connections per second; then the guest's CPU was \
         saturated.",
        Axis::new("Connections offered", "/s"),
        Axis::new("Replies", "/s"),
        lines(rows, everyone(rows), |m| m.offered_per_s, plain(|m| m.replies_per_s), ""),
    )
}

/// Figure 6.3.
pub(super) fn cpu_by_connections(rows: &Rows<'_>) -> Figure {
    let offered: Quantity = |m| m.offered_per_s;
    let mut all = lines(rows, rows.native_ones(), offered, TOTAL, "");
    all.extend(lines(rows, rows.virtual_ones(), offered, TOTAL, ", guest + IDD"));
    all.extend(lines(rows, rows.virtual_ones(), offered, GUESTS, ", guest"));
    all.extend(lines(rows, rows.virtual_ones(), offered, IDD, ", IDD"));
    figure(
        "CPU of the web server, by connections",
        &format!(
            "CPU utilisation of the native machine, of the guest, of the driver domain (IDD), and \
             of both together; 100 % is one CPU. {BANDS}"
        ),
        "The web server took 3.3 times the native CPU in a virtual machine.",
        Axis::new("Connections offered", "/s"),
        Axis::new("CPU utilisation", "%"),
        all,
    )
}

/// Figure 6.4.
pub(super) fn idd_by_packets(rows: &Rows<'_>) -> Figure {
    figure(
        "CPU of the driver domain, by data packets",
        &format!(
            "CPU utilisation of the driver domain (on KVM: of the host outside of the guests) \
             while a guest receives TCP. {BANDS}"
        ),
        "The driver domain's CPU follows the number of packets, data and ACKs, and not their \
         bytes; at one CPU it is saturated.",
        Axis::new("Data packets", "/s"),
        Axis::new("CPU utilisation of the IDD", "%"),
        lines(rows, rows.virtual_ones(), |m| m.host_events_per_s, IDD, ""),
    )
}

/// Figure 6.5.
pub(super) fn acks(rows: &Rows<'_>) -> Figure {
    figure(
        "ACKs for each data packet",
        &format!("Segments without data that the receiver sent per data segment. {BANDS}"),
        "The ACKs for each data packet fell as the rate rose, and with them the CPU for a packet.",
        Axis::new("Data packets", "/s"),
        Axis::new("ACKs per data packet", ""),
        lines(rows, everyone(rows), |m| m.events_per_s, plain(|m| m.acks), ""),
    )
}
