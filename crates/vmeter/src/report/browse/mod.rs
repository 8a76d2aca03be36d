//! `vmeter report --browse`: the report on a terminal, opened level by level.

mod app;
mod draw;
#[cfg(test)]
mod fixture;
mod help;
mod keys;
mod layout;
mod place;
mod subject;

pub use app::App;
pub use subject::Subject;

use crate::failure::Refused;
use crate::terminal::{self, Taken, Theme, Wake, Woken};
use anyhow::Result;
use keys::Effect;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

/// Refuses where there is no terminal, before anything is read.
///
/// # Errors
/// Which of the two is none, and what to do.
pub fn check_terminal() -> Result<()> {
    let missing = match (io::stdout().is_terminal(), io::stdin().is_terminal()) {
        (true, true) => return Ok(()),
        (false, _) => "standard output",
        (true, false) => "standard input",
    };
    let why =
        format!("{missing} is not a terminal: omit --browse to print tables, or use --format");
    Err(Refused(why).into())
}

/// Shows the browser until the user quits or a signal ends it, which gives its status.
///
/// # Errors
/// The terminal's, which is restored before they are returned.
pub fn run(mut app: App) -> Result<ExitCode> {
    let wake = Wake::new()?;
    let theme = Theme::from_environment();
    let mut taken = Taken::take("without --browse none is needed")?;
    loop {
        taken.draw(|frame| draw::draw(frame, &mut app, theme))?;
        if let Woken::Signal(signal) = wake.wait(None)? {
            return Ok(ExitCode::from(128 + signal));
        }
        while let Some(key) = terminal::key()? {
            match app.key(key) {
                Effect::None => {}
                Effect::Quit => return Ok(ExitCode::SUCCESS),
                Effect::Redraw => taken.clear()?,
                Effect::Suspend => taken.suspend()?,
            }
        }
    }
}
