//! Tables that are filled by rows and written by columns, as Parquet files: the datasets of studies
//! and the samples of recordings.

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
pub use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type, TypePtr};
use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

/// Rows of a row group, which are kept in memory until it is written.
const GROUP_ROWS: usize = 1 << 17;

/// What a column holds; every cell may be null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// 64 bits, signed.
    Int,
    /// 64 bits, unsigned.
    UInt,
    /// 64 bits; what is not finite becomes null.
    Real,
    /// True or false.
    Bool,
    /// Any number of reals, each of which may be null.
    Reals,
}

/// One cell; `None` is null, which is how an unknown value is written.
#[derive(Debug, Clone)]
pub enum Cell<'a> {
    /// Of a [`Kind::Text`] column.
    Text(Option<&'a str>),
    /// Of a [`Kind::Text`] column, with commas between; none is null.
    Texts(&'a [String]),
    /// Of a [`Kind::Int`] column.
    Int(Option<i64>),
    /// Of a [`Kind::UInt`] column.
    UInt(Option<u64>),
    /// Of a [`Kind::Real`] column.
    Real(Option<f64>),
    /// Of a [`Kind::Bool`] column.
    Bool(Option<bool>),
    /// Of a [`Kind::Reals`] column.
    Reals(Option<&'a [Option<f64>]>),
}

/// Values of a column, and for each cell whether there is one.
struct Column {
    kind: Kind,
    levels: Vec<i16>,
    /// For [`Kind::Reals`]: 0 where a row begins, 1 where its list goes on.
    repeats: Vec<i16>,
    texts: Vec<ByteArray>,
    /// A text is kept once: the same ones come again in every row.
    known: HashMap<Box<str>, ByteArray, foldhash::fast::RandomState>,
    ints: Vec<i64>,
    reals: Vec<f64>,
    bools: Vec<bool>,
}

/// A table on its way into a file `W`.
pub struct Table<W: Write + Send> {
    columns: Vec<Column>,
    rows: usize,
    file: SerializedFileWriter<W>,
}

impl<W: Write + Send> Table<W> {
    /// An empty table with these columns, and these keys and values in the file's metadata beside
    /// vmeter's version (`vmeter`).
    ///
    /// # Errors
    /// As of the file.
    pub fn new(
        file: W,
        name: &str,
        notes: &[(&str, &str)],
        columns: &[(&str, Kind)],
    ) -> Result<Self> {
        let fields =
            columns.iter().map(|(name, kind)| field(name, *kind)).collect::<Result<_>>()?;
        let schema = Type::group_type_builder(name).with_fields(fields).build()?;
        let version = ("vmeter", env!("CARGO_PKG_VERSION"));
        let notes = notes.iter().chain([&version]);
        let notes = notes.map(|(key, value)| KeyValue::new((*key).to_owned(), (*value).to_owned()));
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("vmeter ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_key_value_metadata(Some(notes.collect()))
            .build();
        let file = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))?;
        let columns = columns.iter().map(|(_, kind)| Column::new(*kind)).collect();
        Ok(Self { columns, rows: 0, file })
    }

    /// Adds a row; its cells are in the columns' order.
    ///
    /// # Errors
    /// As of the file; where the cells are not those of the columns.
    pub fn row(&mut self, cells: &[Cell<'_>]) -> Result<()> {
        if cells.len() != self.columns.len() {
            return Err(ParquetError::General("a row has other cells than the table".into()));
        }
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            column.push(cell)?;
        }
        self.rows += 1;
        if self.rows == GROUP_ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
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

    /// Writes the rest; the whole file.
    ///
    /// # Errors
    /// As of the file.
    pub fn finish(mut self) -> Result<W> {
        if self.rows > 0 {
            self.flush()?;
        }
        self.file.into_inner()
    }
}

impl Column {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            levels: Vec::new(),
            repeats: Vec::new(),
            texts: Vec::new(),
            known: HashMap::default(),
            ints: Vec::new(),
            reals: Vec::new(),
            bools: Vec::new(),
        }
    }

    fn push(&mut self, cell: &Cell<'_>) -> Result<()> {
        let there = match (self.kind, cell) {
            (Kind::Text, Cell::Text(value)) => {
                if let Some(value) = value {
                    let text = self.text(value);
                    self.texts.push(text);
                }
                value.is_some()
            }
            (Kind::Text, Cell::Texts(words)) => {
                if !words.is_empty() {
                    let text = self.text(&words.join(","));
                    self.texts.push(text);
                }
                !words.is_empty()
            }
            (Kind::Int, Cell::Int(value)) => {
                self.ints.extend(*value);
                value.is_some()
            }
            (Kind::UInt, Cell::UInt(value)) => {
                // The same bits: Parquet keeps unsigned numbers so.
                self.ints.extend(value.map(u64::cast_signed));
                value.is_some()
            }
            (Kind::Real, Cell::Real(value)) => {
                let value = value.filter(|value| value.is_finite());
                self.reals.extend(value);
                value.is_some()
            }
            (Kind::Bool, Cell::Bool(value)) => {
                self.bools.extend(*value);
                value.is_some()
            }
            (Kind::Reals, Cell::Reals(list)) => {
                self.list(*list);
                return Ok(());
            }
            _ => return Err(ParquetError::General("a cell is not of its column's kind".into())),
        };
        self.levels.push(i16::from(there));
        Ok(())
    }

    fn text(&mut self, value: &str) -> ByteArray {
        if let Some(text) = self.known.get(value) {
            return text.clone();
        }
        let text = ByteArray::from(value);
        self.known.insert(value.into(), text.clone());
        text
    }

    /// Levels of a list: 0 there is none, 1 it is empty, 2 an unknown element, 3 a number.
    fn list(&mut self, list: Option<&[Option<f64>]>) {
        let elements = list.unwrap_or_default();
        if elements.is_empty() {
            self.levels.push(i16::from(list.is_some()));
            self.repeats.push(0);
        }
        for (at, element) in elements.iter().enumerate() {
            let element = element.filter(|value| value.is_finite());
            self.reals.extend(element);
            self.levels.push(if element.is_some() { 3 } else { 2 });
            self.repeats.push(i16::from(at > 0));
        }
    }

    fn write(&mut self, writer: &mut ColumnWriter<'_>) -> Result<()> {
        let levels = Some(self.levels.as_slice());
        match writer {
            ColumnWriter::ByteArrayColumnWriter(to) => {
                to.write_batch(&self.texts, levels, None)?;
            }
            ColumnWriter::Int64ColumnWriter(to) => {
                to.write_batch(&self.ints, levels, None)?;
            }
            ColumnWriter::BoolColumnWriter(to) => {
                to.write_batch(&self.bools, levels, None)?;
            }
            ColumnWriter::DoubleColumnWriter(to) => {
                let repeats = (self.kind == Kind::Reals).then_some(self.repeats.as_slice());
                to.write_batch(&self.reals, levels, repeats)?;
            }
            _ => return Err(ParquetError::General("a column of another kind".into())),
        }
        *self = Self::new(self.kind);
        Ok(())
    }
}

fn field(name: &str, kind: Kind) -> Result<TypePtr> {
    let one = |name: &str, physical: Physical, logical: Option<LogicalType>| {
        let builder = Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical);
        Ok::<_, ParquetError>(Arc::new(builder.build()?))
    };
    match kind {
        Kind::Text => one(name, Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Kind::Int => one(name, Physical::INT64, None),
        Kind::UInt => one(name, Physical::INT64, Some(LogicalType::integer(64, false))),
        Kind::Real => one(name, Physical::DOUBLE, None),
        Kind::Bool => one(name, Physical::BOOLEAN, None),
        Kind::Reals => {
            let group = |name: &str, repetition, logical, inner| {
                let builder = Type::group_type_builder(name)
                    .with_repetition(repetition)
                    .with_logical_type(logical)
                    .with_fields(vec![inner]);
                Ok::<_, ParquetError>(Arc::new(builder.build()?))
            };
            let element = one("element", Physical::DOUBLE, None)?;
            let list = group("list", Repetition::REPEATED, None, element)?;
            group(name, Repetition::OPTIONAL, Some(LogicalType::List), list)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

    #[test]
    fn what_is_written_is_read_again() {
        let columns = [
            ("text", Kind::Text),
            ("int", Kind::Int),
            ("uint", Kind::UInt),
            ("real", Kind::Real),
            ("bool", Kind::Bool),
        ];
        let mut table = Table::new(Vec::new(), "t", &[("schema", "s/1")], &columns).unwrap();
        let row = [
            Cell::Text(Some("a")),
            Cell::Int(Some(-1)),
            Cell::UInt(Some(u64::MAX)),
            Cell::Real(Some(f64::NAN)),
            Cell::Bool(Some(true)),
        ];
        table.row(&row).unwrap();
        let unknown = [
            Cell::Texts(&[]),
            Cell::Int(None),
            Cell::UInt(None),
            Cell::Real(None),
            Cell::Bool(None),
        ];
        table.row(&unknown).unwrap();
        assert!(table.row(&row[..4]).is_err(), "a cell is missing");
        assert!(table.row(&[const { Cell::Int(None) }; 5]).is_err(), "of other kinds");
    }

    #[test]
    fn rows_of_several_groups_are_read_again() {
        let mut file = tempfile::tempfile().unwrap();
        let columns = [("text", Kind::Text), ("uint", Kind::UInt), ("real", Kind::Real)];
        let mut table = Table::new(&mut file, "t", &[("schema", "s/1")], &columns).unwrap();
        let count = GROUP_ROWS as u64 + 2;
        for number in 0..count {
            let text = (number % 3 > 0).then_some("text");
            let real = Cell::Real(Some(if number == 1 { f64::NAN } else { 0.5 }));
            table.row(&[Cell::Text(text), Cell::UInt(Some(u64::MAX - number)), real]).unwrap();
        }
        table.finish().unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        let notes = reader.metadata().file_metadata().key_value_metadata().unwrap();
        assert!(notes.iter().any(|note| note.key == "schema" && note.value == Some("s/1".into())));
        let mut rows = 0;
        for (number, row) in (0..).zip(reader.get_row_iter(None).unwrap()) {
            let fields: Vec<_> = row.unwrap().into_columns().into_iter().map(|it| it.1).collect();
            let text = if number % 3 > 0 { Field::Str("text".to_owned()) } else { Field::Null };
            let real = if number == 1 { Field::Null } else { Field::Double(0.5) };
            assert_eq!(fields, [text, Field::ULong(u64::MAX - number), real]);
            rows += 1;
        }
        assert_eq!(rows, count);
    }
}
