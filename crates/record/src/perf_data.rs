//! perf.data: what `perf record` wrote, read as a recording is.

mod doubts;
mod fields;
mod header;
mod rounds;

use crate::error::Error;
use crate::head::{Entry, Head};
use doubts::Doubts;
use files::failed;
use header::{Attribute, Header};
use model::{Absent, Event, Role, Stream};
pub(crate) use rounds::Rounds;
use sample::{Decoder, Layout};
use std::path::Path;

/// PERF_TYPE_SOFTWARE, and of its events those that are told apart here.
const SOFTWARE: u32 = 1;
const CPU_CLOCK: u64 = 0;
const TASK_CLOCK: u64 = 1;
const DUMMY: u64 = 9;

/// A perf.data, opened.
#[derive(Debug, Clone)]
pub(crate) struct PerfData {
    header: Header,
    decoder: Decoder,
    name: String,
}

impl PerfData {
    pub(crate) fn open(path: &Path) -> Result<(Self, Head), Error> {
        let file = files::open(path).map_err(failed("open", path))?;
        let header = Header::read(&file, path)?;
        let order = order(&header.attributes);
        let decoder = Decoder::of_several(&layouts(&order))?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let mut head = Head::new(&header.command, header.environment.clone());
        head.closed = true;
        let stream = stream(&header, &order);
        head.streams.push(Entry { stream, layout: None, file: name.clone() });
        Ok((Self { header, decoder, name }, head))
    }

    pub(crate) fn records(&self, path: &Path) -> Result<Rounds, Error> {
        let file = files::open(path).map_err(failed("open", path))?;
        let Header { data, build_ids, available_cpus, .. } = self.header.clone();
        let (name, decoder) = (self.name.clone(), self.decoder.clone());
        Ok(Rounds::new(file, name, data, decoder, build_ids, Doubts::new(available_cpus)))
    }
}

/// Events that have samples; then those that only bring names.
fn order(attributes: &[Attribute]) -> Vec<&Attribute> {
    let (names, mut events): (Vec<_>, Vec<_>) = attributes.iter().partition(|one| is_dummy(one));
    events.extend(names);
    events
}

fn is_dummy(attribute: &Attribute) -> bool {
    attribute.kind == SOFTWARE && attribute.config == DUMMY
}

/// A layout for each way in which samples are laid out.
fn layouts(order: &[&Attribute]) -> Vec<Layout> {
    let periods: Vec<u64> = order.iter().map(|one| one.period.unwrap_or_default()).collect();
    let mut layouts: Vec<Layout> = Vec::new();
    for (event, attribute) in (0..).zip(order) {
        let sample_type = attribute.sample_type;
        let same = layouts.iter().position(|layout| layout.sample_type == sample_type);
        let at = same.unwrap_or_else(|| {
            layouts.push(Layout { sample_type, ids: Vec::new(), periods: periods.clone() });
            layouts.len() - 1
        });
        if let Some(layout) = layouts.get_mut(at) {
            layout.ids.extend(attribute.ids.iter().map(|id| (*id, event)));
        }
    }
    layouts
}

fn stream(header: &Header, order: &[&Attribute]) -> Stream {
    let mut notes = Vec::new();
    if !header.finished {
        notes.push("perf did not finish this file: records may be missing".to_owned());
    }
    // Each event was opened on each CPU, and has a number there.
    let opened = || order.iter().map(|one| one.ids.len()).max().unwrap_or_default() as u32;
    Stream {
        name: "host".to_owned(),
        role: Role::Host,
        events: order.iter().filter(|one| !is_dummy(one)).map(|one| event(one)).collect(),
        cpus: header.cpus.unwrap_or_else(opened),
        serving: Vec::new(),
        clock: Vec::new(),
        until: None,
        kallsyms: Err(Absent::NotProvided("perf.data has no kernel symbols".into())),
        notes,
    }
}

fn event(attribute: &Attribute) -> Event {
    let Attribute { kind, config, period, .. } = *attribute;
    let name = attribute.name.clone().unwrap_or_else(|| match (kind, config) {
        (SOFTWARE, CPU_CLOCK) => "cpu-clock".to_owned(),
        (SOFTWARE, TASK_CLOCK) => "task-clock".to_owned(),
        _ => format!("type {kind} config {config:#x}"),
    });
    Event {
        asked: name.clone(),
        counted: name,
        kind,
        config,
        // Where a frequency was asked for, samples carry their own.
        period: period.unwrap_or_default(),
        is_time: kind == SOFTWARE && [CPU_CLOCK, TASK_CLOCK].contains(&config),
        // The kernel's own events take no turns.
        share: if kind == SOFTWARE {
            Ok(1.0)
        } else {
            Err(Absent::NotProvided("perf.data has no running time".into()))
        },
    }
}

#[cfg(test)]
#[path = "perf_data/tests.rs"]
mod tests;
