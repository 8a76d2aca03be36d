//! Reading a recording, whoever ended it, and however; or a perf.data as if it were one.

use crate::error::{Damage, Error};
use crate::head::{self, Head};
use crate::merge::Merge;
use crate::perf_data::{PerfData, Rounds};
use crate::sorted::Sorted;
use files::failed;
use model::{Record, Stream};
use sample::Decoder;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread::JoinHandle;

/// A recording.
#[derive(Debug)]
pub struct Recording {
    /// Its folder, or the perf.data.
    path: PathBuf,
    perf_data: Option<PerfData>,
    head: Head,
    streams: Vec<Stream>,
}

impl Recording {
    /// Opens a recording: one that is closed, one that is being recorded, or what was left of one.
    /// A path that is no folder is a perf.data.
    ///
    /// # Errors
    /// Where the folder has no recording, or one of another version; and as
    /// [`Self::open_perf_data`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        if path.is_file() {
            return Self::open_perf_data(path);
        }
        Ok(Self::of(path, None, Head::read(path)?))
    }

    /// Opens a file of `perf record`: its records come from there, nothing is stored.
    ///
    /// # Errors
    /// Where it is none, it is compressed, was written to a pipe, is of a big-endian machine, or
    /// its samples lack a time, a thread or an address.
    pub fn open_perf_data(path: &Path) -> Result<Self, Error> {
        let (perf_data, head) = PerfData::open(path)?;
        Ok(Self::of(path, Some(perf_data), head))
    }

    fn of(path: &Path, perf_data: Option<PerfData>, head: Head) -> Self {
        let streams = head.streams.iter().map(|entry| entry.stream.clone()).collect();
        Self { path: path.to_owned(), perf_data, head, streams }
    }

    /// What it is of.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Its streams.
    #[must_use]
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// The records of a stream, in the order of their times. Damage comes where it is come upon;
    /// what can be read after it follows.
    ///
    /// # Errors
    /// Where there is no such stream, or its file cannot be opened.
    pub fn records(&self, stream: usize) -> Result<Records, Error> {
        let entry = self.head.streams.get(stream);
        let count = self.head.streams.len();
        let entry = entry.ok_or(Error::NoStream { stream, count })?;
        if let Some(perf_data) = &self.perf_data {
            return Ok(Records(Source::Rounds(Box::new(perf_data.records(&self.path)?))));
        }
        let path = self.path.join(&entry.file);
        let file = files::open_without_link(&path).map_err(failed("open", &path))?;
        if self.head.closed {
            let sorted = Sorted::new(file, &entry.file).map_err(failed("read", &path))?;
            return Ok(Records(Source::Sorted(Box::new(sorted))));
        }
        let decoder = entry.layout.as_ref().map(Decoder::new).transpose()?;
        Ok(Records(Source::Merge(Box::new(Merge::new(file, &entry.file, decoder)))))
    }

    /// A file that was kept with the recording ([`crate::Writer::keep`]), of at most `limit` bytes.
    ///
    /// # Errors
    /// Where there is none, it is longer, or the name leaves the folder.
    pub fn kept(&self, name: &str, limit: usize) -> Result<Vec<u8>, Error> {
        if self.perf_data.is_some() || !head::is_plain(name) {
            let name: String = name.escape_debug().take(80).collect();
            return Err(Error::wrong(&self.path, format!("has no file with the name \"{name}\"")));
        }
        head::read_limited(&self.path.join(name), limit)
    }
}

/// The records of a stream, in the order of their times.
#[derive(Debug)]
pub struct Records(Source);

/// Records that cross from one thread to another at once, and how many such batches wait.
const BATCH: usize = 1024;
const WAITING: usize = 8;

/// Records, and damage where it is come upon.
type Found = Result<Record, Damage>;

/// Records of a stream, in their order, and the damage that was come upon on the way.
#[derive(Debug, Default)]
pub struct Batch {
    /// The records.
    pub records: Vec<Record>,
    /// The damage.
    pub damages: Vec<Damage>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.damages.is_empty()
    }
}

impl Records {
    /// Shows them all, in their order, without moving them where that can be.
    pub(crate) fn each(self, mut show: impl FnMut(Result<&Record, Damage>)) {
        match self.0 {
            Source::Merge(merge) => merge.each(show),
            other => Self(other).for_each(|found| match found {
                Ok(record) => show(Ok(&record)),
                Err(damage) => show(Err(damage)),
            }),
        }
    }

    /// Puts what comes next in the place of what is there; nothing at the end.
    fn refill(&mut self, batch: &mut Batch) {
        batch.records.clear();
        batch.damages.clear();
        while batch.records.len() < BATCH {
            // Many at once, where they lie there.
            if let Source::Rounds(rounds) = &mut self.0 {
                rounds.take_ready(&mut batch.records, BATCH);
            }
            match self.next() {
                Some(Ok(record)) => batch.records.push(record),
                Some(Err(damage)) => batch.damages.push(damage),
                None => return,
            }
        }
    }

    /// The same, read and decoded by a thread of its own while what came before is worked on.
    #[must_use]
    pub fn ahead(self) -> Ahead {
        let (give, batches) = sync_channel::<Batch>(WAITING);
        let (give_back, empty) = channel();
        let read = move |mut records: Self| {
            loop {
                let mut batch: Batch = empty.try_recv().unwrap_or_default();
                records.refill(&mut batch);
                // Where nobody takes them any more there is nothing to do.
                if batch.is_empty() || give.send(batch).is_err() {
                    return;
                }
            }
        };
        let (hand, handed) = sync_channel(1);
        let work = move || {
            if let Ok(records) = handed.recv() {
                read(records);
            }
        };
        let name = "reader".to_owned();
        Ahead(match std::thread::Builder::new().name(name).spawn(work) {
            Ok(reader) => {
                // It waits for them.
                let _ = hand.send(self);
                From::Thread { batches, give_back, reader: Some(reader) }
            }
            // No thread can be had: then it is done here.
            Err(_) => From::Here(Box::new(self)),
        })
    }
}

/// Records that are read ahead.
#[derive(Debug)]
pub struct Ahead(From);

#[derive(Debug)]
enum From {
    Thread {
        batches: Receiver<Batch>,
        /// Batches' memory is used again: it comes from the other thread.
        give_back: Sender<Batch>,
        reader: Option<JoinHandle<()>>,
    },
    Here(Box<Records>),
}

impl Ahead {
    /// Puts what comes next in the place of what is there; nothing, and false, at the end.
    pub fn refill(&mut self, batch: &mut Batch) -> bool {
        match &mut self.0 {
            From::Here(records) => records.refill(batch),
            From::Thread { batches, give_back, reader } => match batches.recv() {
                Ok(next) => {
                    // Where the other thread has come to its end it wants none.
                    let _ = give_back.send(std::mem::replace(batch, next));
                }
                Err(_) => {
                    // It must not seem that a reader that failed had come to the end.
                    if let Some(Err(panic)) = reader.take().map(JoinHandle::join) {
                        std::panic::resume_unwind(panic);
                    }
                    *batch = Batch::default();
                }
            },
        }
        !batch.is_empty()
    }
}

#[derive(Debug)]
enum Source {
    Merge(Box<Merge>),
    Sorted(Box<Sorted>),
    Rounds(Box<Rounds>),
}

impl Iterator for Records {
    type Item = Found;

    #[inline]
    fn next(&mut self) -> Option<Found> {
        match &mut self.0 {
            Source::Merge(merge) => merge.next(),
            Source::Sorted(sorted) => sorted.next(),
            Source::Rounds(rounds) => rounds.next(),
        }
    }
}
