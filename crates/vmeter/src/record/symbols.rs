//! What gives a recording's addresses names later, wherever it is read: the kernels' functions in
//! which samples fell, and guests' programs.

use super::guest::Connection;
use ::record::{Recording, Writer};
use agent::SymbolFile;
use anyhow::Result;
use model::{BuildId, Mode, Role, What};
use profile::symbols::{Binary, HostFiles, Images, Reason};
use profile::{Kind, Options};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The recording's file that says which program is where.
const INDEX: &str = "binaries.json";
/// The largest program that is taken from a guest, and the most of all together.
const LARGEST: u64 = 64 << 20;
const MOST: u64 = 512 << 20;
/// The largest index, and the most programs in it.
const LARGEST_INDEX: u64 = 16 << 20;
const MOST_BINARIES: usize = 10_000;

/// Guests' programs of a recording.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Binaries(Vec<Kept>);

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    stream: usize,
    /// Its path in the guest, raw.
    path: Vec<u8>,
    /// The recording's file, or why there is none.
    file: Result<String, String>,
}

impl Binaries {
    /// Of a recording; none where it has no index of them.
    pub fn of(recording: &Recording) -> Self {
        let text = recording.kept(INDEX, LARGEST_INDEX).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }
}

/// A stream's kernel symbols, and the agent that has its programs.
pub struct Source {
    /// The stream.
    pub stream: usize,
    /// Its /proc/kallsyms, where it could be read.
    pub kallsyms: Option<Vec<u8>>,
    /// A guest's agent.
    pub agent: Option<Connection>,
}

/// The recording's file of a stream's kernel symbols.
pub fn kallsyms(stream: usize) -> String {
    format!("stream-{stream}.kallsyms")
}

/// Keeps the kernels' symbols in which samples fell, and asks the guests for such programs.
pub fn collect(folder: &Path, sources: Vec<Source>, writer: &mut Writer) -> Result<()> {
    let recording = Recording::open(folder)?;
    let guests = sources.iter().any(|source| source.agent.is_some());
    let Met { mut programs, mut addresses } =
        if guests { met_by_all(&recording)? } else { met_by_host(&recording)? };
    let (mut index, mut left) = (Binaries::default(), MOST);
    for mut source in sources {
        if let Some(text) = &source.kallsyms {
            let wanted = addresses.remove(&source.stream).unwrap_or_default();
            writer.keep(&kallsyms(source.stream), &reduced(text, &wanted))?;
        }
        let Some(agent) = &mut source.agent else { continue };
        let paths = programs.remove(&source.stream).unwrap_or_default();
        for path in paths.into_iter().take(MOST_BINARIES) {
            let kept = ask(agent, source.stream, path, &mut left, index.0.len(), writer)?;
            index.0.push(kept);
        }
    }
    Ok(writer.keep(INDEX, serde_json::to_string(&index)?.as_bytes())?)
}

/// What samples fell in, by stream.
#[derive(Default)]
struct Met {
    /// Paths of programs and libraries.
    programs: BTreeMap<usize, BTreeSet<Vec<u8>>>,
    /// Addresses in the kernel.
    addresses: BTreeMap<usize, BTreeSet<u64>>,
}

/// Host and guests: whose a sample is takes a profile to know.
fn met_by_all(recording: &Recording) -> Result<Met> {
    let profile = crate::report::read(recording, Options::default())?.0;
    let mut met = Met::default();
    for (key, _) in &profile.entries {
        let Some(stream) = profile.image_stream(key.image) else { continue };
        match (profile.kind(key.image), key.address) {
            (Kind::File, _) => {
                let path = profile.image(key.image).to_vec();
                met.programs.entry(stream).or_default().insert(path);
            }
            (Kind::Kernel, Some(address)) => {
                met.addresses.entry(stream).or_default().insert(address);
            }
            _ => {}
        }
    }
    Ok(met)
}

/// The host alone: what is its kernel's says so itself, and its programs are there.
fn met_by_host(recording: &Recording) -> Result<Met> {
    let mut met = Met::default();
    for (number, stream) in recording.streams().iter().enumerate() {
        if stream.role != Role::Host {
            continue;
        }
        let addresses = met.addresses.entry(number).or_default();
        for record in recording.records(number)?.flatten() {
            if let What::Sample(sample) = record.what
                && sample.mode == Mode::Kernel
            {
                addresses.insert(sample.address);
            }
        }
    }
    Ok(met)
}

fn ask(
    agent: &mut Connection,
    stream: usize,
    path: Vec<u8>,
    left: &mut u64,
    number: usize,
    writer: &mut Writer,
) -> Result<Kept> {
    let asked = SymbolFile::Binary(PathBuf::from(OsStr::from_bytes(&path)));
    let file = match agent.symbols(&asked, LARGEST.min(*left)) {
        Ok(bytes) => {
            *left = left.saturating_sub(bytes.len() as u64);
            let name = format!("binary-{number}");
            writer.keep(&name, &bytes)?;
            Ok(name)
        }
        Err(error) => Err(error.to_string()),
    };
    Ok(Kept { stream, path, file })
}

/// The lines of a kallsyms that name these addresses, and those that end them: thousands of
/// functions instead of hundreds of thousands.
fn reduced(text: &[u8], addresses: &BTreeSet<u64>) -> Vec<u8> {
    let mut from = 0;
    let mut lines: Vec<(u64, &[u8])> = memchr::memchr_iter(b'\n', text)
        .filter_map(|end| {
            let line = text.get(from..=end)?;
            from = end + 1;
            Some((hexadecimal(line)?, line))
        })
        .collect();
    // The kernel's own are in order, and each module's.
    lines.sort_by_key(|(address, _)| *address);
    // Of aliases all are kept: which one is shown is the report's choice.
    let mut kept: BTreeSet<u64> = BTreeSet::new();
    for address in addresses {
        let after = lines.partition_point(|(start, _)| start <= address);
        kept.extend(after.checked_sub(1).and_then(|at| lines.get(at)).map(|line| line.0));
        kept.extend(lines.get(after).map(|line| line.0));
    }
    let named = lines.iter().filter(|(address, _)| kept.contains(address));
    named.flat_map(|(_, line)| line.iter().copied()).collect()
}

/// The number that a line begins with, up to a blank.
fn hexadecimal(line: &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for (at, &byte) in line.iter().enumerate() {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b' ' if at > 0 => return Some(value),
            _ => return None,
        };
        value = value.checked_mul(16)? + u64::from(digit);
    }
    None
}

/// The host's files as they are, and guests' as they were sent.
pub struct GuestFiles<'a> {
    host: HostFiles,
    recording: &'a Recording,
    binaries: Binaries,
}

impl<'a> GuestFiles<'a> {
    /// Of a recording.
    pub fn of(recording: &'a Recording, folder: &Path) -> Self {
        let host = HostFiles::new(recording.streams(), folder);
        Self { host, recording, binaries: Binaries::of(recording) }
    }
}

impl Images for GuestFiles<'_> {
    fn open(
        &mut self,
        stream: usize,
        path: &[u8],
        build_id: Option<&BuildId>,
    ) -> Result<Binary, Reason> {
        let kept = self.binaries.0.iter().find(|kept| kept.stream == stream && kept.path == path);
        let Some(kept) = kept else { return self.host.open(stream, path, build_id) };
        let file = kept.file.as_ref().map_err(|why| Reason::NotSent(why.clone()))?;
        let bytes =
            self.recording.kept(file, LARGEST).map_err(|e| Reason::Unreadable(e.to_string()))?;
        Ok(Binary::Guest(bytes.into()))
    }

    fn kallsyms(&mut self, stream: usize) -> Result<Arc<[u8]>, Reason> {
        self.host.kallsyms(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_functions_that_were_met_are_kept_with_their_ends() {
        let text = b"0000000000001000 T a\n0000000000002000 t b\n0000000000002000 T b_alias\n\
                     0000000000003000 T c\n0000000000004000 t d\t[module]\nnonsense\n";
        let found = reduced(text, &[0x2010, 0x20ff].into());
        let found = String::from_utf8(found).unwrap();
        let names: Vec<&str> = found.lines().map(|line| &line[19..]).collect();
        assert_eq!(names, ["b", "b_alias", "c"]);
        assert_eq!(reduced(text, &[0x10].into()), b"0000000000001000 T a\n");
        assert_eq!(reduced(text, &BTreeSet::new()), b"");
    }
}
