//! `runs.parquet`: a row for each attempt, its factors and what it measured.

use super::notes;
use crate::measures::{LAYERS, Measures};
use crate::plan::{CpuPlace, Load};
use crate::record::{Ending, Record};
use table::{Cell, Kind, Result, Table};
use workload::web::Per;

pub(super) const COLUMNS: [(&str, Kind); 50] = [
    ("number", Kind::Int),
    ("block", Kind::Int),
    ("attempt", Kind::Int),
    ("machine", Kind::Text),
    ("configuration", Kind::Text),
    ("workload", Kind::Text),
    ("load", Kind::Text),
    ("size", Kind::Int),
    ("rate", Kind::Real),
    ("per", Kind::Text),
    ("dirs", Kind::Int),
    ("server", Kind::Text),
    ("instances", Kind::Int),
    ("place", Kind::Text),
    ("text", Kind::Int),
    ("data", Kind::Int),
    ("passes", Kind::Int),
    ("sample", Kind::Text),
    ("began_unix_s", Kind::Real),
    ("took_s", Kind::Real),
    ("state", Kind::Text),
    ("reason", Kind::Text),
    ("invalid", Kind::Text),
    ("window_s", Kind::Real),
    ("busy_before", Kind::Real),
    ("interval_s", Kind::Real),
    ("total", Kind::Real),
    ("guests", Kind::Real),
    ("idd", Kind::Real),
    (LAYER_COLUMNS[0], Kind::Real),
    (LAYER_COLUMNS[1], Kind::Real),
    (LAYER_COLUMNS[2], Kind::Real),
    (LAYER_COLUMNS[3], Kind::Real),
    (LAYER_COLUMNS[4], Kind::Real),
    (LAYER_COLUMNS[5], Kind::Real),
    ("events_per_s", Kind::Real),
    ("host_events_per_s", Kind::Real),
    ("cost_s", Kind::Real),
    ("acks", Kind::Real),
    ("throughput_bit_per_s", Kind::Real),
    ("offered_per_s", Kind::Real),
    ("replies_per_s", Kind::Real),
    ("seconds", Kind::Real),
    ("idd_cpus", Kind::Reals),
    ("guest_cpus", Kind::Reals),
    ("warnings", Kind::Int),
    ("host_system", Kind::Text),
    ("boot", Kind::Text),
    ("targets", Kind::Int),
    ("server_versions", Kind::Text),
];

/// The columns of [`LAYERS`], in its order.
const LAYER_COLUMNS: [&str; LAYERS.len()] = [
    "layer_guest",
    "layer_vmm",
    "layer_idd_one_vm",
    "layer_idd_shared",
    "layer_idd_own",
    "layer_unattributed",
];

/// The whole file.
pub(super) fn write(plan: &str, records: &[Record]) -> Result<Vec<u8>> {
    let mut table = Table::new(Vec::new(), "runs", &notes(plan), &COLUMNS)?;
    for record in records {
        let servers = record.data().map(|data| &data.servers);
        let versions: Vec<String> = servers.iter().flat_map(|all| all.values().cloned()).collect();
        table.row(&row(record, Measures::of(record).as_ref(), &versions))?;
    }
    table.finish()
}

/// A row's first cells are the run's place, its load's factors and what came of it.
fn row<'a>(
    record: &'a Record,
    found: Option<&'a Measures>,
    versions: &'a [String],
) -> Vec<Cell<'a>> {
    let data = record.data();
    let (state, reason) = match &record.ending {
        Ending::Measured(_) => ("measured", None),
        Ending::Failed(reason) => ("failed", Some(reason.as_str())),
    };
    let mut cells = vec![
        int(record.number),
        int(record.block),
        int(record.attempt),
        Cell::Text(record.machine.as_deref()),
        Cell::Text(Some(&record.configuration)),
        Cell::Text(Some(&record.workload)),
    ];
    cells.extend(Factors::of(&record.load).cells());
    cells.extend([
        Cell::Real(Some(record.began_unix_s)),
        Cell::Real(Some(record.took_s)),
        Cell::Text(Some(state)),
        Cell::Text(reason),
        Cell::Text(found.and_then(|found| found.invalid.as_deref())),
        Cell::Real(data.and_then(|data| data.window_s)),
        Cell::Real(data.and_then(|data| data.busy_before)),
    ]);
    cells.extend(quantities(found));
    let host = data.and_then(|data| data.host.as_ref());
    cells.extend([
        Cell::Int(data.and_then(|data| i64::try_from(data.warnings.len()).ok())),
        Cell::Text(host.map(|counters| counters.begin.host.system.as_str())),
        Cell::Text(host.map(|counters| counters.begin.moment.boot.as_str())),
        Cell::Int(targets(record)),
        Cell::Texts(versions),
    ]);
    cells
}

/// How many targets had a load over the network at once: each has an outcome.
fn targets(record: &Record) -> Option<i64> {
    let networked = matches!(record.load, Load::Tcp { .. } | Load::Web { .. });
    let data = record.data().filter(|_| networked)?;
    i64::try_from(data.outcomes.len()).ok()
}

fn quantities<'a>(found: Option<&'a Measures>) -> Vec<Cell<'a>> {
    let real = |part: fn(&Measures) -> Option<f64>| Cell::Real(found.and_then(part));
    let mut cells = vec![
        real(|found| found.interval_s),
        real(|found| found.total),
        real(|found| found.guests),
        real(|found| found.idd),
    ];
    cells.extend((0..LAYERS.len()).map(|at| Cell::Real(found.and_then(|found| found.layers[at]))));
    cells.extend([
        real(|found| found.events_per_s),
        real(|found| found.host_events_per_s),
        real(|found| found.cost_s),
        real(|found| found.acks),
        real(|found| found.throughput),
        real(|found| found.offered_per_s),
        real(|found| found.replies_per_s),
        real(|found| found.seconds),
        Cell::Reals(found.map(|found| found.idd_cpus.as_slice())),
        Cell::Reals(found.map(|found| found.guest_cpus.as_slice())),
    ]);
    cells
}

/// What was varied: of each load what it has.
#[derive(Default)]
struct Factors<'a> {
    load: &'static str,
    size: Option<i64>,
    rate: Option<f64>,
    per: Option<&'static str>,
    dirs: Option<i64>,
    server: Option<&'static str>,
    instances: Option<i64>,
    place: Option<&'static str>,
    text: Option<i64>,
    data: Option<i64>,
    passes: Option<i64>,
    sample: &'a [String],
}

impl<'a> Factors<'a> {
    fn of(load: &'a Load) -> Self {
        let whole = |value: u64| i64::try_from(value).ok();
        let count = |value: usize| i64::try_from(value).ok();
        match load {
            Load::Tcp { size, rate } => {
                Self { load: "tcp", size: whole(*size), rate: Some(*rate), ..Self::default() }
            }
            Load::Web { rate, per, dirs, server, sample } => Self {
                sample,
                load: "web",
                rate: Some(*rate),
                per: Some(match per {
                    Per::Connection => "connection",
                    Per::Request => "request",
                }),
                dirs: count(*dirs),
                server: Some(server.name()),
                ..Self::default()
            },
            Load::Cpu { instances, place, text, data, passes, sample } => Self {
                sample,
                load: "cpu",
                instances: count(*instances),
                place: Some(match place {
                    CpuPlace::SameGuest => "same-guest",
                    CpuPlace::DifferentGuests => "different-guests",
                }),
                text: whole(*text),
                data: whole(*data),
                passes: whole(*passes),
                ..Self::default()
            },
            Load::Fileset { dirs } => {
                Self { load: "fileset", dirs: count(*dirs), ..Self::default() }
            }
        }
    }

    fn cells(&self) -> [Cell<'a>; 12] {
        [
            Cell::Text(Some(self.load)),
            Cell::Int(self.size),
            Cell::Real(self.rate),
            Cell::Text(self.per),
            Cell::Int(self.dirs),
            Cell::Text(self.server),
            Cell::Int(self.instances),
            Cell::Text(self.place),
            Cell::Int(self.text),
            Cell::Int(self.data),
            Cell::Int(self.passes),
            Cell::Texts(self.sample),
        ]
    }
}

fn int(value: usize) -> Cell<'static> {
    Cell::Int(i64::try_from(value).ok())
}
