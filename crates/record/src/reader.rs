//! Reading a recording, whoever ended it, and however.

use crate::error::{Damage, Error, io_error};
use crate::head::{self, Head};
use crate::merge::Merge;
use crate::sorted::Sorted;
use model::{Record, Stream};
use sample::Decoder;
use std::fs::File;
use std::path::{Path, PathBuf};

/// A recording: a folder.
#[derive(Debug)]
pub struct Recording {
    folder: PathBuf,
    head: Head,
    streams: Vec<Stream>,
}

impl Recording {
    /// Opens a recording: one that is closed, one that is being recorded, or what was left of one.
    ///
    /// # Errors
    /// Where the folder has no recording, or one of another version.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let head = Head::read(path)?;
        let streams = head.streams.iter().map(|entry| entry.stream.clone()).collect();
        Ok(Self { folder: path.to_owned(), head, streams })
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
        let path = self.folder.join(&entry.file);
        let file = File::open(&path).map_err(io_error("open", &path))?;
        if self.head.closed {
            let sorted = Sorted::new(file, &entry.file).map_err(io_error("read", &path))?;
            return Ok(Records(Source::Sorted(Box::new(sorted))));
        }
        let decoder = entry.layout.as_ref().map(Decoder::new).transpose()?;
        Ok(Records(Source::Merge(Box::new(Merge::new(file, &entry.file, decoder)))))
    }

    /// A file that was kept with the recording ([`crate::Writer::keep`]), of at most `most` bytes.
    ///
    /// # Errors
    /// Where there is none, it is longer, or the name leaves the folder.
    pub fn kept(&self, name: &str, most: u64) -> Result<Vec<u8>, Error> {
        if !head::is_plain(name) {
            let name: String = name.escape_debug().take(80).collect();
            return Err(Error::wrong(&self.folder, format!("has no file of the name \"{name}\"")));
        }
        head::read_limited(&self.folder.join(name), most)
    }
}

/// The records of a stream, in the order of their times.
#[derive(Debug)]
pub struct Records(Source);

#[derive(Debug)]
enum Source {
    Merge(Box<Merge>),
    Sorted(Box<Sorted>),
}

impl Iterator for Records {
    type Item = Result<Record, Damage>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Source::Merge(merge) => merge.next(),
            Source::Sorted(sorted) => sorted.next(),
        }
    }
}
