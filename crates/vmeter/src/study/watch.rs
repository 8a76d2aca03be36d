//! How a study gets on: a bar with the time left on a terminal, a line a run elsewhere.

use crate::lab::stage_bar;
use ::study::{Plan, Record, Store, Watch, schedule};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::time::Instant;

/// Shows it on standard error.
pub(super) struct Shown {
    terminal: bool,
    bar: Option<ProgressBar>,
    begun: Instant,
    run: String,
    /// Runs over in this session, and their time.
    over: (usize, f64),
}

impl Shown {
    pub(super) fn new(plan: &Plan, store: &Store, before: &[Record]) -> Self {
        let done = before.iter().filter(|record| record.data().is_some()).count();
        let planned = schedule(plan).len();
        let shown = Self {
            terminal: io::stderr().is_terminal(),
            bar: None,
            begun: Instant::now(),
            run: String::new(),
            over: (0, 0.0),
        };
        shown.line(&format!(
            "{}: {planned} runs, {done} of them measured before; into {}",
            plan.id,
            store.root().display()
        ));
        shown
    }

    fn line(&self, text: &str) {
        let text = model::escape(text);
        match &self.bar {
            Some(bar) => bar.println(text),
            // Nobody may be left to read it; the study goes on.
            None => drop(writeln!(io::stderr(), "{text}")),
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn left(&self, runs: usize) -> String {
        let (count, seconds) = self.over;
        if count == 0 {
            return "time left not known yet".to_owned();
        }
        let left = seconds / count as f64 * runs as f64;
        if left < 90.0 {
            format!("{left:.0} s left")
        } else {
            format!("{:.0} min left", left / 60.0)
        }
    }
}

impl lab::Progress for Shown {
    fn stage(&mut self, name: &str, total: u64) {
        self.clear();
        if !self.terminal {
            if name.starts_with("Checking") {
                return;
            }
            self.line(&format!("[{:>4.0} s] {name}", self.begun.elapsed().as_secs_f64()));
            return;
        }
        self.bar = Some(stage_bar(name, total));
    }

    fn reached(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }
}

impl Watch for Shown {
    fn begins(&mut self, done: usize, of: usize, what: &str) {
        self.run = format!("run {} of {of}: {what}", done + 1);
        if !self.terminal {
            return;
        }
        let left = self.left(of - done);
        let message = format!("{} · {left}", model::escape(what));
        let fresh = self.bar.as_ref().is_none_or(|bar| bar.length() != Some(of as u64));
        if fresh {
            self.clear();
            let style = ProgressStyle::with_template("{bar:20} {pos}/{len} {wide_msg}");
            let bar = ProgressBar::new(of as u64);
            self.bar = Some(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())));
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
            bar.set_message(message);
        }
    }

    fn ended(&mut self, seconds: f64, amiss: Option<&str>) {
        self.over = (self.over.0 + 1, self.over.1 + seconds);
        match amiss {
            Some(why) => self.line(&format!("{}: {why}", self.run)),
            None if !self.terminal => {
                let at = self.begun.elapsed().as_secs_f64();
                self.line(&format!("[{at:>4.0} s] {} ({seconds:.1} s)", self.run));
            }
            None => {}
        }
    }

    fn says(&mut self, line: &str) {
        self.line(line);
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.clear();
    }
}
