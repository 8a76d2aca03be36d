//! A recording's samples as a Parquet file, a row each.

use crate::error::{Damage, Error, io_error};
use crate::reader::Recording;
use files::Draft;
use model::{Mode, Nanos, Role, Sample, Stream, What};
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result as Parquet};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type, TypePtr};
use std::path::Path;
use std::sync::Arc;

/// The version of the table, in the file's own notes.
const SCHEMA: &str = "vmeter.samples/1";
/// Rows that are written at once.
const GROUP: usize = 1 << 17;

/// Writes all samples of a recording into a new Parquet file (docs/recording.md), a stream after
/// the other; what was damaged in the recording.
///
/// # Errors
/// Where the file is there already, or cannot be written, or a stream cannot be opened.
pub fn export_parquet(recording: &Recording, path: &Path) -> Result<Vec<Damage>, Error> {
    if path.exists() {
        return Err(Error::wrong(path, "is there already: choose another file"));
    }
    let draft = Draft::create(path).map_err(io_error("make", path))?;
    write(recording, draft, path)
}

fn write(recording: &Recording, draft: Draft, path: &Path) -> Result<Vec<Damage>, Error> {
    let failed = |why| Error::Parquet { path: path.to_owned(), why };
    let mut damages = Vec::new();
    let mut table = Table::new(draft).map_err(failed)?;
    for (number, stream) in recording.streams().iter().enumerate() {
        if stream.role == Role::Passive {
            continue;
        }
        let words = Words::of(stream);
        for record in recording.records(number)? {
            match record {
                Ok(record) => {
                    let What::Sample(sample) = record.what else { continue };
                    table.push(&words, record.time, record.cpu, &sample).map_err(failed)?;
                }
                Err(damage) => damages.push(damage),
            }
        }
    }
    table.finish().map_err(failed)?.place(true).map_err(io_error("write", path))?;
    Ok(damages)
}

/// What is the same for many samples of a stream.
struct Words<'a> {
    stream: &'a Stream,
    name: ByteArray,
    events: Vec<ByteArray>,
}

impl<'a> Words<'a> {
    fn of(stream: &'a Stream) -> Self {
        let events = stream.events.iter().map(|event| ByteArray::from(event.counted.as_str()));
        Self { stream, name: ByteArray::from(stream.name.as_str()), events: events.collect() }
    }

    /// A time by the host's clock, where the stream's own is known to it.
    fn host(&self, time: Nanos) -> Option<i64> {
        if self.stream.role == Role::Host {
            return Some(signed(time.0));
        }
        let segment = self.stream.clock.iter().rfind(|segment| segment.from <= time);
        segment.or(self.stream.clock.first())?.host(time).map(|time| signed(time.0))
    }
}

/// The same bits: Parquet's unsigned numbers are kept so.
fn signed(value: u64) -> i64 {
    value.cast_signed()
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

/// A column's values, and, where they may lack, whether each is there.
enum Column {
    Texts(Vec<ByteArray>),
    Numbers(Vec<i64>),
    Known(Vec<i64>, Vec<i16>),
}

/// A table that is filled by rows and written by columns.
struct Table {
    columns: [Column; 10],
    rows: usize,
    file: SerializedFileWriter<Draft>,
}

/// Names of the columns, whether of text, and whether a value may lack.
const COLUMNS: [(&str, bool, bool); 10] = [
    ("stream", true, false),
    ("time_ns", false, false),
    ("host_time_ns", false, true),
    ("cpu", false, true),
    ("event", true, false),
    ("mode", true, false),
    ("pid", false, false),
    ("tid", false, false),
    ("address", false, false),
    ("period", false, false),
];

impl Table {
    fn new(file: Draft) -> Parquet<Self> {
        let fields = COLUMNS.iter().map(field).collect::<Parquet<_>>()?;
        let schema = Type::group_type_builder("samples").with_fields(fields).build()?;
        let note = |key: &str, value: &str| KeyValue::new(key.to_owned(), value.to_owned());
        let notes = vec![note("schema", SCHEMA), note("vmeter", env!("CARGO_PKG_VERSION"))];
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("vmeter ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_key_value_metadata(Some(notes))
            .build();
        let file = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))?;
        let columns = COLUMNS.map(|(_, text, lacks)| match (text, lacks) {
            (true, _) => Column::Texts(Vec::new()),
            (false, false) => Column::Numbers(Vec::new()),
            (false, true) => Column::Known(Vec::new(), Vec::new()),
        });
        Ok(Self { columns, rows: 0, file })
    }

    fn push(&mut self, words: &Words<'_>, time: Nanos, cpu: u32, one: &Sample) -> Parquet<()> {
        let event = words.events.get(usize::from(one.event));
        let unknown = || ByteArray::from(format!("event {}", one.event).as_str());
        let mut texts = [
            words.name.clone(),
            event.cloned().unwrap_or_else(unknown),
            ByteArray::from(mode(one.mode)),
        ]
        .into_iter();
        let numbers = [
            Some(signed(time.0)),
            words.host(time),
            (cpu != u32::MAX).then_some(i64::from(cpu)),
            Some(i64::from(one.pid)),
            Some(i64::from(one.tid)),
            Some(signed(one.address)),
            Some(signed(one.period)),
        ];
        let mut numbers = numbers.into_iter().map(|number| (number, i16::from(number.is_some())));
        for column in &mut self.columns {
            match column {
                Column::Texts(values) => values.extend(texts.next()),
                Column::Numbers(values) => values.extend(numbers.next().and_then(|next| next.0)),
                Column::Known(values, levels) => {
                    let next = numbers.next();
                    values.extend(next.and_then(|next| next.0));
                    levels.extend(next.map(|next| next.1));
                }
            }
        }
        self.rows += 1;
        if self.rows == GROUP { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Parquet<()> {
        let mut group = self.file.next_row_group()?;
        let mut columns = self.columns.iter_mut();
        while let Some(mut writer) = group.next_column()? {
            if let Some(column) = columns.next() {
                column.write(writer.untyped())?;
            }
            writer.close()?;
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }

    fn finish(mut self) -> Parquet<Draft> {
        if self.rows > 0 {
            self.flush()?;
        }
        self.file.into_inner()
    }
}

impl Column {
    fn write(&mut self, writer: &mut ColumnWriter<'_>) -> Parquet<()> {
        match (self, writer) {
            (Self::Texts(values), ColumnWriter::ByteArrayColumnWriter(to)) => {
                to.write_batch(values, None, None)?;
                values.clear();
            }
            (Self::Numbers(values), ColumnWriter::Int64ColumnWriter(to)) => {
                to.write_batch(values, None, None)?;
                values.clear();
            }
            (Self::Known(values, levels), ColumnWriter::Int64ColumnWriter(to)) => {
                to.write_batch(values, Some(levels), None)?;
                values.clear();
                levels.clear();
            }
            _ => return Err(ParquetError::General("a column of another kind".into())),
        }
        Ok(())
    }
}

fn field((name, text, lacks): &(&str, bool, bool)) -> Parquet<TypePtr> {
    let (physical, logical) = if *text {
        (Physical::BYTE_ARRAY, LogicalType::String)
    } else {
        (Physical::INT64, LogicalType::integer(64, false))
    };
    let repetition = if *lacks { Repetition::OPTIONAL } else { Repetition::REQUIRED };
    let builder = Type::primitive_type_builder(name, physical)
        .with_repetition(repetition)
        .with_logical_type(Some(logical));
    Ok(Arc::new(builder.build()?))
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
