//! The cache: what was made once, found again by the hash of its inputs and checked before use.

use files::failed;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

use crate::error::LabError;

/// The file in each entry that lists the sums of all others; written last.
const MANIFEST: &str = "manifest.json";
const WORK_PREFIX: &str = "work-";
/// The part of the cache with images and emulators.
const IMAGES: &str = "made";

/// A directory of finished entries, shared by all runs of one user.
#[derive(Clone)]
pub struct Cache {
    root: PathBuf,
}

/// Held by the one who changes the cache, or a part of it; others wait.
pub struct Lock {
    _file: File,
}

/// A directory of its own for one run. It goes away with the value, or, after a crash, with the
/// next run that looks: its lock file is free then.
pub struct WorkDir {
    directory: tempfile::TempDir,
    _lock: Lock,
}

impl WorkDir {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Cache {
    /// The user's cache: $VMETER_LAB_CACHE, else vmeter/lab in the XDG cache directory.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open() -> Result<Self, LabError> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let root = variable("VMETER_LAB_CACHE").map(PathBuf::from).unwrap_or_else(|| {
            let base = variable("XDG_CACHE_HOME").map(PathBuf::from).unwrap_or_else(|| {
                variable("HOME").map_or_else(std::env::temp_dir, PathBuf::from).join(".cache")
            });
            base.join("vmeter/lab")
        });
        Self::at(&root)
    }

    /// A cache in a directory, which is made if need be.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn at(root: &Path) -> Result<Self, LabError> {
        fs::create_dir_all(root).map_err(failed("make the cache directory", root))?;
        // apt and the emulator get absolute paths.
        let root = fs::canonicalize(root).map_err(failed("find", root))?;
        Ok(Cache { root })
    }

    /// A directory of the cache that is not an entry, made if need be.
    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf, LabError> {
        let path = self.root.join(name);
        fs::create_dir_all(&path).map_err(failed("make the directory", &path))?;
        Ok(path)
    }

    /// Waits until no one else changes the cache.
    pub(crate) fn lock(&self) -> Result<Lock, LabError> {
        hold(&self.root.join("lock"))
    }

    /// Waits until no one else holds the lock of this name.
    pub(crate) fn lock_named(&self, name: &str) -> Result<Lock, LabError> {
        hold(&self.directory("locks")?.join(name))
    }

    /// The image of this key, if it is there and every sum is right.
    pub(crate) fn entry(&self, key: &str) -> Option<PathBuf> {
        self.entry_in(IMAGES, key)
    }

    /// Makes the image of this key: see [`Self::make_in`].
    pub(crate) fn make(
        &self,
        lock: &Lock,
        key: &str,
        build: impl FnOnce(&Path) -> Result<(), LabError>,
    ) -> Result<PathBuf, LabError> {
        self.make_in(IMAGES, lock, key, build)
    }

    /// The entry of this key in a part of the cache, if it is there and every sum is right.
    pub(crate) fn entry_in(&self, part: &str, key: &str) -> Option<PathBuf> {
        let path = self.root.join(part).join(key);
        let text = fs::read(path.join(MANIFEST)).ok()?;
        let recorded: BTreeMap<String, u32> = serde_json::from_slice(&text).ok()?;
        (sums(&path).ok()? == recorded).then_some(path)
    }

    /// Makes the entry of this key in a part of the cache: `build` fills an empty directory, which
    /// takes its place when it is complete. What was there under the same key is replaced.
    pub(crate) fn make_in(
        &self,
        part: &str,
        _lock: &Lock,
        key: &str,
        build: impl FnOnce(&Path) -> Result<(), LabError>,
    ) -> Result<PathBuf, LabError> {
        let made = self.directory(part)?;
        let work = self.work_dir()?;
        let fresh = work.path().join("entry");
        fs::create_dir(&fresh).map_err(failed("make the directory", &fresh))?;
        build(&fresh)?;
        let manifest = fresh.join(MANIFEST);
        let text = serde_json::to_vec_pretty(&sums(&fresh)?).unwrap_or_default();
        fs::write(&manifest, text).map_err(failed("write", &manifest))?;
        let path = made.join(key);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(failed("replace", &path))?;
        }
        fs::rename(&fresh, &path).map_err(failed("move into place", &path))?;
        Ok(path)
    }

    /// A directory for one run; removes those that crashed runs left.
    pub(crate) fn work_dir(&self) -> Result<WorkDir, LabError> {
        let parent = self.directory("tmp")?;
        sweep(&parent);
        let directory = tempfile::Builder::new()
            .prefix(WORK_PREFIX)
            .tempdir_in(&parent)
            .map_err(failed("make a directory in", &parent))?;
        let lock = hold(&directory.path().join("lock"))?;
        Ok(WorkDir { directory, _lock: lock })
    }
}

fn hold(path: &Path) -> Result<Lock, LabError> {
    let file = File::create(path).map_err(failed("open", path))?;
    flock(&file, FlockOperation::LockExclusive)
        .map_err(|errno| failed("lock", path)(errno.into()))?;
    Ok(Lock { _file: file })
}

/// Removes the work directories whose lock nobody holds. One that was made this instant has no
/// lock file yet and is left alone.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(WORK_PREFIX) {
            continue;
        }
        let Ok(lock) = File::open(entry.path().join("lock")) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // Nothing is lost if it stays: the next run tries again.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The SHA-256 sum of a file, in hexadecimal.
pub(crate) fn sum(path: &Path) -> Result<String, LabError> {
    let mut digest = Sha256::new();
    each_piece(path, |piece| digest.update(piece))?;
    Ok(hexadecimal(&digest.finalize()))
}

/// The key of an entry that is made from these parts; their boundaries count.
pub(crate) fn key<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.len().to_le_bytes());
        digest.update(part);
    }
    let mut key = hexadecimal(&digest.finalize());
    key.truncate(32);
    key
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The CRC-32 sums of all files below a directory but the manifest, by their path in it: enough to
/// find damage, and read as fast as the disk gives it.
fn sums(directory: &Path) -> Result<BTreeMap<String, u32>, LabError> {
    let mut found = BTreeMap::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(place) = pending.pop() {
        for entry in fs::read_dir(&place).map_err(failed("list", &place))? {
            let path = entry.map_err(failed("list", &place))?.path();
            if path.is_dir() {
                pending.push(path);
            } else if let Ok(name) = path.strip_prefix(directory)
                && name != Path::new(MANIFEST)
            {
                let mut hasher = crc32fast::Hasher::new();
                each_piece(&path, |piece| hasher.update(piece))?;
                found.insert(name.to_string_lossy().into_owned(), hasher.finalize());
            }
        }
    }
    Ok(found)
}

/// Reads a file in pieces.
fn each_piece(path: &Path, mut take: impl FnMut(&[u8])) -> Result<(), LabError> {
    let mut file = File::open(path).map_err(failed("open", path))?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(failed("read", path))? {
            0 => return Ok(()),
            n => take(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_entry_is_no_entry() {
        let place = tempfile::tempdir().unwrap();
        let cache = Cache::at(place.path()).unwrap();
        let lock = cache.lock().unwrap();
        let build = |directory: &Path| {
            fs::create_dir(directory.join("lib")).unwrap();
            fs::write(directory.join("lib/a"), "one").unwrap();
            Ok(())
        };
        assert_eq!(cache.entry("k"), None);
        let path = cache.make(&lock, "k", build).unwrap();
        assert_eq!(cache.entry("k"), Some(path.clone()));
        fs::write(path.join("lib/a"), "two").unwrap();
        assert_eq!(cache.entry("k"), None);
        cache.make(&lock, "k", build).unwrap();
        fs::write(path.join("extra"), "").unwrap();
        assert_eq!(cache.entry("k"), None);
        cache.make(&lock, "k", build).unwrap();
        assert_eq!(cache.entry("k"), Some(path));
    }

    #[test]
    fn work_directories_of_the_dead_are_swept() {
        let place = tempfile::tempdir().unwrap();
        let cache = Cache::at(place.path()).unwrap();
        let dead = place.path().join("tmp/work-dead");
        fs::create_dir_all(&dead).unwrap();
        fs::write(dead.join("lock"), "").unwrap();
        let first = cache.work_dir().unwrap();
        assert!(!dead.exists());
        let _second = cache.work_dir().unwrap();
        assert!(first.path().exists());
    }

    #[test]
    fn keys_know_where_parts_end() {
        assert_ne!(key(["ab", "c"]), key(["a", "bc"]));
        assert_eq!(key(["ab"]).len(), 32);
    }
}
