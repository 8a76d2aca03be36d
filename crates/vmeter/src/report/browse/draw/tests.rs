use super::*;
use crate::report::browse::fixture;
use profile::table::Choice;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// The screen as text, a line each.
fn screen(app: &mut App, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let theme = Theme { colour: false };
    terminal.draw(|frame| draw(frame, app, theme)).unwrap();
    format!("{}", terminal.backend())
}

fn press(app: &mut App, keys: &[KeyCode]) {
    for key in keys {
        app.key(KeyEvent::new(*key, KeyModifiers::NONE));
    }
}

fn typed(app: &mut App, text: &str) {
    let keys: Vec<_> = text.chars().map(KeyCode::Char).collect();
    press(app, &keys);
}

fn check(name: &str, app: &mut App, size: (u16, u16)) {
    let text = screen(app, size);
    let (width, height) = size;
    crate::golden::check(&format!("browse/{name}-{width}x{height}.txt"), &text);
}

#[test]
fn the_sizes() {
    for size in [(80, 24), (40, 12), (120, 30)] {
        let mut app = fixture::app();
        check("start", &mut app, size);
        // web1, httpd, its program's image and the first address in it.
        typed(&mut app, "ll");
        press(&mut app, &[KeyCode::Right, KeyCode::Right, KeyCode::Right]);
        press(&mut app, &[KeyCode::Down, KeyCode::Down, KeyCode::Down]);
        press(&mut app, &[KeyCode::Right, KeyCode::Right]);
        check("open", &mut app, size);
    }
}

#[test]
fn another_event_another_order_and_a_filter() {
    let mut app = fixture::app();
    typed(&mut app, "ess");
    check("misses", &mut app, (80, 24));
    typed(&mut app, "/tcp");
    check("filter", &mut app, (80, 24));
    check("filter", &mut app, (40, 12));
    typed(&mut app, "zzz");
    assert!(screen(&mut app, (80, 24)).contains("no row contains tcpzzz"));
    let mut one = fixture::app_of_one_event();
    typed(&mut one, "e");
    assert!(screen(&mut one, (80, 24)).contains("has no other event"));
}

#[test]
fn the_help() {
    for size in [(80, 50), (40, 12)] {
        let mut app = fixture::app();
        typed(&mut app, "?");
        check("help", &mut app, size);
    }
}

#[test]
fn other_levels_have_their_titles() {
    let by = vec![Column::Image, Column::Layer];
    let mut app = fixture::app_of(&Choice { by, ..fixture::choice() });
    check("by-image", &mut app, (80, 24));
}

#[test]
fn no_size_and_no_mode_is_too_small() {
    let modes = [Mode::Rows, Mode::Help(1000), Mode::Filter(String::new())];
    let mut app = fixture::app();
    typed(&mut app, "lllll");
    for mode in modes {
        for width in (1..30).chain([59, 60, 79, 200]) {
            for height in (1..14).chain([60]) {
                app.mode = mode.clone();
                let text = screen(&mut app, (width, height));
                assert_eq!(text.lines().count(), usize::from(height));
            }
        }
    }
}

#[test]
fn hostile_names_stay_in_their_cells() {
    for name in ["\u{1b}[2J\n東京\u{202e}\\", "\u{9b}31m\u{7}\r\t", "", "\u{200b}\u{e0041}x"] {
        let name = name.repeat(if name.len() > 5 { 300 } else { 1 });
        let mut app = fixture::app_called(&name);
        typed(&mut app, "llllllllllll/");
        typed(&mut app, &name);
        for mode in [Mode::Filter(String::new()), Mode::Rows, Mode::Help(0)] {
            for event in 0..app.events() {
                for size in [(80, 24), (40, 12), (200, 60)] {
                    (app.mode, app.event) = (mode.clone(), event);
                    let text = screen(&mut app, size);
                    let drives = |c: char| {
                        c != '\n' && (c.is_control() || matches!(c, '\u{202e}' | '\u{200b}'))
                    };
                    assert!(!text.chars().any(drives), "{text:?}");
                    assert_eq!(text.lines().count(), usize::from(size.1));
                }
            }
        }
    }
}

#[test]
fn a_thousand_rows_scroll_to_the_selected_one() {
    let mut app = fixture::app();
    let mut tree = app.place().tree().clone();
    let vm = tree.nodes[0].children[0];
    for n in 0..1000 {
        let node =
            Node { label: format!("vm{n:04}").into(), children: vec![], ..tree.nodes[vm].clone() };
        tree.nodes.push(node);
        let last = tree.nodes.len() - 1;
        tree.nodes[0].children.push(last);
    }
    tree.sort(Sort::Names);
    *app.place_mut() = Place::new(tree);
    screen(&mut app, (80, 24));
    app.place_mut().step(702);
    let text = screen(&mut app, (80, 24));
    assert!(text.contains("vm0700") && !text.contains("vm0701"), "{text}");
    press(&mut app, &[KeyCode::PageUp]);
    assert!(!screen(&mut app, (80, 24)).contains("vm0700"));
}
