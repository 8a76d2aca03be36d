//! `vmeter bench fileset`: writes the set, or shows the order in which a load asks for it.

use super::watch::{Line, watch};
use super::{Output, OutputArgs, show};
use crate::interrupt::interruptible;
use anyhow::Result;
use clap::Args;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use workload::fileset::{self, DIRS_OF_TABLE_5_1, Sequence, Statistics, TABLE_5_1};

/// `vmeter bench fileset`.
#[derive(Debug, Args)]
pub struct FilesetArgs {
    /// Directory to write the set to; created if it does not exist
    #[arg(value_name = "DIR", required_unless_present = "draw")]
    dir: Option<PathBuf>,
    /// Number of directories of the set
    #[arg(long, value_name = "N", default_value_t = DIRS_OF_TABLE_5_1)]
    dirs: usize,
    /// Seed for the contents or, with --draw, the order
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print the first COUNT files that `bench web --seed` requests, and write nothing
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["dir", "json"])]
    draw: Option<u64>,
    #[command(flatten)]
    output: OutputArgs,
}

/// `vmeter.bench.fileset/1`.
#[derive(Serialize)]
struct Written<'a> {
    schema: &'static str,
    dirs: usize,
    seed: u64,
    statistics: &'a Statistics,
    table_5_1: &'a Statistics,
}

/// Runs the subcommand.
pub fn run(args: &FilesetArgs) -> Result<ExitCode> {
    if let Some(count) = args.draw {
        return draw(args, count);
    }
    let Some(dir) = &args.dir else { return Ok(ExitCode::FAILURE) };
    let output = Output::open(&args.output)?;
    let control = interruptible()?;
    let files = (args.dirs * fileset::CLASSES * fileset::FILES) as u64;
    let line = Line { what: "fileset", unit: "files", length: None, total: Some(files) };
    let set = watch(&line, &control, || fileset::write(dir, args.dirs, args.seed, &control))?;
    let statistics = Statistics::of(set.dirs);
    let written = Written {
        schema: "vmeter.bench.fileset/1",
        dirs: set.dirs,
        seed: set.seed,
        statistics: &statistics,
        table_5_1: &TABLE_5_1,
    };
    let head = format!("{}: {} directories\n\n", show::path(dir), set.dirs);
    output.deliver(&(head + &text(&statistics)), &written)?;
    Ok(ExitCode::SUCCESS)
}

fn draw(args: &FilesetArgs, count: u64) -> Result<ExitCode> {
    let count = usize::try_from(count)?;
    let mut console = io::BufWriter::new(io::stdout().lock());
    for file in Sequence::new(args.dirs, args.seed).take(count) {
        writeln!(console, "{}", file.path())?;
    }
    console.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// The statistics beside table 5.1's.
fn text(found: &Statistics) -> String {
    let table = &TABLE_5_1;
    let rows = [
        ("files", found.files as f64, table.files as f64, ""),
        ("total size", found.total_mb, table.total_mb, "MB"),
        ("smallest", found.smallest_kb, table.smallest_kb, "KB"),
        ("largest", found.largest_kb, table.largest_kb, "KB"),
        ("mean", found.mean_kb, table.mean_kb, "KB"),
        (
            "coefficient of variation",
            found.coefficient_of_variation,
            table.coefficient_of_variation,
            "",
        ),
        ("first quartile", found.first_quartile_kb, table.first_quartile_kb, "KB"),
        ("median", found.median_kb, table.median_kb, "KB"),
        ("third quartile", found.third_quartile_kb, table.third_quartile_kb, "KB"),
    ];
    let mut out = String::from("                               this set     table 5.1\n");
    for (name, ours, theirs, unit) in rows {
        let shown = |value: f64| format!("{} {unit}", decimals(value));
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {name:<25}{:>14}{:>14}", shown(ours), shown(theirs));
    }
    out.push_str(
        "\nThe published median, 20 KB, cannot come from this set: its two middle files\n\
         have 9 and 10 KB.\n",
    );
    out
}

/// Two decimals where there are any.
fn decimals(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
