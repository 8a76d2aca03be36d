//! What went wrong with emulated machines by itself, counted for those who run many.

use std::fs::OpenOptions;
use std::io::Write;

use crate::error::LabError;

/// The environment variable that names the file in which mishaps are noted, a line each.
const VARIABLE: &str = "VMETER_LAB_MISHAPS";

/// Notes a machine's mishap in the file that `$VMETER_LAB_MISHAPS` names, if it names one: the
/// machine's kind and the error's first line, with the console's last where there is one.
pub fn note_mishap(kind: &str, error: &LabError) {
    tracing::warn!(kind, error = ?error.to_string(), "the machine failed; starting it again");
    let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) else { return };
    let text = error.to_string();
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let (first, last) = (lines.next().unwrap_or_default(), lines.next_back());
    let line = match last {
        Some(last) => format!("{kind}: {first} {last}\n"),
        None => format!("{kind}: {first}\n"),
    };
    // One write, so that lines of several processes stay whole; a note that cannot be kept changes
    // nothing of what is done.
    let file = OpenOptions::new().create(true).append(true).open(path);
    let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
}
