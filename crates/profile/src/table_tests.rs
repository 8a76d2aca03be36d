use super::*;
use crate::in_memory;
use crate::profile_tests::*;
use crate::symbols::Symbols;
use crate::{Options, Profile, summary};
use model::{Mode, Nanos, Record, Role};

/// Table 5.2's images and samples.
const TABLE_5_2: [(&str, u64, &str); 13] = [
    ("[guest kernel]", 10602, "56.2799"),
    ("[hypervisor]", 2846, "15.1078"),
    ("httpd", 2126, "11.2857"),
    ("libapr", 1321, "7.0124"),
    ("libc", 942, "5.0005"),
    ("libaprutil", 632, "3.3549"),
    ("libpthread", 316, "1.6775"),
    ("ld", 21, "0.1115"),
    ("libcrypto", 17, "0.0902"),
    ("oprofile", 10, "0.0531"),
    ("bash", 2, "0.0106"),
    ("oprofiled", 2, "0.0106"),
    ("init", 1, "0.0053"),
];

fn table_5_2() -> Profile {
    let guest = stream("web1", Role::SamplesItself, vec![cycles()]);
    let mut records: Vec<Record> = vec![named(7, "httpd")];
    for (n, (image, samples, _)) in TABLE_5_2.iter().enumerate() {
        let start = 0x10_0000 * (n as u64 + 1);
        let mode = match *image {
            "[guest kernel]" => Mode::Kernel,
            "[hypervisor]" => Mode::Hypervisor,
            path => {
                records.push(mapped(7, start, &format!("/usr/lib/{path}")));
                Mode::User
            }
        };
        records.extend((0..*samples).map(|at| sample(at, (7, 7), mode, start + at % 0x1000)));
    }
    Profile::read(&[guest], vec![in_memory(records)], Options::default())
}

fn text(table: &Table, most: usize) -> String {
    let mut text = Vec::new();
    table.write(most, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn known_answer_3_table_5_2_by_image() {
    let profile = table_5_2();
    let named = Named::new(&profile, &Symbols::default());
    let choice = Choice { by: vec![Column::Image], ..Choice::default() };
    let tables = tables(&named, &choice);
    let expected = TABLE_5_2
        .iter()
        .map(|(image, samples, percent)| format!("{samples:>9}  {percent:>8}  {image}\n"));
    let expected: String = expected.collect();
    assert_eq!(text(&tables[0], 100), format!("  samples         %  image\n{expected}"));
    assert_eq!(tables[0].total.samples, 18838);
    let cut = text(&tables[0], 2);
    assert!(cut.ends_with("     5390   28.6124  … 11 more rows\n"), "{cut}");
}

#[test]
fn rows_are_added_up_by_any_columns_and_filtered() {
    let profile = table_5_2();
    let named = Named::new(&profile, &Symbols::default());
    let by = |by: &[Column]| Choice { by: by.to_vec(), ..Choice::default() };
    let all = tables(&named, &by(&[Column::Vm, Column::Layer]));
    let lines: Vec<_> =
        all[0].rows.iter().map(|row| (row.cells.join(" "), row.count.samples)).collect();
    assert_eq!(
        lines,
        [
            ("web1 guest kernel".to_owned(), 10602),
            ("web1 guest user".to_owned(), 5390),
            ("web1 hypervisor".to_owned(), 2846),
        ]
    );
    let none = tables(&named, &Choice { vms: vec!["host".into()], ..by(&[Column::Vm]) });
    assert_eq!((none[0].rows.len(), none[0].total), (0, Count::default()));
    assert!(tables(&named, &Choice { events: vec!["r01c2".into()], ..by(&[]) }).is_empty());
    let whole = tables(&named, &by(&[]));
    assert_eq!((whole[0].rows.len(), whole[0].rows[0].percent), (1, 100.0));
    assert_eq!("image".parse(), Ok(Column::Image));
    assert!("\u{1b}[2J".parse::<Column>().is_err_and(|e| !e.to_string().contains('\u{1b}')));
}

#[test]
fn busy_time_is_equation_4_9() {
    // Known answer 2: 1000 samples of 10^8 cycles at 2 GHz are 50 s.
    let event = model::Event { period: 100_000_000, ..cycles() };
    let guest = stream("web1", Role::SamplesItself, vec![event.clone()]);
    let one = |time| model::Sample {
        event: 0,
        pid: 7,
        tid: 7,
        address: time,
        mode: Mode::Kernel,
        period: 100_000_000,
    };
    let records = |samples| {
        in_memory((0..samples).map(|n| at(n, model::What::Sample(one(n)))).collect::<Vec<_>>())
    };
    let read = |stream: &model::Stream, hertz| {
        let streams = [stream.clone()];
        let profile = Profile::read(&streams, vec![records(1000)], Options::default());
        let named = Named::new(&profile, &Symbols::default());
        summary::busy(&named, hertz, &Default::default())[0].busy.clone()
    };
    assert_eq!(read(&guest, Some(2e9)), Ok(Nanos(50_000_000_000)));
    assert!(read(&guest, None).is_err(), "cycles are no time without a rate");
    let half = model::Event { share: Ok(0.5), ..event.clone() };
    let half = stream("web1", Role::SamplesItself, vec![half]);
    assert_eq!(read(&half, Some(2e9)), Ok(Nanos(100_000_000_000)));
    let misses = model::Event { counted: "cache-misses".into(), ..event };
    let misses = stream("web1", Role::SamplesItself, vec![misses]);
    assert!(read(&misses, Some(2e9)).is_err());
}

#[test]
fn idle_time_is_no_work_unless_it_is_asked_for() {
    let host = stream("host", Role::Host, vec![ticks()]);
    let kernel = 0xffff_ffff_8000_0000;
    let records = vec![
        sample(1, (0, 0), Mode::Kernel, kernel),
        sample(2, (0, 0), Mode::Kernel, kernel),
        sample(3, (9, 9), Mode::Kernel, kernel),
    ];
    let profile = Profile::read(&[host], vec![in_memory(records)], Options::default());
    let named = Named::new(&profile, &Symbols::default());
    let table = &tables(&named, &Choice::default())[0];
    assert_eq!((table.total.samples, table.idle), (1, 2));
    let mut notes = Vec::new();
    table.write_notes(5, &mut notes).unwrap();
    let notes = String::from_utf8(notes).unwrap();
    assert_eq!(
        notes,
        "2 samples of idle CPUs omitted\n\
         1 samples without names: no symbol at the address: [kernel] (1)\n"
    );
    let with = &tables(&named, &Choice { idle: true, ..Choice::default() })[0];
    assert_eq!((with.total.samples, with.idle), (3, 0));
    let busy = summary::busy(&named, None, &Default::default());
    assert_eq!((busy.len(), busy[0].busy.clone()), (1, Ok(Nanos(1000))));
}

#[test]
fn what_guests_call_themselves_drives_no_terminal() {
    let bad = "a\u{1b}[2J\u{202e}\n";
    let guest = stream(bad, Role::SamplesItself, vec![cycles()]);
    let long = format!("/{}\u{9b}{}", "d/".repeat(50), "x".repeat(3000));
    let records = vec![
        named(7, bad),
        mapped(7, 0x1000, &long),
        sample(1, (7, 7), Mode::User, 0x1000),
        at(2, model::What::Lost { count: 4 }),
    ];
    let guest = model::Stream { notes: vec![bad.to_owned()], ..guest };
    let profile = Profile::read(&[guest], vec![in_memory(records)], Options::default());
    let named = Named::new(&profile, &Symbols::default());
    let mut out = text(&tables(&named, &Choice::default())[0], 10).into_bytes();
    summary::write_busy(&named, &summary::busy(&named, None, &Default::default()), &mut out)
        .unwrap();
    summary::write_streams(&named, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.lines().all(|line| line.chars().all(|c| !c.is_control() && c != '\u{202e}')));
    assert!(out.lines().all(|line| line.chars().count() < 1000), "cut: {out}");
    assert!(out.contains("4 records lost on CPU 0"), "{out}");
}
