//! pprof's profile.proto, compressed by gzip: the messages are written out here by the numbers
//! of their fields (google/pprof, proto/profile.proto), so that building needs no protoc.

use super::{event_name, rows};
use crate::named::{Named, Row};
use crate::table::Choice;
use ahash::AHashMap;
use flate2::{Compression, write::GzEncoder};
use prost::Message;
use std::io::{self, Write};

#[derive(Clone, PartialEq, Message)]
pub(super) struct Profile {
    #[prost(message, repeated, tag = "1")]
    pub(super) sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    pub(super) sample: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    pub(super) mapping: Vec<Mapping>,
    #[prost(message, repeated, tag = "4")]
    pub(super) location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    pub(super) function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    pub(super) string_table: Vec<String>,
    #[prost(int64, tag = "10")]
    pub(super) duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    pub(super) period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    pub(super) period: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct ValueType {
    #[prost(int64, tag = "1")]
    pub(super) r#type: i64,
    #[prost(int64, tag = "2")]
    pub(super) unit: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Sample {
    /// From the function to the VM.
    #[prost(uint64, repeated, tag = "1")]
    pub(super) location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    pub(super) value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    pub(super) label: Vec<Label>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Label {
    #[prost(int64, tag = "1")]
    pub(super) key: i64,
    #[prost(int64, tag = "2")]
    pub(super) str: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Mapping {
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    #[prost(int64, tag = "5")]
    pub(super) filename: i64,
    #[prost(int64, tag = "6")]
    pub(super) build_id: i64,
    #[prost(bool, tag = "7")]
    pub(super) has_functions: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Location {
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    #[prost(uint64, tag = "2")]
    pub(super) mapping_id: u64,
    #[prost(uint64, tag = "3")]
    pub(super) address: u64,
    #[prost(message, repeated, tag = "4")]
    pub(super) line: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Line {
    #[prost(uint64, tag = "1")]
    pub(super) function_id: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Function {
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    #[prost(int64, tag = "2")]
    pub(super) name: i64,
    #[prost(int64, tag = "3")]
    pub(super) system_name: i64,
}

/// A profile that is being put together: each string, image and function once.
#[derive(Default)]
struct Build {
    profile: Profile,
    strings: AHashMap<String, i64>,
    mappings: AHashMap<(String, Option<String>), u64>,
    /// (image, function) → location.
    locations: AHashMap<(u64, String, u64), u64>,
}

/// Writes an event's rows: values are samples and events (nanoseconds of a clock); a sample's
/// stack is function, process, layer and VM, and its labels say `vm`, `layer`, `part` and
/// `process`.
///
/// # Errors
/// As of the writer.
pub fn pprof(named: &Named<'_>, choice: &Choice, event: u16, to: &mut dyn Write) -> io::Result<()> {
    let mut build = Build::default();
    build.string("");
    let is_time = named.profile.events().get(usize::from(event)).is_some_and(|e| e.is_time);
    let name = event_name(named.profile, event);
    let counted = ValueType {
        r#type: build.string(&name),
        unit: build.string(if is_time { "nanoseconds" } else { "count" }),
    };
    let samples = ValueType { r#type: build.string("samples"), unit: build.string("count") };
    build.profile.sample_type = vec![samples, counted];
    let streams = named.profile.streams.iter();
    let own = streams.filter_map(|s| Some((s, s.events.iter().find(|own| own.event == event)?)));
    for (stream, own) in own {
        let duration = stream.duration().map_or(0, |duration| signed(duration.0));
        build.profile.duration_nanos = build.profile.duration_nanos.max(duration);
        build.profile.period = signed(own.period);
    }
    build.profile.period_type = Some(counted);
    for row in rows(named, choice, event) {
        build.row(named, row);
    }
    let mut gzip = GzEncoder::new(to, Compression::default());
    gzip.write_all(&build.profile.encode_to_vec())?;
    gzip.finish()?.flush()
}

impl Build {
    fn row(&mut self, named: &Named<'_>, row: &Row) {
        let words = [
            ("vm", named.profile.shown_vm(row.vm)),
            ("layer", row.layer.word().to_owned()),
            ("process", named.shown_process(row)),
        ];
        let image = (
            named.shown_image(row, true),
            named.profile.build_id(row.image).map(model::BuildId::hex),
        );
        let mapping = self.mapping(image);
        let symbol = if row.naming.is_ok() { named.shown_symbol(row) } else { String::new() };
        let mut stack = vec![self.location(mapping, &symbol, row.address.unwrap_or(0))];
        stack.extend(words.iter().rev().map(|(_, word)| self.location(0, word, 0)));
        let part = ("part", row.part.word().to_owned());
        let label = words
            .iter()
            .chain([&part])
            .map(|(key, word)| Label { key: self.string(key), str: self.string(word) });
        let label = label.collect();
        let value = vec![signed(row.count.samples), signed(row.count.events)];
        self.profile.sample.push(Sample { location_id: stack, value, label });
    }

    fn string(&mut self, text: &str) -> i64 {
        if let Some(&at) = self.strings.get(text) {
            return at;
        }
        let at = signed(self.profile.string_table.len() as u64);
        self.profile.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), at);
        at
    }

    fn mapping(&mut self, image: (String, Option<String>)) -> u64 {
        if let Some(&id) = self.mappings.get(&image) {
            return id;
        }
        let id = self.profile.mapping.len() as u64 + 1;
        let filename = self.string(&image.0);
        let build_id = self.string(image.1.as_deref().unwrap_or_default());
        self.profile.mapping.push(Mapping { id, filename, build_id, has_functions: true });
        self.mappings.insert(image, id);
        id
    }

    fn location(&mut self, mapping_id: u64, function: &str, address: u64) -> u64 {
        let key = (mapping_id, function.to_owned(), address);
        if let Some(&id) = self.locations.get(&key) {
            return id;
        }
        let id = self.profile.location.len() as u64 + 1;
        let mut line = vec![];
        if !function.is_empty() {
            let (function_id, name) =
                (self.profile.function.len() as u64 + 1, self.string(function));
            self.profile.function.push(Function { id: function_id, name, system_name: name });
            line.push(Line { function_id });
        }
        self.profile.location.push(Location { id, mapping_id, address, line });
        self.locations.insert(key, id);
        id
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
