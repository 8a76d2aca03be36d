//! A set on disk: written whole, or seen to be half-written.

use super::{File, MOST_DIRS, files};
use crate::{Control, Error};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

/// What was written, in a file beside the directories; it is written last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// `vmeter.fileset/1`.
    pub schema: String,
    /// Directories.
    pub dirs: usize,
    /// Seed of the contents.
    pub seed: u64,
}

const SCHEMA: &str = "vmeter.fileset/1";
const NAME: &str = "vmeter-fileset.json";
/// Bytes of it.
const MAX_MANIFEST: usize = 4096;

/// Writes the set into `root`, which is made where it is missing. A set that is there whole
/// already, with the same directories and seed, stays as it is.
///
/// # Errors
/// Too few or too many directories, a folder that holds something else, or a full disk; what is
/// half-written then has no manifest, and [`check`] says so.
pub fn write(root: &Path, dirs: usize, seed: u64, control: &Control) -> Result<Manifest, Error> {
    if !(1..=MOST_DIRS).contains(&dirs) {
        return Err(Error::Plan(format!(
            "invalid number of directories {dirs}: expected 1 to {MOST_DIRS}"
        )));
    }
    let manifest = Manifest { schema: SCHEMA.to_owned(), dirs, seed };
    match check(root) {
        Ok(found) if found == manifest => return Ok(found),
        Ok(found) => {
            return Err(Error::Plan(format!(
                "{} already has a set of {} directories with seed {}: use another directory, \
                 or remove it first",
                root.display(),
                found.dirs,
                found.seed
            )));
        }
        Err(_) => is_ours(root)?,
    }
    let failed = |path: &Path| Error::io(format!("cannot write {}", path.display()));
    ::files::make_folders(root).map_err(failed(root))?;
    let rest = files(dirs).filter(|file| !is_whole(root, *file)).map(File::bytes);
    has_room(root, rest)?;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut contents = Vec::new();
    for file in files(dirs) {
        if control.stopped() {
            return Err(Error::Plan(format!(
                "interrupted: {} is incomplete; run the same command again to resume",
                root.display()
            )));
        }
        let path = root.join(file.path());
        if file.class == 0 && file.number == 0 {
            let dir = path.parent().unwrap_or(root);
            ::files::make_folders(dir).map_err(failed(dir))?;
        }
        contents.resize(usize::try_from(file.bytes()).unwrap_or(usize::MAX), 0);
        random.fill_bytes(&mut contents);
        ::files::write(&path, &contents).map_err(failed(&path))?;
        control.progress().done.fetch_add(1, Relaxed);
    }
    let text = serde_json::to_string(&manifest).unwrap_or_default();
    let last = root.join(NAME);
    ::files::write(&last, (text + "\n").as_bytes()).map_err(failed(&last))?;
    Ok(manifest)
}

/// Checks that a whole set is in `root`.
///
/// # Errors
/// Says what is missing.
pub fn check(root: &Path) -> Result<Manifest, Error> {
    let shown = root.display();
    let text = ::files::read_text(&root.join(NAME), MAX_MANIFEST).map_err(|error| {
        Error::Plan(match error.kind() {
            ErrorKind::NotFound if root.is_dir() => format!(
                "{shown} has no complete file set ({NAME} is missing): write one \
                 with `vmeter bench fileset`"
            ),
            ErrorKind::NotFound => {
                format!("{shown} not found: write a set with `vmeter bench fileset`")
            }
            _ => format!("{shown}/{NAME}: {error}"),
        })
    })?;
    let manifest: Manifest = serde_json::from_str(&text)
        .map_err(|error| Error::Plan(format!("{shown}/{NAME} is damaged: {error}")))?;
    if manifest.schema != SCHEMA || !(1..=MOST_DIRS).contains(&manifest.dirs) {
        return Err(Error::Plan(format!(
            "{shown}/{NAME} has an unsupported version: expected {SCHEMA}"
        )));
    }
    match files(manifest.dirs).find(|file| !is_whole(root, *file)) {
        None => Ok(manifest),
        Some(file) => Err(Error::Plan(format!(
            "the set in {shown} is incomplete: it has {} directories, and {} is missing or has \
             not {} bytes; write it anew with `vmeter bench fileset`",
            manifest.dirs,
            file.path(),
            file.bytes()
        ))),
    }
}

fn is_whole(root: &Path, file: File) -> bool {
    fs::metadata(root.join(file.path())).is_ok_and(|m| m.is_file() && m.len() == file.bytes())
}

/// A folder with anything but parts of a set is somebody else's.
fn is_ours(root: &Path) -> Result<(), Error> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io(format!("cannot read {}", root.display()))(error)),
    };
    for entry in entries {
        let entry = entry.map_err(Error::io(format!("cannot read {}", root.display())))?;
        let is_draft = ::files::parts_of(NAME, &entry.file_name());
        let name = entry.file_name().to_string_lossy().into_owned();
        let digits = name.strip_prefix("dir").unwrap_or_default();
        let is_part = digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit());
        if !is_part && !is_draft && !name.starts_with(NAME) {
            return Err(Error::Plan(format!(
                "{} has {}, which is not part of a file set: use an empty directory",
                root.display(),
                name
            )));
        }
    }
    Ok(())
}

fn has_room(root: &Path, sizes: impl Iterator<Item = u64>) -> Result<(), Error> {
    let disk = rustix::fs::statvfs(root).map_err(Error::io(root.display().to_string()))?;
    let blocks = |bytes: u64| bytes.div_ceil(disk.f_frsize.max(1)) * disk.f_frsize.max(1);
    let needed: u64 = sizes.map(blocks).sum();
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if needed > free {
        let full: io::Error = ErrorKind::StorageFull.into();
        let what =
            format!("{} needs {} MB and has {} MB", root.display(), needed >> 20, free >> 20);
        return Err(Error::io(what)(full));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_whole_or_refused() {
        let root = tempfile::tempdir().unwrap();
        let set = root.path().join("set");
        let control = Control::default();
        assert!(check(&set).unwrap_err().to_string().contains("not found"));
        write(&set, 2, 1, &control).unwrap();
        assert_eq!(check(&set).unwrap().dirs, 2);
        let path = set.join("dir00001/class1_7");
        let contents = fs::read(&path).unwrap();
        assert_eq!(contents.len(), 8 * 1024);
        assert!(write(&set, 3, 1, &control).unwrap_err().to_string().contains("already"));

        fs::write(&path, "short").unwrap();
        assert!(check(&set).unwrap_err().to_string().contains("dir00001/class1_7"));
        fs::remove_dir_all(set.join("dir00001")).unwrap();
        assert!(check(&set).unwrap_err().to_string().contains("2 directories"));
        fs::remove_file(set.join(NAME)).unwrap();
        assert!(check(&set).unwrap_err().to_string().contains("no complete file set"));
        write(&set, 2, 1, &control).unwrap();
        assert_eq!(fs::read(&path).unwrap(), contents, "the same seed, the same bytes");
    }

    #[test]
    fn what_is_somebody_elses_stays() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("letter"), "dear").unwrap();
        let error = write(root.path(), 1, 1, &Control::default()).unwrap_err();
        assert!(error.to_string().contains("letter"), "{error}");
        for dirs in [0, MOST_DIRS + 1] {
            assert!(write(&root.path().join("x"), dirs, 1, &Control::default()).is_err());
        }
        let stopped = Control::default();
        stopped.stop();
        assert!(write(&root.path().join("x"), 1, 1, &stopped).is_err());
        assert!(check(&root.path().join("x")).is_err());
    }

    #[test]
    fn a_set_larger_than_the_disk_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let error = has_room(root.path(), [1 << 60].into_iter()).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
        assert!(has_room(root.path(), [1].into_iter()).is_ok());
    }
}
