//! Drawing: lines of text of exactly the terminal's width.

use super::app::{App, Mode};
use super::help;
use super::layout::{Lines, Number};
use super::place::Place;
use super::subject::levels;
use crate::terminal::{self, Theme, dim, fit, reversed};
use model::Absent;
use profile::table::{Column, Sort};
use profile::tree::{Node, Tree};
use ratatui::Frame;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use std::cmp::Reverse;

/// Reasons why names are missing that are told of one row.
const MOST_REASONS: usize = 3;

/// Draws the whole screen.
pub fn draw(frame: &mut Frame<'_>, app: &mut App, theme: Theme) {
    let area = frame.area();
    let canvas = Canvas { width: area.width.into(), height: area.height.into(), theme };
    let lines = match app.mode {
        Mode::Help(_) => canvas.help(app),
        _ => canvas.screen(app),
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

    fn help(self, app: &mut App) -> Vec<Line<'static>> {
        let text = help::lines(app, self.width.min(80));
        let Mode::Help(top) = &mut app.mode else { return Vec::new() };
        terminal::scrolled(&text, top, (self.width, self.height))
    }

    fn screen(self, app: &mut App) -> Vec<Line<'static>> {
        let above = self.header(app);
        let shares = Lines::fit(self.height, above.len());
        let mut lines: Vec<Line<'static>> = above.into_iter().take(shares.header).collect();
        let numbers = self.numbers(app);
        if shares.titles > 0 {
            lines.push(self.titles(app, &numbers));
        }
        let body_end = lines.len() + shares.list;
        app.page = shares.list.max(1);
        let page = app.page;
        let rows = app.place().rows();
        let selected = app.place_mut().settle(&rows, page);
        let shown = rows.iter().enumerate().skip(app.place().top).take(shares.list);
        for (index, &row) in shown {
            lines.push(self.row(app.place(), row, &numbers, Some(index) == selected));
        }
        if rows.is_empty() && shares.list > 0 {
            lines.push(self.line(&nothing(app), dim()));
        }
        lines.resize(body_end, Line::default());
        let details = self.details(app.place(), &numbers, shares.details);
        lines.extend(details.iter().map(|text| self.line(text, dim())));
        lines.resize(body_end + shares.details, Line::default());
        if shares.footer > 0 {
            lines.push(self.footer(app));
        }
        lines
    }

    fn header(self, app: &App) -> Vec<Line<'static>> {
        let head = &app.subject.heads[app.event];
        let mut first = format!("event {}", head.event);
        if app.events() > 1 {
            first.push_str(&format!(" ({} of {})", app.event + 1, app.events()));
        }
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let program = if self.width < 60 { "" } else { "vmeter report " };
        let room = self.width.saturating_sub(program.len() + 2 + fit::width(&first));
        let name = fit::elide(&app.subject.name, room.max(8));
        let mut lines = vec![self.line(&format!("{program}{name}  {first}"), bold)];
        let fields = joined(&head.fields, self.width);
        lines.extend(fields.iter().map(|line| self.line(line, Style::new())));
        if let Some(samples) = app.place().hits() {
            let all = app.place().tree().nodes[0].count.samples.max(1);
            let percent = 100.0 * samples as f64 / all as f64;
            let text = model::escape(&app.filter);
            let text = format!("filter: {text}  {samples} samples, {percent:.2}%");
            lines.push(self.line(&text, self.theme.warning()));
        }
        if let Some(note) = app.subject.notes.first() {
            let more = match app.subject.notes.len() {
                1 => String::new(),
                more => format!("(+{}: ?) ", more - 1),
            };
            lines.push(self.line(&format!("! {more}{note}"), self.theme.warning()));
        }
        lines
    }

    fn numbers(self, app: &App) -> Vec<Number> {
        let applies = |node: &Node| !matches!(node.busy, Err(Absent::NotApplicable(_)));
        let has_busy = app.place().tree().nodes.iter().take(1).any(applies);
        Number::fit(self.width, app.order, app.subject.heads[app.event].is_time, has_busy)
    }

    fn titles(self, app: &App, numbers: &[Number]) -> Line<'static> {
        let mut text = String::new();
        for &number in numbers {
            let sorted = match app.order {
                Sort::Samples => number == Number::Samples,
                Sort::Events => number == Number::Events,
                Sort::Names => false,
            };
            let arrow = if sorted { "↓" } else { "" };
            let title = format!("{arrow}{}", number.title());
            fit::pad(&mut text, &title, number.width(), false);
        }
        let arrow = if app.order == Sort::Names { "↓" } else { " " };
        text.push_str(&format!(" {arrow} {}", levels(&app.place().tree().by)));
        terminal::bar(&text, self.width)
    }

    fn row(self, place: &Place, at: usize, numbers: &[Number], selected: bool) -> Line<'static> {
        let node = place.node(at);
        let mut text = String::with_capacity(self.width + 8);
        for &number in numbers {
            fit::pad(&mut text, &value(node, number), number.width(), false);
        }
        let mark = match place.opened(at) {
            Some(true) => "▾",
            Some(false) => "▸",
            None => " ",
        };
        let indent = "  ".repeat(node.depth.saturating_sub(1));
        let before = format!("{text} {indent}{mark} ");
        let room = self.width.saturating_sub(fit::width(&before));
        let name = fit::elide(&node.label, room);
        let own = self.style(place, at);
        if !selected {
            return Line::from(vec![
                Span::raw(fit::cut(&before, self.width).into_owned()),
                Span::styled(name.into_owned(), own),
            ]);
        }
        let mut full = String::new();
        fit::pad(&mut full, &format!("{before}{name}"), self.width, true);
        Line::styled(full, own.patch(reversed()))
    }

    fn style(self, place: &Place, at: usize) -> Style {
        let node = place.node(at);
        if place.is_hit(at) {
            return self.theme.warning();
        }
        match place.tree().by.get(node.depth.saturating_sub(1)) {
            Some(Column::Vm) => Style::new().add_modifier(Modifier::BOLD),
            Some(Column::Process) => self.theme.paint(Style::new(), Color::Cyan),
            Some(Column::Image) => self.theme.paint(Style::new(), Color::Green),
            Some(Column::Symbol) if is_unnamed(place.tree(), node) => dim(),
            _ => Style::new(),
        }
    }

    /// What there is to say of the selected row, in so many lines: where it is, with its layers
    /// where they fit beside that, and what is missing in it.
    fn details(self, place: &Place, numbers: &[Number], lines: usize) -> Vec<String> {
        let Some(node) = place.selected() else { return Vec::new() };
        let (path, layers) = (place.path().join(" › "), layers(node));
        let mut notes = notes(place.tree(), node, numbers.contains(&Number::Busy));
        let first = format!("{path}  ({layers})");
        let mut said = Vec::new();
        // Where there is but one line it is for what the row does not say itself.
        if lines > 1 && fit::width(&first) <= self.width {
            said.push(first);
        } else {
            if lines > 1 {
                said.push(fit::elide(&path, self.width).into_owned());
            }
            notes.push(layers);
        }
        let mut wrapped = fit::wrap(&notes.join("; "), self.width, ("", ""));
        let room = lines.saturating_sub(said.len());
        if wrapped.len() > room && room > 0 {
            let rest = wrapped.split_off(room - 1).join(" ");
            wrapped.push(rest);
        }
        said.extend(wrapped.into_iter().take(room));
        said
    }

    fn footer(self, app: &App) -> Line<'static> {
        match (&app.mode, app.message) {
            (Mode::Filter(_), _) => {
                let text = format!("filter: {}_", model::escape(&app.filter));
                self.line(&text, self.theme.warning())
            }
            (_, Some(message)) => self.line(message, self.theme.warning()),
            _ if self.width < 60 => {
                terminal::bar("?:help →:open ←:close /:filter q:quit", self.width)
            }
            _ => {
                let event = if app.events() > 1 { "  e:event" } else { "" };
                let esc = if app.filter.is_empty() { "" } else { "  Esc:all" };
                let keys = format!("?:help  →:open  ←:close  s:sort{event}  /:filter{esc}  q:quit");
                terminal::bar(&keys, self.width)
            }
        }
    }
}

/// Fields in as few lines as they need.
fn joined(fields: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for field in fields {
        match lines.last_mut() {
            Some(line) if fit::width(line) + 2 + fit::width(field) <= width => {
                line.push_str("  ");
                line.push_str(field);
            }
            _ => lines.push(field.clone()),
        }
    }
    lines
}

/// What is said in place of rows.
fn nothing(app: &App) -> String {
    if app.filter.is_empty() {
        "no samples of this event".to_owned()
    } else {
        format!("no row contains {}", model::escape(&app.filter))
    }
}

fn value(node: &Node, number: Number) -> String {
    let whole = |count: u64| match count {
        0..100_000_000 => count.to_string(),
        more => fit::short(more as f64),
    };
    match number {
        Number::Samples => whole(node.count.samples),
        Number::Percent => format!("{:.2}", node.percent),
        Number::Busy => match &node.busy {
            Ok(time) if time.seconds() < 9999.9995 => format!("{:.3}", time.seconds()),
            Ok(time) => fit::short(time.seconds()),
            Err(_) => "-".to_owned(),
        },
        Number::Events => fit::short(node.count.events as f64),
    }
}

/// Whether a row is of one address that has no name.
fn is_unnamed(tree: &Tree, node: &Node) -> bool {
    let is_symbol = tree.by.get(node.depth.saturating_sub(1)) == Some(&Column::Symbol);
    is_symbol && node.unnamed.iter().map(|(_, samples)| samples).sum::<u64>() == node.count.samples
}

/// Why names are missing in a row, and why its busy time is.
fn notes(tree: &Tree, node: &Node, busy: bool) -> Vec<String> {
    let mut said: Vec<_> = missing(tree, node).into_iter().collect();
    if let (true, Err(absent)) = (busy, &node.busy) {
        said.push(format!("busy time: {}", model::escape(&absent.to_string())));
    }
    said
}

fn missing(tree: &Tree, node: &Node) -> Option<String> {
    let samples: u64 = node.unnamed.iter().map(|(_, samples)| samples).sum();
    match node.unnamed.as_slice() {
        [] => None,
        [(only, _)] if is_unnamed(tree, node) => Some(format!("no name: {only}")),
        [(only, _)] => Some(format!("{samples} samples without names: {only}")),
        all => {
            let shown = all.iter().take(MOST_REASONS);
            let mut reasons: Vec<_> =
                shown.map(|(reason, samples)| format!("{reason} ({samples})")).collect();
            if all.len() > MOST_REASONS {
                reasons.push(format!("{} more reasons", all.len() - MOST_REASONS));
            }
            Some(format!("{samples} samples without names: {}", reasons.join(", ")))
        }
    }
}

fn layers(node: &Node) -> String {
    let mut layers: Vec<_> = node.layers.iter().collect();
    layers.sort_by_key(|(_, samples)| Reverse(**samples));
    let percent = |samples: u64| 100.0 * samples as f64 / node.count.samples.max(1) as f64;
    let words: Vec<_> = match layers.as_slice() {
        [(only, _)] => vec![only.word().to_owned()],
        layers => layers
            .iter()
            .map(|(layer, samples)| format!("{} {:.1}%", layer.word(), percent(**samples)))
            .collect(),
    };
    words.join(", ")
}

#[cfg(test)]
mod tests;
