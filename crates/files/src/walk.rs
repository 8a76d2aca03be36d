//! Following a path by hand, where a link on the way may be someone else's.
//!
//! openat2(2) follows links within a root, but only from Linux 5.6 on; and no flag of it looks at
//! whose a link is.

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, fstatfs, openat, readlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

/// Links that are followed on one way, as in the kernel.
const MAX_LINKS: usize = 40;
/// PROC_SUPER_MAGIC.
const PROC: u64 = 0x9fa0;

/// Which links are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// All, as if where the way starts were `/`.
    Within,
    /// Those of root and of the caller, as fs.protected_symlinks has it for /tmp.
    Trusted,
}

/// Where a path leads to.
#[derive(Debug)]
pub(crate) struct Place {
    /// O_PATH descriptor of the folder.
    pub folder: OwnedFd,
    /// Its name there, which is not a link.
    pub name: OsString,
    /// O_PATH descriptor of what is there; `None` where there is nothing.
    pub there: Option<OwnedFd>,
    /// Whether a link of procfs led there, which stands for what its process has open.
    pub opened: bool,
}

/// Where a path leads to, links of other users refused.
pub(crate) fn trusted(path: &Path) -> io::Result<Place> {
    let from = if path.is_absolute() { "/" } else { "." };
    find(open_folder(rustix::fs::CWD, OsStr::new(from))?, path, Links::Trusted)
}

/// Where a path from a folder leads to.
pub(crate) fn find(root: OwnedFd, path: &Path, links: Links) -> io::Result<Place> {
    let mut walk = Walk { way: vec![root], ahead: Vec::new(), followed: 0, links };
    walk.push(path);
    while let Some(name) = walk.ahead.pop() {
        if name == ".." {
            walk.up()?;
            continue;
        }
        let is_last = walk.ahead.is_empty();
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let there = match openat(walk.top()?, &name, flags, Mode::empty()) {
            Ok(there) => there,
            Err(Errno::NOENT) if is_last => return walk.place(name, None, false),
            Err(error) => return Err(error.into()),
        };
        let stat = fstat(&there)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            if is_last {
                return walk.place(name, Some(there), false);
            }
            walk.way.push(there);
        } else if let Some(opened) = walk.follow(&name, &there, &stat)? {
            if is_last {
                return walk.place(name, Some(opened), true);
            }
            walk.way.push(opened);
        }
    }
    let there = walk.top()?.try_clone()?;
    walk.place(OsString::from("."), Some(there), false)
}

struct Walk {
    /// The folders from the root to here.
    way: Vec<OwnedFd>,
    /// The names still to go, the next one last.
    ahead: Vec<OsString>,
    followed: usize,
    links: Links,
}

impl Walk {
    fn push(&mut self, path: &Path) {
        let names = path.components().rev().filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        });
        self.ahead.extend(names);
    }

    fn top(&self) -> io::Result<&OwnedFd> {
        self.way.last().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn up(&mut self) -> io::Result<()> {
        if self.way.len() > 1 {
            self.way.pop();
        } else if self.links == Links::Trusted {
            let above = open_folder(self.top()?, OsStr::new(".."))?;
            self.way = vec![above];
        }
        Ok(())
    }

    /// Goes on where a link leads; what it stands for, where that is not a path.
    fn follow(&mut self, name: &OsStr, link: &OwnedFd, stat: &Stat) -> io::Result<Option<OwnedFd>> {
        self.followed += 1;
        if self.followed > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        if self.links == Links::Trusted {
            if !is_trusted(stat.st_uid) {
                return Err(foreign("a symbolic link", name, stat.st_uid));
            }
            if fstatfs(self.top()?)?.f_type as u64 == PROC {
                let flags = OFlags::PATH | OFlags::CLOEXEC;
                return Ok(Some(openat(self.top()?, name, flags, Mode::empty())?));
            }
        }
        let target = readlinkat(link, "", Vec::new())?;
        let target = OsString::from_vec(target.into_bytes());
        if target.as_bytes().first() == Some(&b'/') {
            match self.links {
                Links::Within => self.way.truncate(1),
                Links::Trusted => {
                    self.way = vec![open_folder(rustix::fs::CWD, OsStr::new("/"))?];
                }
            }
        }
        self.push(Path::new(&target));
        Ok(None)
    }

    fn place(mut self, name: OsString, there: Option<OwnedFd>, opened: bool) -> io::Result<Place> {
        let folder = self.way.pop().ok_or(ErrorKind::NotFound)?;
        Ok(Place { folder, name, there, opened })
    }
}

/// Whether root or the caller owns it.
pub(crate) fn is_trusted(owner: u32) -> bool {
    owner == 0 || owner == geteuid().as_raw()
}

/// The error of what another user has put there.
pub(crate) fn foreign(what: &str, name: &OsStr, owner: u32) -> io::Error {
    let name = Path::new(name).display();
    let problem = format!("{name} is {what} of user {owner}: choose a path without it");
    io::Error::new(ErrorKind::PermissionDenied, problem)
}

pub(crate) fn open_folder(from: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(from, name, flags, Mode::empty())?)
}
