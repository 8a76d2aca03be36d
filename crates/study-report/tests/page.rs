//! The page in a real browser. `VMETER_SCREENSHOTS=DIR` keeps pictures of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod chromium;
#[path = "../src/sample.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod sample;

use chromium::Chromium;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use study::figure::Report;
use tempfile::TempDir;

/// Windows of a desk and of a telephone.
const WINDOWS: [(u32, u32); 2] = [(1280, 900), (400, 800)];

/// Words that stand on others, or that are cut: `[figure, what]`.
const OVERLAPS: &str = r"
(() => {
  const found = [];
  const meet = (a, b) =>
    a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  const boxes = (plot, selector) =>
    [...plot.querySelectorAll(selector)].map((e) => e.getBoundingClientRect()).filter((b) => b.width > 0);
  for (const plot of document.querySelectorAll('.plot')) {
    const name = plot.closest('figure').id;
    const legend = boxes(plot, '.legend');
    const words = boxes(plot, '.xtick text, .ytick text, .g-xtitle, .g-ytitle, .angularaxistick text');
    const area = boxes(plot, '.bglayer .bg, .draglayer .nsewdrag');
    for (const a of legend) for (const b of words.concat(area)) if (meet(a, b)) found.push([name, 'legend on words']);
    const all = plot.getBoundingClientRect();
    for (const b of words.concat(legend)) {
      if (b.left < all.left - 1 || b.right > all.right + 1 || b.top < all.top - 1 || b.bottom > all.bottom + 1) {
        found.push([name, 'cut', b.left - all.left, b.right - all.right, b.top - all.top, b.bottom - all.bottom]);
      }
    }
    const ticks = boxes(plot, '.xtick text, .angularaxistick text');
    ticks.forEach((a, at) => ticks.slice(at + 1).forEach((b) => { if (meet(a, b)) found.push([name, 'ticks']); }));
  }
  return found;
})()";

fn written(report: &Report) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.html");
    fs::write(&file, study_report::html(report)).unwrap();
    (folder, file)
}

/// Opens the report and waits until everything is drawn; how many figures are.
fn drawn(chromium: &mut Chromium, report: &Report) -> (TempDir, usize) {
    let (folder, file) = written(report);
    chromium.open(&file);
    chromium.wait_for("document.documentElement.dataset.drawn !== undefined");
    let failed = "[...document.querySelectorAll('.plot.failed')].map(p => p.textContent)";
    assert_eq!(chromium.eval(failed), Value::Array(Vec::new()));
    let drawn = chromium.eval("Number(document.documentElement.dataset.drawn)").as_u64().unwrap();
    (folder, usize::try_from(drawn).unwrap())
}

/// Nothing went wrong, and nothing was asked of any other machine.
fn assert_clean(chromium: &mut Chromium) {
    assert_eq!(chromium.problems(), Vec::<String>::new());
    let requests = chromium.requests();
    assert!(!requests.is_empty());
    let local = ["file:", "data:", "blob:", "about:"];
    let foreign: Vec<&String> =
        requests.iter().filter(|url| !local.iter().any(|kind| url.starts_with(kind))).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

fn keep_screenshot(chromium: &mut Chromium, name: &str) {
    if let Some(folder) = std::env::var_os("VMETER_SCREENSHOTS") {
        fs::create_dir_all(&folder).unwrap();
        chromium.screenshot(&PathBuf::from(folder).join(format!("{name}.png")));
    }
}

#[test]
fn a_page_is_drawn_whole_on_a_desk_and_on_a_telephone() {
    let report = sample::report();
    let mut chromium = Chromium::start();
    for (width, height) in WINDOWS {
        chromium.resize(width, height);
        let (_folder, drawn) = drawn(&mut chromium, &report);
        keep_screenshot(&mut chromium, &format!("report-{width}"));
        assert_eq!(drawn, 5, "all but the tables");
        assert_eq!(chromium.eval("document.querySelectorAll('.plot .main-svg').length > 4"), true);
        let wide = chromium.eval("document.scrollingElement.scrollWidth").as_u64().unwrap();
        assert!(wide <= u64::from(width), "the page is {wide} wide in {width}");
        assert_eq!(chromium.eval(OVERLAPS), Value::Array(Vec::new()), "{width}");
        assert_clean(&mut chromium);
    }
    // Turned, the telephone draws anew.
    chromium.resize(800, 400);
    chromium.wait_for(
        "[...document.querySelectorAll('.plot .main-svg')].some(s => s.getBoundingClientRect().width > 500)",
    );
}

#[test]
fn tables_show_all_their_columns_at_1280_pixels() {
    let mut chromium = Chromium::start();
    chromium.resize(1280, 900);
    let (_folder, _) = drawn(&mut chromium, &sample::report());
    chromium.eval("document.querySelectorAll('details').forEach(d => { d.open = true; })");
    keep_screenshot(&mut chromium, "tables-1280");
    let scrolled = "[...document.querySelectorAll('.scroll')].filter(s => s.scrollWidth > s.clientWidth).map(s => \
                    [s.closest('figure, section').id, s.scrollWidth, s.clientWidth])";
    assert_eq!(chromium.eval(scrolled), Value::Array(Vec::new()));
    let tables = chromium.eval("document.querySelectorAll('.scroll table').length");
    assert!(tables.as_u64().unwrap() >= 9, "{tables}");
    // What was measured stands beside what was planned.
    let heads = chromium.eval(
        "[...document.getElementById('fig-6.1').querySelectorAll('details th')].map(h => h.textContent)",
    );
    let heads: Vec<&str> = heads.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(heads[1..3], ["receive rate, planned (packets/s)", "measured"]);
}

#[test]
fn one_point_of_each_line_is_bars_and_no_line_chart() {
    let mut chromium = Chromium::start();
    chromium.resize(1280, 900);
    let (_folder, _) = drawn(&mut chromium, &sample::report());
    let in_figure = |what: &str| format!("document.querySelectorAll('#fig-one {what}').length");
    assert_eq!(chromium.eval(&in_figure(".bars .point")), 1);
    assert_eq!(chromium.eval(&in_figure(".scatterlayer .trace")), 0);
    let high = "document.querySelector('#fig-one .nsewdrag').getBoundingClientRect().height";
    assert!(chromium.eval(high).as_f64().unwrap() < 120.0, "as high as what it shows");
    let whole = "document.querySelector('#fig-one .plot').getBoundingClientRect().height";
    assert!(chromium.eval(whole).as_f64().unwrap() < 240.0, "no empty room beneath it");
    assert_eq!(chromium.eval(&in_figure(".errorbar")), 0, "no interval is not one of 0");
}

#[test]
fn a_figure_is_saved_as_svg_and_its_data_as_csv() {
    let mut chromium = Chromium::start();
    chromium.resize(1280, 900);
    let (_folder, _) = drawn(&mut chromium, &sample::report());
    let image = chromium.eval("Plotly.toImage(document.querySelector('.plot'), {format: 'svg'})");
    assert!(image.as_str().unwrap().starts_with("data:image/svg+xml"), "{image}");
    for (link, file, begin) in [
        ("figure .save", "fig-6.1.svg", "<svg "),
        ("figure a[download]", "fig-6.1.csv", "series,x,measured_x,value,low,high,samples\r\n"),
    ] {
        chromium.eval(&format!("document.querySelector({link:?}).click()"));
        let file = chromium.downloads().join(file);
        let since = Instant::now();
        while !file.exists() {
            assert!(since.elapsed() < Duration::from_secs(30), "{} never came", file.display());
            std::thread::sleep(Duration::from_millis(50));
        }
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with(begin), "{}", text.chars().take(200).collect::<String>());
    }
    assert_clean(&mut chromium);
}

#[test]
fn names_that_mean_harm_do_none() {
    let mut chromium = Chromium::start();
    for (width, height) in WINDOWS {
        chromium.resize(width, height);
        let (_folder, drawn) = drawn(&mut chromium, &sample::hostile());
        keep_screenshot(&mut chromium, &format!("hostile-{width}"));
        assert_eq!(drawn, 2);
        assert_eq!(chromium.eval("document.querySelectorAll('img, .plot a[href]').length"), 0);
        let wide = chromium.eval("document.scrollingElement.scrollWidth").as_u64().unwrap();
        assert!(wide <= u64::from(width), "the page is {wide} wide in {width}");
        assert_clean(&mut chromium);
    }
}

#[test]
fn on_paper_everything_is_open_and_nothing_is_a_button() {
    let mut chromium = Chromium::start();
    chromium.resize(1280, 900);
    let (_folder, _) = drawn(&mut chromium, &sample::report());
    chromium.eval(
        "addEventListener('beforeprint', () => { window.open_ = \
         [...document.querySelectorAll('details')].every(d => d.open); })",
    );
    let paper = chromium.print();
    assert!(paper.starts_with(b"%PDF"));
    if let Some(folder) = std::env::var_os("VMETER_SCREENSHOTS") {
        fs::write(PathBuf::from(folder).join("report.pdf"), paper).unwrap();
    }
    assert_eq!(chromium.eval("window.open_"), true);
    assert_eq!(chromium.eval("document.querySelector('details').open"), false, "closed again");
    chromium.call("Emulation.setEmulatedMedia", serde_json::json!({"media": "print"}));
    let shown =
        "[...document.querySelectorAll('button, .modebar')].filter(b => b.offsetParent).length";
    assert_eq!(chromium.eval(shown), 0);
}

#[test]
fn a_figure_that_cannot_be_drawn_says_so_in_its_place() {
    let (_folder, file) = written(&sample::report());
    let page = fs::read_to_string(&file).unwrap();
    let broken = page.replacen("type=\"application/json\">{", "type=\"application/json\">", 1);
    assert_ne!(page, broken);
    fs::write(&file, broken).unwrap();
    let mut chromium = Chromium::start();
    chromium.open(&file);
    chromium.wait_for("document.documentElement.dataset.drawn === '4'");
    let said = chromium.eval("document.querySelector('.plot.failed').textContent");
    assert!(said.as_str().unwrap().starts_with("This figure could not be drawn:"), "{said}");
    assert_clean(&mut chromium);
}

#[test]
fn ten_thousand_points_are_drawn_before_anyone_asks() {
    let mut chromium = Chromium::start();
    chromium.resize(1280, 900);
    let (_folder, _) = drawn(&mut chromium, &sample::large());
    keep_screenshot(&mut chromium, "large-1280");
    let took = chromium.eval("performance.measure('drawing', 'begin', 'end').duration");
    println!("{took} ms");
    // Some hundreds; this is a bound for a machine with much else to do.
    assert!(took.as_f64().unwrap() < 5000.0, "{took} ms");
}

#[test]
fn an_empty_page_is_drawn_at_once() {
    let mut chromium = Chromium::start();
    let (_folder, drawn) = drawn(&mut chromium, &sample::empty());
    assert_eq!(drawn, 0);
    assert_clean(&mut chromium);
}
