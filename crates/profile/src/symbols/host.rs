//! Symbols of the host's own files, by blazesym.

use super::{Binary, Function, Images, Reason, demangle, same_build};
use blazesym::helper::read_elf_build_id;
use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{Input, Reason as Blazesym, Symbolized, Symbolizer};
use model::{BuildId, Role, Stream};
use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Read};
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
            return Err(Reason::NotSent("no file of it is here".to_owned()));
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
            None => return Err(Reason::NoKallsyms("none was recorded".to_owned())),
        };
        let unreadable = |error| Reason::NoKallsyms(format!("{}: {error}", path.display()));
        Ok(fs::read(path).map_err(unreadable)?.into())
    }
}

/// Reads files of the host's.
pub(super) struct Reader(Symbolizer);

impl Reader {
    pub(super) fn new() -> Self {
        let builder = Symbolizer::builder().enable_code_info(false).enable_inlined_fns(false);
        Self(builder.enable_demangling(false).build())
    }

    /// The functions at offsets in a file, in their order: by its symbol table, or, where it is
    /// stripped, by debug information that is installed for it.
    pub(super) fn names(
        &self,
        path: &Path,
        build_id: Option<&BuildId>,
        offsets: &[u64],
    ) -> Result<Vec<Result<Function, Reason>>, Reason> {
        // Opening a device or a pipe could do or wait for something.
        match fs::metadata(path) {
            Ok(data) if data.is_file() => {}
            Ok(_) => return Err(Reason::Unreadable("no regular file".to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(Reason::Gone),
            Err(error) => return Err(Reason::Unreadable(error.to_string())),
        }
        is_elf(path)?;
        let unreadable = |error: blazesym::Error| Reason::Unreadable(error.to_string());
        if build_id.is_some() {
            let found = read_elf_build_id(path).map_err(unreadable)?;
            same_build(build_id, found.as_deref())?;
        }
        let names = self.symbolize(path, offsets, false).map_err(unreadable)?;
        if !names.contains(&Err(Reason::Stripped)) {
            return Ok(names);
        }
        // Debug information that cannot be read takes nothing from what the table gave.
        Ok(self.symbolize(path, offsets, true).unwrap_or(names))
    }

    fn symbolize(
        &self,
        path: &Path,
        offsets: &[u64],
        debug: bool,
    ) -> Result<Vec<Result<Function, Reason>>, blazesym::Error> {
        let mut elf = Elf::new(path);
        elf.debug_syms = debug;
        let found = self.0.symbolize(&Source::Elf(elf), Input::FileOffset(offsets))?;
        let one = |symbol: Symbolized<'_>| match symbol {
            Symbolized::Sym(symbol) => {
                Ok(Function { name: demangle::demangle(&symbol.name), module: None })
            }
            Symbolized::Unknown(Blazesym::MissingSyms) => Err(Reason::Stripped),
            Symbolized::Unknown(_) => Err(Reason::NoSymbol),
        };
        Ok(found.into_iter().map(one).collect())
    }
}

fn is_elf(path: &Path) -> Result<(), Reason> {
    let mut magic = [0; 4];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    match read {
        Ok(()) if magic == *b"\x7fELF" => Ok(()),
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => {
            Err(Reason::Unreadable(error.to_string()))
        }
        _ => Err(Reason::Malformed("not an ELF file".to_owned())),
    }
}
