//! The lines above the rows: the machine, the sum, and where the driver domain's time went.

use super::figure::utilisation;
use super::fit;
use account::{DriverUsage, Usage};
use model::{Nanos, Reading};

/// `Xen 4.17.5, 4 CPUs`.
pub fn system(usage: &Usage) -> String {
    let cpus = usage.host.cpus;
    let plural = if cpus == 1 { "" } else { "s" };
    format!("{}, {cpus} CPU{plural}", fit::shown(&usage.host.system))
}

/// The whole, what is left of it, by how much the sum fails, and what measuring cost.
pub fn sum(usage: &Usage) -> String {
    let host = &usage.host;
    let error = match host.conservation_error {
        Ok(error) => format!("{:.2}%", 100.0 * error.min(9.999)),
        Err(_) => "-".to_owned(),
    };
    format!(
        "busy {}{} of {}%  unattributed {}  error {error}  vmeter {:.1}% {}{}",
        percent(&host.busy, usage),
        within(usage),
        u64::from(host.cpus) * 100,
        percent(&host.unattributed, usage),
        utilisation(usage.me.cpu, usage.interval),
        fit::bytes(usage.me.rss.0 as f64),
        stolen(usage),
    )
}

/// ` ±2.0`, where the step of the idle counter makes a difference that is seen.
fn within(usage: &Usage) -> String {
    let step = utilisation(usage.host.busy_within, usage.interval);
    if step < 0.05 || usage.host.busy.is_err() { String::new() } else { format!(" ±{step:.1}") }
}

/// What other machines took from this one, where it is a VM itself.
fn stolen(usage: &Usage) -> String {
    match usage.host.steal {
        Ok(steal) if steal > Nanos::ZERO => {
            format!("  stolen {}%", fit::percent(utilisation(steal, usage.interval)))
        }
        _ => String::new(),
    }
}

/// A driver domain's whole time and its four parts, in the longest of the forms that `width`
/// terminal columns hold.
pub fn driver(driver: &DriverUsage, usage: &Usage, width: usize) -> String {
    let name = fit::shown(&driver.name);
    let name = fit::elide(&name, 24.min(width / 3));
    let total = percent(&driver.total, usage);
    let parts = [&driver.direct, &driver.shared, &driver.own, &driver.unattributed];
    let [direct, shared, own, rest] = parts.map(|part| number(part, usage));
    let forms = [
        format!(
            "{name} {total} = {direct} direct + {shared} shared (charged to VMs) + {own} own + \
             {rest} unattributed"
        ),
        format!(
            "{name} {total} = {direct} direct + {shared} shared + {own} own + {rest} unattributed"
        ),
        format!("{name} {total} = {direct} dir + {shared} shr + {own} own + {rest} ?"),
    ];
    let last = forms.len() - 1;
    let fits = forms.iter().position(|form| fit::width(form) <= width).unwrap_or(last);
    forms.into_iter().nth(fits).unwrap_or_default()
}

fn percent(time: &Reading<Nanos>, usage: &Usage) -> String {
    match time {
        Ok(time) => format!("{}%", fit::percent(utilisation(*time, usage.interval))),
        Err(_) => "-".to_owned(),
    }
}

fn number(time: &Reading<Nanos>, usage: &Usage) -> String {
    match time {
        Ok(time) => fit::percent(utilisation(*time, usage.interval)),
        Err(_) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::fixture;

    #[test]
    fn steps_and_steal_are_shown_where_there_are_any() {
        let mut usage = fixture::xen();
        assert!(
            sum(&usage).starts_with("busy 101.2% of 400%  unattributed 1.0%"),
            "{}",
            sum(&usage)
        );
        usage.host.busy_within = Nanos(20_000_000);
        usage.host.steal = Ok(Nanos(31_000_000));
        let line = sum(&usage);
        assert!(line.starts_with("busy 101.2% ±2.0 of 400%") && line.ends_with("  stolen 3.1%"));
        usage.host.steal = Ok(Nanos::ZERO);
        assert!(!sum(&usage).contains("stolen"));
    }

    #[test]
    fn the_parts_of_the_driver_domain_fit_the_width() {
        let usage = fixture::xen();
        let line = |width| driver(&usage.drivers[0], &usage, width);
        assert_eq!(
            line(120),
            "Domain-0 41.2% = 20.1 direct + 12.0 shared (charged to VMs) + 8.1 own + 1.0 unattributed"
        );
        assert_eq!(
            line(80),
            "Domain-0 41.2% = 20.1 direct + 12.0 shared + 8.1 own + 1.0 unattributed"
        );
        assert_eq!(line(40), "Domain-0 41.2% = 20.1 dir + 12.0 shr + 8.1 own + 1.0 ?");
    }
}
