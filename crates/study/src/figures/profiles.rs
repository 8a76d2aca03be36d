//! Figures of samples: table 5.2, figures 5.2 and 6.11.

use super::relative::{base_name, by_programs, compare};
use super::rows::{Rows, mean};
use super::shown;
use crate::figure::{Axis, Cell, Drawing, Figure, Line, Missing, Point};
use crate::measures::Measures;
use crate::plan::Load;
use account::equations::percentages;
use std::collections::{BTreeMap, BTreeSet};

/// Functions of each machine that table 5.2 shows.
const FUNCTIONS: usize = 15;

/// Figure 5.2: the same programs with and without sampling.
pub(super) fn overhead(rows: &Rows<'_>) -> Figure {
    let points = rows.points();
    let bare = |load: &Load| points.iter().position(|other| *other == load.sampled_by(&[]));
    let mut lines = Vec::new();
    for (machine, plan) in rows.plan.machines.iter().enumerate() {
        for configuration in 0..plan.configurations.len() {
            let sampled = points.iter().enumerate().filter(|(_, load)| !load.sample().is_empty());
            let mut line: Vec<Point> = sampled
                .filter_map(|(point, load)| {
                    let at = (machine, configuration, point);
                    let base = (machine, configuration, bare(load)?);
                    let period =
                        rows.values(at, |m| m.sampled.first().map(|event| event.period as f64));
                    let y = compare(rows, base, at, |m| m.seconds)?.ratio?;
                    Some(Point { x: mean(&period, None)?.value, planned: None, y })
                })
                .collect();
            line.sort_by(|a, b| a.x.total_cmp(&b.x));
            if !line.is_empty() {
                lines.push(Line { name: shown(rows.plan, machine, configuration), points: line });
            }
        }
    }
    let counted = counted(rows);
    Figure {
        id: String::new(),
        title: "What sampling costs, by its period".to_owned(),
        caption: format!(
            "Time of programs that compute, while host and guests sample themselves, relative to \
             no sampling on the same machine; {}. Bands are 95 % intervals of the ratio (Fieller).",
            counted.words()
        ),
        found: Some(
            "A period of 10⁶ cycles took 2 % more time, one of 10⁷ 0.25 %, natively and in a \
             virtual machine alike."
                .to_owned(),
        ),
        drawing: Drawing::Lines {
            x: Axis {
                log: true,
                ..Axis::new("Period", if counted.is_time { "ns" } else { "events" })
            },
            y: Axis::new("Time relative to no sampling", ""),
            lines,
        },
        missing: counted.missing(),
    }
}

/// Figure 6.11: misses of n programs on a CPU, relative to native.
pub(super) fn misses(rows: &Rows<'_>) -> Figure {
    let counted = counted(rows);
    let mut lines = Vec::new();
    for event in &counted.asked {
        let of = |measures: &Measures| {
            let found = measures.sampled.iter().find(|one| one.asked == *event)?;
            (found.events > 0.0).then_some(found.events)
        };
        lines.extend(by_programs(rows, |_, measures| of(measures), &format!(": {event}")));
    }
    let (title, y) = if counted.replaced() {
        ("CPU time of programs that share a CPU, in place of their cache misses", "CPU time")
    } else {
        ("Cache misses of programs that share a CPU", "Misses")
    };
    Figure {
        id: String::new(),
        title: title.to_owned(),
        caption: format!(
            "Events of n programs on one CPU, in host and guests together, relative to {} \
             with the same n; {}. Bands are 95 % intervals of the ratio (Fieller).",
            base_name(rows.plan),
            counted.words()
        ),
        found: Some(
            "Misses of the third-level cache grew with the virtual machines that shared a CPU, and \
             made their programs slower; those of the second level hardly did."
                .to_owned(),
        ),
        drawing: Drawing::Lines {
            x: Axis::new("Programs on one CPU", ""),
            y: Axis::new(&format!("{y} relative to {}", base_name(rows.plan)), ""),
            lines,
        },
        missing: counted.missing(),
    }
}

/// Table 5.2: samples by image and function, of all runs at the highest rate together.
pub(super) fn functions(rows: &Rows<'_>) -> Figure {
    let last = rows.points().iter().rposition(|load| !load.sample().is_empty()).unwrap_or(0);
    let mut table = Vec::new();
    for (machine, plan) in rows.plan.machines.iter().enumerate() {
        for configuration in 0..plan.configurations.len() {
            let mut sums: BTreeMap<(&str, &str, Option<&str>), u64> = BTreeMap::new();
            let all = rows.at(machine, configuration, last).filter_map(|row| row.samples);
            for (who, sampled) in all.flatten() {
                let first = sampled.events.first().map(|event| &event.asked);
                let own = sampled.functions.iter();
                for function in own.filter(|function| Some(&function.event) == first) {
                    let key = (who.as_str(), function.image.as_str(), function.symbol.as_deref());
                    *sums.entry(key).or_default() += function.samples;
                }
            }
            let mut sums: Vec<_> = sums.into_iter().collect();
            sums.sort_by_key(|(_, samples)| std::cmp::Reverse(*samples));
            let parts = percentages(&sums.iter().map(|(_, samples)| *samples).collect::<Vec<_>>());
            let name = shown(rows.plan, machine, configuration);
            let rest = sums.len().saturating_sub(FUNCTIONS);
            for ((key, samples), percent) in sums.iter().zip(&parts).take(FUNCTIONS) {
                let (who, image, symbol) = *key;
                table.push(line(&name, who, image, symbol.unwrap_or("-"), *samples, *percent));
            }
            if rest > 0 {
                let others = sums.iter().skip(FUNCTIONS).map(|(_, samples)| *samples).sum();
                let percent = parts.iter().skip(FUNCTIONS).sum();
                table.push(line(&name, "", "", &format!("{rest} more functions"), others, percent));
            }
        }
    }
    let counted = counted(rows);
    let head = |label: &str| Axis::new(label, "");
    Figure {
        id: String::new(),
        title: "Where the events of a web server happen".to_owned(),
        caption: format!(
            "Samples by image and function, of each machine's runs together; {}. A dash is all of \
             an image that has no names. Idle CPUs are left out.",
            counted.words()
        ),
        found: Some(
            "56.3 % of the samples were in the guest's kernel, 15.1 % in the hypervisor and 11.3 % \
             in the web server."
                .to_owned(),
        ),
        drawing: Drawing::Table {
            columns: vec![
                head("Machine"),
                head("Kernel of"),
                head("Image"),
                head("Symbol"),
                head("samples"),
                Axis::new("share", "%"),
            ],
            rows: table,
        },
        missing: counted.missing(),
    }
}

fn line(
    machine: &str,
    who: &str,
    image: &str,
    symbol: &str,
    samples: u64,
    percent: f64,
) -> Vec<Cell> {
    let text = |text: &str| Cell::Text(text.to_owned());
    let (samples, percent) = (Cell::Number(samples as f64), Cell::Number(percent));
    vec![text(machine), text(who), text(image), text(symbol), samples, percent]
}

/// What was asked for, and what was counted.
struct Told {
    asked: Vec<String>,
    counted: BTreeSet<(String, String)>,
    is_time: bool,
}

fn counted(rows: &Rows<'_>) -> Told {
    let all = || rows.rows.iter().flat_map(|row| &row.measures.sampled);
    let mut asked = Vec::new();
    for event in all() {
        if !asked.contains(&event.asked) {
            asked.push(event.asked.clone());
        }
    }
    let mut counted: BTreeSet<(String, String)> =
        all().map(|event| (event.asked.clone(), event.counted.clone())).collect();
    // Of several events of which nobody can count any, one is replaced and the others are left out.
    let words = rows.points().iter().flat_map(Load::sample);
    let names = words.filter_map(|word| Some(word.parse::<sample::Word>().ok()?.name));
    for name in names.filter(|name| !asked.is_empty() && !asked.contains(name)) {
        counted.insert((name, "nothing".to_owned()));
    }
    Told { asked, counted, is_time: all().any(|event| event.counted.ends_with("-clock")) }
}

impl Told {
    /// Whether something else was counted than was asked for.
    fn replaced(&self) -> bool {
        self.counted.iter().any(|(asked, counted)| asked != counted)
    }

    fn words(&self) -> String {
        let words = self.counted.iter().map(|(asked, counted)| {
            if asked == counted {
                format!("the event is {asked}")
            } else {
                format!("{asked} was not supported and {counted} was used instead")
            }
        });
        let words: Vec<String> = words.collect();
        if words.is_empty() { "no samples".to_owned() } else { words.join("; ") }
    }

    fn missing(&self) -> Vec<Missing> {
        let replaced = self.counted.iter().filter(|(asked, counted)| asked != counted);
        let one = |(asked, counted): &(String, String)| Missing {
            what: asked.clone(),
            reason: format!(
                "no counters: the machine's CPUs have none that can be used, and what is shown is \
                 {counted}"
            ),
        };
        replaced.map(one).collect()
    }
}
