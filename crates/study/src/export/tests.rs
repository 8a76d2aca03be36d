use super::*;
use crate::measures::Measures;
use crate::record::Ending;
use crate::samples;
use model::{Absent, Nanos};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use std::fs::File;
use std::path::Path;

/// All rows of a file, by the crate's own reader: the reader of rows.
fn rows(path: &Path) -> Vec<Row> {
    let file = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let notes = file.metadata().file_metadata().key_value_metadata().unwrap();
    assert!(notes.iter().any(|note| note.value.as_deref() == Some(SCHEMA)));
    file.get_row_iter(None).unwrap().map(Result::unwrap).collect()
}

fn cell(row: &Row, name: &str) -> Field {
    row.get_column_iter().find(|(column, _)| *column == name).unwrap().1.clone()
}

fn text(row: &Row, name: &str) -> Option<String> {
    match cell(row, name) {
        Field::Str(text) => Some(text),
        Field::Null => None,
        other => panic!("{name}: {other:?}"),
    }
}

/// How many counters a JSON value has under the host's drivers' tasks: two for each process.
fn processes(json: &serde_json::Value, at: &str) -> usize {
    let drivers = json["ending"]["measured"]["host"][at]["drivers"].as_array().unwrap().iter();
    drivers.filter_map(|driver| driver["tasks"]["Ok"]["processes"].as_array()).map(Vec::len).sum()
}

#[test]
fn a_web_loads_factors_are_in_their_columns() {
    let (_place, store, mut records) = samples::study();
    let (per, server) = (workload::web::Per::Request, workload::serve::Software::Nginx);
    records[0].load =
        crate::plan::Load::Web { rate: 10.0, per, dirs: 2, server, sample: Vec::new() };
    samples::data(&mut records[0]).servers = [("g1".to_owned(), "nginx/1.22.1".to_owned())].into();
    let [runs, _] = export(&store, "quick", &records).unwrap();
    let row = &rows(&runs)[0];
    for (name, value) in [
        ("load", "web"),
        ("per", "request"),
        ("server", "nginx"),
        ("server_versions", "nginx/1.22.1"),
    ] {
        assert_eq!(text(row, name).as_deref(), Some(value));
    }
    assert_eq!((cell(row, "dirs"), cell(row, "size")), (Field::Long(2), Field::Null));
}

#[test]
fn both_files_say_what_the_stored_runs_say() {
    let (_place, store, records) = samples::study();
    let [runs, counters] = export(&store, "quick", &records).unwrap();
    let (runs, counters) = (rows(&runs), rows(&counters));
    assert_eq!(runs.len(), 2);
    for (row, record) in runs.iter().zip(&records) {
        let found = Measures::of(record).unwrap();
        assert_eq!(text(row, "machine"), record.machine);
        assert_eq!(text(row, "state").as_deref(), Some("measured"));
        assert_eq!(cell(row, "size"), Field::Long(1448));
        assert_eq!(cell(row, "rate"), Field::Double(300.0));
        assert_eq!(cell(row, "total"), Field::Double(found.total.unwrap()));
        assert_eq!(cell(row, "acks"), Field::Double(found.acks.unwrap()));
        for absent in ["dirs", "per", "server", "passes", "place", "reason", "invalid", "seconds"] {
            assert_eq!(cell(row, absent), Field::Null, "{absent}");
        }
        let Field::ListInternal(list) = cell(row, "idd_cpus") else { panic!("a list") };
        let list: Vec<_> = list.elements().to_vec();
        let expected: Vec<_> =
            found.idd_cpus.iter().map(|cpu| cpu.map_or(Field::Null, Field::Double)).collect();
        assert_eq!(list, expected);

        let json = serde_json::to_value(record).unwrap();
        for at in ["begin", "end"] {
            let mine = |kind: &str, counter: &str| -> Vec<&Row> {
                let is = |row: &Row, name, value: &str| text(row, name).as_deref() == Some(value);
                counters
                    .iter()
                    .filter(|row| {
                        cell(row, "run") == Field::Long(record.number as i64)
                            && is(row, "source", "host")
                            && is(row, "at", at)
                            && is(row, "kind", kind)
                            && is(row, "counter", counter)
                    })
                    .collect()
            };
            assert_eq!(mine("process", "children").len(), processes(&json, at));
            let idle = json["ending"]["measured"]["host"][at]["host"]["idle"]["Ok"].as_i64();
            assert_eq!(cell(mine("host", "idle")[0], "value"), Field::Long(idle.unwrap()));
        }
    }
}

#[test]
fn what_is_unknown_is_null_and_never_zero() {
    let (_place, store, mut records) = samples::study();
    let host = samples::data(&mut records[1]).host.as_mut().unwrap();
    host.end.host.idle = Err(Absent::Failed("no answer".into()));
    host.end.host.idle_step = Nanos(u64::MAX);
    records[0].ending = Ending::Failed("the agent was lost".to_owned());
    let [runs, counters] = export(&store, "quick", &records).unwrap();
    let (runs, counters) = (rows(&runs), rows(&counters));
    assert_eq!(text(&runs[0], "state").as_deref(), Some("failed"));
    assert_eq!(text(&runs[0], "reason").as_deref(), Some("the agent was lost"));
    for name in ["total", "idd", "events_per_s", "window_s", "idd_cpus", "layer_guest"] {
        assert_eq!(cell(&runs[0], name), Field::Null, "{name}");
    }
    for name in ["total", "idd", "cost_s"] {
        assert_eq!(cell(&runs[1], name), Field::Null, "{name}");
    }
    assert!(counters.iter().all(|row| cell(row, "run") == Field::Long(9)), "of failed runs none");
    let absent: Vec<&Row> =
        counters.iter().filter(|row| cell(row, "absent") != Field::Null).collect();
    assert!(absent.iter().all(|row| cell(row, "value") == Field::Null));
    let there = counters.iter().filter(|row| cell(row, "value") != Field::Null).count();
    assert_eq!(there + absent.len(), counters.len());
    let why = |counter: &str| -> Vec<String> {
        let own = absent.iter().filter(|row| text(row, "counter").as_deref() == Some(counter));
        own.filter_map(|row| text(row, "absent")).collect()
    };
    assert_eq!(why("idle"), ["failed: no answer"]);
    assert_eq!(why("idle_step"), ["larger than a signed number of 64 bits"]);
}

#[test]
fn hostile_names_come_through_unchanged() {
    let names =
        ["", "a\0b", "\u{1b}[2J\u{202e}\n", "'; DROP TABLE runs; --", "東京\u{1f4a9}", "null"];
    let (_place, store, records) = samples::study();
    for name in names {
        let mut record = records[1].clone();
        record.machine = Some(name.to_owned());
        record.workload = name.repeat(1000);
        let data = samples::data(&mut record);
        data.host.as_mut().unwrap().begin.vms[0].name = name.to_owned();
        let guest = data.targets.pop_first().unwrap().1;
        data.targets.insert(name.to_owned(), guest);
        let [runs, counters] = export(&store, name, &[record]).unwrap();
        let (runs, counters) = (rows(&runs), rows(&counters));
        assert_eq!(text(&runs[0], "machine").as_deref(), Some(name));
        assert_eq!(text(&runs[0], "workload"), Some(name.repeat(1000)));
        for column in ["source", "owner"] {
            assert!(counters.iter().any(|row| text(row, column).as_deref() == Some(name)));
        }
    }
}

#[test]
fn a_study_without_runs_has_two_empty_files() {
    let (_place, store, _) = samples::study();
    for path in export(&store, "quick", &[]).unwrap() {
        assert!(rows(&path).is_empty());
    }
}

/// The page's documentation of the dataset.
const DATASET: &str = include_str!("../../../../docs/dataset.md");

/// The rows of its table of figures: first cell, the others.
fn figures_table() -> Vec<(&'static str, &'static str)> {
    let (_, table) = DATASET.split_once("| figure | across, or by | value |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|line| line.trim_matches(['|', ' ']).split_once('|').unwrap()).collect()
}

#[test]
fn the_documentation_names_the_columns_that_each_figure_is_made_of() {
    let table = figures_table();
    for kind in crate::FigureKind::ALL {
        let named = |(ids, _): &&(&str, &str)| ids.split(',').any(|id| id.trim() == kind.id());
        assert_eq!(table.iter().filter(named).count(), 1, "{}", kind.id());
    }
    let columns: Vec<&str> = runs::COLUMNS.iter().map(|(name, _)| *name).collect();
    // Those of the runs' JSON.
    let json = ["samples", "outcomes"];
    for (figure, cells) in table {
        for name in cells.split('`').skip(1).step_by(2) {
            assert!(columns.contains(&name) || json.contains(&name), "{figure}: {name}");
        }
    }
    for name in columns {
        assert!(DATASET.contains(&format!("`{name}`")), "{name} is not documented");
    }
}

#[test]
fn a_figure_is_what_its_columns_say() {
    let (_place, store, records) = samples::study();
    let plan = store.plan().unwrap();
    let mut all: Vec<_> = records.iter().cycle().take(4).cloned().collect();
    for (at, record) in all.iter_mut().enumerate() {
        (record.number, record.block) = (at + 1, at / 2 + 1);
        record.load = plan.workloads[0].points[0].clone();
    }
    // The second native run took more.
    let host = samples::data(&mut all[2]).host.as_mut().unwrap();
    let idle = host.end.host.idle.clone().unwrap();
    host.end.host.idle = Ok(idle.saturating_sub(Nanos(100_000_000)));
    let [runs, _] = export(&store, "quick", &all).unwrap();
    let runs = rows(&runs);
    let mean = |machine: &str, column: &str| {
        let own = runs.iter().filter(|row| text(row, "machine").as_deref() == Some(machine));
        let values: Vec<f64> = own
            .map(|row| match cell(row, column) {
                Field::Double(value) => value,
                other => panic!("{column}: {other:?}"),
            })
            .collect();
        assert_eq!(values.len(), 2);
        values.iter().sum::<f64>() / 2.0
    };
    assert!(runs.iter().all(|row| cell(row, "targets") == Field::Long(1)));
    let report = crate::report(&plan, &all);
    let figure = |id: &str| &report.figures.iter().find(|f| f.id == id).unwrap().drawing;
    let crate::figure::Drawing::Lines { lines, .. } = figure("fig-6.1") else { panic!("lines") };
    for (line, machine) in lines.iter().zip(["native", "xen"]) {
        let point = &line.points[0];
        assert_eq!(point.planned, Some(40.0));
        assert!((point.x - mean(machine, "host_events_per_s")).abs() < 1e-9);
        assert!((point.y.value - 100.0 * mean(machine, "total")).abs() < 1e-9);
    }
    let crate::figure::Drawing::Table { rows, .. } = figure("ratio-receive") else { panic!() };
    let crate::figure::Cell::Measured(ratio) = &rows[0][2] else { panic!("{rows:?}") };
    assert!((ratio.value - mean("xen", "cost_s") / mean("native", "cost_s")).abs() < 1e-9);
}
