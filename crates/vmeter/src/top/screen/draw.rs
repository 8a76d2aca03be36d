//! Drawing: lines of text of exactly the terminal's width.

use super::app::{App, Mode};
use super::help;
use super::layout::{Columns, Lines};
use crate::terminal::{self, Theme, dim, fit, reversed};
use crate::top::figure::{Figure, figure};
use crate::top::note::notes;
use crate::top::rows::{Item, Row, ends};
use crate::top::sampler::Sampled;
use crate::top::{Column, header};
use account::Usage;
use model::State;
use ratatui::Frame;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

/// The style of a row.
fn row_style(theme: Theme, item: Item<'_>) -> Style {
    match item {
        Item::Vm(vm) => match vm.state {
            State::Crashed => theme.paint(Style::new(), Color::Red),
            State::Ended | State::Dying | State::Shutdown => dim(),
            State::Paused => theme.paint(Style::new(), Color::Yellow),
            _ => Style::new(),
        },
        Item::Driver(_) => theme.paint(Style::new(), Color::Cyan),
        Item::Vcpu(_) | Item::Thread(_) | Item::Pending => theme.paint(Style::new(), Color::Green),
        Item::Hidden { .. } | Item::Unattributed => dim(),
        Item::Total => Style::new().add_modifier(Modifier::BOLD),
    }
}

/// Draws the whole screen.
pub fn draw(frame: &mut Frame<'_>, app: &mut App, sampled: Option<&Sampled>, theme: Theme) {
    let area = frame.area();
    let canvas = Canvas { width: area.width.into(), height: area.height.into(), theme };
    let lines = match app.mode {
        Mode::Help(_) => canvas.help(app, sampled.map(|s| &s.usage)),
        _ => canvas.screen(app, sampled),
    };
    terminal::show(frame, lines);
}

/// The size to fill.
#[derive(Clone, Copy)]
struct Canvas {
    width: usize,
    height: usize,
    theme: Theme,
}

impl Canvas {
    fn line(self, text: &str, style: Style) -> Line<'static> {
        terminal::line(text, self.width, style)
    }

    fn bar(self, text: &str) -> Line<'static> {
        terminal::bar(text, self.width)
    }

    fn help(self, app: &mut App, usage: Option<&Usage>) -> Vec<Line<'static>> {
        let text = help::lines(&usage.map(notes).unwrap_or_default());
        let Mode::Help(top) = &mut app.mode else { return Vec::new() };
        terminal::scrolled(&text, top, (self.width, self.height))
    }

    fn screen(self, app: &mut App, sampled: Option<&Sampled>) -> Vec<Line<'static>> {
        let above = self.header(app, sampled.map(|s| &s.usage));
        let shares = Lines::fit(self.height, above.len());
        let mut lines: Vec<Line<'static>> = above.into_iter().take(shares.header).collect();
        let body = shares.titles + shares.list + shares.ends + shares.reason;
        let body_end = lines.len() + body;
        match (app.mode.clone(), sampled) {
            (Mode::Sort(at) | Mode::Columns(at), _) => self.menu(&mut lines, app, at, body),
            (_, None) => {
                let waiting = format!("measuring for {:?}…", app.interval);
                lines.push(self.line(&waiting, Style::new()));
            }
            (_, Some(sampled)) => self.rows(&mut lines, app, sampled, shares),
        }
        lines.resize(body_end, Line::default());
        if shares.footer > 0 {
            lines.push(self.footer(app));
        }
        lines
    }

    fn header(self, app: &App, usage: Option<&Usage>) -> Vec<Line<'static>> {
        let system = usage.map(|usage| format!("  {}", header::system(usage))).unwrap_or_default();
        let first = format!("vmeter top{system}  every {:?}", app.interval);
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let mut spans = vec![Span::styled(first, bold)];
        if app.paused {
            spans.push(Span::styled("  PAUSED", self.theme.warning()));
        }
        if !app.view.filter.is_empty() {
            let filter = format!("  filter: {}", model::escape(&app.view.filter));
            spans.push(Span::styled(filter, self.theme.warning()));
        }
        let mut lines = vec![Line::from(spans)];
        let Some(usage) = usage else { return lines };
        lines.push(self.line(&header::sum(usage), Style::new()));
        let most = 3;
        for driver in usage.drivers.iter().take(most) {
            lines.push(self.line(&header::driver(driver, usage, self.width), Style::new()));
        }
        if usage.drivers.len() > most {
            let more = usage.drivers.len() - most;
            lines.push(self.line(&format!("… and {more} more driver domains"), dim()));
        }
        let notes = notes(usage);
        if let Some(note) = notes.first() {
            let more = match notes.len() {
                1 => String::new(),
                more => format!("(+{}: ?) ", more - 1),
            };
            let text = format!("! {more}{}", model::escape(&note.to_string()));
            lines.push(self.line(&text, self.theme.warning()));
        }
        lines
    }

    fn rows(self, lines: &mut Vec<Line<'static>>, app: &mut App, sampled: &Sampled, shares: Lines) {
        let usage = &sampled.usage;
        let rows = app.rows(Some(sampled));
        let selected = app.settle(&rows, shares.list);
        let last_rows = ends();
        let all = rows.iter().chain(&last_rows);
        let longest = all.map(|row| fit::width(&name(row, usage))).max().unwrap_or(0);
        let others = app.view.columns.get(1..).unwrap_or_default();
        let columns = Columns::fit(self.width, longest, others, app.first_column);
        app.first_column = columns.first;

        let unseen = others.len() - columns.shown.len();
        if let (Some(first), true) = (lines.first_mut(), unseen > 0) {
            first.spans.insert(1, Span::styled(format!("  ←→ {unseen} more columns"), dim()));
        }
        if shares.titles > 0 {
            lines.push(self.titles(app, &columns));
        }
        let shown = rows.iter().enumerate().skip(app.top).take(shares.list);
        for (index, row) in shown {
            let style = row_style(self.theme, row.item);
            let style = if Some(index) == selected { style.patch(reversed()) } else { style };
            lines.push(self.row(row, &columns, usage, style));
        }
        for row in last_rows.iter().take(shares.ends) {
            lines.push(self.row(row, &columns, usage, row_style(self.theme, row.item)));
        }
        if shares.reason > 0 {
            let left = shares.list.saturating_sub(rows.len().saturating_sub(app.top));
            lines.extend(std::iter::repeat_n(Line::default(), left));
            let text = match selected {
                _ if usage.vms.is_empty() => "no VM is running".to_owned(),
                Some(at) => reasons(rows[at].item, &columns, usage),
                None => String::new(),
            };
            lines.push(self.line(&text, dim()));
        }
    }

    fn titles(self, app: &App, columns: &Columns) -> Line<'static> {
        let arrow = |column: Column| match (app.view.sort == Some(column), app.view.reverse) {
            (false, _) => ' ',
            (true, reverse) if reverse == column.is_text() => '↓',
            (true, _) => '↑',
        };
        let mut text = String::new();
        let name = format!("  {}{}", Column::Name.title(), arrow(Column::Name));
        fit::pad(&mut text, &name, columns.name, true);
        for column in &columns.shown {
            let title = format!("{}{}", arrow(*column), column.title());
            fit::pad(&mut text, &title, column.width() + 1, column.is_text());
        }
        self.bar(&text)
    }

    fn row(self, row: &Row<'_>, columns: &Columns, usage: &Usage, style: Style) -> Line<'static> {
        let mut text = String::with_capacity(self.width + 8);
        fit::pad(&mut text, &fit::elide(&name(row, usage), columns.name), columns.name, true);
        for column in &columns.shown {
            text.push(' ');
            let value = figure(row.item, *column, usage);
            fit::pad(&mut text, &value.text(), column.width(), column.is_text());
        }
        let blank = self.width.saturating_sub(fit::width(&text));
        text.extend(std::iter::repeat_n(' ', blank));
        Line::styled(text, style)
    }

    fn menu(self, lines: &mut Vec<Line<'static>>, app: &App, at: usize, height: usize) {
        let choosing = matches!(app.mode, Mode::Columns(_));
        lines.push(self.bar(if choosing { "  COLUMNS" } else { "  SORT BY" }));
        let page = height.saturating_sub(1);
        let top = (at + 1).saturating_sub(page);
        for (index, column) in Column::all().enumerate().skip(top).take(page) {
            let on = if choosing {
                app.view.columns.contains(&column)
            } else {
                app.view.sort == Some(column)
            };
            let mark = if on { '*' } else { ' ' };
            let text =
                format!("{mark} {:<5} {:<15} {}", column.title(), column.key(), column.what());
            lines.push(if index == at { self.bar(&text) } else { self.line(&text, Style::new()) });
        }
    }

    fn footer(self, app: &App) -> Line<'static> {
        let prompt = match &app.mode {
            Mode::Filter(_) => Some(format!("filter: {}_", model::escape(&app.view.filter))),
            Mode::Interval(typed) => {
                Some(format!("interval (1s, 500ms, 2.5, 1m): {}_", model::escape(typed)))
            }
            _ => app.message.as_deref().map(model::escape),
        };
        match (prompt, &app.mode) {
            (Some(text), _) => self.line(&text, self.theme.warning()),
            (None, Mode::Sort(_)) => self.bar("Up Down: move   Enter: sort by it   Esc: back"),
            (None, Mode::Columns(_)) => self.bar("Up Down: move   Space: show or hide   Esc: done"),
            (None, _) => self.bar(
                "?:help  ←→:columns  c:choose  /:filter  <>:sort  Enter:expand  p:pause  q:quit",
            ),
        }
    }
}

/// The row's name, shifted by its depth, a mark before what can be opened.
fn name(row: &Row<'_>, usage: &Usage) -> String {
    let before = match (row.expanded, row.item) {
        (Some(true), _) => "▾ ",
        (Some(false), _) => "▸ ",
        (None, Item::Vcpu(_) | Item::Thread(_) | Item::Pending) => "    ",
        (None, _) => "  ",
    };
    format!("{before}{}", figure(row.item, Column::Name, usage).text())
}

/// Why the dashes of a row are dashes.
fn reasons(item: Item<'_>, columns: &Columns, usage: &Usage) -> String {
    let mut text = String::new();
    let mut last = String::new();
    for column in &columns.shown {
        let Figure::Absent(reason) = figure(item, *column, usage) else { continue };
        let reason = model::escape(&reason.to_string());
        if reason == last {
            continue;
        }
        let before = if text.is_empty() { "-" } else { "; -" };
        text.push_str(&format!("{before} {}: {reason}", column.title()));
        last = reason;
    }
    text
}

#[cfg(test)]
mod tests;
