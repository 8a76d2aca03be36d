//! Files that are written whole or not at all.

use anyhow::{Context, Result};
use files::Output;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// A file that will appear under its name once it is complete. What is there before stays
/// until then; what cannot be written is known at once, before anything is measured. A full disk
/// alone is an error only at the end, when what was measured can still be shown elsewhere.
#[derive(Debug)]
pub struct Pending {
    path: PathBuf,
    output: io::Result<Output>,
}

impl Pending {
    /// Starts the file.
    ///
    /// # Errors
    /// Where it cannot be written, or a link of another user is on the way.
    pub fn create(path: &Path) -> Result<Self> {
        let output = match Output::create(path) {
            Err(error) if !is_full(&error) => {
                return Err(error).with_context(|| cannot_write(path));
            }
            output => output,
        };
        Ok(Self { path: path.into(), output })
    }

    /// The file, to write to it piece by piece.
    ///
    /// # Errors
    /// Where the disk was full at the start.
    pub fn file(&mut self) -> Result<&mut File> {
        match &mut self.output {
            Ok(output) => Ok(output.file()),
            Err(error) => {
                Err(io::Error::from(error.kind())).with_context(|| cannot_write(&self.path))
            }
        }
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// Where there is no room.
    pub fn place(self) -> Result<()> {
        self.output.and_then(Output::finish).with_context(|| cannot_write(&self.path))
    }

    /// Writes the contents and gives the file its name.
    ///
    /// # Errors
    /// Where there is no room.
    pub fn finish(mut self, text: &str) -> Result<()> {
        let failed = cannot_write(&self.path);
        self.file()?.write_all(text.as_bytes()).context(failed)?;
        self.place()
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

/// Whether no room is left.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
