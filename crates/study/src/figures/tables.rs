//! Table 5.1, and where the CPU for a packet goes.

use super::rows::{Rows, mean};
use super::shown;
use crate::figure::{Axis, Bar, Cell, Drawing, Figure};
use crate::measures::LAYERS;
use crate::plan::Load;
use workload::fileset::{Statistics, TABLE_5_1};

/// Table 5.1.
pub(super) fn file_set(rows: &Rows<'_>) -> Figure {
    let value = rows.rows.first().and_then(|row| row.outcomes.first());
    let found: Option<Statistics> = value.and_then(|v| serde::Deserialize::deserialize(v).ok());
    let line = |name: &str, of: fn(&Statistics) -> f64| {
        let ours = found.as_ref().map_or(Cell::Unknown, |found| Cell::Number(of(found)));
        vec![Cell::Text(name.to_owned()), ours, Cell::Number(of(&TABLE_5_1))]
    };
    Figure {
        id: String::new(),
        title: "The file set of the web server".to_owned(),
        caption: "Statistics of the generated set beside the dissertation's. Its median cannot \
                  come from this set, whose middle files have 9 and 10 KB."
            .to_owned(),
        found: Some("The last column.".to_owned()),
        drawing: Drawing::Table {
            columns: vec![
                Axis::new("Statistic", ""),
                Axis::new("this set", ""),
                Axis::new("table 5.1", ""),
            ],
            rows: vec![
                line("files", |s| s.files as f64),
                line("total, MB", |s| s.total_mb),
                line("smallest, KB", |s| s.smallest_kb),
                line("largest, KB", |s| s.largest_kb),
                line("mean, KB", |s| s.mean_kb),
                line("coefficient of variation", |s| s.coefficient_of_variation),
                line("first quartile, KB", |s| s.first_quartile_kb),
                line("median, KB", |s| s.median_kb),
                line("third quartile, KB", |s| s.third_quartile_kb),
            ],
        },
        missing: Vec::new(),
    }
}

/// CPU for each packet or reply by layer, at each machine's highest rate.
pub(super) fn layers(rows: &Rows<'_>) -> Figure {
    let event = match rows.points().first() {
        Some(Load::Web { .. }) => "reply",
        _ => "data packet",
    };
    let mut bars = Vec::new();
    let last = rows.points().len().saturating_sub(1);
    for (machine, plan) in rows.plan.machines.iter().enumerate() {
        for configuration in 0..plan.configurations.len() {
            let at = (machine, configuration, last);
            let each = |layer: usize| {
                rows.values(at, |m| Some(m.layers[layer]? / m.host_events_per_s? * 1e6))
            };
            let Some(whole) = mean(&rows.values(at, |m| Some(m.cost_s? * 1e6)), None) else {
                continue;
            };
            let parts =
                (0..LAYERS.len()).map(|layer| mean(&each(layer), None).map(|found| found.value));
            let name = shown(rows.plan, machine, configuration);
            bars.push(Bar { name, parts: parts.collect(), whole });
        }
    }
    let load = rows.points().last().map(Load::describe).unwrap_or_default();
    Figure {
        id: String::new(),
        title: format!("Where the CPU for a {event} goes"),
        caption: format!(
            "CPU time of the whole host for a {event} by layer, at {load}. Threads that serve one \
             VM are charged directly, shared interrupt work by each VM's share of packets \
             (equations 4.6 and 4.7)."
        ),
        found: Some(
            "Most of the cost was in the driver domain and the hypervisor, not in the guest."
                .to_owned(),
        ),
        drawing: Drawing::Stacks {
            y: Axis::new(&format!("CPU per {event}"), "µs"),
            parts: LAYERS.iter().map(|&name| name.to_owned()).collect(),
            bars,
        },
        missing: Vec::new(),
    }
}
