//! The files that are served: those below one folder, and no others.

use crate::Error;
use rustix::fd::AsFd;
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use rustix::io::Errno;
use std::path::Path;

/// A folder.
#[derive(Debug)]
pub struct Files {
    root: OwnedFd,
}

impl Files {
    /// Those below `root`.
    pub fn below(root: &Path) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(root, flags, Mode::empty())
            .map_err(Error::io(format!("cannot serve {}", root.display())))?;
        Ok(Self { root })
    }

    /// Opens the file that a request's target names; its length. The status where there is none.
    pub fn open(&self, target: &str) -> Result<(OwnedFd, u64), u16> {
        let path = target.split(['?', '#']).next().unwrap_or_default();
        let path = decode(path.strip_prefix('/').ok_or(400_u16)?).ok_or(400_u16)?;
        let path = if path.is_empty() { "index.html".to_owned() } else { path };
        if path.split('/').any(|part| part == ".." || part == ".") {
            return Err(403);
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let below = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let file = match openat2(&self.root, path.as_str(), flags, Mode::empty(), below) {
            // Before Linux 5.6.
            Err(Errno::NOSYS) => by_hand(&self.root, &path),
            other => other,
        };
        let file = file.map_err(|error| match error {
            Errno::ACCESS | Errno::PERM | Errno::XDEV | Errno::LOOP => 403_u16,
            Errno::MFILE | Errno::NFILE | Errno::NOMEM => 503,
            _ => 404,
        })?;
        let stat = fstat(&file).map_err(|_| 404_u16)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(404);
        }
        Ok((file, u64::try_from(stat.st_size).unwrap_or_default()))
    }
}

/// The same where the kernel cannot keep links inside of the folder.
fn by_hand(root: &OwnedFd, path: &str) -> Result<OwnedFd, Errno> {
    let file = ::files::open_within(root.as_fd(), Path::new(path));
    file.map(OwnedFd::from).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOENT))
}

/// A path without its `%41`s; `None` where they are wrong.
fn decode(path: &str) -> Option<String> {
    if !path.contains('%') {
        return Some(path.to_owned());
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, after @ ..] = rest {
        rest = if *first == b'%' {
            let digits = after.get(..2)?;
            let text = std::str::from_utf8(digits).ok()?;
            bytes.push(u8::from_str_radix(text, 16).ok()?);
            &after[2..]
        } else {
            bytes.push(*first);
            after
        };
    }
    String::from_utf8(bytes).ok().filter(|path| !path.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn attack_by_links_and_fifos_serves_nothing_else_on_old_kernels_too() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::write(folder.path().join("secret"), "s").unwrap();
        fs::write(inner.join("file"), "f").unwrap();
        std::os::unix::fs::symlink("../secret", inner.join("link")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret"), inner.join("absolute")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(inner.join("pipe")).status();
        assert!(made.unwrap().success());
        let files = Files::below(&inner).unwrap();
        assert!(by_hand(&files.root, "file").is_ok());
        for path in ["link", "absolute", "pipe"] {
            assert!(
                by_hand(&files.root, path).is_err() && files.open(&format!("/{path}")).is_err(),
                "{path}"
            );
        }
    }
}
