//! A table that is filled by rows and written by columns.

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type, TypePtr};
use std::collections::HashMap;
use std::sync::Arc;

/// Rows that are written at once.
const GROUP: usize = 1 << 17;

/// What a column holds; every cell may be null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Int,
    Real,
    Bool,
    /// Any number of reals, each of which may be null.
    Reals,
}

/// One cell.
#[derive(Debug, Clone)]
pub(super) enum Cell<'a> {
    Text(Option<&'a str>),
    /// With commas between; none is null.
    Texts(&'a [String]),
    Int(Option<i64>),
    Real(Option<f64>),
    Bool(Option<bool>),
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
    known: HashMap<Box<str>, ByteArray>,
    ints: Vec<i64>,
    reals: Vec<f64>,
    bools: Vec<bool>,
}

/// A table on its way into a file.
pub(super) struct Table {
    columns: Vec<Column>,
    rows: usize,
    file: SerializedFileWriter<Vec<u8>>,
}

impl Table {
    /// An empty table with these columns, of a study of this plan.
    pub(super) fn new(name: &str, plan: &str, columns: &[(&str, Kind)]) -> Result<Self> {
        let fields =
            columns.iter().map(|(name, kind)| field(name, *kind)).collect::<Result<_>>()?;
        let schema = Type::group_type_builder(name).with_fields(fields).build()?;
        let note = |key: &str, value: &str| KeyValue::new(key.to_owned(), value.to_owned());
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("vmeter ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_key_value_metadata(Some(vec![
                note("schema", super::SCHEMA),
                note("plan", plan),
                note("vmeter", env!("CARGO_PKG_VERSION")),
            ]))
            .build();
        let file = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))?;
        let columns = columns.iter().map(|(_, kind)| Column::new(*kind)).collect();
        Ok(Self { columns, rows: 0, file })
    }

    /// Adds a row; its cells are in the columns' order.
    pub(super) fn row(&mut self, cells: &[Cell<'_>]) -> Result<()> {
        if cells.len() != self.columns.len() {
            return Err(ParquetError::General("a row has other cells than the table".into()));
        }
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            column.push(cell)?;
        }
        self.rows += 1;
        if self.rows == GROUP { self.flush() } else { Ok(()) }
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

    /// The whole file.
    pub(super) fn finish(mut self) -> Result<Vec<u8>> {
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
            known: HashMap::new(),
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
            (Kind::Real, Cell::Real(value)) => {
                // What is no number is unknown.
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
