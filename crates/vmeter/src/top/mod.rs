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

    /// Time between two readings: 1s, 500ms, 2.5 (seconds) or 1m
    #[arg(long, short = 'd', value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,

    /// Print to standard output after each interval instead of showing the screen
    #[arg(long, short = 'b')]
    batch: bool,

    /// Stop after N intervals; 0 means never
    #[arg(long, short = 'n', value_name = "N", default_value_t = 0, requires = "batch")]
    count: u64,

    /// Output format of --batch
    #[arg(long, value_enum, default_value_t, requires = "batch")]
    format: Format,

    /// Sort the VMs by this column [default: cpu; json and csv are not sorted]
    #[arg(long, value_name = "COLUMN", value_enum, hide_possible_values = true)]
    sort: Option<Column>,

    /// Sort in reverse order
    #[arg(long)]
    reverse: bool,

    /// Show only VMs with TEXT in their name, ignoring case
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    filter: String,

    /// Columns of the screen and the table, separated by commas
    #[arg(long, value_name = "LIST", value_enum, value_delimiter = ',')]
    columns: Vec<Column>,

    /// Agent in a guest, which reports the guest's kernel and user time and its steal
    ///
    /// ADDR is as for `vmeter agent status`. Without NAME, the host name of the guest must be the
    /// name of its VM. If an agent cannot be reached, at the start or later, vmeter retries every
    /// 2 s. Can be given several times.
    #[arg(long, value_name = "[NAME=]ADDR")]
    agent: Vec<Monitor>,

    #[command(flatten)]
    key: AgentKey,
}

/// What `--batch` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
    /// Table
    #[default]
    Table,
    /// Comma-separated values, one row per VM and interval
    Csv,
    /// JSON lines, one object per interval (docs/json.md)
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
        let why = "standard output is not a terminal: use --batch";
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
