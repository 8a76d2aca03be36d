//! Packages unpacked into one tree, and what is looked up in it.

use files::failed;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Progress;
use crate::apt::run;
use crate::elf;
use crate::error::LabError;

/// An unpacked set of packages. Files go by the name they have where /bin, /sbin and /lib are
/// links into /usr, whichever way their package was made.
pub(crate) struct Tree {
    files: BTreeMap<String, PathBuf>,
    libraries: BTreeMap<String, PathBuf>,
    suite: String,
}

impl Tree {
    /// Unpacks packages into `root`.
    pub(crate) fn unpack(
        packages: &[PathBuf],
        suite: &str,
        root: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Self, LabError> {
        progress.stage(&format!("Unpacking {} packages of {suite}", packages.len()), 0);
        for package in packages {
            let mut command = Command::new("dpkg-deb");
            command.arg("--extract").arg(package).arg(root);
            run(command)?;
        }
        Self::of(root, suite)
    }

    fn of(root: &Path, suite: &str) -> Result<Self, LabError> {
        let mut tree =
            Tree { files: BTreeMap::new(), libraries: BTreeMap::new(), suite: suite.to_owned() };
        let mut pending = vec![root.to_owned()];
        while let Some(place) = pending.pop() {
            for entry in fs::read_dir(&place).map_err(failed("list", &place))? {
                let entry = entry.map_err(failed("list", &place))?;
                let path = entry.path();
                let kind = entry.file_type().map_err(failed("look at", &path))?;
                if kind.is_dir() {
                    pending.push(path);
                } else if path.is_file() && stays_inside(&path) {
                    tree.add(root, path);
                }
            }
        }
        Ok(tree)
    }

    fn add(&mut self, root: &Path, path: PathBuf) {
        let Ok(name) = path.strip_prefix(root) else { return };
        let Some(name) = name.to_str().map(merged) else { return };
        if let Some(file) = name.rsplit('/').next()
            && name.starts_with("usr/lib")
            && file.contains(".so")
        {
            self.libraries.insert(file.to_owned(), path.clone());
        }
        self.files.insert(name, path);
    }

    /// The suite the packages are of.
    pub(crate) fn suite(&self) -> &str {
        &self.suite
    }

    /// All files: name and place.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &PathBuf)> {
        self.files.iter().map(|(name, path)| (name.as_str(), path))
    }

    /// The one file whose name begins and ends so.
    pub(crate) fn one(&self, prefix: &str, suffix: &str) -> Result<(&str, &Path), LabError> {
        self.files()
            .find(|(name, _)| name.starts_with(prefix) && name.ends_with(suffix))
            .map(|(name, path)| (name, path.as_path()))
            .ok_or_else(|| self.missing(&format!("{prefix}*{suffix}")))
    }

    /// A program by its name.
    pub(crate) fn program(&self, name: &str) -> Result<&Path, LabError> {
        ["usr/bin/", "usr/sbin/"]
            .iter()
            .find_map(|place| self.files.get(&format!("{place}{name}")))
            .map(PathBuf::as_path)
            .ok_or_else(|| self.missing(&format!("program {name}")))
    }

    /// The libraries that these programs load, directly or not, by name; the C library's loader
    /// and libgcc_s (which threads open only when they are cancelled) included.
    pub(crate) fn libraries(
        &self,
        programs: &[&Path],
    ) -> Result<BTreeMap<String, &Path>, LabError> {
        let mut pending = needed(programs)?;
        pending.extend(["ld-linux-x86-64.so.2".to_owned(), "libgcc_s.so.1".to_owned()]);
        let mut found = BTreeMap::new();
        while let Some(name) = pending.pop_first() {
            if found.contains_key(&name) {
                continue;
            }
            let path = self
                .libraries
                .get(&name)
                .ok_or_else(|| self.missing(&format!("library {name}")))?
                .as_path();
            pending.extend(needed(&[path])?);
            found.insert(name, path);
        }
        Ok(found)
    }

    fn missing(&self, what: &str) -> LabError {
        LabError::Missing { what: what.to_owned(), suite: self.suite.clone() }
    }
}

fn needed(files: &[&Path]) -> Result<BTreeSet<String>, LabError> {
    let mut names = BTreeSet::new();
    for path in files {
        let contents = fs::read(path).map_err(failed("read", path))?;
        if elf::is_elf(&contents) {
            names.extend(
                elf::needed(&contents).ok_or_else(|| LabError::format(path, "damaged ELF file"))?,
            );
        }
    }
    Ok(names)
}

/// Whether what a link names is the package's own: an absolute one would name the host's.
fn stays_inside(path: &Path) -> bool {
    fs::read_link(path).map_or(true, |target| target.is_relative())
}

/// A path as it is where /bin, /sbin, /lib and /lib64 are links into /usr.
fn merged(name: &str) -> String {
    let top = name.split('/').next().unwrap_or_default();
    if matches!(top, "bin" | "sbin" | "lib" | "lib64") {
        format!("usr/{name}")
    } else {
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_give_the_same_names() {
        assert_eq!(merged("bin/ip"), "usr/bin/ip");
        assert_eq!(merged("usr/bin/ip"), "usr/bin/ip");
        assert_eq!(merged("boot/vmlinuz"), "boot/vmlinuz");
    }

    #[test]
    fn the_closure_follows_libraries_of_libraries() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("lib/x86_64-linux-gnu");
        fs::create_dir_all(&place).unwrap();
        let own = fs::canonicalize("/bin/sh").unwrap();
        let libc = "libc.so.6";
        let names = needed(&[own.as_path()]).unwrap();
        let always = ["ld-linux-x86-64.so.2", "libgcc_s.so.1"].map(String::from);
        for name in names.into_iter().chain(always).filter(|name| name != libc) {
            fs::write(place.join(name), b"no ELF").unwrap();
        }
        let tree = Tree::of(root.path(), "test").unwrap();
        let error = tree.libraries(&[own.as_path()]).map(|_| ()).unwrap_err();
        assert!(matches!(error, LabError::Missing { .. }), "{error}");
        fs::write(place.join(libc), b"no ELF").unwrap();
        let tree = Tree::of(root.path(), "test").unwrap();
        let found = tree.libraries(&[own.as_path()]).unwrap();
        assert!(found.contains_key("libc.so.6"));
    }
}
