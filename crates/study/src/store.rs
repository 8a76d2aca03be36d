//! A study's folder: `plan.toml`, `study.json`, a file for each attempt at a run, a lock.
//!
//! A file is written beside its place, synced and renamed, so that what is there is whole; it
//! carries a checksum, so that what was damaged later is seen.

use crate::plan::Plan;
use crate::record::Record;
use files::{FileError, failed};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::io::Write;
use std::path::{Path, PathBuf};

const STUDY: &str = "vmeter.study/1";
const RUN: &str = "vmeter.run/1";
/// Bytes of `study.json`, of a plan and of a run: those of a hundred VMs have some MB.
const MAX_HEAD: usize = 1 << 20;
const MAX_PLAN: usize = 1 << 20;
const MAX_RUN: usize = 64 << 20;

/// A folder that cannot be used, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder cannot be read or written.
    #[error(transparent)]
    Io(#[from] FileError),
    /// It is there, and not what it should be.
    #[error("{path}: {problem}", path = path.display())]
    Wrong {
        /// Which.
        path: PathBuf,
        /// What is wrong, and the remedy.
        problem: String,
    },
}

impl StoreError {
    /// Whether no room is left.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io(error) if error.is_full())
    }
}

/// `study.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Head {
    schema: String,
    plan: String,
    vmeter: String,
    /// The checksum of `plan.toml`; studies of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plan_crc32: Option<String>,
}

/// A checked file: the checksum is of the bytes of `run`.
#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    schema: String,
    crc32: String,
    #[serde(borrow)]
    run: &'a RawValue,
}

/// A study's folder.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    /// The checksum of the plan that it was begun with, where it is known.
    plan_crc32: Option<String>,
    /// Held by the one controller that writes.
    _lock: Option<File>,
}

impl Store {
    /// Makes the folder, or opens it where it holds a study of the same plan.
    ///
    /// # Errors
    /// Where another study runs in it, it is of another plan, or is no study's folder.
    pub fn create(root: &Path, plan: &Plan) -> Result<Self, StoreError> {
        let wrong = |problem: String| StoreError::Wrong { path: root.to_owned(), problem };
        let held = |name: &str| root.join(name).exists();
        files::check(root).map_err(failed("open", root))?;
        if root.exists() && !held("study.json") && !is_empty(root)? && !is_begun(root)? {
            let problem = "is not empty and is not a study: use another directory";
            return Err(wrong(problem.to_owned()));
        }
        let runs = root.join("runs");
        files::make_folders(&runs).map_err(failed("create directory", &runs))?;
        let lock = root.join("lock");
        let file = files::open_lock(&lock).map_err(failed("open", &lock))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            wrong("in use by another vmeter: wait for it, or use another directory".into())
        })?;
        if held("study.json") {
            let store = Self { _lock: Some(file), ..Self::open(root)? };
            store.check_plan(plan)?;
            return Ok(store);
        }
        let plan_crc32 = Some(checksum(&plan.text));
        let store =
            Self { root: root.to_owned(), plan_crc32: plan_crc32.clone(), _lock: Some(file) };
        store.replace("plan.toml", plan.text.as_bytes())?;
        let head = Head {
            schema: STUDY.to_owned(),
            plan: plan.id.clone(),
            vmeter: env!("CARGO_PKG_VERSION").to_owned(),
            plan_crc32,
        };
        let text = serde_json::to_vec_pretty(&head)
            .map_err(|error| wrong(format!("cannot write as JSON: {error}")))?;
        store.replace("study.json", &text)?;
        Ok(store)
    }

    /// Opens a study's folder to read it.
    ///
    /// # Errors
    /// Where it is no study's folder, or of another version.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let path = root.join("study.json");
        let text = files::read_without_link(&path, MAX_HEAD).map_err(failed("read", &path))?;
        let wrong = |problem: String| StoreError::Wrong { path: path.clone(), problem };
        let head: Head = serde_json::from_slice(&text)
            .map_err(|error| wrong(format!("not a study: {error}")))?;
        if head.schema != STUDY {
            let theirs = head.schema.escape_debug();
            return Err(wrong(format!("unsupported version {theirs}: expected {STUDY}")));
        }
        Ok(Self { root: root.to_owned(), plan_crc32: head.plan_crc32, _lock: None })
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The plan that it was begun with.
    ///
    /// # Errors
    /// Where it cannot be read, or not by this version; where it was changed since.
    pub fn plan(&self) -> Result<Plan, StoreError> {
        let path = self.root.join("plan.toml");
        let text = self.plan_text(&path)?;
        Plan::parse(&text, &path.display().to_string())
            .map_err(|error| StoreError::Wrong { path, problem: error.to_string() })
    }

    /// What was measured is of the plan as it was; by another one, runs would be missing from
    /// figures without a word.
    fn plan_text(&self, path: &Path) -> Result<String, StoreError> {
        let text = text(path, MAX_PLAN)?;
        match &self.plan_crc32 {
            Some(begun) if *begun != checksum(&text) => Err(StoreError::Wrong {
                path: path.to_owned(),
                problem:
                    "was changed after the study was started: restore the old plan, or run the \
                          changed plan in another directory"
                        .to_owned(),
            }),
            _ => Ok(text),
        }
    }

    fn check_plan(&self, plan: &Plan) -> Result<(), StoreError> {
        let path = self.root.join("plan.toml");
        let text = self.plan_text(&path)?;
        if text == plan.text {
            return Ok(());
        }
        let differ = text.lines().zip(plan.text.lines()).take_while(|(a, b)| a == b).count();
        let problem = format!(
            "belongs to another plan, which differs at line {}: use another directory for the plan \
             `{}`",
            differ + 1,
            plan.id
        );
        Err(StoreError::Wrong { path, problem })
    }

    /// All attempts, by run and attempt.
    ///
    /// # Errors
    /// The first file that cannot be read or is damaged, with the remedy.
    pub fn records(&self) -> Result<Vec<Record>, StoreError> {
        let mut all = Vec::new();
        for name in self.names()? {
            all.push(self.read(&name)?);
        }
        Ok(all)
    }

    /// The names of all attempts' files, in order.
    fn names(&self) -> Result<BTreeSet<String>, StoreError> {
        let path = self.root.join("runs");
        let entries = fs::read_dir(&path).map_err(failed("read", &path))?;
        let mut names = BTreeSet::new();
        for entry in entries {
            let name = entry.map_err(failed("read", &path))?.file_name();
            let name = name.to_string_lossy().into_owned();
            if name.ends_with(".json") {
                names.insert(name);
            }
        }
        Ok(names)
    }

    fn read(&self, name: &str) -> Result<Record, StoreError> {
        let path = self.root.join("runs").join(name);
        let text = text(&path, MAX_RUN)?;
        let damaged = |why: &str| StoreError::Wrong {
            path: path.clone(),
            problem: format!("{why}: move it out of the directory to repeat the run"),
        };
        let envelope: Envelope<'_> =
            serde_json::from_str(&text).map_err(|error| damaged(&format!("damaged: {error}")))?;
        if envelope.schema != RUN {
            let theirs = envelope.schema.escape_debug();
            return Err(damaged(&format!("unsupported version {theirs}: expected {RUN}")));
        }
        if envelope.crc32 != checksum(envelope.run.get()) {
            return Err(damaged("damaged: wrong checksum"));
        }
        serde_json::from_str(envelope.run.get())
            .map_err(|error| damaged(&format!("invalid run: {error}")))
    }

    /// Keeps an attempt: whole, or not at all.
    ///
    /// # Errors
    /// Where there is no room, or the folder cannot be written; what was there stays.
    pub fn keep(&self, record: &Record) -> Result<(), StoreError> {
        let name = format!("runs/{:06}-{}.json", record.number, record.attempt);
        let path = self.root.join(&name);
        let wrong = |problem: String| StoreError::Wrong { path: path.clone(), problem };
        let run = serde_json::value::to_raw_value(record)
            .map_err(|error| wrong(format!("cannot write as JSON: {error}")))?;
        let crc32 = checksum(run.get());
        let text = serde_json::to_vec(&Envelope { schema: RUN.to_owned(), crc32, run: &run })
            .map_err(|error| wrong(format!("cannot write as JSON: {error}")))?;
        self.replace(&name, &text)
    }

    /// Writes a file beside its place and moves it there.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.root.join(name);
        let write = || {
            let mut draft = files::Draft::create(&path)?;
            draft.write_all(bytes)?;
            draft.place(true)
        };
        Ok(write().map_err(failed("write", &path))?)
    }
}

/// A whole file of the study as text. Links are refused: its files are in its folder.
fn text(path: &Path, limit: usize) -> Result<String, StoreError> {
    let bytes = files::read_without_link(path, limit).map_err(failed("read", path))?;
    let invalid = |why| failed("read", path)(io::Error::new(io::ErrorKind::InvalidData, why));
    Ok(String::from_utf8(bytes).map_err(invalid)?)
}

fn checksum(text: &str) -> String {
    format!("{:08x}", crc32fast::hash(text.as_bytes()))
}

fn is_empty(root: &Path) -> Result<bool, StoreError> {
    Ok(fs::read_dir(root).map_err(failed("read", root))?.next().is_none())
}

/// Whether a study was begun there and cut off before its head was written.
fn is_begun(root: &Path) -> Result<bool, StoreError> {
    let ours = ["runs", "lock", "plan.toml"];
    let drafts = ["plan.toml", "study.json"];
    let entries = fs::read_dir(root).map_err(failed("read", root))?;
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    Ok(names.into_iter().all(|name| {
        let is_draft = drafts.iter().any(|draft| files::parts_of(draft, &name));
        is_draft || ours.iter().any(|our| name == *our)
    }))
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
