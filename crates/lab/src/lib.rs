//! The lab: a real Xen, a real KVM host or plain Linux, booted under QEMU on any machine.
//!
//! [`Spec`] says what is wanted, [`prepare`] makes or finds the images, [`Images::boot`] boots them
//! and returns a [`Machine`] whose guests answer. Nothing is installed and root is not needed:
//! all software comes from the packages of a Debian suite, kept in a cache.

mod accel;
mod apt;
mod cache;
mod cpio;
mod elf;
mod emulator;
mod error;
mod image;
mod kernel;
mod machine;
mod mishap;
mod modules;
mod monitor;
mod process;
mod protocol;
mod shell;
mod snapshot;
mod spec;
mod stream;
mod testbed;
mod tree;

pub use cache::Cache;
pub use error::LabError;
pub use machine::Machine;
pub use mishap::note_mishap;
pub use spec::{
    AGENT_PORT, Accel, AgentFiles, Clock, Kind, MOST_GUESTS, MOST_WIRES, Receive, Role, Spec,
};
pub use stream::Stream;
pub use testbed::Testbed;

use files::failed;
use std::path::PathBuf;

use machine::Entries;
use snapshot::Snapshot;

/// Is told how the preparation gets on.
pub trait Progress {
    /// A stage begins; `total` is its size in bytes, or 0 where that is not known.
    fn stage(&mut self, name: &str, total: u64);
    /// So much of the stage is done.
    fn reached(&mut self, done: u64);
}

/// Keeps the progress to itself.
pub struct Quiet;

impl Progress for Quiet {
    fn stage(&mut self, _name: &str, _total: u64) {}
    fn reached(&mut self, _done: u64) {}
}

/// Whether a program runs on any Linux: an ELF file that needs no library.
#[must_use]
pub fn is_static(program: &std::path::Path) -> bool {
    std::fs::read(program).is_ok_and(|bytes| {
        elf::is_elf(&bytes) && elf::needed(&bytes).is_some_and(|names| names.is_empty())
    })
}

/// Everything a spec needs, in the cache.
pub struct Images {
    cache: Cache,
    entries: Entries,
}

/// Makes what the spec needs, or finds it in the cache.
///
/// # Errors
/// When the spec cannot be, or packages cannot be fetched or lack something.
pub fn prepare(spec: &Spec, cache: Cache, progress: &mut dyn Progress) -> Result<Images, LabError> {
    spec.check()?;
    let lock = cache.lock()?;
    let emulator = made(
        &Wanted {
            cache: &cache,
            lock: &lock,
            suite: emulator::suite(spec.kind, spec.clock),
            packages: &emulator::PACKAGES,
            inputs: vec!["emulator", image::LAYOUT],
        },
        progress,
        &emulator::build,
    )?;
    let mut inputs = vec!["machine", image::LAYOUT, spec.kind.name()];
    inputs.extend(image::scripts());
    let packages = image::packages(spec.kind);
    let wanted =
        Wanted { cache: &cache, lock: &lock, suite: &spec.suite, packages: &packages, inputs };
    let image =
        made(&wanted, progress, &|tree, directory| image::build(spec.kind, tree, directory))?;
    drop(lock);
    Ok(Images { cache, entries: Entries { emulator, image } })
}

/// What an entry is made from.
struct Wanted<'a> {
    cache: &'a Cache,
    lock: &'a cache::Lock,
    suite: &'a str,
    packages: &'a [&'a str],
    inputs: Vec<&'a str>,
}

type Build<'a> = &'a dyn Fn(&tree::Tree, &std::path::Path) -> Result<(), LabError>;

fn made(
    wanted: &Wanted<'_>,
    progress: &mut dyn Progress,
    build: Build<'_>,
) -> Result<PathBuf, LabError> {
    let suite = apt::Suite::open(wanted.cache, wanted.suite)?;
    let packages = suite.closure(wanted.packages, progress)?;
    let sums = packages.iter().map(|package| package.sha256.as_str());
    let key = cache::key(wanted.inputs.iter().copied().chain(sums));
    progress.stage("Checking the cache", 0);
    if let Some(found) = wanted.cache.entry(&key) {
        return Ok(found);
    }
    let files = suite.download(wanted.packages, &packages, progress)?;
    let work = wanted.cache.work_dir()?;
    let root = work.path().join("tree");
    std::fs::create_dir(&root).map_err(failed("make the directory", &root))?;
    let tree = tree::Tree::unpack(&files, wanted.suite, &root, progress)?;
    progress.stage("Building the image", 0);
    wanted.cache.make(wanted.lock, &key, |directory| build(&tree, directory))
}

/// How often a machine is started at most.
const STARTS: u32 = 3;

impl Images {
    /// Makes a machine ready and waits until it and its guests answer: restores it as it was when it
    /// had booted before, or boots it and saves it for the next time.
    ///
    /// Now and then an emulated machine hangs or crashes as it boots; it is then booted again, twice
    /// at most, each with a third of the time limit, and the mishap is noted ([`note_mishap`]).
    ///
    /// # Errors
    /// When QEMU does not start, or the machine is not ready by the spec's time limit; the error
    /// holds the console's last lines.
    pub fn boot(&self, spec: &Spec) -> Result<Machine, LabError> {
        let accel = accel::choose(spec, &self.entries, &self.cache)?;
        let part = Spec { boot_limit: spec.boot_limit / STARTS, ..spec.clone() };
        for _ in 1..STARTS {
            match self.ready(&part, accel) {
                Err(error) if error.is_mishap() => note_mishap(spec.kind.name(), &error),
                outcome => return outcome,
            }
        }
        self.ready(&part, accel)
    }

    fn ready(&self, spec: &Spec, accel: Accel) -> Result<Machine, LabError> {
        // With the host's KVM a boot takes no longer than reading a snapshot.
        let mut machine = if spec.fresh || accel == Accel::Kvm {
            tracing::debug!(kind = spec.kind.name(), ?accel, spec.fresh, "booting, not restoring");
            Machine::boot(spec, &self.entries, accel, self.cache.work_dir()?)?
        } else {
            self.restored(spec, accel)?
        };
        machine.equip(spec)?;
        Ok(machine)
    }

    fn restored(&self, spec: &Spec, accel: Accel) -> Result<Machine, LabError> {
        let snapshot = Snapshot::of(&self.cache, spec, &self.entries, accel)?;
        if let Some(saved) = snapshot.saved() {
            let work = self.cache.work_dir()?;
            match Machine::restore(spec, &self.entries, accel, work, &saved) {
                Ok(machine) => {
                    tracing::debug!(kind = spec.kind.name(), "restored from the cache");
                    return Ok(machine);
                }
                Err(error) => {
                    note_mishap(spec.kind.name(), &error);
                    snapshot.discard()?;
                }
            }
        }
        tracing::debug!(kind = spec.kind.name(), ?accel, "booting: no saved state");
        let machine = Machine::boot(spec, &self.entries, accel, self.cache.work_dir()?)?;
        // A cache that has no room for it makes the next start slow, and this one no worse.
        if let Err(error) = snapshot.save(&machine) {
            tracing::warn!(error = ?error.to_string(), "cannot save the machine in the cache");
        }
        Ok(machine)
    }
}
