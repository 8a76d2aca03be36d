//! Build ids: in the ELF notes of files, of the kernel and of its modules.
//!
//! The files are those of any user's processes: sizes are bounded, only regular files are opened.

use model::BuildId;
use object::elf::{ELF_NOTE_GNU, FileHeader32, FileHeader64, NT_GNU_BUILD_ID, PT_NOTE};
use object::read::elf::{FileHeader, NoteIterator, ProgramHeader};
use object::{Endianness, FileKind, ReadCache, ReadRef};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Maximum size in bytes of a part of notes: real ones have some hundred.
const MAX_NOTES: u64 = 64 << 10;
/// Maximum number of program headers: real files have some ten. More than the format's 16 bits
/// hold would be read from elsewhere in the file, in any number.
const MAX_HEADERS: u16 = 64;

/// The build id of an ELF file; `None` where it is no such file, has none or cannot be read.
pub(crate) fn of_file(place: &Path) -> Option<BuildId> {
    let file = files::open(place).ok()?;
    of_elf(&ReadCache::new(file))
}

/// What tells files apart.
pub(crate) fn identity(place: &Path) -> Option<(u64, u64)> {
    let found = fs::metadata(place).ok()?;
    Some((found.dev(), found.ino()))
}

/// The build id among the notes of an ELF file of 64 or 32 bits.
fn of_elf<'data>(data: impl ReadRef<'data>) -> Option<BuildId> {
    match FileKind::parse(data).ok()? {
        FileKind::Elf64 => of_width::<FileHeader64<Endianness>>(data),
        FileKind::Elf32 => of_width::<FileHeader32<Endianness>>(data),
        _ => None,
    }
}

fn of_width<'data, Elf: FileHeader<Endian = Endianness>>(
    data: impl ReadRef<'data>,
) -> Option<BuildId> {
    let header = Elf::parse(data).ok()?;
    let endian = header.endian().ok()?;
    if header.e_phnum(endian) > MAX_HEADERS {
        return None;
    }
    header.program_headers(endian, data).ok()?.iter().find_map(|part| {
        let is_small = part.p_type(endian) == PT_NOTE && part.p_filesz(endian).into() <= MAX_NOTES;
        among_notes(part.notes(endian, data).ok().filter(|_| is_small)??, endian)
    })
}

/// The build id among ELF notes of this machine: NT_GNU_BUILD_ID of `GNU`.
pub(crate) fn among(notes: &[u8]) -> Option<BuildId> {
    let endian = Endianness::default();
    among_notes(NoteIterator::<FileHeader64<Endianness>>::new(endian, 4, notes).ok()?, endian)
}

fn among_notes<Elf: FileHeader<Endian = Endianness>>(
    mut notes: NoteIterator<'_, Elf>,
    endian: Endianness,
) -> Option<BuildId> {
    while let Some(note) = notes.next().ok()? {
        let is_id = note.name() == ELF_NOTE_GNU && note.n_type(endian) == NT_GNU_BUILD_ID;
        if is_id && !note.desc().is_empty() {
            return Some(BuildId(note.desc().iter().copied().take(20).collect()));
        }
    }
    None
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
        file[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', if is_long { 2 } else { 1 }, 1, 1]);
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
            assert_eq!(of_elf(&*file), Some(BuildId(vec![0xde, 0xad, 1])), "{is_long}");
            for cut in 0..file.len() {
                assert_eq!(of_elf(&file[..cut]), None, "{is_long} {cut}");
            }
        }
    }

    #[test]
    fn any_bytes_are_survived() {
        let mut random = hostile::Random::new(0);
        for round in 0..hostile::cases(200_000) {
            let mut file = elf(round % 2 == 0);
            random.mutate(&mut file);
            assert!(of_elf(&*file).is_none_or(|id| (1..=20).contains(&id.0.len())));
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
