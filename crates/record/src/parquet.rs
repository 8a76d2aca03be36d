//! A recording's samples as a Parquet file, a row each.

use crate::error::{Damage, Error};
use crate::reader::Recording;
use files::{Draft, failed};
use model::{Mode, Nanos, Record, Role, Sample, Stream, What};
use std::path::Path;
use table::{Cell, Kind, Table};

/// The version of the table, in the file's own notes.
const SCHEMA: &str = "vmeter.samples/1";
/// Writes all samples of a recording into a new Parquet file (docs/recording.md), a stream after
/// the other; what was damaged in the recording.
///
/// # Errors
/// Where the file is there already, or cannot be written, or a stream cannot be opened.
pub fn export_parquet(recording: &Recording, path: &Path) -> Result<Vec<Damage>, Error> {
    if path.exists() {
        return Err(Error::wrong(path, "exists: use another file"));
    }
    let draft = Draft::create(path).map_err(failed("make", path))?;
    write(recording, draft, path)
}

fn write(recording: &Recording, draft: Draft, path: &Path) -> Result<Vec<Damage>, Error> {
    let refused = |why| Error::Parquet { path: path.to_owned(), why };
    let mut damages = Vec::new();
    let notes = [("schema", SCHEMA)];
    let mut table = Table::new(draft, "samples", &notes, &COLUMNS).map_err(refused)?;
    for (number, stream) in recording.streams().iter().enumerate() {
        if stream.role == Role::Passive {
            continue;
        }
        for record in recording.records(number)? {
            match record {
                Ok(record) => {
                    let What::Sample(sample) = &record.what else { continue };
                    add(&mut table, stream, &record, sample).map_err(refused)?;
                }
                Err(damage) => damages.push(damage),
            }
        }
    }
    table.finish().map_err(refused)?.place(true).map_err(failed("write", path))?;
    Ok(damages)
}

/// A time by the host's clock, where the stream's own is known to it.
fn host_time(stream: &Stream, time: Nanos) -> Option<u64> {
    if stream.role == Role::Host {
        return Some(time.0);
    }
    let segment = stream.clock.iter().rfind(|segment| segment.from <= time);
    segment.or(stream.clock.first())?.host(time).map(|time| time.0)
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Unknown => "unknown",
        Mode::Kernel => "kernel",
        Mode::User => "user",
        Mode::Hypervisor => "hypervisor",
        Mode::GuestKernel => "guest-kernel",
        Mode::GuestUser => "guest-user",
    }
}

/// The columns of the table.
const COLUMNS: [(&str, Kind); 10] = [
    ("stream", Kind::Text),
    ("time_ns", Kind::UInt),
    ("host_time_ns", Kind::UInt),
    ("cpu", Kind::UInt),
    ("event", Kind::Text),
    ("mode", Kind::Text),
    ("pid", Kind::UInt),
    ("tid", Kind::UInt),
    ("address", Kind::UInt),
    ("period", Kind::UInt),
];

fn add(
    table: &mut Table<Draft>,
    stream: &Stream,
    record: &Record,
    sample: &Sample,
) -> table::Result<()> {
    let event = stream.events.get(usize::from(sample.event));
    let unknown = || format!("event {}", sample.event);
    let event = event.map_or_else(unknown, |event| event.counted.clone());
    let number = |value: u64| Cell::UInt(Some(value));
    table.row(&[
        Cell::Text(Some(&stream.name)),
        number(record.time.0),
        Cell::UInt(host_time(stream, record.time)),
        Cell::UInt((record.cpu != u32::MAX).then_some(record.cpu.into())),
        Cell::Text(Some(&event)),
        Cell::Text(Some(mode(sample.mode))),
        number(sample.pid.into()),
        number(sample.tid.into()),
        number(sample.address),
        number(sample.period),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

    #[test]
    fn every_sample_is_a_row() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/perf-6.1.data");
        let recording = Recording::open(&fixture).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("samples.parquet");
        assert_eq!(export_parquet(&recording, &path).unwrap(), []);
        let reader = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
        let rows: Vec<Vec<Field>> = reader
            .get_row_iter(None)
            .unwrap()
            .map(|row| row.unwrap().into_columns().into_iter().map(|(_, field)| field).collect())
            .collect();
        let samples: Vec<_> = recording
            .records(0)
            .unwrap()
            .map(Result::unwrap)
            .filter_map(|record| match record.what {
                What::Sample(sample) => Some((record.time.0, record.cpu, sample)),
                _ => None,
            })
            .collect();
        assert_eq!((rows.len(), samples.len()), (205, 205));
        for (row, (time, cpu, sample)) in rows.iter().zip(samples) {
            let number = |value: u64| Field::ULong(value);
            let text = |text: &str| Field::Str(text.to_owned());
            let want = [
                text("host"),
                number(time),
                number(time),
                number(cpu.into()),
                text("cpu-clock"),
                text(mode(sample.mode)),
                number(sample.pid.into()),
                number(sample.tid.into()),
                number(sample.address),
                number(200_000),
            ];
            assert_eq!(*row, want);
        }
        assert!(export_parquet(&recording, &path).is_err(), "it is not written over");
    }
}
