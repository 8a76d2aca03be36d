//! Ctrl-C ends what runs with what it has so far.

use anyhow::Result;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use workload::Control;

/// Whether Ctrl-C was pressed.
static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Whether Ctrl-C was pressed: someone waits for the program's end.
pub fn was_interrupted() -> bool {
    INTERRUPTED.load(Relaxed)
}

/// A control that Ctrl-C (and TERM) stops; a second time ends the program at once.
///
/// # Errors
/// Where signals cannot be caught.
pub fn interruptible() -> Result<Control> {
    let control = Control::default();
    signal_hook::flag::register(SIGINT, Arc::clone(&INTERRUPTED))?;
    for signal in [SIGINT, SIGTERM] {
        let flag = control.stop_flag();
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, flag)?;
        signal_hook::flag::register(signal, control.stop_flag())?;
    }
    Ok(control)
}
