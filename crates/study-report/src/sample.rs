//! Reports to test with: a likely one, a hostile one and an empty one.

use study::figure::{
    Axis, Bar, Cell, Drawing, Failure, Figure, Line, Machine, Measured, Missing, Point, Remark,
    Report, Ring, Runs, SCHEMA,
};

fn axis(label: &str, unit: &str) -> Axis {
    Axis { label: label.into(), unit: unit.into(), log: false }
}

/// A value known to so many percent.
fn about(value: f64, percent: f64) -> Measured {
    let reach = value * percent / 100.0;
    Measured { value, interval: Some((value - reach, value + reach)), samples: 5 }
}

fn alone(value: f64) -> Measured {
    Measured { value, interval: None, samples: 1 }
}

fn line(name: &str, points: &[(f64, Measured)]) -> Line {
    let points = points.iter().map(|(x, y)| Point { x: *x, planned: None, y: *y });
    Line { name: name.into(), points: points.collect() }
}

fn blank(id: &str, title: &str, drawing: Drawing) -> Figure {
    Figure {
        id: id.into(),
        title: title.into(),
        caption: String::new(),
        found: None,
        drawing,
        missing: Vec::new(),
    }
}

/// CPU over the rate of packets: nine lines, of which one point has no interval.
fn rates() -> Figure {
    let systems = [("native", 0.6), ("Xen", 2.4), ("KVM", 1.5)];
    let sizes = [("500 bytes", 1.0), ("1000 bytes", 1.1), ("1448 bytes", 1.25)];
    let lines = systems.iter().flat_map(|(system, cost)| {
        sizes.iter().map(move |(size, more)| {
            let points: Vec<_> = (1..=8)
                .map(|k| (f64::from(k) * 5000.0, about(f64::from(k) * cost * more * 4.0, 6.0)))
                .collect();
            line(&format!("{system}, {size}"), &points)
        })
    });
    let mut lines: Vec<Line> = lines.collect();
    lines[8].points[7].y.interval = None;
    lines[8].points[7].y.samples = 1;
    // What was measured is never exactly what was planned.
    for (at, line) in lines.iter_mut().enumerate() {
        for point in &mut line.points {
            point.planned = Some(point.x);
            point.x *= 1.0 + (at as f64 - 4.0) * 2e-5;
        }
    }
    Figure {
        caption: "CPU utilisation of the whole machine while a VM receives: guest and driver \
                  domain together, or the native system. Bands are 95 % confidence intervals."
            .into(),
        found: Some(
            "Receiving in a VM takes 3 to 5 times the CPU that it takes natively, at every packet \
             size."
                .into(),
        ),
        ..blank(
            "fig-6.1",
            "CPU utilisation over the receive rate",
            Drawing::Lines {
                x: axis("receive rate", "packets/s"),
                y: axis("CPU utilisation, guest + IDD or native", "%"),
                lines,
            },
        )
    }
}

/// A relative time over the sampling period: a logarithmic axis.
fn periods() -> Figure {
    let over = |name: &str, cost: f64| {
        let points: Vec<_> = [1e4, 3e4, 1e5, 3e5, 1e6, 1e7, 1e8]
            .iter()
            .map(|period| (*period, about(1.0 + cost * 1e4 / period, 0.8)))
            .collect();
        line(name, &points)
    };
    let mut kvm = over("KVM", 0.35);
    kvm.points.truncate(3);
    kvm.points[2].y = alone(1.031);
    Figure {
        caption: "Time of the CPU workload relative to no sampling.".into(),
        missing: vec![Missing {
            what: "KVM, periods above 100 000".into(),
            reason: "the guest has no performance counters under emulation".into(),
        }],
        ..blank(
            "fig-5.2",
            "What sampling costs",
            Drawing::Lines {
                x: Axis { log: true, ..axis("sampling period", "events") },
                y: axis("time relative to no sampling", ""),
                lines: vec![over("native", 0.21), over("Xen", 0.6), kvm],
            },
        )
    }
}

/// Where the CPU goes, with parts that are not known.
fn stacks() -> Figure {
    let bar = |name: &str, parts: [Option<f64>; 3], whole| Bar {
        name: name.into(),
        parts: parts.to_vec(),
        whole,
    };
    Figure {
        caption: "CPU seconds of a run at 500 connections/s, by who used them.".into(),
        found: Some("The guest's CPU saturates first, at 3.3 times the native CPU.".into()),
        missing: vec![Missing {
            what: "hypervisor, KVM".into(),
            reason: "KVM's own time is part of the host kernel's".into(),
        }],
        ..blank(
            "fig-6.3b",
            "Where the CPU of a web server goes",
            Drawing::Stacks {
                y: axis("CPU", "s"),
                parts: vec!["guest".into(), "driver domain or host".into(), "hypervisor".into()],
                bars: vec![
                    bar("native", [Some(21.4), Some(0.0), None], about(21.4, 3.0)),
                    bar("Xen, one guest", [Some(25.0), Some(31.5), Some(14.2)], about(70.7, 4.0)),
                    bar(
                        "KVM, one guest with vhost",
                        [Some(27.5), Some(18.0), None],
                        about(52.0, 5.0),
                    ),
                ],
            },
        )
    }
}

fn kiviat() -> Figure {
    let ring = |name: &str, values: [Option<Measured>; 5]| Ring {
        name: name.into(),
        values: values.to_vec(),
    };
    let some = |value, percent| Some(about(value, percent));
    Figure {
        caption: "One network card, its interrupts on one or two CPUs of the driver domain.".into(),
        found: Some(
            "Spreading interrupts over two CPUs costs more CPU, for slightly less throughput."
                .into(),
        ),
        missing: vec![Missing {
            what: "L3 misses of KVM".into(),
            reason: "no cache counters under emulation".into(),
        }],
        ..blank(
            "fig-6.7",
            "Interrupts of one card on one or two CPUs",
            Drawing::Kiviat {
                axes: vec![
                    axis("CPU of IDD CPU 1", "%"),
                    axis("CPU of IDD CPU 2", "%"),
                    axis("CPU of the guest", "%"),
                    axis("Throughput", "Mbit/s"),
                    axis("L3 misses", "misses/s"),
                ],
                rings: vec![
                    ring(
                        "Xen, 1 CPU",
                        [
                            some(83.0, 3.0),
                            some(2.5, 10.0),
                            some(71.0, 4.0),
                            some(941.0, 0.5),
                            some(1.8e6, 8.0),
                        ],
                    ),
                    ring(
                        "Xen, 2 CPUs",
                        [
                            some(55.0, 5.0),
                            some(52.0, 5.0),
                            some(74.0, 4.0),
                            some(902.0, 2.0),
                            some(2.6e6, 9.0),
                        ],
                    ),
                    ring(
                        "KVM, 1 CPU",
                        [
                            some(61.0, 4.0),
                            some(4.0, 12.0),
                            some(64.0, 3.0),
                            Some(alone(938.0)),
                            None,
                        ],
                    ),
                ],
            },
        )
    }
}

fn table() -> Figure {
    let words = |text: &str| Cell::Text(text.into());
    let row = |image: &str, function: &str, share, samples: Cell, note: &str| {
        vec![words(image), words(function), Cell::Measured(about(share, 7.0)), samples, words(note)]
    };
    Figure {
        caption: "The functions with the most samples under the web load.".into(),
        missing: vec![Missing {
            what: "samples of xen-syms".into(),
            reason: "the hypervisor has no symbols here".into(),
        }],
        ..blank(
            "table-5.2",
            "Where the samples fall",
            Drawing::Table {
                columns: vec![
                    axis("image", ""),
                    axis("function", ""),
                    axis("share", "%"),
                    axis("samples", ""),
                    axis("note", ""),
                ],
                rows: vec![
                    row("vmlinux-guest", "tcp_sendmsg", 9.31, Cell::Number(48_211.0), ""),
                    row("vmlinux-dom0", "net_rx_action", 6.04, Cell::Number(31_270.0), "bridge"),
                    row("xen-syms", "hypercall_page", 4.77, Cell::Unknown, "not resolved"),
                ],
            },
        )
    }
}

/// Ratios as a study with real names has them: six columns, five of them with intervals or words.
fn ratios() -> Figure {
    let words = |text: &str| Cell::Text(text.into());
    let row = |load: &str, machine: &str, ratio, cost, native| {
        let values = [about(ratio, 12.0), about(ratio * 1.01, 14.0), about(cost, 5.0)];
        let values = values.into_iter().chain([about(native, 7.0)]).map(Cell::Measured);
        [words(load), words(machine)].into_iter().chain(values).collect()
    };
    Figure {
        caption: "The CPU per reply of each machine over that of the baseline.".into(),
        found: Some("The web server cost 3.3 times the CPU of native Linux.".into()),
        ..blank(
            "ratio-web",
            "What virtualization costs: web",
            Drawing::Table {
                columns: vec![
                    axis("Load", ""),
                    axis("Machine", ""),
                    axis("ratio (Fieller)", ""),
                    axis("ratio (bootstrap)", ""),
                    axis("its CPU per reply", "µs"),
                    axis("native CPU per reply", "µs"),
                ],
                rows: vec![
                    row(
                        "web by nginx, 10000 connections/s, sampled by cycles:1000000",
                        "KVM by the host's clock, interrupts on two CPUs",
                        3.31,
                        12_345.6,
                        3_731.0,
                    ),
                    row("web by nginx, 20000 connections/s", "Xen, one CPU", 4.2, 812.5, 193.4),
                ],
            },
        )
    }
}

/// A line with one point that has no interval.
fn point() -> Figure {
    blank(
        "fig-one",
        "One run",
        Drawing::Lines {
            x: axis("rate", "connections/s"),
            y: axis("replies", "1/s"),
            lines: vec![line("native", &[(100.0, alone(99.2))])],
        },
    )
}

/// Any figure.
pub fn figure() -> Figure {
    point()
}

/// A report that has every kind of drawing, of three systems.
pub fn report() -> Report {
    let fact = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let server = vec![
        fact("CPU", "Intel Xeon Silver 4314, 2 sockets, 64 CPUs"),
        fact("kernel", "Linux 6.1.0-18-amd64"),
        fact("hypervisor", "Xen 4.17.3, credit2"),
        fact("clock source", "tsc"),
        fact("offloads", "tso on, gso on, gro on, lro off"),
    ];
    let client = vec![fact("kernel", "Linux 6.1.0-18-amd64"), fact("network", "10 Gbit/s, ixgbe")];
    Report {
        figures: vec![rates(), periods(), stacks(), kiviat(), table(), ratios(), point()],
        id: "web-and-tcp".into(),
        title: "What virtualization costs a network server".into(),
        question: "How much CPU does a VM need to receive what the native system receives, and \
                   who uses it?"
            .into(),
        findings: vec![
            "Xen takes 4.0 times the native CPU at 40 000 packets/s, KVM 2.5 times.".into(),
            "The cost follows packets, not bytes.".into(),
        ],
        measured: Some(("2026-03-02T09:14:00Z".into(), "2026-03-02T17:48:31Z".into())),
        runs: Runs { planned: 360, valid: 351, invalid: 6, again: 2, failed: 3 },
        method: vec![
            "Native and VM runs are interleaved in random order, five of each at every rate. \
             Counters are read on the host at the start and the end of the measured interval."
                .into(),
            "Intervals of ratios are Fieller's; no outlier is dropped.".into(),
        ],
        machines: vec![
            Machine { name: "server".into(), facts: server },
            Machine { name: "client-1".into(), facts: client },
        ],
        changes: vec!["server: cpufreq governor schedutil → performance".into()],
        warnings: vec![
            "The machines are emulated: times are not those of hardware.".into(),
            "6 runs were not valid: the generator was late.".into(),
        ],
        remarks: vec![Remark {
            run: 17,
            block: 1,
            what: "xen: TCP 1448 B, 40000/s".into(),
            reasons: vec![
                "python3 (PID 4711) used 0.98 CPUs of the host beside the load".into(),
                "it took 111 % CPU, the other runs of this point 10.0 to 12.3 % CPU".into(),
            ],
        }],
        failures: vec![Failure {
            run: 114,
            what: "KVM, 1448 bytes, 40 000 packets/s".into(),
            reason: "the guest's agent did not answer within 30 s".into(),
        }],
        ..empty()
    }
}

/// A report with ten thousand points, in four lines.
pub fn large() -> Report {
    let points: Vec<_> = (0..2500)
        .map(|at| (f64::from(at), about(1.5 + (f64::from(at) / 100.0).sin(), 5.0)))
        .collect();
    let lines = ["native", "Xen", "KVM", "other"].map(|name| line(name, &points)).to_vec();
    let (x, y) = (axis("time", "s"), axis("CPU", "%"));
    Report {
        figures: vec![blank("fig-large", "Large", Drawing::Lines { x, y, lines })],
        ..report()
    }
}

/// A report of nothing.
pub fn empty() -> Report {
    Report {
        schema: SCHEMA.into(),
        id: "none".into(),
        title: "Nothing".into(),
        question: String::new(),
        findings: Vec::new(),
        vmeter: "0.1.0".into(),
        measured: None,
        runs: Runs::default(),
        figures: Vec::new(),
        method: Vec::new(),
        machines: Vec::new(),
        changes: Vec::new(),
        warnings: Vec::new(),
        remarks: Vec::new(),
        failures: Vec::new(),
    }
}

/// A report in which every text means harm.
pub fn hostile() -> Report {
    const TEXT: &str = "</script><script>alert(1)</script>\"'<img src=x onerror=alert(2)>\n=1|`%{x}\u{1b}[2J\u{202e}";
    let text = || TEXT.to_owned();
    let axis = || axis(TEXT, TEXT);
    let value = about(10.0, 5.0);
    let figure = |drawing| Figure {
        id: text(),
        title: text(),
        caption: text(),
        found: Some(text()),
        drawing,
        missing: vec![Missing { what: text(), reason: text() }],
    };
    Report {
        figures: vec![
            figure(Drawing::Lines {
                x: axis(),
                y: axis(),
                lines: vec![line(TEXT, &[(1.0, value), (2.0, value)])],
            }),
            figure(Drawing::Kiviat {
                axes: vec![axis(), axis(), axis()],
                rings: vec![Ring { name: text(), values: vec![Some(value), None, Some(value)] }],
            }),
            figure(Drawing::Table {
                columns: vec![axis(), axis()],
                rows: vec![vec![Cell::Text(text()), Cell::Unknown]],
            }),
        ],
        id: text(),
        title: text(),
        question: text(),
        findings: vec![text()],
        vmeter: text(),
        measured: Some((text(), text())),
        method: vec![text()],
        machines: vec![Machine { name: text(), facts: vec![(text(), text())] }],
        changes: vec![text()],
        warnings: vec![text()],
        remarks: vec![Remark { run: 1, block: 1, what: text(), reasons: vec![text(), text()] }],
        failures: vec![Failure { run: 1, what: text(), reason: text() }],
        ..empty()
    }
}
