//! While a load runs, a terminal shows how far it is.

use indicatif::{ProgressBar, ProgressStyle};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use workload::Control;

/// How often the line is drawn.
const DRAWN: Duration = Duration::from_millis(250);

/// What the line shows.
pub struct Line {
    /// What runs: `tcp`.
    pub what: &'static str,
    /// What is counted: `packets`.
    pub unit: &'static str,
    /// How long it takes, where that is known.
    pub length: Option<Duration>,
    /// How many units there will be, where that is known and the length is not.
    pub total: Option<u64>,
}

/// Does the work with the line on standard error, where that is a terminal.
pub fn watch<T: Send>(line: &Line, control: &Control, work: impl FnOnce() -> T + Send) -> T {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    let result = std::thread::scope(|scope| {
        let (done, ended) = channel::<()>();
        let bar = &bar;
        scope.spawn(move || {
            let start = Instant::now();
            while ended.recv_timeout(DRAWN) == Err(RecvTimeoutError::Timeout) {
                bar.set_message(line.text(start.elapsed(), control));
                bar.tick();
            }
        });
        let result = work();
        drop(done);
        result
    });
    bar.finish_and_clear();
    result
}

impl Line {
    fn text(&self, elapsed: Duration, control: &Control) -> String {
        let progress = control.progress();
        let (done, failed) = (progress.done.load(Relaxed), progress.failed.load(Relaxed));
        let time = match self.length {
            Some(length) => {
                format!("{:.0} of {:.0} s", elapsed.as_secs_f64(), length.as_secs_f64())
            }
            None => format!("{:.0} s", elapsed.as_secs_f64()),
        };
        let total = self.total.map_or_else(String::new, |total| format!(" of {total}"));
        let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
        let ending = if control.stopped() { "; ending" } else { "" };
        format!("{}: {time}, {done}{total} {}{failed}{ending}", self.what, self.unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_it_is() {
        let control = Control::default();
        control.progress().done.store(5, Relaxed);
        let length = Some(Duration::from_secs(10));
        let line = Line { what: "tcp", unit: "packets", length, total: None };
        assert_eq!(line.text(Duration::from_secs(3), &control), "tcp: 3 of 10 s, 5 packets");
        control.progress().failed.store(2, Relaxed);
        control.stop();
        let line = Line { length: None, total: Some(9), ..line };
        assert_eq!(
            line.text(Duration::from_secs(3), &control),
            "tcp: 3 s, 5 of 9 packets, 2 failed; ending"
        );
    }
}
