//! The text of a plan, before it is known whether it can be.

use super::loads::{RawWorkload, duration, workload};
use super::{
    Configuration, Figure, FigureKind, Guest, Lab, Machine, Place, Plan, PlanError, Workload,
};
use agent::Setting;
use serde::Deserialize;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;

/// The schema's name.
pub const SCHEMA: &str = "vmeter.plan/1";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawPlan {
    schema: Spanned<String>,
    id: Spanned<String>,
    title: String,
    #[serde(default)]
    question: String,
    #[serde(default)]
    takes: String,
    repetitions: Option<Spanned<usize>>,
    settle: Option<Spanned<String>>,
    #[serde(default = "one")]
    seed: u64,
    lab: Option<Spanned<RawLab>>,
    baseline: Option<Spanned<String>>,
    #[serde(default)]
    machines: Vec<Spanned<RawMachine>>,
    workloads: Vec<Spanned<RawWorkload>>,
    figures: Vec<Spanned<RawFigure>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawLab {
    clock: Option<Spanned<String>>,
    cpus: Option<u32>,
    networks: Option<Spanned<usize>>,
    suite: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawMachine {
    name: Spanned<String>,
    lab: Option<RawLabMachine>,
    agents: Option<RawAgents>,
    needs_cpus: Option<usize>,
    #[serde(default)]
    set: Vec<Setting>,
    #[serde(default)]
    configurations: Vec<RawConfiguration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawConfiguration {
    name: String,
    #[serde(default)]
    set: Vec<Setting>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawLabMachine {
    kind: Spanned<String>,
    clock: Option<Spanned<String>>,
    guests: Option<u32>,
    #[serde(default = "one_u32")]
    vcpus: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawAgents {
    host: String,
    client: Option<String>,
    #[serde(default)]
    addresses: Vec<IpAddr>,
    #[serde(default)]
    guests: Vec<RawGuest>,
    key: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawGuest {
    name: String,
    agent: String,
    address: IpAddr,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawFigure {
    id: Spanned<String>,
    workload: Option<Spanned<String>>,
}

/// How long a machine may take to be idle where the plan does not say.
const SETTLE: Duration = Duration::from_secs(10);

fn one() -> u64 {
    1
}

fn one_u32() -> u32 {
    1
}

/// A text and its name, for errors with lines.
pub(super) struct Source<'a> {
    pub text: &'a str,
    pub file: &'a str,
}

impl Source<'_> {
    /// An error at a place of the text.
    pub fn error(&self, at: usize, problem: impl Into<String>) -> PlanError {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        PlanError { file: self.file.to_owned(), line, problem: problem.into() }
    }
}

/// Where something stands in the text.
pub(super) fn at<T>(spanned: &Spanned<T>) -> usize {
    spanned.span().start
}

/// Reads and checks a plan.
pub(super) fn plan(text: &str, file: &str) -> Result<Plan, PlanError> {
    let source = Source { text, file };
    let raw: RawPlan = toml::from_str(text).map_err(|error| {
        source.error(error.span().map_or(0, |span| span.start), error.message().to_owned())
    })?;
    if raw.schema.get_ref() != SCHEMA {
        let problem = format!("unsupported schema: expected `{SCHEMA}`");
        return Err(source.error(at(&raw.schema), problem));
    }
    let letters = |id: &str| id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
    if raw.id.get_ref().is_empty() || !letters(raw.id.get_ref()) {
        return Err(source.error(at(&raw.id), "invalid id: expected letters, digits, - and ."));
    }
    let repetitions = raw.repetitions.as_ref().map_or(5, |count| *count.get_ref());
    if !(1..=1000).contains(&repetitions) {
        let place = raw.repetitions.as_ref().map_or(0, at);
        return Err(
            source.error(place, format!("invalid repetitions {repetitions}: expected 1 to 1000"))
        );
    }
    let settle = match &raw.settle {
        None => SETTLE,
        Some(text) => {
            duration(text.get_ref()).map_err(|problem| source.error(at(text), problem))?
        }
    };
    let lab = lab(&source, raw.lab)?;
    let machines: Vec<Machine> =
        raw.machines.into_iter().map(|m| machine(&source, m, &lab)).collect::<Result<_, _>>()?;
    let named_baseline = baseline(&source, raw.baseline.as_ref(), &machines)?;
    let mut names = Vec::new();
    let workloads: Vec<Workload> = raw
        .workloads
        .into_iter()
        .map(|raw| {
            names.push(raw.get_ref().name.get_ref().clone());
            workload(&source, raw)
        })
        .collect::<Result<_, _>>()?;
    let figures: Vec<(usize, Figure)> = raw
        .figures
        .iter()
        .map(|raw| Ok((at(raw), figure(&source, raw.get_ref(), &names)?)))
        .collect::<Result<_, _>>()?;
    let plan = Plan {
        id: raw.id.into_inner(),
        title: raw.title,
        question: raw.question,
        takes: raw.takes,
        repetitions,
        seed: raw.seed,
        settle,
        lab,
        machines,
        named_baseline,
        workloads,
        figures: figures.iter().map(|(_, figure)| figure.clone()).collect(),
        text: text.to_owned(),
    };
    super::check::plan(&source, &plan, &figures)?;
    Ok(plan)
}

fn lab(source: &Source<'_>, raw: Option<Spanned<RawLab>>) -> Result<Lab, PlanError> {
    let raw = raw.map(Spanned::into_inner).unwrap_or_default();
    let clock = clock(source, raw.clock.as_ref())?.unwrap_or(lab::Clock::Instructions);
    let networks = raw.networks.as_ref().map_or(1, |count| *count.get_ref());
    if networks > lab::MOST_WIRES {
        let problem = format!("invalid networks {networks}: expected at most {}", lab::MOST_WIRES);
        return Err(source.error(raw.networks.as_ref().map_or(0, at), problem));
    }
    Ok(Lab {
        clock,
        cpus: raw.cpus.unwrap_or(4),
        networks,
        suite: raw.suite.unwrap_or_else(|| "bookworm".to_owned()),
    })
}

fn clock(
    source: &Source<'_>,
    raw: Option<&Spanned<String>>,
) -> Result<Option<lab::Clock>, PlanError> {
    let Some(raw) = raw else { return Ok(None) };
    match raw.get_ref().as_str() {
        "instructions" => Ok(Some(lab::Clock::Instructions)),
        "host" => Ok(Some(lab::Clock::Host)),
        other => {
            let problem =
                format!("invalid clock `{}`: expected instructions or host", other.escape_debug());
            Err(source.error(at(raw), problem))
        }
    }
}

fn machine(source: &Source<'_>, raw: Spanned<RawMachine>, lab: &Lab) -> Result<Machine, PlanError> {
    let here = at(&raw);
    let raw = raw.into_inner();
    let place = match (raw.lab, raw.agents) {
        (Some(machine), None) => {
            let (kind, guests) = match machine.kind.get_ref().as_str() {
                "native" => (lab::Kind::Native, machine.guests.unwrap_or(0)),
                "xen" => (lab::Kind::Xen, machine.guests.unwrap_or(1)),
                "kvm" => (lab::Kind::Kvm, machine.guests.unwrap_or(1)),
                other => {
                    let other = other.escape_debug();
                    let problem =
                        format!("invalid lab machine `{other}`: expected native, xen or kvm");
                    return Err(source.error(at(&machine.kind), problem));
                }
            };
            let clock = clock(source, machine.clock.as_ref())?.unwrap_or(lab.clock);
            Place::Lab { kind, clock, guests, vcpus: machine.vcpus }
        }
        (None, Some(agents)) => Place::Agents {
            key: agents.key,
            host: agents.host,
            client: agents.client,
            addresses: agents.addresses,
            guests: agents
                .guests
                .into_iter()
                .map(|g| Guest { name: g.name, agent: g.agent, address: g.address })
                .collect(),
        },
        _ => {
            let problem = "invalid machine: expected either `lab = {…}` or `agents = {…}`";
            return Err(source.error(here, problem));
        }
    };
    let is_lab = matches!(place, Place::Lab { .. });
    let always = raw.set;
    let mut configurations: Vec<Configuration> = raw
        .configurations
        .into_iter()
        .map(|c| Configuration { name: c.name, set: [always.clone(), c.set].concat() })
        .collect();
    if configurations.is_empty() {
        configurations.push(Configuration { name: String::new(), set: always });
    }
    let needs_cpus = raw.needs_cpus.unwrap_or(if is_lab { lab.cpus as usize } else { 1 });
    Ok(Machine { name: raw.name.into_inner(), place, needs_cpus, configurations })
}

/// The machine that a plan names as the one to compare with.
fn baseline(
    source: &Source<'_>,
    raw: Option<&Spanned<String>>,
    machines: &[Machine],
) -> Result<Option<usize>, PlanError> {
    let Some(raw) = raw else { return Ok(None) };
    let found = machines.iter().position(|machine| machine.name == *raw.get_ref());
    found.map(Some).ok_or_else(|| {
        let known: Vec<&str> = machines.iter().map(|machine| machine.name.as_str()).collect();
        let name = raw.get_ref().escape_debug();
        let problem = format!("invalid baseline `{name}`: expected one of {}", known.join(", "));
        source.error(at(raw), problem)
    })
}

fn figure(source: &Source<'_>, raw: &RawFigure, workloads: &[String]) -> Result<Figure, PlanError> {
    let Some(kind) = FigureKind::named(raw.id.get_ref()) else {
        let known: Vec<&str> = FigureKind::ALL.iter().map(|kind| kind.id()).collect();
        let problem = format!(
            "invalid figure `{}`: expected one of {}",
            raw.id.get_ref().escape_debug(),
            known.join(", ")
        );
        return Err(source.error(at(&raw.id), problem));
    };
    let workload = match &raw.workload {
        None if workloads.len() == 1 => 0,
        None => {
            let problem = "missing workload of the figure: the plan has several";
            return Err(source.error(at(&raw.id), problem));
        }
        Some(name) => workloads.iter().position(|w| w == name.get_ref()).ok_or_else(|| {
            let problem = format!(
                "workload `{}` not found: expected one of {}",
                name.get_ref().escape_debug(),
                workloads.join(", ")
            );
            source.error(at(name), problem)
        })?,
    };
    Ok(Figure { kind, workload })
}
