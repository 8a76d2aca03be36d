//! The figures that a plan can ask for, made from stored runs alone.

mod kiviat;
mod lines;
mod profiles;
mod relative;
mod rows;
mod tables;

use crate::figure::{Figure, Missing};
use crate::plan::{Clock, FigureKind, Place, Plan};
pub use relative::findings;
pub use rows::Rows;

impl FigureKind {
    /// Draws it: a figure, or, where it shows times of machines of several clocks, one for each
    /// clock, as these times cannot share an axis.
    #[must_use]
    pub fn draw(self, rows: &Rows<'_>) -> Vec<Figure> {
        let id = self.id_of(rows);
        let clocks = rows.clocks();
        if clocks.len() < 2 || !self.shows_times() {
            let mut figure = self.draw_one(rows);
            figure.missing.extend(self.missing(rows, None));
            return vec![Figure { id, ..figure }];
        }
        let first = clocks.first().copied();
        let panel = |clock: Clock| {
            let mut figure = self.draw_one(&rows.of_clock(clock));
            figure.missing.extend(self.missing(rows, Some(clock)));
            let also = "Times by different clocks cannot be compared: each clock has a panel of its \
                        own.";
            Figure {
                id: format!("{id}-{}", clock.word()),
                title: format!("{}: {}", figure.title, clock.machines()),
                caption: format!("{} {also}", figure.caption),
                // Once is enough.
                found: figure.found.filter(|_| first == Some(clock)),
                ..figure
            }
        };
        clocks.iter().copied().map(panel).collect()
    }

    /// Machines that have no valid run, and those whose CPU time, which it shows, is not known.
    fn missing(self, rows: &Rows<'_>, clock: Option<Clock>) -> Vec<Missing> {
        let mut missing = rows.missing(clock);
        if self.shows_times() {
            missing.extend(rows.without_cpu(clock));
        }
        missing
    }

    /// Whether it shows times of machines themselves, and not relations of times, or counts.
    fn shows_times(self) -> bool {
        match self {
            Self::Fig61 | Self::Fig63 | Self::Fig64 | Self::Fig67 | Self::Fig69 | Self::Layers => {
                true
            }
            Self::Table51
            | Self::Table52
            | Self::Fig52
            | Self::Fig62
            | Self::Fig65
            | Self::Fig610
            | Self::Fig611
            | Self::Ratio => false,
        }
    }

    /// Whether the plan has several of it, of several workloads.
    fn comes_again(self, plan: &Plan) -> bool {
        plan.figures.iter().filter(|figure| figure.kind == self).count() > 1
    }

    /// Its id on a page: with the workload's name where a plan may, or does, have several.
    fn id_of(self, rows: &Rows<'_>) -> String {
        if self.comes_again(rows.plan) || matches!(self, Self::Layers | Self::Ratio) {
            let workload = &rows.plan.workloads[rows.workload];
            return format!("{}-{}", self.id(), plain(&workload.name));
        }
        self.id().to_owned()
    }

    fn draw_one(self, rows: &Rows<'_>) -> Figure {
        let mut figure = self.draw_kind(rows);
        // The table of ratios says its workload by itself.
        if self.comes_again(rows.plan) && self != Self::Ratio {
            let workload = &rows.plan.workloads[rows.workload].name;
            figure.title = format!("{} ({workload})", figure.title);
        }
        figure
    }

    fn draw_kind(self, rows: &Rows<'_>) -> Figure {
        match self {
            Self::Table51 => tables::file_set(rows),
            Self::Table52 => profiles::functions(rows),
            Self::Fig52 => profiles::overhead(rows),
            Self::Fig61 => lines::cpu_by_rate(rows),
            Self::Fig62 => lines::replies(rows),
            Self::Fig63 => lines::cpu_by_connections(rows),
            Self::Fig64 => lines::idd_by_packets(rows),
            Self::Fig65 => lines::acks(rows),
            Self::Fig67 => kiviat::interrupts(rows, 1),
            Self::Fig69 => kiviat::interrupts(rows, 2),
            Self::Fig610 => relative::programs(rows),
            Self::Fig611 => profiles::misses(rows),
            Self::Layers => tables::layers(rows),
            Self::Ratio => relative::ratio(rows),
        }
    }
}

/// A name with only what an id may have.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' }).collect()
}

/// A machine's name for people, with its configuration's where there are several.
fn shown(plan: &Plan, machine: usize, configuration: usize) -> String {
    let machine = &plan.machines[machine];
    let name = match &machine.place {
        Place::Lab { kind, clock, .. } if machine.name.starts_with(kind.name()) => {
            let kind = match kind {
                lab::Kind::Xen => "Xen",
                lab::Kind::Kvm => "KVM",
                lab::Kind::Native => "native",
            };
            match clock {
                clock if *clock == plan.lab.clock => kind.to_owned(),
                lab::Clock::Host => format!("{kind} by the host's clock"),
                lab::Clock::Instructions => format!("{kind} by the instruction clock"),
            }
        }
        _ => machine.name.clone(),
    };
    match machine.configurations[configuration].name.as_str() {
        "" => name,
        configuration => format!("{name}, {configuration}"),
    }
}

#[cfg(test)]
mod tests {
    use crate::figure::{Drawing, Report};
    use crate::plan::Plan;
    use crate::record::Record;
    use crate::samples;

    /// The page of `quick` over runs of native and Xen by the instruction clock, and the same
    /// counters as those of machines of the host's clock.
    fn quick() -> Report {
        let (_place, store, records) = samples::study();
        let plan = store.plan().unwrap();
        let receive = &plan.workloads[0];
        let machines = [("native", 0), ("xen", 1), ("native-host", 0), ("kvm", 1)];
        let mut all = Vec::new();
        for (block, point) in [(1, 0), (1, 1), (2, 0), (2, 1)] {
            for (machine, record) in machines {
                all.push(Record {
                    number: all.len() + 1,
                    block,
                    machine: Some(machine.to_owned()),
                    load: receive.points[point].clone(),
                    ..records[record].clone()
                });
            }
        }
        crate::report(&plan, &all)
    }

    #[test]
    fn machines_of_two_clocks_share_no_axis_of_times() {
        let report = quick();
        let ids: Vec<&str> = report.figures.iter().map(|figure| figure.id.as_str()).collect();
        for id in ["layers-receive", "fig-6.1"] {
            let panels: Vec<&&str> =
                ids.iter().filter(|other| other.starts_with(&format!("{id}-"))).collect();
            assert_eq!(panels, [&format!("{id}-instructions"), &format!("{id}-host")], "{ids:?}");
        }
        let bars = |id: &str| -> Vec<String> {
            let figure = report.figures.iter().find(|figure| figure.id == id).unwrap();
            let Drawing::Stacks { bars, .. } = &figure.drawing else { panic!("{figure:?}") };
            bars.iter().map(|bar| bar.name.clone()).collect()
        };
        assert_eq!(bars("layers-receive-instructions"), ["native", "Xen"]);
        let host = bars("layers-receive-host");
        assert_eq!(host, ["native by the host's clock", "KVM by the host's clock"]);
        // Relations of times go on one axis, and what the dissertation found stands once.
        assert!(ids.contains(&"ratio-receive") && ids.contains(&"fig-6.5"));
        let found = report.figures.iter().filter(|f| f.id.starts_with("layers"));
        assert_eq!(found.filter(|figure| figure.found.is_some()).count(), 1);
    }

    #[test]
    fn a_machine_whose_cpu_is_not_known_is_said_with_the_reason() {
        let (_place, store, mut records) = samples::study();
        let plan = store.plan().unwrap();
        for record in &mut records {
            record.load = plan.workloads[0].points[0].clone();
        }
        let idle = &mut samples::data(&mut records[1]).host.as_mut().unwrap().end.host.idle;
        *idle = Err(model::Absent::Failed("no answer".into()));
        let report = crate::report(&plan, &records);
        let figure = report.figures.iter().find(|figure| figure.id == "fig-6.1").unwrap();
        let found = figure.missing.iter().find(|missing| missing.what == "CPU of Xen").unwrap();
        assert!(found.reason.contains("no answer"), "{found:?}");
    }

    #[test]
    fn two_figures_of_a_kind_are_told_apart_by_their_workloads() {
        let (_place, store, records) = samples::study();
        let text = store.plan().unwrap().text;
        let more = "[[workloads]]\nname = \"more\"\nkind = \"tcp\"\nrate = \"1/s\"\n\
                    [[figures]]\nid = \"fig-6.1\"\nworkload = \"more\"\n";
        let plan = Plan::parse(&(text + more), "x").unwrap();
        let report = crate::report(&plan, &records);
        let named = |id: &str| report.figures.iter().filter(|figure| figure.id == id).count();
        assert_eq!((named("fig-6.1-receive"), named("fig-6.1-more"), named("fig-6.1")), (1, 1, 0));
    }

    #[test]
    fn a_point_has_its_planned_rate_beside_the_measured_one() {
        let report = quick();
        let figure = report.figures.iter().find(|f| f.id == "fig-6.1-instructions").unwrap();
        let Drawing::Lines { lines, .. } = &figure.drawing else { panic!("{figure:?}") };
        for line in lines {
            let planned: Vec<Option<f64>> = line.points.iter().map(|p| p.planned).collect();
            assert_eq!(planned, [Some(40.0), Some(80.0)]);
            // The counters are of a load of 300/s, by the machine's clock.
            assert!(line.points.iter().all(|point| point.x > 250.0), "{line:?}");
        }
    }
}
