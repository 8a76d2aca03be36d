//! `vmeter calibrate`: what sampling costs here, and the shortest period that costs little
//! (figure 5.2 as a command).

mod fit;
mod place;
mod saved;

use crate::failure::Refused;
use crate::interrupt::{deadline, interruptible};
use crate::monitor::{AgentKey, Monitor};
use crate::pending::Pending;
use anyhow::{Context, Result};
use clap::Args;
use fit::{Cell, Fit};
use model::quantity;
use place::{Here, Place, Run, There};
use sample::Word;
pub use saved::shortest;
use saved::{Calibration, PeriodRow};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use workload::Control;
use workload::cpu::{Placement, Plan};

/// `vmeter calibrate`.
#[derive(Debug, Args)]
pub struct CalibrateArgs {
    /// Event to sample, without a period
    #[arg(long, value_name = "EVENT", default_value = "cpu-clock")]
    event: Word,
    /// Maximum overhead: how much longer a program may run because it is sampled
    #[arg(long, value_name = "PERCENT", default_value = "0.25%", value_parser = percent)]
    bound: f64,
    /// Sampling periods to measure, separated by commas [default: four, by event]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    periods: Vec<u64>,
    /// Number of repetitions of all measurements
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(2..=1000))]
    blocks: u64,
    /// Passes of the program per measurement, about 20 ms each on a fast CPU
    #[arg(long, value_name = "N", default_value_t = 30)]
    passes: u64,
    /// Calibrate the VM of this agent instead of this machine
    ///
    /// Can be given several times.
    #[arg(long, value_name = "[NAME=]ADDR")]
    agent: Vec<Monitor>,
    #[command(flatten)]
    key: AgentKey,
    /// Write the result to FILE as JSON (vmeter.calibration/1)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// `0.25%` or `0.25`, as a fraction between 0 and 1.
fn percent(text: &str) -> Result<f64, String> {
    let fraction = quantity::percentage(text)?;
    let is_between = fraction > 0.0 && fraction < 1.0;
    is_between
        .then_some(fraction)
        .ok_or_else(|| format!("invalid percentage `{text}`: expected over 0 and under 100"))
}

/// Periods of a clock at which sampling is felt, in nanoseconds.
const CLOCK_PERIODS: [u64; 4] = [20_000, 50_000, 200_000, 1_000_000];
/// Those of counters of cycles and the like.
const CYCLE_PERIODS: [u64; 4] = [50_000, 100_000, 500_000, 2_000_000];

/// Runs the subcommand.
///
/// # Errors
/// No permission, an event that is none, an agent that is lost.
pub fn run(args: &CalibrateArgs) -> Result<ExitCode> {
    if args.event.period.is_some() {
        let why =
            "invalid --event: expected an event without a period: give periods with --periods";
        return Err(Refused(why.to_owned()).into());
    }
    let plan = Plan {
        passes: args.passes,
        placement: Placement::SameCpu,
        child: crate::bench::instance_arguments(),
        ..Plan::default()
    };
    plan.check()?;
    let control = interruptible()?;
    let mut places: Vec<Box<dyn Place + '_>> = Vec::new();
    if args.agent.is_empty() {
        places.push(Box::new(Here::new(&plan, &control)));
    }
    let security = args.key.security()?;
    for monitor in &args.agent {
        let (name, handle) = monitor.connect(&security, &deadline())?;
        places.push(Box::new(There::new(name, handle, &plan, &control)));
    }
    let mut found = Vec::new();
    for place in &mut places {
        let one =
            measure(place.as_mut(), args, &control).with_context(|| model::escape(place.name()))?;
        io::stdout().write_all(text(&one, args.bound).as_bytes())?;
        found.push(one);
    }
    saved::keep(&found);
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&saved::Document::of(found))?;
        Pending::create(path)?.finish(&(text + "\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Every period in every block, in the order without, with, with, without.
fn measure(place: &mut dyn Place, args: &CalibrateArgs, control: &Control) -> Result<Calibration> {
    let (counted, is_time) = place.counted(&args.event)?;
    let usual = if is_time { CLOCK_PERIODS } else { CYCLE_PERIODS };
    let periods = if args.periods.is_empty() { usual.to_vec() } else { args.periods.clone() };
    let name = if counted == args.event.name { &args.event.name } else { &counted };
    let words: Vec<Word> =
        periods.iter().map(|&period| Word { name: name.clone(), period: Some(period) }).collect();
    let blocks = usize::try_from(args.blocks)?;
    let mut cells = Vec::new();
    // Once uncounted: caches and the allocator.
    place.run(None)?;
    for (block, order) in stats::order(words.len(), blocks, 1).into_iter().enumerate() {
        let _ = writeln!(
            io::stderr(),
            "{}: block {} of {blocks}",
            model::escape(place.name()),
            block + 1
        );
        let mut row: Vec<Option<Cell>> = vec![None; words.len()];
        for at in order {
            if control.stopped() {
                return Err(Refused("interrupted: no result was saved".to_owned()).into());
            }
            row[at] = Some(cell(place, &words[at])?);
        }
        cells.push(row.into_iter().flatten().collect());
    }
    let Fit { overheads, cost, shortest } = fit::fit(&cells, args.bound);
    let rows = periods
        .iter()
        .zip(overheads)
        .enumerate()
        .map(|(at, (&period, overhead))| PeriodRow {
            period,
            overhead,
            blocks: cells
                .iter()
                .filter_map(|block: &Vec<Cell>| Some(block.get(at)?.overhead()))
                .collect(),
        })
        .collect();
    Ok(Calibration {
        place: place.name().to_owned(),
        asked: args.event.name.clone(),
        event: counted,
        is_time,
        bound: args.bound,
        rows,
        cost_s: cost,
        shortest,
    })
}

fn cell(place: &mut dyn Place, word: &Word) -> Result<Cell> {
    let before = place.run(None)?;
    let (first, second) = (place.run(Some(word))?, place.run(Some(word))?);
    let after = place.run(None)?;
    let middle = |a: f64, b: f64| f64::midpoint(a, b);
    let of = |part: fn(&Run) -> f64| middle(part(&first), part(&second));
    Ok(Cell {
        without: middle(before.seconds, after.seconds),
        with: of(|run| run.seconds),
        samples: of(|run| run.samples),
        events: of(|run| run.events),
    })
}

/// What was found, for people.
fn text(found: &Calibration, bound: f64) -> String {
    let mut text = String::new();
    let unit = if found.is_time { " ns" } else { "" };
    let _ = writeln!(text, "{}: {}", model::escape(&found.place), model::escape(&found.event));
    if found.event != found.asked {
        let _ = writeln!(text, "  ({} is not supported here)", model::escape(&found.asked));
    }
    let _ = writeln!(text, "  {:>12}  {:>9}  95 % interval", "period", "overhead");
    for row in &found.rows {
        let cells = match row.overhead {
            Some(e) => format!(
                "{:>8.2} %  {:.2} to {:.2} %",
                100.0 * e.value,
                100.0 * e.low,
                100.0 * e.high
            ),
            None => format!("{:>9}", "-"),
        };
        let _ = writeln!(text, "  {:>12}  {cells}", format!("{}{unit}", row.period));
    }
    if let Some(cost) = found.cost_s {
        let (value, low, high) = (1e6 * cost.value, 1e6 * cost.low, 1e6 * cost.high);
        let _ = writeln!(text, "  a sample costs {value:.2} µs ({low:.2} to {high:.2})");
    }
    let bound = 100.0 * bound;
    let _ = match found.shortest {
        Some(period) => {
            writeln!(text, "  shortest period with an overhead below {bound} %: {period}{unit}")
        }
        None => writeln!(text, "  shortest period unknown: repeat with more --blocks"),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_a_percentage() {
        assert_eq!(percent("0.25%"), Ok(0.0025));
        assert_eq!(percent("2"), Ok(0.02));
        for wrong in ["", "0", "-1%", "100%", "x", "nan"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }
}
