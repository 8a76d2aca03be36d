//! Names for addresses: after samples are added up, once for each address of an image.
//!
//! The host's files are opened by the paths that the host's kernel gave, and read piece by piece
//! (`host`). A guest's files are never opened by the paths that it sent: their bytes come from its
//! agent, through [`Images`]. Both may be any user's, and are read without trust (`elf`), as is the
//! text of kallsyms.

mod demangle;
mod elf;
mod host;
mod kallsyms;
mod pieces;

pub use host::HostFiles;

use crate::image::{ImageId, Kind};
use crate::profile::Profile;
use ahash::AHashMap;
use kallsyms::Kallsyms;
use model::BuildId;
use std::path::PathBuf;

use std::sync::Arc;

/// The longest name of a function that is kept, in bytes.
const LONGEST: usize = 1024;

/// Why an address has no name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Reason {
    /// The file has no symbols but those that it exports.
    #[error("stripped: install its debug symbols")]
    Stripped,
    /// The file is not there any more.
    #[error("file deleted")]
    Gone,
    /// The file is another than the one that ran.
    #[error("build id differs: {recorded} ran, {found} is there now")]
    OtherBuild {
        /// Of the file that ran, in hexadecimal digits.
        recorded: String,
        /// Of the file that is there; `none` where it has none.
        found: String,
    },
    /// The file cannot be read.
    #[error("unreadable: {0}")]
    Unreadable(String),
    /// The file is not what it should be.
    #[error("malformed: {0}")]
    Malformed(String),
    /// The file has more bytes or symbols than are read.
    #[error("too large: {0}")]
    TooLarge(String),
    /// No file stands behind the memory: just-in-time compiled code, the vDSO.
    #[error("no file: compiled at run time, or the kernel's own page")]
    NoFile,
    /// The file has symbols, but none at the address.
    #[error("no symbol at the address")]
    NoSymbol,
    /// The kernel's symbols were not given.
    #[error("no kernel symbols: {0}")]
    NoKallsyms(String),
    /// The kernel's symbols have no addresses.
    #[error("kernel addresses hidden: set kernel.kptr_restrict to 0, or read them as root")]
    Hidden,
    /// The guest's agent did not send the file.
    #[error("not sent by the guest: {0}")]
    NotSent(String),
    /// Nothing in the guest tells what its processes are.
    #[error("no agent reports the guest's programs")]
    Passive,
    /// No map was there, or the process is not known.
    #[error("no map at the address")]
    Unmapped,
    /// Nobody has the hypervisor's symbols.
    #[error("no symbols of the hypervisor")]
    Hypervisor,
}

/// A file that symbols can be read from.
#[derive(Debug, Clone)]
pub enum Binary {
    /// The host's own, by its path.
    Host(PathBuf),
    /// A guest's, by the bytes that it sent.
    Guest(Arc<[u8]>),
}

/// Where files and kernels' symbols come from.
pub trait Images {
    /// The file that a stream's kernel mapped, by its raw path and its build id.
    ///
    /// # Errors
    /// Why there is none.
    fn open(
        &mut self,
        stream: usize,
        path: &[u8],
        build_id: Option<&BuildId>,
    ) -> Result<Binary, Reason>;

    /// The text of a stream's kernel's /proc/kallsyms.
    ///
    /// # Errors
    /// Why there is none.
    fn kallsyms(&mut self, stream: usize) -> Result<Arc<[u8]>, Reason>;
}

/// A function.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Function {
    /// Its name, demangled, raw, at most 1024 bytes.
    pub name: String,
    /// The kernel module that has it.
    pub module: Option<String>,
}

/// What an address is, by its image's symbols: a shared function, or why there is none.
pub type Naming = Result<Arc<Function>, Arc<Reason>>;

/// The names of all addresses of a profile.
#[derive(Debug, Default)]
pub struct Symbols {
    names: AHashMap<(ImageId, Option<u64>), Naming>,
}

impl Symbols {
    /// Finds the names of a profile's addresses.
    #[must_use]
    pub fn find(profile: &Profile, images: &mut dyn Images) -> Self {
        let mut addresses: AHashMap<ImageId, Vec<u64>> = AHashMap::new();
        let mut names = AHashMap::new();
        for (key, _) in &profile.entries {
            match key.address {
                Some(address) => addresses.entry(key.image).or_default().push(address),
                None => {
                    let reason = without_address(profile.kind(key.image));
                    names.insert((key.image, None), Err(Arc::new(reason)));
                }
            }
        }
        let mut finder = Finder {
            profile,
            images,
            kernels: AHashMap::new(),
            files: AHashMap::new(),
            host: host::Reader::new(),
        };
        let mut addresses: Vec<_> = addresses.into_iter().collect();
        addresses.sort_unstable_by_key(|(image, _)| *image);
        for (image, mut addresses) in addresses {
            addresses.sort_unstable();
            addresses.dedup();
            let found = finder.image(image, &addresses);
            let found = addresses.into_iter().map(Some).zip(found);
            names.extend(found.map(|(address, naming)| ((image, address), naming)));
        }
        Self { names }
    }

    /// What an address of an image is; `None` for one that the profile did not have.
    #[must_use]
    pub fn get(&self, image: ImageId, address: Option<u64>) -> Option<&Naming> {
        self.names.get(&(image, address))
    }
}

fn without_address(kind: Kind) -> Reason {
    match kind {
        Kind::Guest => Reason::Passive,
        _ => Reason::Unmapped,
    }
}

struct Finder<'a> {
    profile: &'a Profile,
    images: &'a mut dyn Images,
    kernels: AHashMap<usize, Result<Kallsyms, Reason>>,
    /// Files that were read, by stream and build id: one file may have several paths, and a
    /// guest's claim of a build id says nothing of another guest's file.
    files: AHashMap<(usize, BuildId), Binary>,
    host: host::Reader,
}

impl Finder<'_> {
    /// The names of an image's addresses, in their order.
    fn image(&mut self, image: ImageId, addresses: &[u64]) -> Vec<Naming> {
        let found = match self.profile.kind(image) {
            Kind::File => self.file(image, addresses),
            Kind::Kernel => self.kernel(image, addresses),
            Kind::Memory => Err(Reason::NoFile),
            Kind::Hypervisor => Err(Reason::Hypervisor),
            Kind::Guest | Kind::Unmapped => Err(Reason::Unmapped),
        };
        match found {
            Ok(functions) => share(functions),
            Err(reason) => {
                let reason = Arc::new(reason);
                addresses.iter().map(|_| Err(Arc::clone(&reason))).collect()
            }
        }
    }

    fn file(
        &mut self,
        image: ImageId,
        addresses: &[u64],
    ) -> Result<Vec<Result<Function, Reason>>, Reason> {
        let Some(stream) = self.profile.image_stream(image) else { return Err(Reason::Unmapped) };
        let (path, build_id) = (self.profile.image(image), self.profile.build_id(image));
        let key = build_id.map(|id| (stream, id.clone()));
        let file = match key.as_ref().and_then(|key| self.files.get(key)) {
            Some(file) => file.clone(),
            None => self.images.open(stream, path, build_id)?,
        };
        let names = match &file {
            Binary::Host(path) => self.host.names(path, build_id, addresses),
            Binary::Guest(bytes) => elf::names(bytes, build_id, addresses),
        }?;
        if let Some(key) = key {
            self.files.insert(key, file);
        }
        Ok(names)
    }

    fn kernel(
        &mut self,
        image: ImageId,
        addresses: &[u64],
    ) -> Result<Vec<Result<Function, Reason>>, Reason> {
        let Some(stream) = self.profile.image_stream(image) else {
            return Err(Reason::NoKallsyms("not sent by the VM".to_owned()));
        };
        let images = &mut *self.images;
        let kernel = self
            .kernels
            .entry(stream)
            .or_insert_with(|| images.kallsyms(stream).and_then(Kallsyms::parse));
        let kernel = kernel.as_ref().map_err(Clone::clone)?;
        Ok(addresses.iter().map(|&address| kernel.find(address).ok_or(Reason::NoSymbol)).collect())
    }
}

/// Functions of one name are one.
fn share(functions: Vec<Result<Function, Reason>>) -> Vec<Naming> {
    let mut last: Option<Arc<Function>> = None;
    let mut reasons: AHashMap<Reason, Arc<Reason>> = AHashMap::new();
    let mut one = |function: Result<Function, Reason>| match function {
        Ok(function) => {
            // Addresses are in order, and with them those of one function.
            let same = last.as_ref().filter(|last| ***last == function).map(Arc::clone);
            let shared = same.unwrap_or_else(|| Arc::new(function));
            last = Some(Arc::clone(&shared));
            Ok(shared)
        }
        Err(reason) => {
            let shared = reasons.entry(reason.clone()).or_insert_with(|| Arc::new(reason));
            Err(Arc::clone(shared))
        }
    };
    functions.into_iter().map(&mut one).collect()
}

/// A function of a name as it stands in a symbol table.
fn function(raw: &[u8], module: Option<&[u8]>) -> Function {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let raw = raw.get(..LONGEST).unwrap_or(raw);
    let module = module.map(|module| text(module.get(..64).unwrap_or(module)));
    Function { name: demangle::demangle(&text(raw)), module }
}

/// Refuses a file that has another build id than was recorded.
fn same_build(recorded: Option<&BuildId>, found: Option<&[u8]>) -> Result<(), Reason> {
    let Some(recorded) = recorded else { return Ok(()) };
    // perf fills short build ids up with zeros.
    let trimmed = |bytes: &[u8]| {
        let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        bytes.get(..used).unwrap_or(bytes).to_vec()
    };
    if found.is_some_and(|found| trimmed(found) == trimmed(&recorded.0)) {
        return Ok(());
    }
    let hex = |id: Option<&[u8]>| id.map_or("none".to_owned(), |id| BuildId(id.to_vec()).hex());
    Err(Reason::OtherBuild { recorded: recorded.hex(), found: hex(found) })
}

#[cfg(test)]
#[path = "tests.rs"]
pub(crate) mod tests;
