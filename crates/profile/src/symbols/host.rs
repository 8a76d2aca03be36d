//! Symbols of the host's own files, which may be any of its users'.

use super::elf::{self, Found, Wanted};
use super::kallsyms::BYTES;
use super::pieces::Pieces;
use super::{Binary, Function, Images, Reason};
use model::{BuildId, Role, Stream};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The host's files as they are now, below a root (`/`); nothing of guests.
#[derive(Debug)]
pub struct HostFiles {
    /// Below which directory the host's paths are.
    pub root: PathBuf,
    /// For each stream whether it is this host's.
    pub own: Vec<bool>,
    /// For each stream the file with its kernel's symbols.
    pub kallsyms: Vec<Result<PathBuf, Reason>>,
}

impl HostFiles {
    /// Of the machine that this runs on; kallsyms' files are below `recording`.
    #[must_use]
    pub fn new(streams: &[Stream], recording: &Path) -> Self {
        let kallsyms = |stream: &Stream| match &stream.kallsyms {
            Ok(file) => Ok(recording.join(file)),
            Err(absent) => Err(Reason::NoKallsyms(absent.to_string())),
        };
        Self {
            root: PathBuf::from("/"),
            own: streams.iter().map(|stream| stream.role == Role::Host).collect(),
            kallsyms: streams.iter().map(kallsyms).collect(),
        }
    }
}

impl Images for HostFiles {
    fn open(&mut self, stream: usize, path: &[u8], _: Option<&BuildId>) -> Result<Binary, Reason> {
        if self.own.get(stream) != Some(&true) {
            return Err(Reason::NotSent("file not found on this machine".to_owned()));
        }
        if path.ends_with(b" (deleted)") {
            return Err(Reason::Gone);
        }
        let path = Path::new(OsStr::from_bytes(path));
        Ok(Binary::Host(self.root.join(path.strip_prefix("/").unwrap_or(path))))
    }

    fn kallsyms(&mut self, stream: usize) -> Result<Arc<[u8]>, Reason> {
        let path = match self.kallsyms.get(stream) {
            Some(path) => path.as_ref().map_err(Clone::clone)?,
            None => return Err(Reason::NoKallsyms("not recorded".to_owned())),
        };
        let unreadable = |error| Reason::NoKallsyms(format!("{}: {error}", path.display()));
        Ok(files::read_without_link(path, BYTES).map_err(unreadable)?.into())
    }
}

/// Reads files of the host's.
pub(super) struct Reader {
    /// Where debug symbols are installed.
    debug: PathBuf,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { debug: PathBuf::from("/usr/lib/debug") }
    }

    /// The functions at offsets in a file, in their order: by its symbol table, or, where it is
    /// stripped, by that of debug symbols that are installed for it.
    pub(super) fn names(
        &self,
        path: &Path,
        build_id: Option<&BuildId>,
        offsets: &[u64],
    ) -> Result<Vec<Result<Function, Reason>>, Reason> {
        let found = look_up(path, build_id, Wanted::Offsets(offsets))?;
        if !found.is_stripped {
            return Ok(found.names);
        }
        let debug = self.debug_names(path, &found).unwrap_or_default();
        // What is only in the file itself keeps its name.
        let mut names = found.names;
        for (name, better) in names.iter_mut().zip(debug) {
            if better.is_ok() {
                *name = better;
            }
        }
        Ok(names)
    }

    /// The same functions by the file with its debug symbols, which has the same build id.
    fn debug_names(&self, path: &Path, of: &Found) -> Option<Vec<Result<Function, Reason>>> {
        let build_id = BuildId(of.build_id.clone()?);
        let wanted = Wanted::Addresses(&of.addresses);
        let read = |path: &PathBuf| look_up(path, Some(&build_id), wanted).ok();
        let mut there = self.debug_paths(path, of, &build_id).into_iter();
        there.find_map(|path| read(&path).filter(|found| !found.is_stripped)).map(|it| it.names)
    }

    /// Where such a file may be, as gdb looks for it.
    fn debug_paths(&self, path: &Path, of: &Found, build_id: &BuildId) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        if let Some((first, rest)) = build_id.hex().split_at_checked(2) {
            paths.push(self.debug.join(".build-id").join(first).join(format!("{rest}.debug")));
        }
        let link = of.debug_link.as_deref().map(OsStr::from_bytes).map(Path::new);
        // The name is what the file's owner wrote: a name and not a path.
        let plain = link.filter(|link| link.file_name() == Some(link.as_os_str()));
        if let (Some(link), Some(folder)) = (plain, path.parent()) {
            let below = folder.strip_prefix("/").unwrap_or(folder);
            paths.push(folder.join(link));
            paths.push(folder.join(".debug").join(link));
            paths.push(self.debug.join(below).join(link));
        }
        paths
    }
}

/// The functions of a file, which is opened once: what is checked is what is read.
fn look_up(path: &Path, build_id: Option<&BuildId>, wanted: Wanted<'_>) -> Result<Found, Reason> {
    let unreadable = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => Reason::Gone,
        _ => Reason::Unreadable(error.to_string()),
    };
    let pieces = files::open(path).and_then(Pieces::new).map_err(unreadable)?;
    elf::look_up(&pieces, build_id, wanted).map_err(|reason| pieces.explain(reason))
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
