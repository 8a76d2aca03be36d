//! Figures as people read them.

use std::path::Path;
use workload::{CpuTime, Environment, Percentiles};

/// A time in seconds: `850 ns`, `31.2 µs`, `1.20 ms`, `2.05 s`.
pub fn time(seconds: f64) -> String {
    let (value, unit) = match seconds.abs() {
        s if s >= 1.0 => (seconds, "s"),
        s if s >= 1e-3 => (seconds * 1e3, "ms"),
        s if s >= 1e-6 => (seconds * 1e6, "µs"),
        _ => (seconds * 1e9, "ns"),
    };
    format!("{} {unit}", digits(value))
}

/// A figure with three digits that count.
pub fn digits(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Bits a second: `11.6 Mbit/s`.
pub fn bits(per_second: f64) -> String {
    let (value, unit) = match per_second {
        v if v >= 1e9 => (v / 1e9, "Gbit/s"),
        v if v >= 1e6 => (v / 1e6, "Mbit/s"),
        v => (v / 1e3, "kbit/s"),
    };
    format!("{} {unit}", digits(value))
}

/// Bytes: `1448 B`, `128 KB`, `297 MB`; a KB is 1024 bytes.
pub fn bytes(bytes: u64) -> String {
    match bytes {
        b if b >= 10 << 30 => format!("{} GB", b >> 30),
        b if b >= 10 << 20 || (b >= 1 << 20 && b % (1 << 20) == 0) => format!("{} MB", b >> 20),
        b if b >= 10 << 10 => format!("{} KB", b >> 10),
        b => format!("{b} B"),
    }
}

/// A figure that may be unknown.
pub fn known(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), digits)
}

/// CPU seconds, user and system together: the kernel splits the exact sum by the mode that its
/// ticks met, which for a thread that mostly sleeps is chance.
pub fn cpu(used: CpuTime) -> String {
    format!("{:.3} s", used.total())
}

/// The heading over rows of percentiles.
pub const PERCENTILES: &str =
    "               mean       p50       p90       p99     p99.9       max\n";

/// A row of percentiles under that heading.
pub fn percentiles(name: &str, of: &Percentiles) -> String {
    let cells = [of.mean, of.p50, of.p90, of.p99, of.p999, of.max];
    let cells: Vec<String> = cells
        .iter()
        .map(|value| if of.count == 0 { "-".to_owned() } else { time(*value) })
        .map(|cell| format!("{cell:>10}"))
        .collect();
    format!("  {name:<8}{}\n", cells.concat().split_off(1))
}

/// The machine, in a line.
pub fn machine(here: &Environment) -> String {
    let cpu = here.cpu.as_deref().unwrap_or(&here.machine);
    let below = here.accelerator.as_deref().map_or_else(String::new, |name| format!(", on {name}"));
    let cpus = if here.cpus == 1 { "1 CPU".to_owned() } else { format!("{} CPUs", here.cpus) };
    model::shorten(&model::escape(&format!("{cpu}, {cpus}{below}, Linux {}", here.kernel)), 78)
        .into_owned()
}

/// A path, fit to be shown.
pub fn path(path: &Path) -> String {
    model::escape(&path.to_string_lossy())
}

/// Lines that must not be overlooked.
pub fn warnings(head: &str, texts: &[String]) -> String {
    texts.iter().map(|text| format!("{head}: {}\n", model::escape(text))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        for (seconds, shown) in [
            (8.5e-7, "850 ns"),
            (3.12e-5, "31.2 µs"),
            (0.0012, "1.20 ms"),
            (2.05, "2.05 s"),
            (0.0, "0.00 ns"),
        ] {
            assert_eq!(time(seconds), shown);
        }
        assert_eq!(bits(11_580_000.0), "11.6 Mbit/s");
        assert_eq!(bytes(131_072), "128 KB");
        assert_eq!(bytes(1448), "1448 B");
        assert_eq!(known(None), "-");
        assert_eq!(cpu(CpuTime { user: 0.197, system: 0.002 }), "0.199 s");
    }

    #[test]
    fn percentiles_stand_under_their_heading() {
        let row =
            percentiles("response", &Percentiles { count: 1, max: 0.001, ..Default::default() });
        let width = |text: &str| text.trim_end().chars().count();
        assert_eq!(width(&row), width(PERCENTILES), "{PERCENTILES}{row}");
        assert!(width(PERCENTILES) <= 80);
    }
}
