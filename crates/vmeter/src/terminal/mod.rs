//! Screens on a terminal: it is taken over and given back whatever happens, keys and signals are
//! waited for, and text fits in its cells. `top` and the report's browser stand on this.

pub mod fit;
mod taken;
mod theme;
mod wake;

pub use taken::Taken;
pub use theme::{Theme, bar, dim, line, reversed, scrolled, show};
pub use wake::{Wake, Woken};

use anyhow::Result;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind};
use std::time::Duration;

/// A prompt takes no more characters.
pub const LONGEST_PROMPT: usize = 64;

/// Scrolls a text by a key, if it is one that does; `end` is beyond its last line.
pub fn scroll(key: KeyCode, top: &mut usize, end: usize) -> bool {
    match key {
        KeyCode::Up | KeyCode::Char('k') => *top = top.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => *top = top.saturating_add(1),
        KeyCode::PageUp => *top = top.saturating_sub(10),
        KeyCode::PageDown | KeyCode::Char(' ') => *top = top.saturating_add(10),
        KeyCode::Home => *top = 0,
        KeyCode::End => *top = end,
        _ => return false,
    }
    true
}

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
