//! Guests' programs, kept with a recording, so that its report needs no guest.

use super::guest::Connection;
use ::record::{Recording, Writer};
use agent::SymbolFile;
use anyhow::Result;
use model::{BuildId, Stream};
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

/// Asks the guests for the programs in which samples fell, and keeps them.
pub fn collect(
    folder: &Path,
    handles: Vec<(usize, Connection)>,
    writer: &mut Writer,
) -> Result<()> {
    let recording = Recording::open(folder)?;
    let profile = super::super::report::read(&recording, Options::default())?.0;
    let mut wanted: BTreeMap<usize, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for (key, _) in &profile.entries {
        let image = (profile.kind(key.image) == Kind::File).then(|| profile.image(key.image));
        if let (Some(path), Some(stream)) = (image, profile.image_stream(key.image)) {
            wanted.entry(stream).or_default().insert(path.to_vec());
        }
    }
    let (mut index, mut left) = (Binaries::default(), MOST);
    for (stream, mut handle) in handles {
        for path in wanted.remove(&stream).unwrap_or_default().into_iter().take(MOST_BINARIES) {
            let asked = SymbolFile::Binary(PathBuf::from(OsStr::from_bytes(&path)));
            let file = match handle.symbols(&asked, LARGEST.min(left)) {
                Ok(bytes) => {
                    left = left.saturating_sub(bytes.len() as u64);
                    let name = format!("binary-{}", index.0.len());
                    writer.keep(&name, &bytes)?;
                    Ok(name)
                }
                Err(error) => Err(error.to_string()),
            };
            index.0.push(Kept { stream, path, file });
        }
    }
    Ok(writer.keep(INDEX, serde_json::to_string(&index)?.as_bytes())?)
}

/// The host's files as they are, and guests' as they were sent.
pub struct GuestFiles<'a> {
    host: HostFiles,
    recording: Option<&'a Recording>,
    binaries: Binaries,
}

impl<'a> GuestFiles<'a> {
    /// Of a recording.
    pub fn of(recording: &'a Recording, folder: &Path) -> Self {
        let host = HostFiles::new(recording.streams(), folder);
        Self { host, recording: Some(recording), binaries: Binaries::of(recording) }
    }

    /// Of streams from elsewhere: the host's files alone.
    pub fn host(streams: &[Stream]) -> Self {
        let host = HostFiles::new(streams, Path::new("/"));
        Self { host, recording: None, binaries: Binaries::default() }
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
        let (Some(kept), Some(recording)) = (kept, self.recording) else {
            return self.host.open(stream, path, build_id);
        };
        let file = kept.file.as_ref().map_err(|why| Reason::NotSent(why.clone()))?;
        let bytes = recording.kept(file, LARGEST).map_err(|e| Reason::Unreadable(e.to_string()))?;
        Ok(Binary::Guest(bytes.into()))
    }

    fn kallsyms(&mut self, stream: usize) -> Result<Arc<[u8]>, Reason> {
        self.host.kallsyms(stream)
    }
}
