//! The newc cpio format, which Linux unpacks as its first root file system.
//!
//! Archives can be concatenated: a later entry replaces an earlier one of the same name. That is how
//! a boot's own files are laid over a cached image.

use std::io::{self, Write};

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// Writes one archive; parents of an entry are written before it, once.
pub struct Archive<W: Write> {
    out: W,
    inode: u32,
    directories: std::collections::HashSet<String>,
}

impl<W: Write> Archive<W> {
    /// An archive that is written to `out`.
    pub fn new(out: W) -> Self {
        Archive { out, inode: 0, directories: Default::default() }
    }

    /// Adds a regular file; `mode` is its permission bits.
    pub fn file(&mut self, name: &str, mode: u32, contents: &[u8]) -> io::Result<()> {
        self.parents(name)?;
        self.entry(name, FILE | (mode & 0o7777), contents, 0)
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, name: &str, target: &str) -> io::Result<()> {
        self.parents(name)?;
        self.entry(name, SYMLINK | 0o777, target.as_bytes(), 0)
    }

    /// Adds a directory and its parents, unless they are there.
    pub fn directory(&mut self, name: &str) -> io::Result<()> {
        self.parents(name)?;
        if self.directories.insert(name.to_owned()) {
            self.entry(name, DIRECTORY | 0o755, &[], 0)?;
        }
        Ok(())
    }

    /// Adds /dev/console, without which PID 1 has no output before devtmpfs is mounted.
    pub fn console(&mut self) -> io::Result<()> {
        self.directory("dev")?;
        self.entry("dev/console", CHARACTER_DEVICE | 0o600, &[], 0x501)
    }

    /// Ends the archive, padded so that another can follow it.
    pub fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, &[], 0)?;
        Ok(self.out)
    }

    fn parents(&mut self, name: &str) -> io::Result<()> {
        match name.rsplit_once('/') {
            Some((parent, _)) => self.directory(parent),
            None => Ok(()),
        }
    }

    /// One header, name and contents, each padded to four bytes; `device` is major << 8 | minor.
    fn entry(&mut self, name: &str, mode: u32, contents: &[u8], device: u32) -> io::Result<()> {
        let too_big = |_| io::Error::new(io::ErrorKind::FileTooLarge, "over 4 GiB in a cpio entry");
        let size = u32::try_from(contents.len()).map_err(too_big)?;
        let name_size = u32::try_from(name.len() + 1).map_err(too_big)?;
        self.inode += 1;
        let links = if mode & DIRECTORY != 0 && mode & FILE == 0 { 2 } else { 1 };
        let fields = [
            self.inode,
            mode,
            0,
            0,
            links,
            0,
            size,
            0,
            0,
            device >> 8,
            device & 0xff,
            name_size,
            0,
        ];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08X}"));
        }
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(name.as_bytes())?;
        self.out.write_all(&[0; 4][..1 + padding(header.len() + name.len() + 1)])?;
        self.out.write_all(contents)?;
        self.out.write_all(&[0; 4][..padding(contents.len())])
    }
}

/// How many bytes are missing to a multiple of four.
fn padding(length: usize) -> usize {
    length.wrapping_neg() % 4
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The entries of an archive: name, mode and contents.
    fn entries(mut archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut found = Vec::new();
        while !archive.is_empty() {
            assert_eq!(&archive[..6], b"070701");
            let field = |n: usize| {
                let text = std::str::from_utf8(&archive[6 + 8 * n..14 + 8 * n]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let name = String::from_utf8(archive[110..110 + name_size - 1].to_vec()).unwrap();
            let start = (110 + name_size).next_multiple_of(4);
            found.push((name, mode, archive[start..start + size].to_vec()));
            archive = &archive[(start + size).next_multiple_of(4)..];
        }
        found
    }

    #[test]
    fn parents_come_once_and_before_their_entries() {
        let mut archive = Archive::new(Vec::new());
        archive.file("usr/bin/a", 0o755, b"12345").unwrap();
        archive.link("usr/bin/b", "a").unwrap();
        archive.console().unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let found = entries(&bytes);
        let names: Vec<&str> = found.iter().map(|entry| entry.0.as_str()).collect();
        let expected = ["usr", "usr/bin", "usr/bin/a", "usr/bin/b", "dev", "dev/console"];
        assert_eq!(names[..6], expected);
        assert_eq!(names[6], "TRAILER!!!");
        assert_eq!(found[2], ("usr/bin/a".to_owned(), 0o100755, b"12345".to_vec()));
        assert_eq!(found[3], ("usr/bin/b".to_owned(), 0o120777, b"a".to_vec()));
    }
}
