//! Machines as they were when they were ready, from which they are restored in place of being booted.
//!
//! A snapshot is a cache entry: QEMU's migration stream and the secret of the control port. Its key
//! covers the images and all of the spec that the machine sees; what differs from one use to the next
//! (programs, the agents and their key) is put in afterwards.

use files::failed;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Timestamps, UTIME_NOW, UTIME_OMIT};

use crate::cache::{self, Cache, Lock};
use crate::error::LabError;
use crate::machine::{Entries, Machine, STATE, Saved, TOKEN};
use crate::spec::{Accel, Clock, Receive, Spec};

/// Where snapshots are, in the cache.
const PLACE: &str = "snapshots";
/// One that was not used for this long is removed: its images have likely been replaced.
const MAX_IDLE: Duration = Duration::from_secs(14 * 24 * 3600);
/// What all snapshots together may take, in bytes; those that were not used for longest go first.
const MAX_BYTES: u64 = 10 << 30;

/// The place of a machine's snapshot in the cache, held by the one who makes or uses it first.
pub(crate) struct Snapshot<'a> {
    cache: &'a Cache,
    key: String,
    lock: Lock,
}

impl<'a> Snapshot<'a> {
    /// Waits until nobody else makes the snapshot of this machine.
    pub(crate) fn of(
        cache: &'a Cache,
        spec: &Spec,
        entries: &Entries,
        accel: Accel,
    ) -> Result<Self, LabError> {
        let key = key(spec, entries, accel);
        let lock = cache.lock_named(&format!("snapshot-{key}"))?;
        Ok(Self { cache, key, lock })
    }

    /// The snapshot, if it is there and whole.
    pub(crate) fn saved(&self) -> Option<Saved> {
        let directory = self.cache.entry_in(PLACE, &self.key)?;
        let token = fs::read_to_string(directory.join(TOKEN)).ok()?;
        // When it was used last: nothing depends on it but what is removed first.
        let times = Timestamps {
            last_access: rustix::fs::Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: rustix::fs::Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        };
        let (at, flags) = (rustix::fs::CWD, rustix::fs::AtFlags::empty());
        let _ = rustix::fs::utimensat(at, &directory, &times, flags);
        Some(Saved { state: directory.join(STATE), token })
    }

    /// Saves a machine that is ready.
    pub(crate) fn save(&self, machine: &Machine) -> Result<(), LabError> {
        make_room(&self.cache.directory(PLACE)?, &self.key);
        let build = |directory: &Path| machine.save(directory);
        self.cache.make_in(PLACE, &self.lock, &self.key, build).map(|_| ())
    }

    /// Removes one that does not restore.
    pub(crate) fn discard(&self) -> Result<(), LabError> {
        let path = self.cache.directory(PLACE)?.join(&self.key);
        Ok(fs::remove_dir_all(&path).map_err(failed("remove", &path))?)
    }
}

/// All that a machine's state depends on.
fn key(spec: &Spec, entries: &Entries, accel: Accel) -> String {
    let seen = Spec {
        accel,
        put: Vec::new(),
        receive: Vec::<Receive>::new(),
        wires: vec![PathBuf::new(); spec.wires.len()],
        agent: None,
        fresh: false,
        boot_limit: Duration::ZERO,
        command_limit: None,
        ..spec.clone()
    };
    let idle = (spec.clock == Clock::Instructions && spec.idle_time_passes()).to_string();
    let images = [&entries.emulator, &entries.image].map(|path| path.display().to_string());
    cache::key([&format!("{seen:?}"), &idle, &images[0], &images[1]].map(String::as_str))
}

/// Removes what is too old, and what was not used for longest where there is too much.
fn make_room(place: &Path, but: &str) {
    let mut found: Vec<(SystemTime, u64, PathBuf)> = fs::read_dir(place)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name() != but)
        .filter_map(|entry| {
            let used = entry.metadata().and_then(|metadata| metadata.modified()).ok()?;
            let bytes = fs::metadata(entry.path().join(STATE)).map_or(0, |state| state.len());
            Some((used, bytes, entry.path()))
        })
        .collect();
    found.sort();
    let mut bytes: u64 = found.iter().map(|(_, bytes, _)| bytes).sum();
    for (used, size, path) in found {
        let idle = SystemTime::now().duration_since(used).unwrap_or_default();
        if idle > MAX_IDLE || bytes > MAX_BYTES {
            // One that cannot be removed is tried again next time.
            let _ = fs::remove_dir_all(path);
            bytes -= size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Kind;

    #[test]
    fn a_key_is_of_what_the_machine_sees() {
        let entries = Entries { emulator: "e".into(), image: "i".into() };
        let spec = Spec::new(Kind::Xen);
        let of = |spec: &Spec| key(spec, &entries, Accel::Tcg);
        let unseen = Spec {
            put: vec!["/x".into()],
            boot_limit: Duration::from_secs(1),
            accel: Accel::Auto,
            ..spec.clone()
        };
        assert_eq!(of(&spec), of(&unseen));
        for seen in [
            Spec { guests: 1, ..spec.clone() },
            Spec { vcpus: 2, ..spec.clone() },
            Spec { wires: vec!["/w".into()], ..spec.clone() },
            Spec { suite: "trixie".to_owned(), ..spec.clone() },
        ] {
            assert_ne!(of(&spec), of(&seen), "{seen:?}");
        }
    }

    #[test]
    fn what_was_not_used_for_long_goes() {
        let place = tempfile::tempdir().unwrap();
        let make = |name: &str, bytes: u64, idle: Duration| {
            let path = place.path().join(name);
            fs::create_dir(&path).unwrap();
            let state = fs::File::create(path.join(STATE)).unwrap();
            state.set_len(bytes).unwrap();
            fs::File::open(&path).unwrap().set_modified(SystemTime::now() - idle).unwrap();
        };
        make("old", 1, MAX_IDLE + Duration::from_secs(60));
        make("large", MAX_BYTES, Duration::from_secs(60));
        make("new", 1, Duration::ZERO);
        make_room(place.path(), "mine");
        let left: Vec<_> =
            fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["new"]);
    }
}
