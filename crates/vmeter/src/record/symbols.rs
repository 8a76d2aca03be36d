//! What gives a recording's addresses names later, wherever it is read: the kernels' functions in
//! which samples fell, and guests' programs.

use super::kernel;
use super::session::Connection;
use ::record::{Recording, Writer};
use agent::{Checksum, SymbolFile};
use anyhow::{Context, Result};
use foldhash::{HashMap, HashSet};
use model::{BuildId, Mode, Reading, Record, What};
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
const LARGEST_INDEX: usize = 16 << 20;
const MOST_BINARIES: usize = 10_000;

/// Bytes of a kernel's symbols: many modules make 20 MB.
pub const MAX_KALLSYMS: usize = 64 << 20;

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

/// What gives the names of one machine's streams.
pub struct Source {
    /// Its streams, each with its kernel's symbols, where those could be read.
    pub streams: Vec<(usize, Option<Kallsyms>)>,
    /// The agent that has its programs, where that is a guest's.
    pub agent: Option<Connection>,
}

/// The recording's file of a stream's kernel symbols.
pub fn kallsyms(stream: usize) -> String {
    format!("stream-{stream}.kallsyms")
}

/// All symbols of a kernel: the text of its /proc/kallsyms.
pub enum Kallsyms {
    /// In memory.
    Read(Vec<u8>),
    /// In the recording, should the recorder be killed.
    Drafted,
}

impl Kallsyms {
    /// Moves it into the recording; where there is no room for it, it stays in memory.
    pub fn draft(&mut self, stream: usize, writer: &mut Writer) {
        if let Self::Read(text) = self
            && writer.draft(&kallsyms(stream), text).is_ok()
        {
            *self = Self::Drafted;
        }
    }

    /// Which file of the recording has them, should it be read now.
    pub fn file(read: &Reading<Self>, stream: usize) -> Reading<String> {
        match read {
            Ok(Self::Drafted) => Ok(kallsyms(stream)),
            Ok(Self::Read(_)) => Err(super::not_ended()),
            Err(absent) => Err(absent.clone()),
        }
    }

    fn text(self, folder: &Path, stream: usize) -> Result<Vec<u8>> {
        match self {
            Self::Read(text) => Ok(text),
            Self::Drafted => {
                let path = folder.join(kallsyms(stream));
                files::read_without_link(&path, MAX_KALLSYMS)
                    .with_context(|| path.display().to_string())
            }
        }
    }
}

/// Keeps the kernels' symbols in which samples fell, and asks the guests for such programs. `met`
/// has seen all records of a host alone, whose kernel's samples say so themselves.
pub fn collect(
    folder: &Path,
    sources: Vec<Source>,
    met: Option<Met>,
    writer: &mut Writer,
) -> Result<()> {
    let met = match met {
        Some(met) => met,
        None => met_by_all(&Recording::open(folder)?)?,
    };
    let Met { mut programs, mut addresses } = met;
    let guests = sources.iter().any(|source| source.agent.is_some());
    let (mut index, mut files) = (Binaries::default(), Files::new(guests));
    for mut source in sources {
        for (stream, symbols) in source.streams {
            if let Some(symbols) = symbols {
                let text = symbols.text(folder, stream)?;
                let wanted = addresses.remove(&stream).unwrap_or_default();
                let text = kernel::reduced(&text, wanted.into_iter().collect());
                writer.keep(&kallsyms(stream), &text)?;
            }
            let Some(agent) = &mut source.agent else { continue };
            let paths = programs.remove(&stream).unwrap_or_default();
            for path in paths.into_iter().take(MOST_BINARIES) {
                let file = files.take(agent, &path, writer)?;
                index.0.push(Kept { stream, path, file });
            }
        }
    }
    Ok(writer.keep(INDEX, serde_json::to_string(&index)?.as_bytes())?)
}

/// What samples fell in, by stream.
#[derive(Default)]
pub struct Met {
    /// Paths of programs and libraries.
    programs: BTreeMap<usize, BTreeSet<Vec<u8>>>,
    /// Addresses in the kernel.
    addresses: BTreeMap<usize, HashSet<u64>>,
}

impl Met {
    /// Takes note of a sample in the kernel that has its stream.
    pub fn see(&mut self, stream: usize, record: &Record) {
        if let What::Sample(sample) = &record.what
            && sample.mode == Mode::Kernel
        {
            self.addresses.entry(stream).or_default().insert(sample.address);
        }
    }
}

fn met_by_all(recording: &Recording) -> Result<Met> {
    let profile = crate::samples::read(recording, Options::default())?.0;
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

/// The programs that a recording keeps, each once.
struct Files {
    /// Where they are kept, by what they hold.
    kept: HashMap<Checksum, String>,
    /// How many are kept.
    count: usize,
    /// This program, which in a guest is the agent.
    own: Option<(Checksum, Vec<u8>)>,
    /// Bytes that may still be kept.
    left: u64,
}

impl Files {
    fn new(guests: bool) -> Self {
        let own =
            guests.then(|| files::read("/proc/self/exe".as_ref(), MOST as usize).ok()).flatten();
        let own = own.map(|contents| (Checksum::of(&contents), contents));
        Self { kept: HashMap::default(), count: 0, own, left: MOST }
    }

    /// Keeps a guest's program, which is sent where it is not here yet; the recording's file, or why
    /// there is none.
    fn take(
        &mut self,
        agent: &mut Connection,
        path: &[u8],
        writer: &mut Writer,
    ) -> Result<Result<String, String>> {
        let asked = SymbolFile::Binary(PathBuf::from(OsStr::from_bytes(path)));
        let checksum = match agent.checksum(&asked) {
            Ok(checksum) => checksum,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if let Some(name) = self.kept.get(&checksum) {
            return Ok(Ok(name.clone()));
        }
        let own = self.own.take_if(|(own, _)| *own == checksum && own.bytes <= self.left);
        let sent = match own {
            Some((_, contents)) => Ok(contents),
            None => agent.symbols(&asked, LARGEST.min(self.left)),
        };
        let contents = match sent {
            Ok(contents) => contents,
            Err(error) => return Ok(Err(error.to_string())),
        };
        self.left = self.left.saturating_sub(contents.len() as u64);
        let name = format!("binary-{}", self.count);
        self.count += 1;
        writer.keep(&name, &contents)?;
        // By what was sent, not by what the guest says of it.
        self.kept.insert(Checksum::of(&contents), name.clone());
        Ok(Ok(name))
    }
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
        let bytes = self
            .recording
            .kept(file, LARGEST as usize)
            .map_err(|e| Reason::Unreadable(e.to_string()))?;
        Ok(Binary::Guest(bytes.into()))
    }

    fn kallsyms(&mut self, stream: usize) -> Result<Arc<[u8]>, Reason> {
        self.host.kallsyms(stream)
    }
}
