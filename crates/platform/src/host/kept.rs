//! Files of /proc that are read at every refresh: kept open, as opening one costs several times what
//! reading it does.

use super::tree::{Tree, read_again};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// Maximum number of files that are kept open: the kernel has a page of memory for each.
const MAX_KEPT: usize = 16 << 10;
/// Files that stay free for all else that this program opens.
const RESERVE: u64 = 256;

/// How many files may still be kept open.
#[derive(Debug, Default)]
pub(super) struct Budget {
    kept: AtomicUsize,
    /// Whether the limit of this process was raised already, as far as it goes.
    raised: AtomicBool,
}

impl Budget {
    /// A place for one more file; `None` where there is none.
    fn share(self: &Arc<Self>) -> Option<Share> {
        let kept = self.kept.fetch_add(1, Relaxed);
        let share = Share(Arc::clone(self));
        let fits = |limit: u64| (kept as u64) < limit.saturating_sub(RESERVE);
        (kept < MAX_KEPT && (fits(self.limit()) || fits(self.raise()))).then_some(share)
    }

    /// Open files that this process may have.
    fn limit(&self) -> u64 {
        getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
    }

    /// Raises the limit to what is needed, once, within what the process may set itself.
    fn raise(&self) -> u64 {
        if !self.raised.swap(true, Relaxed) {
            let mut limit = getrlimit(Resource::Nofile);
            let wanted = MAX_KEPT as u64 + RESERVE;
            let raised = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
            limit.current = limit.current.map(|current| current.max(raised));
            // Where it is refused, fewer files are kept.
            let _ = setrlimit(Resource::Nofile, limit);
        }
        self.limit()
    }
}

/// A place in the budget, given back when dropped.
#[derive(Debug)]
struct Share(Arc<Budget>);

impl Drop for Share {
    fn drop(&mut self) {
        self.0.kept.fetch_sub(1, Relaxed);
    }
}

/// A file of /proc/PID (or of KVM's statistics of a VM), kept open from its second reading on: many are read but once. Once the process (or thread) has exited, a kept one gives ESRCH, even where
/// another has its number: a reading is never of another process.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    file: Option<(OwnedFd, Share)>,
    /// Whether it was read before.
    again: bool,
}

impl Kept {
    /// Reads the file, which the kernel gives in one piece, into `buffer`. It is opened by its
    /// path, which is the same at each call, where it is not open yet.
    ///
    /// # Errors
    /// As open(2) and read(2).
    pub(crate) fn read<'b>(
        &mut self,
        tree: &Tree,
        path: impl FnOnce() -> String,
        buffer: &'b mut Vec<u8>,
    ) -> io::Result<&'b [u8]> {
        if let Some((file, _)) = &self.file {
            return read_again(file, buffer);
        }
        let file = tree.open_file(&path())?;
        let read = read_again(&file, buffer)?;
        // A saved tree's moments are other files.
        let budget = tree.budget().filter(|_| std::mem::replace(&mut self.again, true));
        self.file = budget.and_then(Budget::share).map(|share| (file, share));
        Ok(read)
    }

    #[cfg(test)]
    fn is_open(&self) -> bool {
        self.file.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::process::Command;

    #[test]
    fn a_kept_file_is_of_its_process_and_of_no_other() {
        let tree = Tree::open(Path::new("/")).unwrap();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let path = || format!("/proc/{}/stat", child.id());
        let (mut kept, mut buffer) = (Kept::default(), Vec::new());
        for is_open in [false, true] {
            let read = kept.read(&tree, path, &mut buffer).unwrap();
            assert!(read.starts_with(child.id().to_string().as_bytes()));
            assert_eq!(kept.is_open(), is_open);
        }
        let again = kept.read(&tree, || unreachable!(), &mut buffer).unwrap();
        assert!(again.starts_with(child.id().to_string().as_bytes()));
        child.kill().unwrap();
        child.wait().unwrap();
        let error = kept.read(&tree, || unreachable!(), &mut buffer).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::SRCH.raw_os_error()));
    }

    #[test]
    fn a_saved_trees_files_are_opened_at_each_moment() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("proc")).unwrap();
        let write = |text: &str| std::fs::write(folder.path().join("proc/x"), text).unwrap();
        let tree = Tree::open(folder.path()).unwrap();
        let (mut kept, mut buffer) = (Kept::default(), Vec::new());
        for text in ["one", "two"] {
            write(text);
            let read = kept.read(&tree, || "/proc/x".to_owned(), &mut buffer).unwrap();
            assert_eq!(read, text.as_bytes());
            assert!(!kept.is_open());
        }
    }

    #[test]
    fn the_budget_has_an_end_and_gets_back_what_was_taken() {
        let budget = Arc::new(Budget::default());
        let shares: Vec<Share> = std::iter::from_fn(|| budget.share()).collect();
        assert!(!shares.is_empty() && shares.len() <= MAX_KEPT, "{}", shares.len());
        assert!(budget.share().is_none());
        drop(shares);
        assert_eq!(budget.kept.load(Relaxed), 0);
    }
}
