//! Screens on a terminal: it is taken over and given back whatever happens, keys and signals are
//! waited for, and text fits in its cells. `top` and the report's browser stand on this.

pub mod fit;
mod taken;
mod theme;
mod wake;

pub use taken::Taken;
pub use theme::{Theme, bar, dim, line, reversed, show};
pub use wake::{Wake, Woken};

use anyhow::Result;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use std::time::Duration;

/// A prompt takes no more characters.
pub const LONGEST_PROMPT: usize = 64;

/// A key that was pressed, where one is there now.
///
/// # Errors
/// The terminal's.
pub fn key() -> Result<Option<KeyEvent>> {
    while event::poll(Duration::ZERO)? {
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => return Ok(Some(key)),
            _ => {}
        }
    }
    Ok(None)
}
