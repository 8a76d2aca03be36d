//! What was set and is to be undone, written down: an agent that is killed cannot undo it, the next
//! one does.
//!
//! The files are in a folder that only root can enter and that a reboot empties, as it does what was
//! set.

use crate::undo::Undo;
use platform::host::process_start;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Where root's agents write theirs.
const FOLDER: &str = "/run/vmeter";
/// Maximum size of a file in bytes.
const MAX_FILE: usize = 4 << 20;

/// The settings of one connection, written down.
#[derive(Debug)]
pub(crate) struct Journal(Option<PathBuf>);

impl Default for Journal {
    /// One of a new name; none where this agent is not root's, which can set next to nothing.
    fn default() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = || {
            let (pid, next) = (std::process::id(), NEXT.fetch_add(1, Relaxed));
            Some(format!("settings-{pid}-{}-{}-{next}.json", process_start(pid)?, network()?))
        };
        let is_root = rustix::process::geteuid().is_root();
        Self(is_root.then(name).flatten().map(|name| Path::new(FOLDER).join(name)))
    }
}

impl Journal {
    /// Writes down what is to be undone, in the place of what was written before.
    ///
    /// # Errors
    /// In words: what is not written down is not to be set.
    pub(crate) fn write(&self, undo: &[Undo]) -> Result<(), String> {
        let Some(path) = &self.0 else { return Ok(()) };
        let failed = |error: io::Error| format!("cannot write {}: {error}", path.display());
        if undo.is_empty() {
            return match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
                _ => Ok(()),
            };
        }
        let text = serde_json::to_vec(undo).map_err(|error| error.to_string())?;
        make_folder().and_then(|()| files::write(path, &text)).map_err(failed)
    }
}

/// The folder, made where it is missing; an error where it is not root's alone.
fn make_folder() -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(FOLDER)?;
    let found = fs::symlink_metadata(FOLDER)?;
    if found.is_dir() && found.uid() == 0 && found.mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "other users can write to its directory",
        ))
    }
}

/// The inode number of this program's network namespace, in which its devices' names mean something.
fn network() -> Option<u64> {
    Some(fs::metadata("/proc/self/ns/net").ok()?.ino())
}

/// The process of `settings-PID-START-NETWORK-NEXT.json`, its start and its network namespace.
fn owner(name: &str) -> Option<(u32, u64, u64)> {
    let mut parts = name.strip_prefix("settings-")?.strip_suffix(".json")?.split('-');
    let found =
        (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(found)
}

/// Undoes what agents of this machine had set that were killed; what was undone, and what could not
/// be, in words for people. Without root there is nothing to undo.
#[must_use]
pub fn restore_left() -> Vec<String> {
    let mut said = Vec::new();
    if !rustix::process::geteuid().is_root() || make_folder().is_err() {
        return said;
    }
    for entry in fs::read_dir(FOLDER).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some((pid, started, in_network)) = owner(&name.to_string_lossy()) else { continue };
        if process_start(pid) == Some(started) || network() != Some(in_network) {
            continue;
        }
        let path = entry.path();
        let undone = files::read_without_link(&path, MAX_FILE)
            .map_err(|error| error.to_string())
            .and_then(|text| {
                serde_json::from_slice::<Vec<Undo>>(&text).map_err(|error| error.to_string())
            });
        match undone {
            Ok(undo) => said.extend(undo.iter().rev().map(|one| match one.undo() {
                Ok(()) => format!("undone, because agent {pid} was killed: {}", one.what()),
                Err(why) => format!("cannot undo what agent {pid} set: {why}"),
            })),
            Err(why) => said.push(format!("cannot read {}: {why}", path.display())),
        }
        let _ = fs::remove_file(path);
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journals_name_says_whose_it_is() {
        assert_eq!(owner("settings-12-345-67-0.json"), Some((12, 345, 67)));
        for wrong in ["settings-12-3.json", "settings-a-1-0-1.json", "x-1-2-3-4.json", ".part"] {
            assert_eq!(owner(wrong), None, "{wrong}");
        }
        let Journal(Some(path)) = Journal::default() else { return };
        let pid = std::process::id();
        let own = (pid, process_start(pid).unwrap(), network().unwrap());
        assert_eq!(owner(path.file_name().unwrap().to_str().unwrap()), Some(own));
    }
}
