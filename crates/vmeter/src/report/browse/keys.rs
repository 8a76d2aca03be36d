//! What keys do: as in `vmeter top`, and as users of trees expect.

use super::app::{App, Mode};
use crate::terminal::{LONGEST_PROMPT, scroll};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

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
}

impl App {
    /// Takes a key.
    pub fn key(&mut self, key: KeyEvent) -> Effect {
        self.message = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Effect::Quit,
                KeyCode::Char('z') => Effect::Suspend,
                KeyCode::Char('l') => Effect::Redraw,
                _ => Effect::None,
            };
        }
        match self.mode {
            Mode::Rows => self.row_key(key.code),
            Mode::Help(_) => self.help_key(key.code),
            Mode::Filter(_) => {
                self.filter_key(key.code);
                Effect::None
            }
        }
    }

    fn row_key(&mut self, key: KeyCode) -> Effect {
        let page = isize::try_from(self.page).unwrap_or(isize::MAX);
        match key {
            KeyCode::Char('q') | KeyCode::F(10) => return Effect::Quit,
            KeyCode::Up | KeyCode::Char('k') => self.place_mut().step(-1),
            KeyCode::Down | KeyCode::Char('j') => self.place_mut().step(1),
            KeyCode::PageUp => self.place_mut().step(-page),
            KeyCode::PageDown => self.place_mut().step(page),
            KeyCode::Home | KeyCode::Char('g') => self.place_mut().step(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.place_mut().step(isize::MAX),
            KeyCode::Enter | KeyCode::Char(' ') => self.place_mut().toggle(),
            KeyCode::Right | KeyCode::Char('l') => self.place_mut().enter(),
            KeyCode::Esc if !self.filter.is_empty() => self.set_filter(String::new()),
            KeyCode::Left | KeyCode::Char('h') | KeyCode::Backspace | KeyCode::Esc => {
                self.place_mut().leave();
            }
            KeyCode::Char('s') => self.next_order(),
            KeyCode::Char('e') => self.next_event(),
            KeyCode::Char('/' | 'f') | KeyCode::F(3 | 4) => {
                self.mode = Mode::Filter(self.filter.clone());
            }
            KeyCode::Char('?') | KeyCode::F(1) => self.mode = Mode::Help(0),
            _ => {}
        }
        Effect::None
    }

    fn help_key(&mut self, key: KeyCode) -> Effect {
        let Mode::Help(top) = &mut self.mode else { return Effect::None };
        match key {
            key if scroll(key, top, usize::MAX) => {}
            KeyCode::F(10) => return Effect::Quit,
            _ => self.mode = Mode::Rows,
        }
        Effect::None
    }

    /// Filters while it is typed; Esc takes it back.
    fn filter_key(&mut self, key: KeyCode) {
        let mut text = self.filter.clone();
        match key {
            KeyCode::Char(c) if text.chars().count() < LONGEST_PROMPT => {
                text.push(c);
                self.set_filter(text);
            }
            KeyCode::Backspace => {
                text.pop();
                self.set_filter(text);
            }
            KeyCode::Enter => self.mode = Mode::Rows,
            KeyCode::Esc => {
                if let Mode::Filter(before) = std::mem::replace(&mut self.mode, Mode::Rows) {
                    self.set_filter(before);
                }
            }
            // The rows can be looked at while it is typed.
            KeyCode::Up => self.place_mut().step(-1),
            KeyCode::Down => self.place_mut().step(1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::browse::fixture;
    use profile::table::Sort;

    fn press(app: &mut App, keys: &[KeyCode]) -> Effect {
        let press = |key: &KeyCode| app.key(KeyEvent::new(*key, KeyModifiers::NONE));
        keys.iter().map(press).last().unwrap()
    }

    fn typed(text: &str) -> Vec<KeyCode> {
        text.chars().map(KeyCode::Char).collect()
    }

    fn path(app: &App) -> String {
        app.place().path().join("/")
    }

    #[test]
    fn the_ways_out() {
        let control = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
        let mut app = fixture::app();
        assert_eq!(press(&mut app, &typed("q")), Effect::Quit);
        assert_eq!(press(&mut app, &[KeyCode::F(10)]), Effect::Quit);
        assert_eq!(press(&mut app, &[KeyCode::Esc, KeyCode::Esc]), Effect::None);
        assert_eq!(app.key(control('z')), Effect::Suspend);
        press(&mut app, &typed("/q"));
        assert_eq!(app.filter, "q");
        assert_eq!(app.key(control('c')), Effect::Quit);
    }

    #[test]
    fn rows_open_and_close_and_one_goes_up_again() {
        let mut app = fixture::app();
        let closed = app.place().rows().len();
        press(&mut app, &[KeyCode::Enter]);
        assert!(app.place().rows().len() > closed);
        press(&mut app, &[KeyCode::Right]);
        assert_eq!(path(&app), "web1/httpd");
        press(&mut app, &[KeyCode::Right, KeyCode::Right]);
        assert_eq!(path(&app), "web1/httpd/[guest kernel]");
        press(&mut app, &[KeyCode::Right, KeyCode::Right, KeyCode::Right]);
        assert_eq!(path(&app), "web1/httpd/[guest kernel]/tcp_sendmsg");
        press(&mut app, &[KeyCode::Backspace]);
        assert_eq!(path(&app), "web1/httpd/[guest kernel]");
        press(&mut app, &[KeyCode::Left, KeyCode::Left]);
        assert_eq!(path(&app), "web1/httpd");
        press(&mut app, &[KeyCode::Esc, KeyCode::Esc, KeyCode::Esc, KeyCode::Esc]);
        assert_eq!((path(&app).as_str(), app.place().rows().len()), ("web1", closed));
    }

    #[test]
    fn one_moves_by_rows_and_pages_to_both_ends() {
        let mut app = fixture::app();
        app.page = 2;
        press(&mut app, &[KeyCode::Down]);
        assert_eq!(path(&app), "host");
        press(&mut app, &[KeyCode::End, KeyCode::Down]);
        assert_eq!(path(&app), "db-東京");
        press(&mut app, &[KeyCode::PageUp]);
        assert_eq!(path(&app), "web1");
        press(&mut app, &[KeyCode::PageDown, KeyCode::Up]);
        assert_eq!(path(&app), "host");
        press(&mut app, &[KeyCode::Home, KeyCode::Up]);
        assert_eq!(path(&app), "web1");
    }

    #[test]
    fn orders_and_events_take_turns_and_the_selection_stays() {
        let mut app = fixture::app();
        press(&mut app, &typed("js"));
        assert_eq!((app.order, path(&app).as_str()), (Sort::Events, "host"));
        press(&mut app, &typed("s"));
        assert_eq!((app.order, path(&app).as_str()), (Sort::Names, "host"));
        press(&mut app, &typed("se"));
        assert_eq!((app.order, app.event, path(&app).as_str()), (Sort::Samples, 1, "host"));
        press(&mut app, &typed("e"));
        assert_eq!(app.event, 0);
        let mut one = fixture::app_of_one_event();
        press(&mut one, &typed("e"));
        assert!(one.message.is_some() && one.event == 0);
        press(&mut one, &typed("j"));
        assert!(one.message.is_none());
    }

    #[test]
    fn a_filter_works_while_it_is_typed_and_esc_takes_it_back() {
        let mut app = fixture::app();
        press(&mut app, &typed("/tcp"));
        assert_eq!(path(&app), "web1/httpd/[guest kernel]/tcp_sendmsg");
        press(&mut app, &[KeyCode::Backspace, KeyCode::Enter]);
        assert_eq!((app.filter.as_str(), &app.mode), ("tc", &Mode::Rows));
        press(&mut app, &typed("/x"));
        press(&mut app, &[KeyCode::Esc]);
        assert_eq!(app.filter, "tc");
        press(&mut app, &[KeyCode::Esc]);
        assert_eq!((app.filter.as_str(), app.place().hits()), ("", None));
    }

    #[test]
    fn the_help_scrolls_and_any_other_key_leaves_it() {
        let mut app = fixture::app();
        press(&mut app, &[KeyCode::Char('?'), KeyCode::Down, KeyCode::PageDown]);
        assert_eq!(app.mode, Mode::Help(11));
        press(&mut app, &[KeyCode::End, KeyCode::Down, KeyCode::Home, KeyCode::Up]);
        assert_eq!(app.mode, Mode::Help(0));
        assert_eq!(press(&mut app, &typed("q")), Effect::None);
        assert_eq!(app.mode, Mode::Rows);
    }
}
