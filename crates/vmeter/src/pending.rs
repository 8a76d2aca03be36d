//! Files that are written whole or not at all.

use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A file that will appear under its name once it is complete. What is there before stays
/// until then; what cannot be written is known at once, before anything is measured.
#[derive(Debug)]
pub struct Pending {
    path: PathBuf,
    written: Written,
}

#[derive(Debug)]
enum Written {
    /// Renamed to the name at the end.
    Beside(PathBuf, File),
    /// A device or pipe, which a rename would replace.
    Through(File),
}

impl Pending {
    /// Starts the file.
    pub fn create(path: &Path) -> Result<Self> {
        let failed = || format!("cannot write {}", path.display());
        if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
            let file = File::options().write(true).open(path).with_context(failed)?;
            return Ok(Self { path: path.into(), written: Written::Through(file) });
        }
        let name = path.file_name().with_context(failed)?;
        let mut beside = name.to_os_string();
        beside.push(format!(".{}.part", std::process::id()));
        let beside = path.with_file_name(beside);
        let file = File::create(&beside).with_context(failed)?;
        Ok(Self { path: path.into(), written: Written::Beside(beside, file) })
    }

    /// Writes the contents and gives the file its name.
    pub fn finish(mut self, text: &str) -> Result<()> {
        let failed = format!("cannot write {}", self.path.display());
        match &mut self.written {
            Written::Through(file) => file.write_all(text.as_bytes()).context(failed),
            Written::Beside(beside, file) => file
                .write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
                .and_then(|()| fs::rename(beside, &self.path))
                .context(failed),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Written::Beside(beside, _) = &self.written {
            // Gone already where it was renamed.
            let _ = fs::remove_file(beside);
        }
    }
}
