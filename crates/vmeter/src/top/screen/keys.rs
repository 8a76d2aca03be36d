//! What keys do: as top's and htop's users expect.

use super::app::{App, Mode};
use super::help;
use crate::args;
use crate::terminal::{LONGEST_PROMPT, scroll};
use crate::top::Column;
use crate::top::rows::RowKey;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::time::Duration;

/// What a key asks of others than the screen's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// To end.
    Quit,
    /// To stop until the shell continues.
    Suspend,
    /// To draw everything anew.
    Redraw,
    /// To read again after a pause.
    Resume,
    /// To read at another interval.
    Interval,
}

/// The intervals that `+` and `-` step through, in milliseconds.
const STEPS: [u64; 10] = [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000];

impl App {
    /// Takes a key; `rows` are those that can be selected.
    pub fn key(&mut self, key: KeyEvent, rows: &[Option<RowKey>]) -> Effect {
        self.message = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => return Effect::Quit,
                KeyCode::Char('z') => return Effect::Suspend,
                KeyCode::Char('l') => return Effect::Redraw,
                _ => return Effect::None,
            }
        }
        match self.mode {
            Mode::Rows => self.row_key(key.code, rows),
            Mode::Help(_) => self.help_key(key.code),
            Mode::Filter(_) => self.filter_key(key.code),
            Mode::Interval(_) => self.interval_key(key.code),
            Mode::Sort(_) | Mode::Columns(_) => self.menu_key(key.code),
        }
    }

    fn row_key(&mut self, key: KeyCode, rows: &[Option<RowKey>]) -> Effect {
        let page = isize::try_from(self.page).unwrap_or(isize::MAX);
        match key {
            KeyCode::Char('q') | KeyCode::F(10) => return Effect::Quit,
            KeyCode::Up | KeyCode::Char('k') => self.step(-1, rows),
            KeyCode::Down | KeyCode::Char('j') => self.step(1, rows),
            KeyCode::PageUp => self.step(-page, rows),
            KeyCode::PageDown => self.step(page, rows),
            KeyCode::Home | KeyCode::Char('g') => self.step(isize::MIN, rows),
            KeyCode::End | KeyCode::Char('G') => self.step(isize::MAX, rows),
            KeyCode::Left => self.first_column = self.first_column.saturating_sub(1),
            KeyCode::Right => self.first_column += 1,
            KeyCode::Enter | KeyCode::Char('e' | ' ') => self.toggle_expanded(),
            KeyCode::Char('P' | 'T') => self.sort_by(Column::Cpu),
            KeyCode::Char('M') => self.sort_by(Column::Memory),
            KeyCode::Char('N') => self.sort_by(Column::Name),
            KeyCode::Char('<') => self.sort_next(false),
            KeyCode::Char('>') => self.sort_next(true),
            KeyCode::Char('r' | 'R' | 'I') => self.view.reverse = !self.view.reverse,
            KeyCode::Char('/' | '\\' | 'f') | KeyCode::F(3 | 4) => {
                self.mode = Mode::Filter(self.view.filter.clone());
            }
            KeyCode::Esc => self.view.filter.clear(),
            KeyCode::Char('d' | 's') => self.mode = Mode::Interval(String::new()),
            KeyCode::Char('+' | '=') => return self.interval_step(true),
            KeyCode::Char('-') => return self.interval_step(false),
            KeyCode::Char('p' | 'z' | 'Z') => {
                self.paused = !self.paused;
                return if self.paused { Effect::None } else { Effect::Resume };
            }
            KeyCode::Char('c') | KeyCode::F(2) => self.mode = Mode::Columns(0),
            KeyCode::Char('S') | KeyCode::F(6) => {
                let at = Column::all().position(|column| Some(column) == self.view.sort);
                self.mode = Mode::Sort(at.unwrap_or(0));
            }
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.mode = Mode::Help(0),
            _ => {}
        }
        Effect::None
    }

    fn interval_step(&mut self, longer: bool) -> Effect {
        let mut steps = STEPS.into_iter().map(Duration::from_millis);
        let next = if longer {
            steps.find(|step| *step > self.interval)
        } else {
            steps.rfind(|step| *step < self.interval)
        };
        self.change_interval(next.unwrap_or(self.interval))
    }

    fn change_interval(&mut self, to: Duration) -> Effect {
        if to == self.interval {
            return Effect::None;
        }
        self.interval = to;
        Effect::Interval
    }

    fn help_key(&mut self, key: KeyCode) -> Effect {
        let Mode::Help(top) = &mut self.mode else { return Effect::None };
        match key {
            key if scroll(key, top, help::LONGEST) => {}
            KeyCode::F(10) => return Effect::Quit,
            _ => self.mode = Mode::Rows,
        }
        Effect::None
    }

    /// Filters while it is typed; Esc takes it back.
    fn filter_key(&mut self, key: KeyCode) -> Effect {
        match key {
            KeyCode::Char(c) if self.view.filter.chars().count() < LONGEST_PROMPT => {
                self.view.filter.push(c);
            }
            KeyCode::Backspace => {
                self.view.filter.pop();
            }
            KeyCode::Enter => self.mode = Mode::Rows,
            KeyCode::Esc => {
                if let Mode::Filter(before) = std::mem::replace(&mut self.mode, Mode::Rows) {
                    self.view.filter = before;
                }
            }
            _ => {}
        }
        Effect::None
    }

    fn interval_key(&mut self, key: KeyCode) -> Effect {
        let Mode::Interval(typed) = &mut self.mode else { return Effect::None };
        match key {
            KeyCode::Char(c) if typed.chars().count() < LONGEST_PROMPT => typed.push(c),
            KeyCode::Backspace => {
                typed.pop();
            }
            KeyCode::Enter => {
                let parsed = args::interval(typed);
                self.mode = Mode::Rows;
                match parsed {
                    Ok(interval) => return self.change_interval(interval),
                    Err(why) => self.message = Some(why),
                }
            }
            KeyCode::Esc => self.mode = Mode::Rows,
            _ => {}
        }
        Effect::None
    }

    fn menu_key(&mut self, key: KeyCode) -> Effect {
        let (Mode::Sort(at) | Mode::Columns(at)) = &mut self.mode else { return Effect::None };
        let all: Vec<Column> = Column::all().collect();
        let last = all.len() - 1;
        match key {
            KeyCode::Up | KeyCode::Char('k') => *at = at.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => *at = (*at + 1).min(last),
            KeyCode::PageUp | KeyCode::Home => *at = 0,
            KeyCode::PageDown | KeyCode::End => *at = last,
            KeyCode::Char(' ') | KeyCode::Enter => {
                let column = all[(*at).min(last)];
                match self.mode {
                    Mode::Columns(_) => self.toggle_column(column),
                    _ => {
                        self.sort_by(column);
                        self.mode = Mode::Rows;
                    }
                }
            }
            KeyCode::Esc | KeyCode::Char('q' | 'c' | 'S') | KeyCode::F(2 | 6) => {
                self.mode = Mode::Rows;
            }
            KeyCode::F(10) => return Effect::Quit,
            _ => {}
        }
        Effect::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::rows::Owner;
    use crate::top::sampler::Sampled;
    use crate::top::{View, fixture};

    fn app() -> App {
        App::new(View::default(), Duration::from_secs(1))
    }

    fn press(app: &mut App, keys: &[KeyCode]) -> Effect {
        let sampled = Sampled { usage: fixture::xen(), detailed: true };
        let mut effect = Effect::None;
        for key in keys {
            let rows = app.rows(Some(&sampled));
            app.settle(&rows, 10);
            let keys: Vec<_> = rows.into_iter().map(|row| row.key).collect();
            effect = app.key(KeyEvent::new(*key, KeyModifiers::NONE), &keys);
        }
        effect
    }

    fn typed(text: &str) -> Vec<KeyCode> {
        text.chars().map(KeyCode::Char).collect()
    }

    #[test]
    fn the_ways_out() {
        assert_eq!(press(&mut app(), &typed("q")), Effect::Quit);
        assert_eq!(press(&mut app(), &[KeyCode::F(10)]), Effect::Quit);
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        let mut prompt = app();
        press(&mut prompt, &typed("/"));
        assert_eq!(prompt.key(control_c, &[]), Effect::Quit);
        assert_eq!(press(&mut prompt, &typed("q")), Effect::None);
    }

    #[test]
    fn sorting_as_top_does() {
        let mut app = app();
        press(&mut app, &typed("M"));
        assert_eq!((app.view.sort, app.view.reverse), (Some(Column::Memory), false));
        press(&mut app, &typed(">R"));
        assert_eq!((app.view.sort, app.view.reverse), (Some(Column::RxPackets), true));
        press(&mut app, &typed("<"));
        assert_eq!(app.view.sort, Some(Column::Memory));
        press(&mut app, &[KeyCode::F(6), KeyCode::Home, KeyCode::Enter]);
        assert_eq!((app.view.sort, app.mode), (Some(Column::Name), Mode::Rows));
    }

    #[test]
    fn a_filter_works_while_it_is_typed_and_esc_takes_it_back() {
        let mut app = app();
        press(&mut app, &typed("/web"));
        assert_eq!(app.view.filter, "web");
        press(&mut app, &[KeyCode::Backspace, KeyCode::Enter]);
        assert_eq!((app.view.filter.as_str(), &app.mode), ("we", &Mode::Rows));
        press(&mut app, &typed("/x"));
        press(&mut app, &[KeyCode::Esc]);
        assert_eq!(app.view.filter, "we");
        press(&mut app, &[KeyCode::Esc]);
        assert_eq!(app.view.filter, "");
    }

    #[test]
    fn a_row_opens_and_closes_also_from_its_details() {
        let mut app = app();
        press(&mut app, &typed(" "));
        let owner = Owner::Vm(fixture::xen().vms[0].id.clone());
        assert_eq!(app.expanded, [owner.clone()].into());
        assert!(app.want().vcpus);
        press(&mut app, &typed("jj"));
        assert_eq!(app.selected, Some(RowKey::Vcpu(owner.clone(), 1)));
        press(&mut app, &[KeyCode::Enter]);
        assert_eq!((app.expanded.len(), app.selected.clone()), (0, Some(RowKey::Owner(owner))));
        assert!(!app.want().vcpus);
    }

    #[test]
    fn the_selection_stays_on_its_row_when_the_order_changes() {
        let mut app = app();
        press(&mut app, &typed("j"));
        let before = app.selected.clone();
        press(&mut app, &typed("NRk"));
        press(&mut app, &typed("j"));
        assert_eq!(app.selected, before);
        press(&mut app, &[KeyCode::End]);
        assert_eq!(app.selected, Some(RowKey::Owner(Owner::Driver(0))));
        press(&mut app, &[KeyCode::Home]);
        assert_ne!(app.selected, before);
    }

    #[test]
    fn the_interval_is_typed_or_stepped() {
        let mut app = app();
        assert_eq!(press(&mut app, &typed("+")), Effect::Interval);
        assert_eq!(app.interval, Duration::from_secs(2));
        press(&mut app, &typed("d500ms"));
        assert_eq!(press(&mut app, &[KeyCode::Enter]), Effect::Interval);
        assert_eq!(app.interval, Duration::from_millis(500));
        press(&mut app, &typed("dnever"));
        assert_eq!(press(&mut app, &[KeyCode::Enter]), Effect::None);
        assert!(app.message.is_some());
        assert_eq!(app.interval, Duration::from_millis(500));
    }

    #[test]
    fn a_pause_ends_with_a_new_interval() {
        let mut app = app();
        assert_eq!(press(&mut app, &typed("p")), Effect::None);
        assert!(app.paused);
        assert_eq!(press(&mut app, &typed("z")), Effect::Resume);
    }

    #[test]
    fn columns_are_chosen_and_keep_their_order() {
        let mut app = app();
        press(&mut app, &typed("c jj "));
        assert!(app.view.columns.contains(&Column::Name));
        assert!(!app.view.columns.contains(&Column::Platform));
        press(&mut app, &typed("k "));
        assert_eq!(app.view.columns[..2], [Column::Name, Column::Id]);
    }
}
