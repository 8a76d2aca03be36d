//! Styles and lines that all screens have.

use super::fit;
use ratatui::Frame;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;

/// Colours, unless the user wants none (NO_COLOR).
#[derive(Debug, Clone, Copy)]
pub struct Theme {
    /// Colours are used.
    pub colour: bool,
}

impl Theme {
    /// As the environment says.
    pub fn from_environment() -> Self {
        Self { colour: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) }
    }

    /// The style in a colour, where colours are used.
    pub fn paint(self, style: Style, colour: Color) -> Style {
        if self.colour { style.fg(colour) } else { style }
    }

    /// Of what should be seen first.
    pub fn warning(self) -> Style {
        self.paint(Style::new().add_modifier(Modifier::BOLD), Color::Yellow)
    }
}

/// Of what matters less.
pub fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

/// Of bars and of what is selected.
pub fn reversed() -> Style {
    Style::new().add_modifier(Modifier::REVERSED)
}

/// Draws lines from the top on.
pub fn show(frame: &mut Frame<'_>, lines: Vec<Line<'static>>) {
    let area = frame.area();
    for (line, y) in lines.into_iter().zip(area.top()..area.bottom()) {
        frame.buffer_mut().set_line(area.left(), y, &line, area.width);
    }
}

/// A line of text, cut to the width.
pub fn line(text: &str, width: usize, style: Style) -> Line<'static> {
    Line::styled(fit::cut(text, width).into_owned(), style)
}

/// A text from its line `top` on, in all lines but the last, which says how to go on; `top` goes
/// no further than the text does.
pub fn scrolled(
    text: &[String],
    top: &mut usize,
    (width, height): (usize, usize),
) -> Vec<Line<'static>> {
    let page = height.saturating_sub(1);
    *top = (*top).min(text.len().saturating_sub(page));
    let shown = text.iter().skip(*top).take(page);
    let mut lines: Vec<_> = shown.map(|text| line(text, width, Style::new())).collect();
    lines.resize(page, Line::default());
    lines.push(bar("Up Down: scroll   any other key: back", width));
    lines
}

/// A reversed line over the whole width.
pub fn bar(text: &str, width: usize) -> Line<'static> {
    let mut full = String::new();
    fit::pad(&mut full, text, width, true);
    Line::styled(full, reversed())
}
