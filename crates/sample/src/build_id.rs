//! Build ids: in the ELF notes of files, of the kernel and of its modules.
//!
//! The files are those of any user's processes: sizes are bounded, only regular files are opened.

use model::BuildId;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// NT_GNU_BUILD_ID.
const GNU_BUILD_ID: u32 = 3;
/// PT_NOTE.
const NOTE: u32 = 4;
/// The longest part of notes that is read: real ones have some hundred bytes.
const LONGEST_NOTES: u64 = 64 << 10;
/// Program headers that are looked at: real files have some ten.
const MOST_HEADERS: u16 = 64;

/// The build id of an ELF file; `None` where it is no such file, has none or cannot be read.
pub(crate) fn of_file(place: &Path) -> Option<BuildId> {
    let file = files::open(place).ok()?;
    of_elf(|at, bytes| file_at(&file, at, bytes))
}

/// What tells files apart.
pub(crate) fn identity(place: &Path) -> Option<(u64, u64)> {
    let found = fs::metadata(place).ok()?;
    Some((found.dev(), found.ino()))
}

fn file_at(file: &File, at: u64, bytes: &mut [u8]) -> Option<()> {
    file.read_exact_at(bytes, at).ok()
}

/// The build id among the notes of an ELF file of 64 or 32 bits, little-endian, which `read` gives
/// pieces of.
fn of_elf(read: impl Fn(u64, &mut [u8]) -> Option<()>) -> Option<BuildId> {
    let mut head = [0; 64];
    read(0, &mut head[..52])?;
    let is_long = match head[..6] {
        [0x7f, b'E', b'L', b'F', 2, 1] => true,
        [0x7f, b'E', b'L', b'F', 1, 1] => false,
        _ => return None,
    };
    if is_long {
        read(0, &mut head)?;
    }
    // e_phoff, e_phentsize and e_phnum; then p_type, p_offset and p_filesz of each.
    let (table, each, count) = if is_long {
        (u64_at(&head, 32)?, u16_at(&head, 54)?, u16_at(&head, 56)?)
    } else {
        (u64::from(u32_at(&head, 28)?), u16_at(&head, 42)?, u16_at(&head, 44)?)
    };
    for number in 0..count.min(MOST_HEADERS) {
        let mut header = [0; 56];
        let header = &mut header[..if is_long { 56 } else { 32 }];
        read(table.checked_add(u64::from(each) * u64::from(number))?, header)?;
        if u32_at(header, 0)? != NOTE {
            continue;
        }
        let (at, size) = if is_long {
            (u64_at(header, 8)?, u64_at(header, 32)?)
        } else {
            (u64::from(u32_at(header, 4)?), u64::from(u32_at(header, 16)?))
        };
        let mut notes = vec![0; usize::try_from(size.min(LONGEST_NOTES)).ok()?];
        if read(at, &mut notes).is_some()
            && let Some(id) = among(&notes)
        {
            return Some(id);
        }
    }
    None
}

/// The build id among ELF notes: NT_GNU_BUILD_ID of `GNU`.
pub(crate) fn among(mut notes: &[u8]) -> Option<BuildId> {
    loop {
        let size = |at| usize::try_from(u32_at(notes, at)?).ok();
        let (name, size, kind) = (size(0)?, size(4)?, u32_at(notes, 8)?);
        let whole = |count: usize| Some(count.checked_add(3)? & !3);
        let (owner, rest) = notes.get(12..)?.split_at_checked(whole(name)?)?;
        // The last note of a part need not be padded.
        let id = rest.get(..size)?;
        if kind == GNU_BUILD_ID && owner.starts_with(b"GNU\0") && !id.is_empty() {
            return Some(BuildId(id.get(..size.min(20))?.to_vec()));
        }
        notes = rest.get(whole(size)?..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    fn notes() -> Vec<u8> {
        let mut notes = vec![4, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0];
        notes.extend(b"Xen\0\x01\0\0\0");
        notes.extend([4, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0]);
        notes.extend(b"GNU\0\xde\xad\x01");
        notes
    }

    /// An ELF file of these notes and nothing else.
    fn elf(is_long: bool) -> Vec<u8> {
        let (head, header) = if is_long { (64, 56) } else { (52, 32) };
        let mut file = vec![0; head + header];
        file[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', if is_long { 2 } else { 1 }, 1]);
        // e_phoff; e_phentsize, e_phnum; p_type; p_offset; p_filesz.
        let places = if is_long { [32, 54, 56, 8, 32] } else { [28, 42, 44, 4, 16] };
        file[places[0]] = head as u8;
        file[places[1]] = header as u8;
        file[places[2]] = 1;
        file[head] = 4;
        file[head + places[3]] = (head + header) as u8;
        file[head + places[4]] = notes().len() as u8;
        file.extend(notes());
        file
    }

    fn read(file: &[u8]) -> Option<BuildId> {
        of_elf(|at, bytes| {
            let from = file.get(usize::try_from(at).ok()?..)?;
            bytes.copy_from_slice(from.get(..bytes.len())?);
            Some(())
        })
    }

    #[test]
    fn it_is_found_among_notes() {
        let notes = notes();
        assert_eq!(among(&notes), Some(BuildId(vec![0xde, 0xad, 1])));
        for cut in 0..notes.len() {
            assert_eq!(among(&notes[..cut]), None);
        }
        assert_eq!(among(&[0xff; 64]), None);
    }

    #[test]
    fn it_is_found_in_files_of_both_widths() {
        for is_long in [true, false] {
            let file = elf(is_long);
            assert_eq!(read(&file), Some(BuildId(vec![0xde, 0xad, 1])), "{is_long}");
            for cut in 0..file.len() {
                assert_eq!(read(&file[..cut]), None, "{is_long} {cut}");
            }
        }
    }

    #[test]
    fn any_bytes_are_survived() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..200_000 {
            let mut file = elf(round % 2 == 0);
            for _ in 0..4 {
                state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                let at = (state >> 33) as usize % file.len();
                file[at] = (state >> 24) as u8;
            }
            assert!(read(&file).is_none_or(|id| (1..=20).contains(&id.0.len())));
        }
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let pipe = place.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert_eq!(of_file(&pipe), None);
        assert_eq!(of_file(place.path()), None);
        assert_eq!(of_file(Path::new("/dev/zero")), None);
    }
}
