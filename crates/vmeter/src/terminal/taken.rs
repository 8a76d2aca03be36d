//! The terminal, taken over and given back whatever happens.

use anyhow::{Context, Result};
use ratatui::{DefaultTerminal, Frame};
use rustix::process::{Signal, getpid, kill_process};

/// The terminal in raw mode, on its alternate screen. Given back when dropped; a panic gives it
/// back before its message is printed (ratatui's hook).
pub struct Taken {
    terminal: DefaultTerminal,
    instead: &'static str,
}

impl Taken {
    /// Takes the terminal over; `instead` says what works without one.
    ///
    /// # Errors
    /// The terminal's; what was changed by then is undone.
    pub fn take(instead: &'static str) -> Result<Self> {
        Ok(Self { terminal: init(instead)?, instead })
    }

    /// Draws a frame, in the terminal's size of now.
    ///
    /// # Errors
    /// The terminal's.
    pub fn draw(&mut self, frame: impl FnOnce(&mut Frame<'_>)) -> Result<()> {
        self.terminal.draw(frame).map(|_| ()).context("cannot write to the terminal")
    }

    /// Has everything drawn anew.
    ///
    /// # Errors
    /// The terminal's.
    pub fn clear(&mut self) -> Result<()> {
        self.terminal.clear().context("cannot write to the terminal")
    }

    /// Gives the terminal back and stops the process until the shell continues it (Ctrl-Z).
    ///
    /// # Errors
    /// The terminal's.
    pub fn suspend(&mut self) -> Result<()> {
        give_back();
        kill_process(getpid(), Signal::TSTP).context("cannot stop")?;
        // In its place, and no other `Taken`: dropping this one would give the terminal back.
        self.terminal = init(self.instead)?;
        self.clear()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        give_back();
    }
}

fn init(instead: &'static str) -> Result<DefaultTerminal> {
    ratatui::try_init().or_else(|error| {
        let _ = ratatui::try_restore();
        Err(error).with_context(|| format!("cannot use the terminal; {instead}"))
    })
}

/// There is nobody to tell where this fails: the terminal is gone.
fn give_back() {
    let _ = ratatui::try_restore();
    let _ = ratatui::crossterm::execute!(std::io::stdout(), ratatui::crossterm::cursor::Show);
}
