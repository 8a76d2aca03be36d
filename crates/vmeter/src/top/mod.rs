//! `vmeter top`: what every VM uses, interval by interval, on a screen or printed (`--batch`).

mod batch;
mod column;
mod csv;
mod figure;
#[cfg(test)]
mod fixture;
mod guests;
mod header;
mod json;
mod note;
mod rows;
mod sampler;
mod schedule;
mod screen;
mod table;

use crate::args::{GroupArgs, ReadArgs, interval};
use crate::failure::Refused;
use crate::monitor::{AgentKey, Monitor};
use crate::terminal::fit;
use anyhow::Result;
use clap::{Args, ValueEnum};
use column::Column;
use guests::Guests;
use platform::Source;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

/// The arguments of `vmeter top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    #[command(flatten)]
    read: ReadArgs,

    #[command(flatten)]
    groups: GroupArgs,

    /// Time between two readings: 1s, 500ms, 2.5 (seconds), 1m
    #[arg(long, short = 'd', value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,

    /// Prints to standard output after each interval, in place of the terminal's screen
    #[arg(long, short = 'b')]
    batch: bool,

    /// Ends after N intervals; 0 means never
    #[arg(long, short = 'n', value_name = "N", default_value_t = 0, requires = "batch")]
    count: u64,

    /// What --batch prints
    #[arg(long, value_enum, default_value_t, requires = "batch")]
    format: Format,

    /// Sorts the VMs by this column; without it by cpu, and for json and csv not at all
    #[arg(long, value_name = "COLUMN", value_enum, hide_possible_values = true)]
    sort: Option<Column>,

    /// Sorts the other way round
    #[arg(long)]
    reverse: bool,

    /// Shows only the VMs whose name contains TEXT, in upper or lower case
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    filter: String,

    /// The columns of screen and table, with commas between
    #[arg(long, value_name = "LIST", value_enum, value_delimiter = ',')]
    columns: Vec<Column>,

    /// The agent in a guest, which tells its kernel from its programs, and its steal
    ///
    /// As ADDR of `vmeter agent status`; without NAME the guest's host name is the VM's. An agent
    /// that cannot be reached, at the start too, is connected to again every 2 s. May be given
    /// several times.
    #[arg(long, value_name = "[NAME=]ADDR")]
    agent: Vec<Monitor>,

    #[command(flatten)]
    key: AgentKey,
}

/// What `--batch` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
    /// Columns for people
    #[default]
    Table,
    /// Comma-separated values, a row per VM and interval
    Csv,
    /// One JSON object a line and interval (docs/json.md)
    Json,
}

/// Which rows and columns are shown, and in which order.
#[derive(Debug, Clone, PartialEq)]
struct View {
    columns: Vec<Column>,
    /// `None` leaves the platform's order.
    sort: Option<Column>,
    reverse: bool,
    /// A part of the name, whatever its case.
    filter: String,
}

impl Default for View {
    fn default() -> Self {
        Self {
            columns: Column::usual(),
            sort: Some(Column::Cpu),
            reverse: false,
            filter: String::new(),
        }
    }
}

impl TopArgs {
    /// The view that the arguments ask for: programs that read json or csv sort for themselves.
    fn view(&self) -> View {
        let sort = match (self.sort, self.format) {
            (None, Format::Json | Format::Csv) => None,
            (sort, _) => sort.or(Some(Column::Cpu)),
        };
        let mut view =
            View { sort, reverse: self.reverse, filter: self.filter.clone(), ..View::default() };
        if !self.agent.is_empty() {
            view.columns = Column::with_guests();
        }
        if !self.columns.is_empty() {
            view.columns = with_name_first(&self.columns);
        }
        view
    }

    /// What is read: the host, and the guests whose agents were named.
    fn open(&self) -> Result<Box<dyn Source>> {
        let host = self.read.open_with(&self.groups)?;
        if self.agent.is_empty() {
            return Ok(host);
        }
        // Where nobody reads the warnings, the dashes say it all the same.
        let mut warn = |warning: &str| {
            let _ = writeln!(io::stderr(), "vmeter: warning: {warning}");
        };
        let security = self.key.security()?;
        Ok(Box::new(Guests::connect(host, &self.agent, &security, &mut warn)?))
    }
}

/// The chosen columns, each once, the name before all others: a row without it tells nothing.
fn with_name_first(chosen: &[Column]) -> Vec<Column> {
    let mut columns = vec![Column::Name];
    for column in chosen {
        if !columns.contains(column) {
            columns.push(*column);
        }
    }
    columns
}

/// Runs the subcommand.
pub fn run(args: TopArgs) -> Result<ExitCode> {
    let view = args.view();
    if args.batch {
        let plan =
            batch::Plan { interval: args.interval, count: args.count, format: args.format, view };
        let mut source = args.open()?;
        return batch::run(source.as_mut(), &plan, &mut io::stdout().lock());
    }
    if !io::stdout().is_terminal() {
        let why = "standard output is no terminal: add --batch to print";
        return Err(Refused(why.to_owned()).into());
    }
    let mut source = args.open()?;
    screen::run(source.as_mut(), screen::Plan { interval: args.interval, view })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_comes_first_and_no_column_twice() {
        assert_eq!(
            with_name_first(&[Column::Cpu, Column::Name, Column::Cpu, Column::Ready]),
            [Column::Name, Column::Cpu, Column::Ready]
        );
    }
}
