//! `--batch`: prints after each interval, with no thread and no terminal.

use super::sampler::Sampler;
use super::schedule::Schedule;
use super::{Column, Format, View, csv, json, table};
use account::{AccountError, Usage};
use anyhow::{Context, Result};
use platform::{Source, Want};
use std::io::Write;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// What to print.
#[derive(Debug)]
pub struct Plan {
    /// T.
    pub interval: Duration,
    /// Intervals; 0 for ever.
    pub count: u64,
    /// The form.
    pub format: Format,
    /// Rows, columns (of the table) and order.
    pub view: View,
}

/// Measures and prints, interval by interval, each at once and whole.
///
/// # Errors
/// The reader's, and those of writing to `out`.
pub fn run(source: &mut dyn Source, plan: &Plan, out: &mut dyn Write) -> Result<ExitCode> {
    let want = want(plan);
    let mut sampler = Sampler::new(source);
    sampler.start(want)?;
    let mut schedule = Schedule::starting(Instant::now(), plan.interval);
    let mut text = Vec::new();
    let mut printed = 0;
    while plan.count == 0 || printed < plan.count {
        thread::sleep(schedule.left(Instant::now()));
        let sampled = sampler.next(want);
        schedule.advance(Instant::now());
        let sampled = match sampled {
            // The end of a saved series: its clock stands still. A live one never does.
            Err(error) if printed > 0 && is_end(&error) => break,
            sampled => sampled?,
        };
        let Some(sampled) = sampled else { continue };
        text.clear();
        print(&mut text, &sampled.usage, plan, printed == 0)?;
        out.write_all(&text).and_then(|()| out.flush()).context("standard output")?;
        printed += 1;
    }
    Ok(ExitCode::SUCCESS)
}

fn is_end(error: &anyhow::Error) -> bool {
    error.downcast_ref::<AccountError>() == Some(&AccountError::NotLater)
}

/// vCPUs are never shown here, placement only where its column is: reading less costs less.
fn want(plan: &Plan) -> Want {
    let placement = plan.format == Format::Table && plan.view.columns.contains(&Column::Cpupool);
    Want { vcpus: false, placement, exact_idle: false }
}

fn print(text: &mut Vec<u8>, usage: &Usage, plan: &Plan, first: bool) -> Result<()> {
    match plan.format {
        Format::Table => {
            if !first {
                text.push(b'\n');
            }
            text.extend_from_slice(table::text(usage, &plan.view).as_bytes());
        }
        Format::Csv => {
            if first {
                text.extend_from_slice(csv::HEADER.as_bytes());
            }
            text.extend_from_slice(&csv::text(usage, &plan.view)?);
        }
        Format::Json => json::write(text, usage, &plan.view)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::fixture::Fake;
    use std::io::{self, ErrorKind};

    fn plan(format: Format, count: u64) -> Plan {
        Plan { interval: Duration::from_millis(1), count, format, view: View::default() }
    }

    #[test]
    fn the_count_is_of_intervals_and_the_csv_header_comes_once() {
        let mut out = Vec::new();
        run(&mut Fake::default(), &plan(Format::Csv, 3), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches("time,").count(), 1);
        assert_eq!(text.matches(",host total,").count(), 0);
        assert_eq!(text.lines().filter(|line| line.contains(",host,,")).count(), 3);

        let mut out = Vec::new();
        run(&mut Fake::default(), &plan(Format::Json, 2), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), 2);
    }

    #[test]
    fn an_error_of_writing_ends_it() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let error = run(&mut Fake::default(), &plan(Format::Table, 0), &mut Full).unwrap_err();
        assert_eq!(error.to_string(), "standard output");
    }
}
