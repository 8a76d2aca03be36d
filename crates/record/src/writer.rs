//! Recording: what kernels wrote is appended as it is; only when a recording is closed is it
//! read, and kept in a compact form.

use crate::block::Builder;
use crate::chunk::{Header, Kind};
use crate::error::{Damage, Error};
use crate::head::{self, Entry, Environment, Head};
use crate::reader::{Recording, Records};
use crate::sorted::Compact;
use files::failed;
use model::{Nanos, Record, Stream, What};
use rustix::fs::{FlockOperation, flock};
use sample::{Decoder, Layout};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, IoSlice, Write};
use std::path::{Path, PathBuf};

/// The ring of what was not read from a ring ([`Writer::append_records`]).
const NO_RING: u16 = u16::MAX;
/// No name or path is longer: the kernel's own records could not hold it.
const LONGEST_TEXT: usize = u16::MAX as usize;

/// Writes a recording.
#[derive(Debug)]
pub struct Writer {
    folder: PathBuf,
    head: Head,
    files: Vec<Appended>,
    /// Files that may be replaced.
    drafts: BTreeSet<String>,
    /// Held by the one that records.
    _lock: File,
}

/// A file that is only ever appended to.
#[derive(Debug)]
struct Appended {
    file: File,
    path: PathBuf,
    /// Bytes of whole chunks.
    length: u64,
}

impl Appended {
    /// Appends a chunk; if there is no room for all of it, none of it stays.
    fn append(&mut self, kind: Kind, ring: u16, time: Nanos, payload: &[u8]) -> Result<(), Error> {
        let header = Header::of(kind, ring, time, payload);
        let whole = (header.len() + payload.len()) as u64;
        let written = write_both(&self.file, &header, payload);
        if let Err(why) = written {
            let _ = self.file.set_len(self.length);
            return Err(failed("append to", &self.path)(why).into());
        }
        self.length += whole;
        Ok(())
    }
}

/// Both parts by one write, mostly, and without copying them together.
fn write_both(mut file: &File, header: &[u8], payload: &[u8]) -> io::Result<()> {
    let written = loop {
        match file.write_vectored(&[IoSlice::new(header), IoSlice::new(payload)]) {
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    let of_header = written.min(header.len());
    file.write_all(header.get(of_header..).unwrap_or_default())?;
    file.write_all(payload.get(written - of_header..).unwrap_or_default())
}

impl Writer {
    /// Begins a recording in a new folder, or in an empty one.
    ///
    /// # Errors
    /// Where the folder is not empty, or cannot be written.
    pub fn create(
        folder: &Path,
        command: &[String],
        environment: Environment,
    ) -> Result<Self, Error> {
        let lock = make(folder)?;
        let head = Head::new(command, environment);
        head.write(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            head,
            files: Vec::new(),
            drafts: BTreeSet::new(),
            _lock: lock,
        })
    }

    /// What is being recorded.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Adds a stream, and gives its number. A stream whose rings are appended has a layout.
    ///
    /// # Errors
    /// Where rings of that layout could not be decoded, or the folder cannot be written.
    pub fn add_stream(&mut self, stream: Stream, layout: Option<Layout>) -> Result<usize, Error> {
        if let Some(layout) = &layout {
            Decoder::new(layout)?;
        }
        let number = self.head.streams.len();
        let name = format!("stream-{number}.raw");
        let path = self.folder.join(&name);
        let file = files::create_new(&path).map_err(failed("make", &path))?;
        self.files.push(Appended { file, path, length: 0 });
        self.head.streams.push(Entry { stream, layout, file: name });
        self.head.write(&self.folder)?;
        Ok(number)
    }

    /// Changes what is told of a stream: its clock, its notes, its events' shares.
    ///
    /// # Errors
    /// Where there is no such stream, or the folder cannot be written.
    pub fn set_stream(&mut self, number: usize, stream: Stream) -> Result<(), Error> {
        let count = self.head.streams.len();
        let entry = self.head.streams.get_mut(number);
        entry.ok_or(Error::NoStream { stream: number, count })?.stream = stream;
        self.head.write(&self.folder)
    }

    /// Keeps a file with the recording, such as a kernel's symbols ([`Stream::kallsyms`]).
    ///
    /// # Errors
    /// Where the name has other than letters, digits, `-`, `_` and `.`, or is taken, or there is
    /// no room.
    pub fn keep(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        head::replace(&self.free(name)?, bytes, true)?;
        self.drafts.remove(name);
        Ok(())
    }

    /// Keeps a file until [`Self::keep`] replaces it, should this process be killed before.
    ///
    /// # Errors
    /// As [`Self::keep`].
    pub fn draft(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        head::replace(&self.free(name)?, bytes, false)?;
        self.drafts.insert(name.to_owned());
        Ok(())
    }

    /// Where a file of the name may be.
    fn free(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.folder.join(name);
        if !head::is_plain(name) || (path.exists() && !self.drafts.contains(name)) {
            let problem = "invalid or duplicate file name: use another name";
            return Err(Error::wrong(&self.folder.join(name.escape_debug().to_string()), problem));
        }
        Ok(path)
    }

    /// Appends whole records of a ring, as the kernel wrote them; `time` is when they were taken
    /// from it, by the stream's clock. The bytes are with the kernel when this returns: whoever
    /// kills this process, they stay.
    ///
    /// # Errors
    /// Where there is no room: what was appended before stays readable, and this may be tried
    /// again.
    pub fn append(
        &mut self,
        stream: usize,
        ring: u16,
        time: Nanos,
        bytes: &[u8],
    ) -> Result<(), Error> {
        let file = self.file(stream)?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(piece(rest));
            file.append(Kind::Ring, ring, time, piece)?;
            rest = later;
        }
        Ok(())
    }

    /// Appends records that were not read from a ring: of what ran before, or of a guest.
    ///
    /// # Errors
    /// As [`Self::append`]; and where a name or path is longer than 65,535 bytes.
    pub fn append_records(
        &mut self,
        stream: usize,
        time: Nanos,
        records: &[Record],
    ) -> Result<(), Error> {
        let file = self.file(stream)?;
        if records.iter().any(is_too_long) {
            return Err(Error::wrong(&file.path, "a name or path is too long"));
        }
        let mut builder = Builder::default();
        for record in records {
            builder.push(record);
            if builder.is_full() {
                file.append(Kind::Block, NO_RING, time, &builder.finish())?;
            }
        }
        if builder.is_empty() {
            return Ok(());
        }
        file.append(Kind::Block, NO_RING, time, &builder.finish())
    }

    fn file(&mut self, stream: usize) -> Result<&mut Appended, Error> {
        let count = self.files.len();
        self.files.get_mut(stream).ok_or(Error::NoStream { stream, count })
    }

    /// Ends the recording, and makes its files compact. Damage that was come upon is told here
    /// and in the stream's notes.
    ///
    /// # Errors
    /// Where there is no room for the compact files: the recording stays as it is, and can be
    /// read, and closed later ([`close`]).
    pub fn close(self) -> Result<Vec<Damage>, Error> {
        self.begin_closing(|_, _| {})?.end()
    }

    /// Makes the files compact, beside the others; every record is shown on its way, with its
    /// stream, so that nobody has to read all once more. Until [`Closing::end`] files can be kept
    /// with the recording, which stays as it is.
    ///
    /// # Errors
    /// As [`Self::close`].
    pub fn begin_closing(&self, seen: impl FnMut(usize, &Record)) -> Result<Closing, Error> {
        compact(&self.folder, seen)
    }
}

/// A recording whose compact files are there, and are not yet the recording.
#[derive(Debug)]
#[must_use = "without its end the recording stays open"]
pub struct Closing {
    folder: PathBuf,
    head: Head,
    /// The files that go.
    raw: Vec<String>,
    damages: Vec<Damage>,
}

impl Closing {
    /// Ends it; the damage that was come upon.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn end(self) -> Result<Vec<Damage>, Error> {
        // From here on the compact files are the recording; until here the others are.
        self.head.write(&self.folder)?;
        for name in self.raw {
            let path = self.folder.join(name);
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        Ok(self.damages)
    }
}

/// Closes a recording that was left open, by a recorder that was killed or found no room: makes
/// its files compact. What was damaged is told, here and in the streams' notes. One that is closed
/// stays as it is.
///
/// # Errors
/// Where it is still being recorded, is no recording, or there is no room.
pub fn close(folder: &Path) -> Result<Vec<Damage>, Error> {
    let _lock = lock(folder)?;
    if Head::read(folder)?.closed {
        return Ok(Vec::new());
    }
    compact(folder, |_, _| {})?.end()
}

fn compact(folder: &Path, mut seen: impl FnMut(usize, &Record)) -> Result<Closing, Error> {
    let recording = Recording::open(folder)?;
    let mut head = recording.head().clone();
    let mut damages = Vec::new();
    let mut raw = Vec::new();
    for (number, entry) in head.streams.iter_mut().enumerate() {
        let name = format!("stream-{number}.vmr");
        let path = folder.join(&name);
        let found = write_compact(&path, recording.records(number)?, |r| seen(number, r))?;
        entry.stream.notes.extend(found.iter().map(Damage::to_string));
        damages.extend(found);
        raw.push(std::mem::replace(&mut entry.file, name));
        entry.layout = None;
    }
    head.closed = true;
    Ok(Closing { folder: folder.to_owned(), head, raw, damages })
}

/// Writes records to a compact file, beside its place until it is whole, and shows each; the damages
/// in between.
pub(crate) fn write_compact(
    path: &Path,
    records: Records,
    mut seen: impl FnMut(&Record),
) -> Result<Vec<Damage>, Error> {
    let mut damages = Vec::new();
    let write = || {
        let draft = files::Draft::create(path)?;
        let mut compact = Compact::new(BufWriter::with_capacity(1 << 18, draft));
        let mut written = Ok(());
        records.each(|found| match found {
            Ok(record) if written.is_ok() => {
                seen(record);
                written = compact.push(record);
            }
            Ok(_) => {}
            Err(damage) => damages.push(damage),
        });
        written?;
        let draft = compact.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        draft.place(true)
    };
    write().map_err(failed("write", path))?;
    Ok(damages)
}

/// Makes a folder for a recording, and takes it.
pub(crate) fn make(folder: &Path) -> Result<File, Error> {
    files::make_folders(folder).map_err(failed("create directory", folder))?;
    let mut entries = fs::read_dir(folder).map_err(failed("read", folder))?;
    if entries.next().is_some() {
        return Err(Error::wrong(folder, "is not empty: use another directory"));
    }
    lock(folder)
}

fn lock(folder: &Path) -> Result<File, Error> {
    let file = File::open(folder).map_err(failed("open", folder))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| Error::wrong(folder, "in use by another vmeter: wait for it"))?;
    Ok(file)
}

/// Bytes of rings in one chunk, but for longer records: who reads the recording has a chunk of each
/// ring in memory.
const MOST_OF_RING: usize = 64 << 10;

/// How many bytes go into one chunk: whole records, if there is more than fits.
fn piece(bytes: &[u8]) -> usize {
    if bytes.len() <= MOST_OF_RING {
        return bytes.len();
    }
    let mut end = 0;
    while let Some([low, high]) = bytes.get(end + 6..end + 8) {
        let size = usize::from(u16::from_le_bytes([*low, *high]));
        // What is no record is cut anywhere: reading it tells of the damage.
        if size < 8 || end + size > MOST_OF_RING {
            break;
        }
        end += size;
    }
    if end == 0 { MOST_OF_RING } else { end }
}

fn is_too_long(record: &Record) -> bool {
    match &record.what {
        What::Map(map) => {
            let id = map.build_id.as_ref().map_or(0, |id| id.0.len());
            map.path.len().max(id) > LONGEST_TEXT
        }
        What::Name { name, .. } => name.len() > LONGEST_TEXT,
        _ => false,
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
