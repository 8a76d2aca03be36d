//! JSON: all of a profile, `vmeter.profile/1` (docs/profile.md).

use crate::label::sentence;
use crate::named::{Named, Row};
use crate::place::{Layer, Part};
use crate::report::StreamReport;
use crate::summary::{Counters, busy, warnings};
use crate::table::Choice;
use model::{Absent, Reading, Role};
use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// The schema's name and version.
pub const SCHEMA: &str = "vmeter.profile/1";

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    events: Vec<Event>,
    streams: Vec<Stream>,
    vms: Vec<Vm>,
    #[serde(serialize_with = "each_row")]
    rows: Rows<'a>,
}

#[derive(Serialize)]
struct Event {
    asked: String,
    counted: String,
    unit: &'static str,
}

#[derive(Serialize)]
struct Stream {
    name: String,
    role: Role,
    samples: u64,
    duration_s: Option<f64>,
    events: Vec<StreamEvent>,
    lost: BTreeMap<u32, u64>,
    lost_between_s: Option<(f64, f64)>,
    throttled: BTreeMap<u32, u64>,
    clock_bound_s: Option<f64>,
    clock_segments: usize,
    uncertain: u64,
    unplaced: u64,
    unheard: u64,
    misread: u64,
    duplicates: u64,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct StreamEvent {
    event: u16,
    period: u64,
    share: Option<f64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    absent: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct Vm {
    vm: String,
    event: u16,
    samples: u64,
    events: u64,
    busy_s: Option<f64>,
    counters_s: Option<f64>,
    layers: BTreeMap<Layer, u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    absent: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct OneRow {
    event: u16,
    samples: u64,
    events: u64,
    vm: String,
    layer: Layer,
    part: Part,
    process: String,
    pid: Option<u32>,
    image: String,
    symbol: Option<String>,
    address: Option<String>,
    idle: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    absent: BTreeMap<&'static str, String>,
}

struct Rows<'a> {
    named: &'a Named<'a>,
    choice: &'a Choice,
}

/// Writes the rows, streams and busy times of the chosen VMs, idle time too, whose rows say so.
/// `hertz` is the rate of cycles for [`busy`].
///
/// # Errors
/// As of the writer.
pub fn json(
    named: &Named<'_>,
    choice: &Choice,
    hertz: Option<f64>,
    counters: &Counters,
    to: &mut dyn Write,
) -> io::Result<()> {
    let events = named.profile.events().iter().map(|event| Event {
        asked: sentence(&event.asked),
        counted: sentence(&event.counted),
        unit: if event.is_time { "ns" } else { "events" },
    });
    let chosen = |vm| choice.vms.is_empty() || choice.vms.iter().any(|c| c == named.profile.vm(vm));
    let vms = busy(named, hertz, counters).into_iter().filter(|busy| chosen(busy.vm)).map(|busy| {
        let (busy_s, mut absent) = reading("busy_s", &busy.busy.map(|time| time.seconds()));
        let (counters_s, more) = reading("counters_s", &busy.counted.map(|time| time.seconds()));
        absent.extend(more);
        let layers = busy.layers.iter().map(|(&layer, count)| (layer, count.samples));
        Vm {
            vm: named.profile.shown_vm(busy.vm),
            event: busy.event,
            samples: busy.count.samples,
            events: busy.count.events,
            busy_s,
            counters_s,
            layers: layers.collect(),
            absent,
        }
    });
    let document = Document {
        schema: SCHEMA,
        events: events.collect(),
        streams: named.profile.streams.iter().map(stream).collect(),
        vms: vms.collect(),
        rows: Rows { named, choice },
    };
    serde_json::to_writer(&mut *to, &document)?;
    writeln!(to)
}

fn stream(report: &StreamReport) -> Stream {
    let event = |own: &crate::StreamEvent| {
        let (share, absent) = reading("share", &own.share);
        StreamEvent { event: own.event, period: own.period, share, absent }
    };
    Stream {
        name: sentence(&report.name),
        role: report.role,
        samples: report.samples,
        duration_s: report.duration().map(model::Nanos::seconds),
        events: report.events.iter().map(event).collect(),
        lost: report.lost.clone(),
        lost_between_s: report.since_begin(report.lost_span),
        throttled: report.throttled.clone(),
        clock_bound_s: report.clock_bound.map(|bound| bound as f64 / 1e9),
        clock_segments: report.clock_segments,
        uncertain: report.uncertain,
        unplaced: report.unplaced,
        unheard: report.unheard,
        misread: report.misread,
        duplicates: report.duplicates,
        warnings: warnings(report),
    }
}

fn each_row<S: Serializer>(rows: &Rows<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(None)?;
    for row in rows.named.rows.iter().filter(|row| rows.choice.lets(rows.named, row)) {
        list.serialize_element(&one_row(rows.named, row))?;
    }
    list.end()
}

fn one_row(named: &Named<'_>, row: &Row) -> OneRow {
    let reason = row.naming.as_ref().err().map(|reason| sentence(&reason.to_string()));
    OneRow {
        event: row.event,
        samples: row.count.samples,
        events: row.count.events,
        vm: named.profile.shown_vm(row.vm),
        layer: row.layer,
        part: row.part,
        process: named.profile.shown_name(row.process),
        pid: row.pid,
        image: named.shown_image(row, true),
        symbol: row.naming.is_ok().then(|| named.shown_symbol(row)),
        address: row.address.map(|address| format!("{address:#x}")),
        idle: row.idle,
        absent: reason.map(|reason| ("symbol", reason)).into_iter().collect(),
    }
}

fn reading(
    name: &'static str,
    reading: &Reading<f64>,
) -> (Option<f64>, BTreeMap<&'static str, String>) {
    let absent = |absent: &Absent| BTreeMap::from([(name, sentence(&absent.to_string()))]);
    match reading {
        Ok(value) => (Some(*value), BTreeMap::new()),
        Err(why) => (None, absent(why)),
    }
}
