//! Ctrl-C ends what runs with what it has so far.

use agent::Deadline;
use anyhow::Result;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock};
use workload::Control;

/// Whether Ctrl-C or TERM asked for the program's end.
static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// A deadline for agents: they do not keep a program from its end that someone waits for.
pub fn deadline() -> Deadline {
    Deadline::hurried_by(Arc::clone(&INTERRUPTED))
}

/// A control that Ctrl-C (and TERM) stops; a second time ends the program at once.
///
/// # Errors
/// Where signals cannot be caught.
pub fn interruptible() -> Result<Control> {
    let control = Control::default();
    for signal in [SIGINT, SIGTERM] {
        let flag = control.stop_flag();
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, flag)?;
        signal_hook::flag::register(signal, control.stop_flag())?;
        signal_hook::flag::register(signal, Arc::clone(&INTERRUPTED))?;
    }
    Ok(control)
}
