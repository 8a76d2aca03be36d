//! Recordings made of what other tools wrote.

use crate::error::{Damage, Error};
use crate::reader::Recording;
use crate::writer::{make, write_compact};
use std::path::Path;

/// Makes a recording of a perf.data, in a new or empty folder; what was damaged in it.
///
/// # Errors
/// Where the file is no perf.data that can be read ([`Recording::open`]), the folder is not empty,
/// or there is no room.
pub fn import_perf_data(path: &Path, folder: &Path) -> Result<Vec<Damage>, Error> {
    let recording = Recording::open_perf_data(path)?;
    let _lock = make(folder)?;
    let mut head = recording.head().clone();
    let mut damages = Vec::new();
    for (number, entry) in head.streams.iter_mut().enumerate() {
        entry.file = format!("stream-{number}.vmr");
        let found = write_compact(&folder.join(&entry.file), recording.records(number)?, |_| {})?;
        entry.stream.notes.extend(found.iter().map(Damage::to_string));
        damages.extend(found);
    }
    head.write(folder)?;
    Ok(damages)
}
