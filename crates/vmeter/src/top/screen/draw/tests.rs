use super::*;
use crate::top::rows::Owner;
use crate::top::{View, fixture};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use std::time::Duration;

fn app() -> App {
    App::new(View::default(), Duration::from_secs(1))
}

/// The screen as text, a line each.
fn screen(app: &mut App, usage: Option<Usage>, (width, height): (u16, u16)) -> String {
    let sampled = usage.map(|usage| Sampled { usage, detailed: true });
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let theme = Theme { colour: false };
    terminal.draw(|frame| draw(frame, app, sampled.as_ref(), theme)).unwrap();
    format!("{}", terminal.backend())
}

#[test]
fn the_sizes() {
    for size in [(80, 24), (120, 30), (40, 10)] {
        let text = screen(&mut app(), Some(fixture::xen()), size);
        crate::golden::check(&format!("top/screen-{}x{}.txt", size.0, size.1), &text);
    }
}

#[test]
fn no_size_and_no_mode_is_too_small() {
    let modes = [
        Mode::Rows,
        Mode::Help(1000),
        Mode::Filter(String::new()),
        Mode::Interval("1".to_owned()),
        Mode::Sort(20),
        Mode::Columns(24),
    ];
    for mode in modes {
        for width in (1..30).chain([79, 200]) {
            for height in (1..12).chain([60]) {
                for usage in [None, Some(fixture::xen())] {
                    let mut app = app();
                    app.mode = mode.clone();
                    app.first_column = 50;
                    screen(&mut app, usage, (width, height));
                }
            }
        }
    }
}

#[test]
fn expanded_scrolled_and_paused() {
    let mut app = app();
    let usage = fixture::xen();
    app.expanded.insert(Owner::Vm(usage.vms[0].id.clone()));
    app.expanded.insert(Owner::Driver(0));
    app.first_column = 8;
    app.paused = true;
    crate::golden::check("top/screen-expanded.txt", &screen(&mut app, Some(usage), (80, 24)));
}

#[test]
fn what_is_not_permitted_is_said() {
    let text = screen(&mut app(), Some(fixture::unprivileged()), (80, 24));
    crate::golden::check("top/screen-unprivileged.txt", &text);
}

#[test]
fn the_menus_and_the_help() {
    let mut app = app();
    app.mode = Mode::Columns(3);
    crate::golden::check("top/screen-columns.txt", &screen(&mut app, None, (80, 24)));
    app.mode = Mode::Help(0);
    crate::golden::check("top/screen-help.txt", &screen(&mut app, None, (80, 60)));
}

#[test]
fn a_hostile_name_stays_in_its_row() {
    let mut usage = fixture::xen();
    usage.vms[0].name = "\u{1b}[2J\n東京\u{202e}".repeat(1000);
    let text = screen(&mut app(), Some(usage), (80, 24));
    assert!(text.contains("▸ \\u{1b}["));
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
}

#[test]
fn a_thousand_rows_scroll_to_the_selected_one() {
    let mut usage = fixture::xen();
    let one = usage.vms[0].clone();
    usage.vms = (0..1000)
        .map(|id| account::VmUsage {
            id: model::VmId::Domain { id, handle: [0; 16] },
            name: format!("vm{id:04}"),
            ..one.clone()
        })
        .collect();
    let mut app = app();
    app.sort_by(Column::Name);
    screen(&mut app, Some(usage.clone()), (80, 24));
    let keys: Vec<_> = {
        let sampled = Sampled { usage: usage.clone(), detailed: true };
        app.rows(Some(&sampled)).into_iter().map(|row| row.key).collect()
    };
    app.step(700, &keys);
    let text = screen(&mut app, Some(usage), (80, 24));
    assert!(text.contains("vm0700") && !text.contains("vm0701"));
    assert!(text.contains("host total"));
}
