//! `recording.json`: what a recording is of, and which files it has.

use crate::error::Error;
use files::failed;
use model::Stream;
use sample::Layout;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;

/// The version of the format.
pub const SCHEMA: &str = "vmeter.recording/1";
/// The head's name in the recording's folder.
pub(crate) const NAME: &str = "recording.json";
/// Bytes of a head: one of some thousand streams has some MB.
const MAX_HEAD: usize = 32 << 20;

/// What a recording is of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// [`SCHEMA`].
    pub schema: String,
    /// The version of the vmeter that made it.
    pub vmeter: String,
    /// When it was begun, by the calendar (RFC 3339); when it was imported, of a perf.data.
    pub created: String,
    /// The command that recorded, word by word.
    pub command: Vec<String>,
    /// Where it was recorded.
    pub environment: Environment,
    /// Whether it was brought to its end: its files are compact then.
    pub closed: bool,
    /// Its streams.
    pub streams: Vec<Entry>,
}

/// A host that was recorded; what is not known of it is not told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Its name.
    pub hostname: Option<String>,
    /// Its kernel's release.
    pub kernel: Option<String>,
    /// Its architecture, as uname has it.
    pub architecture: Option<String>,
    /// Its CPUs' model.
    pub cpu: Option<String>,
    /// What recorded: `perf 6.1.0`, where it was not this vmeter.
    pub tool: Option<String>,
}

/// A stream of a recording, and where it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The stream.
    pub stream: Stream,
    /// How its rings are laid out, while they are kept as the kernel wrote them.
    pub layout: Option<Layout>,
    /// The file of its chunks.
    pub file: String,
}

impl Head {
    /// The head of a new recording.
    #[must_use]
    pub fn new(command: &[String], environment: Environment) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            vmeter: env!("CARGO_PKG_VERSION").to_owned(),
            created: jiff::Timestamp::now().to_string(),
            command: command.to_vec(),
            environment,
            closed: false,
            streams: Vec::new(),
        }
    }

    pub(crate) fn read(folder: &Path) -> Result<Self, Error> {
        /// All versions have this.
        #[derive(Deserialize)]
        struct Version {
            schema: String,
        }
        let path = folder.join(NAME);
        let text = read_limited(&path, MAX_HEAD)?;
        let foreign = |why: serde_json::Error| {
            Error::wrong(&path, format!("not a recording, or damaged: {why}"))
        };
        let version: Version = serde_json::from_slice(&text).map_err(foreign)?;
        if version.schema != SCHEMA {
            let theirs = version.schema.escape_debug().take(80).collect();
            return Err(Error::Version { path, theirs, ours: SCHEMA });
        }
        let head: Self = serde_json::from_slice(&text).map_err(foreign)?;
        if let Some(name) = head.files().find(|name| !is_plain(name)) {
            let name: String = name.escape_debug().take(80).collect();
            let problem =
                format!("invalid file name `{name}`: outside of the recording's directory");
            return Err(Error::Wrong { path, problem });
        }
        Ok(head)
    }

    /// The files of the recording that it names.
    fn files(&self) -> impl Iterator<Item = &str> {
        let own = self.streams.iter().map(|entry| &entry.file);
        let kallsyms = self.streams.iter().filter_map(|entry| entry.stream.kallsyms.as_ref().ok());
        own.chain(kallsyms).map(String::as_str)
    }

    /// Writes it; for good where it is closed. Until then it is written again and again, and a
    /// disk must not hold up who empties rings meanwhile.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(NAME);
        let text = serde_json::to_vec_pretty(self)
            .map_err(|why| Error::wrong(&path, format!("cannot write: {why}")))?;
        replace(&path, &text, self.closed)
    }
}

/// Whether a name stays in its folder.
pub(crate) fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && name.len() < 100 && !name.starts_with('.') && name.bytes().all(plain)
}

/// A whole file of at most `limit` bytes. Links are refused: a recording's files are in its folder.
pub(crate) fn read_limited(path: &Path, limit: usize) -> Result<Vec<u8>, Error> {
    Ok(files::read_without_link(path, limit).map_err(failed("read", path))?)
}

/// Writes a file beside its place, and moves it there: it is whole, or as it was, whoever is killed;
/// where it is `lasting`, whatever happens.
pub(crate) fn replace(path: &Path, bytes: &[u8], lasting: bool) -> Result<(), Error> {
    let write = || {
        let mut draft = files::Draft::create(path)?;
        draft.write_all(bytes)?;
        draft.place(lasting)
    };
    Ok(write().map_err(failed("write", path))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn another_version_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(NAME), br#"{"schema": "vmeter.recording/\u001b9"}"#).unwrap();
        let error = Head::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("vmeter.recording/\\u{1b}9") && error.contains(SCHEMA), "{error}");
        fs::write(folder.path().join(NAME), b"{\"sche").unwrap();
        assert!(matches!(Head::read(folder.path()), Err(Error::Wrong { .. })));
    }

    #[test]
    fn attack_by_the_names_of_a_heads_files_is_refused() {
        use crate::testing::stream;
        let folder = tempfile::tempdir().unwrap();
        for (file, kallsyms, bad) in [
            ("stream-0.raw", "stream-0.kallsyms", None),
            ("stream-0.raw", "/proc/kmsg", Some("/proc/kmsg")),
            ("stream-0.raw", "../fifo", Some("../fifo")),
            ("/dev/zero", "stream-0.kallsyms", Some("/dev/zero")),
        ] {
            let mut head = Head::new(&[], Environment::default());
            let mut stream = stream();
            stream.kallsyms = Ok(kallsyms.to_owned());
            head.streams.push(Entry { stream, layout: None, file: file.to_owned() });
            head.write(folder.path()).unwrap();
            let read = Head::read(folder.path()).map(|read| assert_eq!(read, head));
            match bad {
                None => read.unwrap(),
                Some(bad) => {
                    let error = read.unwrap_err().to_string();
                    assert!(
                        error.contains("outside of the recording's directory")
                            && error.contains(bad),
                        "{error}"
                    );
                }
            }
        }
        let path = folder.path().join(NAME);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        let error = Head::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("is a symbolic link"), "{error}");
    }

    #[test]
    fn a_name_stays_in_the_folder() {
        assert!(is_plain("stream-0.raw"));
        for name in ["", "..", ".hidden", "../x", "/etc/passwd", "a/b", "a\0", "a\u{1b}"] {
            assert!(!is_plain(name), "{name:?}");
        }
    }
}
