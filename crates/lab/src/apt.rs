//! Packages of a Debian suite, fetched by the host's apt without installing anything.
//!
//! Each suite has its own lists, status and configuration below the cache directory, so the host's
//! packages are neither looked at nor changed, and root is not needed. apt checks the signature of
//! the index with Debian's keyring; the lab checks the sum of every package again before it unpacks.

use files::failed;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::Progress;
use crate::cache::{Cache, key, sum};
use crate::error::LabError;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// How long the answer to "which packages are these" stays good.
const FRESH: Duration = Duration::from_secs(7 * 24 * 3600);

/// One package file, as the suite's index describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Package {
    pub(crate) file: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// A suite of the mirror.
pub(crate) struct Suite {
    name: String,
    directory: PathBuf,
    mirror: String,
}

impl Suite {
    /// Sets up the suite's own apt directories.
    pub(crate) fn open(cache: &Cache, name: &str) -> Result<Self, LabError> {
        let suite = Suite {
            name: name.to_owned(),
            directory: cache.directory(&format!("apt/{name}"))?,
            mirror: mirror()?,
        };
        for place in ["lists/partial", "archives/partial", "none/partial", "sets"] {
            let path = suite.directory.join(place);
            fs::create_dir_all(&path).map_err(failed("make the directory", &path))?;
        }
        let source = format!("deb [arch=amd64 signed-by={KEYRING}] {} {name} main\n", suite.mirror);
        suite.write("sources.list", &source)?;
        suite.write("status", "")?;
        suite.write("apt.conf", &suite.configuration()?)?;
        Ok(suite)
    }

    /// All packages that installing `names` on an empty system would bring.
    pub(crate) fn closure(
        &self,
        names: &[&str],
        progress: &mut dyn Progress,
    ) -> Result<Vec<Package>, LabError> {
        let set = key([self.mirror.as_str()].into_iter().chain(names.iter().copied()));
        let path = self.directory.join(format!("sets/{set}.json"));
        let known = fs::read(&path)
            .ok()
            .and_then(|text| serde_json::from_slice::<Vec<Package>>(&text).ok());
        if let Some(known) = &known
            && is_fresh(&path)
        {
            return Ok(known.clone());
        }
        match self.resolve(names, progress) {
            Ok(found) => {
                let text = serde_json::to_string_pretty(&found).unwrap_or_default();
                self.write(&format!("sets/{set}.json"), &text)?;
                Ok(found)
            }
            // Without a network the packages of last time still make a lab.
            Err(error) => known.ok_or(error),
        }
    }

    /// Downloads what is not there yet and returns the checked files.
    pub(crate) fn download(
        &self,
        names: &[&str],
        packages: &[Package],
        progress: &mut dyn Progress,
    ) -> Result<Vec<PathBuf>, LabError> {
        let archives = self.directory.join("archives");
        let total = packages.iter().map(|package| package.bytes).sum();
        progress.stage(&format!("Downloading {} packages of {}", packages.len(), self.name), total);
        if !packages.iter().all(|package| is_complete(&archives, package)) {
            let mut command = self.apt_get();
            command.args(["--yes", "--download-only", "install"]).args(names);
            let have = || packages.iter().map(|package| present(&archives, package)).sum();
            run_watched(command, || progress.reached(have()))?;
        }
        progress.stage(&format!("Checking {} packages of {}", packages.len(), self.name), total);
        let mut done = 0;
        let mut files = Vec::new();
        for package in packages {
            let path = archives.join(&package.file);
            if sum(&path)? != package.sha256 {
                return Err(LabError::Checksum { path });
            }
            done += package.bytes;
            progress.reached(done);
            files.push(path);
        }
        Ok(files)
    }

    fn resolve(
        &self,
        names: &[&str],
        progress: &mut dyn Progress,
    ) -> Result<Vec<Package>, LabError> {
        if !is_fresh(&self.directory.join("updated")) {
            progress.stage(&format!("Fetching the package index of {}", self.name), 0);
            let mut command = self.apt_get();
            command.args(["--error-on=any", "update"]);
            run(command)?;
            self.write("updated", "")?;
        }
        let mut command = self.apt_get();
        // apt leaves out what it finds among its archives: it is shown an empty place.
        command
            .arg("-o")
            .arg(format!("Dir::Cache::archives={}", self.directory.join("none").display()))
            .args(["-o", "Acquire::ForceHash=SHA256", "--print-uris", "install"])
            .args(names);
        Ok(parse_uris(&run(command)?))
    }

    fn apt_get(&self) -> Command {
        let mut command = Command::new("apt-get");
        command
            .env("APT_CONFIG", self.directory.join("apt.conf"))
            .env("LC_ALL", "C")
            .arg("--quiet=2")
            .stdin(Stdio::null());
        command
    }

    /// apt's configuration. The host's own parts are left out, since they may clean up archives or
    /// call hooks; only how to reach the network (proxies) is taken over from them.
    fn configuration(&self) -> Result<String, LabError> {
        let mut dump = Command::new("apt-config");
        dump.args(["dump", "Acquire"]).env("LC_ALL", "C");
        let mut text = run(dump)?;
        let directory = self.directory.display();
        text.push_str(&format!(
            "Dir::State \"{directory}\";\n\
             Dir::State::lists \"{directory}/lists\";\n\
             Dir::State::status \"{directory}/status\";\n\
             Dir::Cache \"{directory}\";\n\
             Dir::Cache::archives \"{directory}/archives\";\n\
             Dir::Etc::parts \"/dev/null\";\n\
             Dir::Etc::sourcelist \"{directory}/sources.list\";\n\
             Dir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::preferences \"/dev/null\";\n\
             Dir::Etc::preferencesparts \"/dev/null\";\n\
             APT::Architecture \"amd64\";\n\
             APT::Architectures {{ \"amd64\"; }};\n\
             APT::Install-Recommends \"false\";\n\
             APT::Sandbox::User \"\";\n\
             Acquire::Languages \"none\";\n\
             Debug::NoLocking \"true\";\n"
        ));
        Ok(text)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), LabError> {
        let path = self.directory.join(name);
        Ok(fs::write(&path, text).map_err(failed("write", &path))?)
    }
}

/// The address of a Debian mirror: $VMETER_LAB_MIRROR, else the one that this machine uses itself.
fn mirror() -> Result<String, LabError> {
    if let Some(mirror) = std::env::var("VMETER_LAB_MIRROR").ok().filter(|text| !text.is_empty()) {
        return Ok(mirror);
    }
    let mut command = Command::new("apt-get");
    command
        .args(["indextargets", "--format", "$(REPO_URI) $(ORIGIN) $(LABEL)"])
        .arg("Created-By: Packages")
        .env("LC_ALL", "C");
    parse_targets(&run(command)?).ok_or(LabError::NoMirror)
}

/// The first address whose index says that it is Debian's own; before the first `apt update` no
/// index says anything, and the path's last part must do.
fn parse_targets(text: &str) -> Option<String> {
    let mut guess = None;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(address) = words.next() else { continue };
        if words.eq(["Debian", "Debian"]) {
            return Some(address.to_owned());
        }
        if guess.is_none() && address.trim_end_matches('/').ends_with("/debian") {
            guess = Some(address.to_owned());
        }
    }
    guess
}

/// Reads `apt-get --print-uris`: 'ADDRESS' FILE BYTES SHA256:SUM a line; other lines are skipped.
fn parse_uris(text: &str) -> Vec<Package> {
    let parse = |line: &str| {
        let mut words = line.strip_prefix('\'')?.split_once("' ")?.1.split(' ');
        let file = words.next()?;
        let bytes = words.next()?.parse().ok()?;
        let sha256 = words.next()?.strip_prefix("SHA256:")?;
        // The name becomes a path below the cache.
        let safe = !file.contains('/') && file.ends_with(".deb");
        safe.then(|| Package { file: file.to_owned(), bytes, sha256: sha256.to_owned() })
    };
    text.lines().filter_map(parse).collect()
}

fn is_fresh(path: &Path) -> bool {
    let changed = fs::metadata(path).and_then(|metadata| metadata.modified());
    changed.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age < FRESH))
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn is_complete(archives: &Path, package: &Package) -> bool {
    size(&archives.join(&package.file)) == package.bytes
}

/// How much of a package is there, finished or not.
fn present(archives: &Path, package: &Package) -> u64 {
    let finished = size(&archives.join(&package.file));
    finished.max(size(&archives.join("partial").join(&package.file)))
}

/// Runs a program of the host to its end and returns what it printed.
pub(crate) fn run(command: Command) -> Result<String, LabError> {
    run_watched(command, || ())
}

/// Runs a program of the host and calls `watch` now and then until it ends.
fn run_watched(mut command: Command, mut watch: impl FnMut()) -> Result<String, LabError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let package = if program.starts_with("apt") { "package apt" } else { "package dpkg" };
    let log =
        tempfile::NamedTempFile::new().map_err(failed("make a file in", &std::env::temp_dir()))?;
    let share = || log.reopen().map_err(failed("open", log.path()));
    let (errors, output) = (tempfile::NamedTempFile::new(), share()?);
    let errors = errors.map_err(failed("make a file in", &std::env::temp_dir()))?;
    let error_end = errors.reopen().map_err(failed("open", errors.path()))?;
    let mut child = command
        .stdout(output)
        .stderr(error_end)
        .spawn()
        .map_err(|source| LabError::Program { program: program.clone(), package, source })?;
    let status = loop {
        match child.try_wait().map_err(failed("wait for", Path::new(&program)))? {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(50)),
        }
        watch();
    };
    let text = |path: &Path| {
        fs::read(path)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .map_err(failed("read", path))
    };
    let output = text(log.path())?;
    if status.success() {
        return Ok(output);
    }
    let errors = text(errors.path())?;
    Err(LabError::Failed { program, status, output: format!("{output}{errors}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_of_debian_itself_is_the_mirror() {
        let text = "http://a/debian-security/ Debian Debian-Security\n\
                    http://b/debian/ Other Other\n\
                    http://c/x/ Debian Debian\n";
        assert_eq!(parse_targets(text).as_deref(), Some("http://c/x/"));
        assert_eq!(parse_targets("http://b/debian/  \n").as_deref(), Some("http://b/debian/"));
        assert_eq!(parse_targets("http://u/ubuntu/ Ubuntu Ubuntu\n"), None);
    }

    #[test]
    fn uris_give_packages_and_nothing_outside_the_cache() {
        let text = "W: a warning\n\
                    'http://m/pool/a_1%3a2_amd64.deb' a_1%3a2_amd64.deb 123 SHA256:abcd\n\
                    'http://m/b' ../b.deb 1 SHA256:00\n\
                    'http://m/c.deb' c.deb 1 MD5Sum:00\n'\n";
        let expected =
            Package { file: "a_1%3a2_amd64.deb".to_owned(), bytes: 123, sha256: "abcd".to_owned() };
        assert_eq!(parse_uris(text), [expected]);
    }
}
