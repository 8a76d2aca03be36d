//! The workloads of a plan's text.

use super::read::{Source, at};
use super::{CpuPlace, Events, Load, PlanError, Workload};
use model::quantity::{self, Bare};
use serde::Deserialize;
use std::time::Duration;
use toml::{Spanned, Value};
use workload::serve::Software;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawWorkload {
    pub name: Spanned<String>,
    kind: Spanned<String>,
    warmup: Option<Spanned<String>>,
    window: Option<Spanned<String>>,
    targets: Option<usize>,
    rate: Option<Spanned<Value>>,
    size: Option<Spanned<Value>>,
    per: Option<Spanned<String>>,
    server: Option<Spanned<String>>,
    dirs: Option<usize>,
    instances: Option<Spanned<Value>>,
    place: Option<Spanned<Value>>,
    text: Option<Spanned<String>>,
    data: Option<Spanned<String>>,
    passes: Option<u64>,
    sample: Option<Spanned<Value>>,
}

/// Maximum of a time in a plan.
const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// A time with its unit, at most a day.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let time = quantity::duration(text, Bare::Refused)?;
    let in_range = time <= MAX_TIME;
    in_range.then_some(time).ok_or_else(|| format!("invalid time `{text}`: expected at most 24 h"))
}

/// A size with its unit, at least a byte.
fn size_of(text: &str) -> Result<u64, String> {
    let bytes = quantity::bytes(text, Bare::Refused)?;
    (bytes > 0)
        .then_some(bytes)
        .ok_or_else(|| format!("invalid size `{text}`: expected 1 B or more"))
}

/// A rate with its unit.
fn rate(text: &str) -> Result<f64, String> {
    quantity::rate(text, Bare::Refused)
}

/// A workload with all its points.
pub(super) fn workload(
    source: &Source<'_>,
    raw: Spanned<RawWorkload>,
) -> Result<Workload, PlanError> {
    let here = at(&raw);
    let raw = raw.into_inner();
    let time = |text: &Option<Spanned<String>>, default: u64| match text {
        None => Ok(Duration::from_secs(default)),
        Some(text) => duration(text.get_ref()).map_err(|problem| source.error(at(text), problem)),
    };
    let (warmup, window) = (time(&raw.warmup, 1)?, time(&raw.window, 5)?);
    let points = match raw.kind.get_ref().as_str() {
        "tcp" => tcp(source, here, &raw)?,
        "web" => web(source, here, &raw)?,
        "cpu" => cpu(source, here, &raw)?,
        "fileset" => vec![Load::Fileset { dirs: raw.dirs.unwrap_or(61) }],
        other => {
            let problem = format!(
                "invalid workload `{}`: expected tcp, web, cpu or fileset",
                other.escape_debug()
            );
            return Err(source.error(at(&raw.kind), problem));
        }
    };
    only(source, &raw)?;
    let name = raw.name.into_inner();
    Ok(Workload { name, warmup, window, targets: raw.targets.unwrap_or(1), points })
}

/// Refuses what belongs to another kind of workload.
fn only(source: &Source<'_>, raw: &RawWorkload) -> Result<(), PlanError> {
    let kind = raw.kind.get_ref().as_str();
    let given: [(&str, Option<usize>, &[&str]); 11] = [
        ("rate", raw.rate.as_ref().map(at), &["tcp", "web"]),
        ("size", raw.size.as_ref().map(at), &["tcp"]),
        ("per", raw.per.as_ref().map(at), &["web"]),
        ("server", raw.server.as_ref().map(at), &["web"]),
        ("dirs", raw.dirs.map(|_| at(&raw.kind)), &["web", "fileset"]),
        ("instances", raw.instances.as_ref().map(at), &["cpu"]),
        ("place", raw.place.as_ref().map(at), &["cpu"]),
        ("text", raw.text.as_ref().map(at), &["cpu"]),
        ("data", raw.data.as_ref().map(at), &["cpu"]),
        ("passes", raw.passes.map(|_| at(&raw.kind)), &["cpu"]),
        ("sample", raw.sample.as_ref().map(at), &["web", "cpu"]),
    ];
    for (name, place, kinds) in given {
        if let Some(place) = place.filter(|_| !kinds.contains(&kind)) {
            let problem =
                format!("invalid key `{name}`: not supported by a workload of kind {kind}");
            return Err(source.error(place, problem));
        }
    }
    Ok(())
}

fn tcp(source: &Source<'_>, here: usize, raw: &RawWorkload) -> Result<Vec<Load>, PlanError> {
    let rates = texts(source, here, "rate", raw.rate.as_ref(), rate)?;
    let sizes = match &raw.size {
        None => vec![1448],
        size => texts(source, here, "size", size.as_ref(), size_of)?,
    };
    let points = |size: &u64| rates.iter().map(|&rate| Load::Tcp { size: *size, rate }).collect();
    Ok(sizes.iter().flat_map(|size| -> Vec<Load> { points(size) }).collect())
}

fn web(source: &Source<'_>, here: usize, raw: &RawWorkload) -> Result<Vec<Load>, PlanError> {
    let rates = texts(source, here, "rate", raw.rate.as_ref(), rate)?;
    let per = match raw.per.as_ref().map(|per| per.get_ref().as_str()) {
        None | Some("connection") => workload::web::Per::Connection,
        Some("request") => workload::web::Per::Request,
        Some(other) => {
            let problem = format!(
                "invalid unit of the rate `{}`: expected connection or request",
                other.escape_debug()
            );
            return Err(source.error(raw.per.as_ref().map_or(here, at), problem));
        }
    };
    let server = server(source, raw.server.as_ref())?;
    let dirs = raw.dirs.unwrap_or(1);
    let samples = samples(source, here, raw)?;
    let points = |sample: &Events| {
        let point = |&rate| Load::Web { rate, per, dirs, server, sample: sample.clone() };
        rates.iter().map(point).collect::<Vec<_>>()
    };
    Ok(samples.iter().flat_map(points).collect())
}

/// What is sampled: `none`, or events with commas between; each may have its period.
fn samples(source: &Source<'_>, here: usize, raw: &RawWorkload) -> Result<Vec<Events>, PlanError> {
    let Some(given) = &raw.sample else { return Ok(vec![Vec::new()]) };
    let events = |text: &str| match text {
        "none" => Ok(Vec::new()),
        list => {
            // A comma inside of `pmu/…/` is the event's own.
            let mut inside = false;
            let parts = list.split(|letter| {
                inside ^= letter == '/';
                letter == ',' && !inside
            });
            parts.map(|word| Ok(word.parse::<sample::Word>()?.to_string())).collect()
        }
    };
    texts(source, here, "sample", Some(given), events)
}

fn server(source: &Source<'_>, raw: Option<&Spanned<String>>) -> Result<Software, PlanError> {
    let Some(raw) = raw else { return Ok(Software::default()) };
    Software::ALL.into_iter().find(|known| known.name() == raw.get_ref()).ok_or_else(|| {
        let name = raw.get_ref().escape_debug();
        source.error(at(raw), format!("invalid server `{name}`: expected vmeter, nginx or apache"))
    })
}

fn cpu(source: &Source<'_>, here: usize, raw: &RawWorkload) -> Result<Vec<Load>, PlanError> {
    let size = |text: &Option<Spanned<String>>, default: u64| match text {
        None => Ok(default),
        Some(text) => size_of(text.get_ref()).map_err(|problem| source.error(at(text), problem)),
    };
    let plan = workload::cpu::Plan::default();
    let (text, data) = (size(&raw.text, plan.text)?, size(&raw.data, plan.data)?);
    let instances = match &raw.instances {
        None => vec![1],
        Some(value) => list(value.get_ref())
            .into_iter()
            .map(|one| match one {
                Value::Integer(count @ 1..=64) => Ok(*count as usize),
                _ => {
                    Err(source.error(at(value), "invalid instances: expected numbers from 1 to 64"))
                }
            })
            .collect::<Result<_, _>>()?,
    };
    let place = |text: &str| match text {
        "same-guest" => Ok(CpuPlace::SameGuest),
        "different-guests" => Ok(CpuPlace::DifferentGuests),
        other => Err(format!(
            "invalid place `{}`: expected same-guest or different-guests",
            other.escape_debug()
        )),
    };
    let places = match &raw.place {
        None => vec![CpuPlace::SameGuest],
        given => texts(source, here, "place", given.as_ref(), place)?,
    };
    let passes = raw.passes.unwrap_or(plan.passes);
    let samples = samples(source, here, raw)?;
    let mut points = Vec::new();
    for sample in &samples {
        for &place in &places {
            points.extend(instances.iter().map(|&instances| Load::Cpu {
                instances,
                place,
                text,
                data,
                passes,
                sample: sample.clone(),
            }));
        }
    }
    Ok(points)
}

/// A text or several, each read as what it is.
fn texts<T>(
    source: &Source<'_>,
    here: usize,
    name: &str,
    value: Option<&Spanned<Value>>,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, PlanError> {
    let Some(value) = value else {
        return Err(source.error(here, format!("missing `{name}` of the workload")));
    };
    let wrong = |problem: String| source.error(at(value), format!("{name}: {problem}"));
    let all: Vec<T> = list(value.get_ref())
        .into_iter()
        .map(|one| match one {
            Value::String(text) => read(text).map_err(wrong),
            other => Err(wrong(format!("missing unit of `{other}`: expected text with a unit"))),
        })
        .collect::<Result<_, _>>()?;
    if all.is_empty() {
        Err(wrong("invalid list: expected at least one value".to_owned()))
    } else {
        Ok(all)
    }
}

/// A list's elements, or the one that it is.
fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(all) => all.iter().collect(),
        one => vec![one],
    }
}
